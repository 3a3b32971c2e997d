/* SPDX-License-Identifier: Apache-2.0 */
/* Any text is either refused or decoded into something that can be released; the number rewriter changes no valid document's sense. */
#include "oci/runtime-spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL, *plain = NULL;
	OciSpec s = {0};
	Err e;

	if (oci_json_parse((const char *)data, size, "fuzz", &j, &e) < 0)
		return 0;
	/* What jansson takes as it is must come out the same. */
	if (json_parse((const char *)data, size, "fuzz", &plain, &e) == 0 && !json_equal(plain, j))
		abort();
	(void)oci_spec_decode(j, &s, &e);
	oci_spec_done(&s);
	return 0;
}
