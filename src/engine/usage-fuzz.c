/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/net/dev: names are whole and none is "lo". */
#include "engine/usage.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_free_ EngineInterface *v = NULL;
	size_t n = 0;

	if (!text || engine_interfaces_parse(text, &v, &n) < 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (!*v[i].name || strnlen(v[i].name, sizeof(v[i].name)) == sizeof(v[i].name) ||
		    streq(v[i].name, "lo"))
			abort();
	return 0;
}
