/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever decodes has a known stream and valid UTF-8 as text. */
#include "engine/logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ StrBuf scratch = {0};
	LogRecord r;

	if (log_record_decode((const char *)data, size, &scratch, &r) < 0)
		return 0;
	if ((r.stream != 1 && r.stream != 2) || !str_is_utf8(r.text, r.len))
		abort();
	return 0;
}
