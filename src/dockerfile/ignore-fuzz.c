/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a path in the first line and a .dockerignore in the others. */
#include "base/str.h"
#include "dockerfile/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	char *list = text ? strchr(text, '\n') : NULL;
	Ignore ig;

	if (!list)
		return 0;
	*list++ = '\0';
	if (ignore_parse(list, &ig, NULL) < 0)
		return 0;
	(void)ignore_matches(&ig, text);
	(void)ignore_may_return(&ig, text);
	ignore_done(&ig);
	(void)ignore_glob(list, text);
	return 0;
}
