/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken for a user is written again as what it was, but for zeros in front; what is not leaves the user as it was. */
#include "oci/user.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *skip_zeros(const char *s)
{
	while (*s == '0' && s[1] && s[1] != ':')
		s++;
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *again = NULL, *group = NULL;
	OciUser u = {.uid = 7, .gid = 8};
	const char *colon;
	Err e = {0};

	if (!text)
		return 0;
	if (oci_user_parse(text, &u, &e) < 0) {
		if (u.uid != 7 || u.gid != 8 || !e.msg[0])
			abort();
		return 0;
	}
	colon = strchr(text, ':');
	again = strf("%u", u.uid);
	group = strf("%u", u.gid);
	if (u.uid == UINT32_MAX || u.gid == UINT32_MAX || !again || !group ||
	    strncmp(skip_zeros(text), again, strlen(again)) != 0 ||
	    (colon ? !streq(skip_zeros(colon + 1), group) : u.gid != 8))
		abort();
	return 0;
}
