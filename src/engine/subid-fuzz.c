/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the file has, the ranges inside neither overlap nor leave the ids there are. */
#include "engine/subid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	_cleanup_free_ NamespaceIdMap *v = NULL;
	uint64_t next = 0;
	size_t n = 0;
	Err e = {0};

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (subid_maps(text, "me", &v, &n, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (v[i].inside != next || v[i].count == 0 ||
		    (uint64_t)v[i].outside + v[i].count > UINT32_MAX)
			abort();
		next += v[i].count;
	}
	return 0;
}
