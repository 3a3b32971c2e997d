/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/<pid>/stat, with a name that the process has chosen: whatever it is, it moves no other field. */
#include "kernel/process-internal.h"

#include "base/str.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *real = NULL;
	ProcessStat st = {0};

	if (!text)
		return 0;
	(void)process_parse_stat(text, &st);
	real = strf("12 (%.15s) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n", text);
	if (real && (process_parse_stat(real, &st) < 0 || st.state != 'S' || st.start != 4711))
		abort();
	return 0;
}
