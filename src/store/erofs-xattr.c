/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended attributes on disk, refused and changed as setxattr(2) would: an image must not hold what no directory
 * could. An access control list says the same as the mode and more (acl(5), "Correspondence between ACL entries and file permission
 * bits"): the kernel keeps the two equal, and drops a list that says no more than the mode.
 */
#include "store/erofs-internal.h"

#include "base/str.h"

#include <endian.h>
#include <linux/capability.h>
#include <sys/stat.h>

#define ENTRIES_MAX (UINT16_MAX * 4u - EROFS_XATTR_HEADER)
#define ACL_VERSION 2u

enum { ACL_USER_OBJ = 1, ACL_USER = 2, ACL_GROUP_OBJ = 4, ACL_GROUP = 8, ACL_MASK = 16, ACL_OTHER = 32 };

typedef struct AclEntry {
	uint16_t tag, perm;
	uint32_t id;
} AclEntry;

/* The tags that may follow one. */
static unsigned after(unsigned tag)
{
	switch (tag) {
	case 0:
		return ACL_USER_OBJ;
	case ACL_USER_OBJ:
	case ACL_USER:
		return ACL_USER | ACL_GROUP_OBJ;
	case ACL_GROUP_OBJ:
	case ACL_GROUP:
		return ACL_GROUP | ACL_MASK | ACL_OTHER;
	case ACL_MASK:
		return ACL_OTHER;
	default:
		return 0;
	}
}

/* 1 and the permission bits that the list stands for, 0 if it says nothing, -EINVAL. *ret_more: more than the bits do. */
static int read_acl(const TarXattr *x, uint32_t *ret_bits, bool *ret_more)
{
	const uint8_t *at = x->value, *end = at + x->len;
	uint32_t version, user = 0, group = 0, other = 0, mask = 0;
	bool named = false, masked = false;
	unsigned last = 0;

	if (x->len < sizeof(version) || (x->len - sizeof(version)) % sizeof(AclEntry))
		return -EINVAL;
	memcpy(&version, at, sizeof(version));
	if (le32toh(version) != ACL_VERSION)
		return -EOPNOTSUPP;
	if (x->len == sizeof(version))
		return 0;
	for (at += sizeof(version); at < end; at += sizeof(AclEntry)) {
		AclEntry a;
		unsigned tag, perm;

		memcpy(&a, at, sizeof(a));
		tag = le16toh(a.tag);
		perm = le16toh(a.perm);
		if (perm > 7 || !(after(last) & tag) || (tag & (tag - 1)))
			return -EINVAL;
		if ((tag & (ACL_USER | ACL_GROUP)) && a.id == UINT32_MAX)
			return -EINVAL;
		named |= tag & (ACL_USER | ACL_GROUP);
		masked |= tag == ACL_MASK;
		*(tag == ACL_USER_OBJ    ? &user
		  : tag == ACL_GROUP_OBJ ? &group
		  : tag == ACL_OTHER     ? &other
					 : &mask) = perm;
		last = tag;
	}
	if (last != ACL_OTHER || (named && !masked))
		return -EINVAL;
	*ret_bits = user << 6 | (masked ? mask : group) << 3 | other;
	*ret_more = named || masked;
	return 1;
}

static bool is_capability(const TarXattr *x)
{
	uint32_t magic;

	if (x->len != XATTR_CAPS_SZ_2 && x->len != XATTR_CAPS_SZ_3)
		return false;
	memcpy(&magic, x->value, sizeof(magic));
	magic = le32toh(magic) & VFS_CAP_REVISION_MASK;
	return magic == (x->len == XATTR_CAPS_SZ_2 ? VFS_CAP_REVISION_2 : VFS_CAP_REVISION_3);
}

/* 1 to keep it, 0 to drop it, or what setxattr(2) would say. */
static int judge(const TarEntry *n, const TarXattr *x, uint32_t *mode)
{
	bool special = n->type != TAR_FILE && n->type != TAR_DIR, more = true;
	uint32_t bits;
	int r;

	if (!tar_xattr_is_wanted(x->name))
		return 0;
	if (str_starts(x->name, "user.")) {
		if (strlen(x->name) > 255)
			return -ERANGE;
		return x->name[5] ? !special : -EINVAL;
	}
	if (streq(x->name, "security.capability"))
		return is_capability(x) ? 1 : -EINVAL;
	if (n->type == TAR_SYMLINK)
		return 0;
	r = read_acl(x, &bits, &more);
	if (r <= 0 || streq(x->name, "system.posix_acl_default"))
		return r > 0 && n->type != TAR_DIR ? -EACCES : r == -EOPNOTSUPP ? 0 : r;
	*mode = (*mode & ~0777u) | bits;
	return more;
}

/* The index of a name's prefix; *name is moved behind it. */
static uint8_t name_index(const char **name)
{
	static const struct {
		const char *prefix;
		uint8_t index;
	} prefixes[] = {{"user.", EROFS_NAME_USER},
			{"security.", EROFS_NAME_SECURITY},
			{"system.posix_acl_access", EROFS_NAME_ACL_ACCESS},
			{"system.posix_acl_default", EROFS_NAME_ACL_DEFAULT}};

	for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
		const char *rest = str_after(*name, prefixes[i].prefix);

		if (rest) {
			*name = rest;
			return prefixes[i].index;
		}
	}
	return 0;
}

static int append(uint8_t **v, size_t *len, const TarEntry *n, const TarXattr *x, Err *e)
{
	const char *name = x->name;
	ErofsXattr head = {.name_index = name_index(&name), .value_len = htole16((uint16_t)x->len)};
	size_t name_len = strlen(name), bytes = (sizeof(head) + name_len + x->len + 3) & ~(size_t)3;
	uint8_t *grown;

	if (x->len > UINT16_MAX || *len + bytes > ENTRIES_MAX)
		return err_new(e, ERR_INVALID, "the attributes of %s are too long", n->name);
	grown = realloc(*v, *len + bytes);
	if (!grown)
		return err_oom(e);
	*v = grown;
	grown += *len;
	memset(grown + bytes - 4, 0, 4);
	head.name_len = (uint8_t)name_len;
	memcpy(grown, &head, sizeof(head));
	memcpy(grown + sizeof(head), name, name_len);
	memcpy(grown + sizeof(head) + name_len, x->value, x->len);
	*len += bytes;
	return 0;
}

static bool comes_again(const TarEntry *n, size_t i)
{
	for (size_t k = i + 1; k < n->n_xattrs; k++)
		if (streq(n->xattrs[i].name, n->xattrs[k].name))
			return true;
	return false;
}

int erofs_xattrs(const TarEntry *n, uint32_t *mode, uint8_t **ret, size_t *ret_len, Err *e)
{
	_cleanup_free_ uint8_t *v = NULL;
	size_t len = 0;

	for (size_t i = 0; i < n->n_xattrs; i++) {
		const TarXattr *x = &n->xattrs[i];
		int r = comes_again(n, i) ? 0 : judge(n, x, mode);

		if (r < 0)
			return err_sys(e, r, "%s %s", x->name, n->name);
		if (r > 0)
			r = append(&v, &len, n, x, e);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(v);
	*ret_len = len;
	return 0;
}
