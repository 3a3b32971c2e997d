/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's log: what decodes has a known stream and no more text than its line, and nothing is read beyond the input. */
#include "engine/logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	const char *p = (const char *)data, *body;
	size_t n;
	LogRecord r;

	for (ssize_t used; (used = log_codec_cri.frame(p, size, &body, &n)) > 0;
	     p += used, size -= (size_t)used) {
		_cleanup_free_ char *line = malloc(n); /* exactly as long, for the sanitizer */

		if (n > 0 && !line)
			return 0;
		if (n > 0)
			memcpy(line, body, n);
		if (log_cri_decode(line, n, &scratch, &r) >= 0 &&
		    ((r.stream != 1 && r.stream != 2) || r.len > n))
			abort();
	}
	return 0;
}
