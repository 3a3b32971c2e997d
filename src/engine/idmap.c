/* SPDX-License-Identifier: Apache-2.0 */
/* See idmap.h; user_namespaces(7) for what the kernel takes, mount_setattr(2) for what it does with it. */
#include "engine/idmap.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/mount.h"

#include <inttypes.h>
#include <sys/vfs.h>

#define IDS_END UINT32_MAX /* the last number is no id */

static int bad(const char *text, const char *why, Err *e)
{
	return err_new(e, ERR_INVALID,
		       "invalid idmap \"%.200s\": %s: write idmap, or "
		       "idmap=uids=FROM-TO-LENGTH#...;gids=FROM-TO-LENGTH#...",
		       text, why);
}

static void add(IdMap *m, uint32_t inside, uint32_t outside, uint32_t count)
{
	if (count > 0)
		m->v[m->n++] = (NamespaceIdMap){inside, outside, count};
}

/* `owner` is 0 in the container; the others are themselves. */
static void map_owner(uint32_t owner, IdMap *m)
{
	m->n = 0;
	if (owner == 0) {
		add(m, 0, 0, IDS_END);
		return;
	}
	add(m, owner, 0, 1);
	add(m, 1, 1, owner - 1);
	add(m, owner + 1, owner + 1, IDS_END - (owner + 1));
}

static bool overlap(uint32_t a, uint32_t n, uint32_t b, uint32_t m)
{
	return a < (uint64_t)b + m && b < (uint64_t)a + n;
}

static bool overlaps(const IdMap *m, const NamespaceIdMap *r)
{
	for (size_t i = 0; i < m->n; i++)
		if (overlap(m->v[i].inside, m->v[i].count, r->inside, r->count) ||
		    overlap(m->v[i].outside, m->v[i].count, r->outside, r->count))
			return true;
	return false;
}

/* "1000-0-1" */
static const char *parse_range(const char *s, IdMap *m)
{
	_cleanup_strv_ char **f = strv_split(s, '-');
	uint64_t n[3];

	if (!f || strv_len(f) != 3)
		return "a range is FROM-TO-LENGTH";
	for (size_t i = 0; i < 3; i++)
		if (str_to_u64(f[i], &n[i]) < 0 || n[i] > IDS_END)
			return "a number is no id";
	if (n[2] == 0 || n[0] + n[2] > IDS_END || n[1] + n[2] > IDS_END)
		return "a range is empty, or longer than there are ids";
	NamespaceIdMap r = {(uint32_t)n[0], (uint32_t)n[1], (uint32_t)n[2]};
	if (overlaps(m, &r))
		return "ranges overlap";
	if (m->n == IDMAP_RANGES_MAX)
		return "more than 32 ranges";
	m->v[m->n++] = r;
	return NULL;
}

/* What is wrong, or NULL. */
static const char *parse_ranges(const char *s, IdMap *m)
{
	_cleanup_strv_ char **v = strv_split(s, '#');
	const char *why = v ? NULL : "no memory";

	m->n = 0;
	for (size_t i = 0; !why && v[i]; i++)
		why = parse_range(v[i], m);
	return why;
}

static const char *parse(const char *text, IdMaps *maps)
{
	_cleanup_strv_ char **v = strv_split(text, ';');
	bool uids = false, gids = false;
	const char *why = v ? NULL : "no memory";

	for (size_t i = 0; !why && v[i]; i++) {
		const char *u = str_after(v[i], "uids="), *g = str_after(v[i], "gids=");

		if ((u && uids) || (g && gids))
			return "uids or gids twice";
		if (!u && !g)
			return "neither uids= nor gids=";
		why = u ? parse_ranges(u, &maps->uids) : parse_ranges(g, &maps->gids);
		uids |= u != NULL;
		gids |= g != NULL;
	}
	return why;
}

int idmap_resolve(const char *text, uid_t owner, gid_t group, IdMaps *ret, Err *e)
{
	IdMaps m = {0};
	const char *why = NULL;

	if (owner == IDS_END || group == IDS_END)
		why = "the folder's owner has no id here";
	map_owner(owner, &m.uids);
	map_owner(group, &m.gids);
	if (!why && !streq(text, IDMAP_AUTO))
		why = parse(text, &m);
	else if (!why && owner == 0 && group == 0)
		m.uids.n = m.gids.n = 0;
	if (why)
		return bad(text, why, e);
	*ret = m;
	return 0;
}

int idmap_into_namespace(IdMap *m, const NamespaceIdMap *ns, size_t n, Err *e)
{
	IdMap out = {0};

	for (size_t i = 0; i < m->n; i++)
		for (size_t k = 0; k < n; k++) {
			const NamespaceIdMap *r = &m->v[i], *to = &ns[k];
			uint64_t from = MAX2(r->outside, to->inside);
			uint64_t end =
			    MIN2((uint64_t)r->outside + r->count, (uint64_t)to->inside + to->count);

			if (from >= end)
				continue;
			if (out.n == IDMAP_RANGES_MAX)
				return err_new(e, ERR_INVALID,
					       "idmap: more than %d ranges in the container's user namespace",
					       IDMAP_RANGES_MAX);
			add(&out, (uint32_t)(r->inside + (from - r->outside)),
			    (uint32_t)(to->outside + (from - to->inside)), (uint32_t)(end - from));
		}
	if (m->n > 0 && out.n == 0)
		return err_new(e, ERR_INVALID, "idmap: no id of it is one of the container's user namespace");
	*m = out;
	return 0;
}

static int explain(int fd, int r, Err *e)
{
	struct statfs fs = {0};

	(void)fstatfs(fd, &fs);
	if (r == -EINVAL || r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS)
		return err_new_no(
		    e, ERR_UNSUPPORTED, -r,
		    "idmap: the file system there (type 0x%" PRIx64
		    ") cannot map ids with this kernel: leave out idmap, or keep the folder on ext4, "
		    "xfs, btrfs or (since Linux 6.3) tmpfs",
		    (uint64_t)(unsigned long)fs.f_type);
	return err_sys(e, r, "idmap");
}

int idmap_apply(int mount_fd, const IdMaps *m, Err *e)
{
	_cleanup_close_ int ns = -1;
	int r;

	if (m->uids.n == 0 && m->gids.n == 0)
		return 0;
	r = namespace_new_user(m->uids.v, m->uids.n, m->gids.v, m->gids.n, &ns, e);
	if (r < 0)
		return err_ctx(e, r, "idmap");
	r = mount_change(mount_fd, "",
			 &(MountChange){.set = MOUNT_ATTR_IDMAP, .userns_fd = ns, .recursive = true});
	return r < 0 ? explain(mount_fd, r, e) : 0;
}
