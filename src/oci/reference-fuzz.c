/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever parses must write itself in two forms that parse to the same reference. */
#include "oci/reference.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_read_back(const Reference *r, char *text)
{
	_cleanup_free_ char *owned = text;
	Reference again = {0};

	if (!text || reference_parse(text, &again, NULL) < 0)
		abort();
	_cleanup_free_ char *a = reference_full(r);
	_cleanup_free_ char *b = reference_full(&again);
	if (!a || !b || !streq(a, b))
		abort();
	reference_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = strndup((const char *)data, size);
	Reference r = {0};

	if (!s || reference_parse(s, &r, NULL) < 0)
		return 0;
	must_read_back(&r, reference_full(&r));
	must_read_back(&r, reference_familiar(&r));
	reference_done(&r);
	return 0;
}
