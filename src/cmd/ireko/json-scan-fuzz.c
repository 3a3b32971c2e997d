/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is picked, the JSON parser finds too. */
#include "json-scan.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const members[] = {"Id", "Names", "Ports", NULL};
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_json_ json_t *got = text ? json_scan_pick(text, members) : NULL;

	if (!got)
		return 0;
	_cleanup_json_ json_t *whole = json_loads(text, 0, NULL);
	/* What was passed over may be what the parser refuses: numbers, escapes, UTF-8. */
	for (size_t i = 0; i < json_array_size(whole); i++)
		for (const char *const *m = members; *m; m++) {
			const json_t *a = json_object_get(json_array_get(got, i), *m),
				     *b = json_object_get(json_array_get(whole, i), *m);

			if ((a || b) && !json_equal(a, b))
				abort();
		}
	return 0;
}
