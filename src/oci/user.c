/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/user.h"

#include "base/str.h"

int oci_id_parse(const char *text, uint32_t *ret)
{
	uint64_t v;

	if (str_to_u64(text, &v) < 0 || v >= UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

int oci_user_parse(const char *text, OciUser *u, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(text, ':');
	uint32_t uid, gid = u->gid;

	if (!parts)
		return err_oom(e);
	if (strv_len(parts) > 2 || oci_id_parse(parts[0], &uid) < 0 ||
	    (parts[1] && oci_id_parse(parts[1], &gid) < 0))
		return err_new(e, ERR_INVALID, "\"%s\": expected UID or UID:GID, as numbers", text);
	u->uid = uid;
	u->gid = gid;
	return 0;
}
