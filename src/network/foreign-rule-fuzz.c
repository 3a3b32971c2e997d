/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes are a rule of somebody else's: what cannot be read decides. */
#include "network/foreign-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ void *attrs = malloc(size ? size : 1); /* aligned, and of no byte more */
	ForeignRule rule;

	if (!attrs)
		return 0;
	memcpy(attrs, data, size);
	foreign_rule_parse(attrs, size, &rule);
	if (strlen(rule.calls) >= sizeof(rule.calls) || strlen(rule.comment) >= sizeof(rule.comment) ||
	    (rule.kind == FOREIGN_CALLS && !*rule.calls))
		abort();
	(void)our_rule_is("ireko", rule.comment);
	return 0;
}
