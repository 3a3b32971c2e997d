/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all documents of CNI have in common: a version, names that become parts of paths, and limits.
 *
 * Whoever wrote a document, its size and depth are looked at before anything is made of it, and its names before they are used for anything.
 */
#include "cni/cni-internal.h"

#include "base/fd.h"

#include <fcntl.h>

#define NAME_MAX_LEN   200 /* of a container id and of a network: together with an interface, a file's name */
#define IFNAME_MAX_LEN 15  /* IFNAMSIZ - 1 */

static const char *const versions[CNI_VERSION_MAX] = {
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
};

int cni_version_parse(const char *s, CniVersion *ret)
{
	if (str_empty(s)) {
		*ret = CNI_0_1_0;
		return 0;
	}
	for (int i = 0; i < CNI_VERSION_MAX; i++)
		if (streq(versions[i], s)) {
			*ret = (CniVersion)i;
			return 0;
		}
	return -EINVAL;
}

const char *cni_version_text(CniVersion v)
{
	return versions[v];
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool cni_name_is_plain(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	if (n == 0 || n > NAME_MAX_LEN || !is_alnum(s[0]))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("_.-", s[i]))
			return false;
	return true;
}

bool cni_ifname_is_good(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	if (n == 0 || n > IFNAME_MAX_LEN || streq(s, ".") || streq(s, ".."))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] <= ' ' || s[i] == '/' || s[i] == ':' || s[i] == 0x7f)
			return false;
	return str_is_utf8(s, n);
}

/* Of brackets outside strings; what is no JSON is the parser's to refuse. */
static bool is_too_deep(const char *text, size_t len, size_t max)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"')
			quoted = !quoted;
		else if (quoted)
			i += text[i] == '\\';
		else if (text[i] == '{' || text[i] == '[') {
			if (++depth > max)
				return true;
		} else if (text[i] == '}' || text[i] == ']')
			depth -= depth > 0;
	}
	return false;
}

int cni_document_parse_deep(const char *text, size_t len, size_t max, size_t depth, const char *what,
			    json_t **ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r;

	if (len > max)
		return err_new_no(e, ERR_INVALID, EFBIG, "%s: larger than %zu bytes", what, max);
	if (is_too_deep(text, len, depth))
		return err_new(e, ERR_INVALID, "%s: nested more than %zu deep", what, depth);
	r = json_parse_bounded(text, len, what, &j, e);
	if (r < 0)
		return r;
	if (!json_is_object(j))
		return err_new(e, ERR_INVALID, "%s: not an object", what);
	*ret = take_ptr(j);
	return 0;
}

int cni_document_parse(const char *text, size_t len, size_t max, const char *what, json_t **ret, Err *e)
{
	return cni_document_parse_deep(text, len, max, CNI_DEPTH_MAX, what, ret, e);
}

int cni_file_read(int dirfd, const char *name, size_t max, bool follow, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd =
	    openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
	struct stat st;
	int r;

	if (fd < 0)
		return err_sys(e, errno, "open %s", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_new(e, ERR_INVALID, "%s is no regular file", name);
	r = fd_read_all(fd, max, ret, ret_len);
	if (r == -EFBIG)
		return err_new_no(e, ERR_INVALID, EFBIG, "%s: larger than %zu bytes", name, max);
	return r < 0 ? err_sys(e, r, "read %s", name) : 0;
}
