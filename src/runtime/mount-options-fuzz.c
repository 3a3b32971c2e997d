/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a mount, a line each: no attribute is both set and cleared but for the access time's field, and every word of a
 * filesystem's own is passed on as it came. */
#include "runtime/runtime-internal.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_strv_ char **words = text ? strv_split(text, '\n') : NULL;
	MountOptions o = {0};
	Err e = {0};

	if (!words || mount_options_parse(words, &o, &e) < 0)
		return 0;
	if ((o.set & o.clear & ~(uint64_t)MOUNT_ATTR__ATIME) ||
	    (o.rec_set & o.rec_clear & ~(uint64_t)MOUNT_ATTR__ATIME) || (o.recursive_bind && !o.bind))
		abort();
	for (size_t i = 0; o.params && o.params[i]; i++)
		if (!strv_has(words, o.params[i]))
			abort();
	mount_options_done(&o);
	return 0;
}
