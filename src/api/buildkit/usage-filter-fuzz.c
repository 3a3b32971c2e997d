/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of du and prune. */
#include "api/buildkit/usage-filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const StoreCacheEntry entry = {.key = (char *)"0123",
					      .chain_id = (char *)"sha256:1",
					      .shared = true,
					      .step = (char *)"RUN apt-get install -y gcc"};
	_cleanup_free_ char *text = malloc(size + 1);
	char *texts[] = {text, (char *)"inuse"};
	UsageFilter f;
	Err e;

	if (!text || size > 65536)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (usage_filter_parse(texts, ELEMENTSOF(texts), &f, &e) >= 0)
		(void)usage_filter_matches(&f, &entry);
	usage_filter_done(&f);
	return 0;
}
