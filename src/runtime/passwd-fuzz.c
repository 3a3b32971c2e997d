/* SPDX-License-Identifier: Apache-2.0 */
/* The passwd of an image: what is found is a field of a line of it, for the user that was asked for. */
#include "runtime/runtime-internal.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t users[] = {0, 1, 1000, UINT32_MAX};

	for (size_t i = 0; i < ELEMENTSOF(users); i++) {
		_cleanup_free_ char *text = strndup((const char *)data, size), *whole = NULL, *home = NULL;

		whole = text ? strdup(text) : NULL;
		home = whole ? credentials_passwd_field(text, users[i], 5) : NULL;
		if (home && (!strstr(whole, home) || strpbrk(home, ":\n")))
			abort();
	}
	return 0;
}
