/* SPDX-License-Identifier: Apache-2.0 */
/* Link headers of lists in pages. What comes out may go into a request's first line. */
#include "registry/registry-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_free_ char *query = text ? link_next_query(text) : NULL;

	for (const char *p = query; p && *p; p++)
		if (*p <= ' ' || *p == 0x7F || *p == '#')
			abort();
	return 0;
}
