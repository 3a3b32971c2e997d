/* SPDX-License-Identifier: Apache-2.0 */
/* A file of the local format: whatever is framed and decodes has a known stream, and nothing is read beyond the input. */
#include "engine/logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	const char *p = (const char *)data, *body;
	size_t n;
	LogRecord r;

	for (ssize_t used; (used = log_codec_local.frame(p, size, &body, &n)) > 0;
	     p += used, size -= (size_t)used)
		if (log_message_decode(body, n, &scratch, &r) >= 0 && r.stream != 1 && r.stream != 2)
			abort();
	return 0;
}
