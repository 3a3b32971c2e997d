/* SPDX-License-Identifier: Apache-2.0 */
/* One entry after the other; the rules are in place.h. */
#include "place.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

int place_init(Place *p, const UnpackJob *job, int root_fd, Report *report, Err *e)
{
	*p = (Place){.job = job, .report = report};
	p->budget = (LayerBudget){.max_files = job->max_files, .max_bytes = job->max_bytes};
	p->tree.root_fd = root_fd;
	p->tree.report = job->layer ? report : NULL;
	if (!unpack_id_outside(&job->uids, job->keep_owner ? 0 : job->uid, &p->tree.uid) ||
	    !unpack_id_outside(&job->gids, job->keep_owner ? 0 : job->gid, &p->tree.gid))
		return err_new(e, ERR_INVALID, "Container ID %u:%u cannot be mapped to a host ID", job->uid,
			       job->gid);
	p->tree.parent.fd = p->tree.target.fd = -1;
	/* Until an entry describes it. */
	return job->layer ? report_add(report, UNPACK_IMPLIED, "", 0, e) : 0;
}

static int disk_error(Err *e, int no, const char *what, const char *name)
{
	if (no == ENOSPC || no == EDQUOT)
		return err_new_no(e, ERR_EXHAUSTED, no,
				  "no space left on device: %s %s: free space or move --data-root", what,
				  name);
	if (no == EFBIG)
		return err_new_no(e, ERR_INVALID, no, "%s %s: the file is larger than the limit", what, name);
	return err_sys(e, no, "%s %s", what, name);
}

/* ---- attributes ---- */

/* A file system without extended attributes, or a kind of file that takes no user.*, is no failure: nothing else
 * could be done with them. */
static int xattr_failed(const TarEntry *n, const char *name, int no, Err *e)
{
	bool special = n->type != TAR_FILE && n->type != TAR_DIR;

	if (no == ENOTSUP || (no == EPERM && special && str_starts(name, "user.")))
		return 0;
	return disk_error(e, no, name, n->name);
}

static int set_xattrs_fd(const TarEntry *n, int fd, Err *e)
{
	for (size_t i = 0; i < n->n_xattrs; i++) {
		const TarXattr *x = &n->xattrs[i];

		if (tar_xattr_is_wanted(x->name) && fsetxattr(fd, x->name, x->value, x->len, 0) < 0) {
			int r = xattr_failed(n, x->name, errno, e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* What cannot be opened (links, devices) is reached by name from its directory: lsetxattr(2) has no *at form. */
static int set_xattrs_name(Place *p, const TarEntry *n, int dir, const char *base, Err *e)
{
	int r = 0;

	if (n->n_xattrs == 0)
		return 0;
	if (fchdir(dir) < 0)
		return err_sys(e, errno, "enter the directory of %s", n->name);
	for (size_t i = 0; r >= 0 && i < n->n_xattrs; i++) {
		const TarXattr *x = &n->xattrs[i];

		if (tar_xattr_is_wanted(x->name) && lsetxattr(base, x->name, x->value, x->len, 0) < 0)
			r = xattr_failed(n, x->name, errno, e);
	}
	if (fchdir(p->tree.root_fd) < 0 && r >= 0)
		r = err_sys(e, errno, "return to the root");
	return r;
}

static bool has_acl(const TarEntry *n)
{
	for (size_t i = 0; i < n->n_xattrs; i++)
		if (str_starts(n->xattrs[i].name, "system.posix_acl"))
			return true;
	return false;
}

/* On disk. place_entry() has seen that there is one. */
static uint32_t owner_of(const Place *p, const TarEntry *n)
{
	uint32_t id;

	(void)unpack_id_outside(&p->job->uids, p->job->keep_owner ? n->uid : p->job->uid, &id);
	return id;
}

static uint32_t group_of(const Place *p, const TarEntry *n)
{
	uint32_t id;

	(void)unpack_id_outside(&p->job->gids, p->job->keep_owner ? n->gid : p->job->gid, &id);
	return id;
}

static int check_owner(const Place *p, const TarEntry *n, Err *e)
{
	uint32_t id;

	if (!p->job->keep_owner ||
	    (unpack_id_outside(&p->job->uids, n->uid, &id) && unpack_id_outside(&p->job->gids, n->gid, &id)))
		return 0;
	return err_new(e, ERR_INVALID, "%s: Container ID %u:%u cannot be mapped to a host ID", n->name,
		       n->uid, n->gid);
}

/* What is made by root belongs to 0:0 already, unless the directory hands its group on. */
static bool needs_chown(const Place *p, const TarEntry *n)
{
	return owner_of(p, n) != 0 || group_of(p, n) != 0 || p->tree.parent.setgid || !p->job->layer;
}

static void times_of(const TarEntry *n, struct timespec ts[2])
{
	ts[0] = ts[1] = (struct timespec){.tv_sec = n->mtime_s, .tv_nsec = n->mtime_ns};
}

/* ---- what is in the way ---- */

static bool is_whiteout(const Place *p, const struct stat *st)
{
	return p->job->whiteouts && S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static int refuse_overwrite(const Place *p, const TarEntry *n, const char *clean, const struct stat *st,
			    Err *e)
{
	if (!p->job->no_overwrite_dir_non_dir)
		return 0;
	if (S_ISDIR(st->st_mode) && n->type != TAR_DIR)
		return err_new(e, ERR_INVALID, "cannot overwrite directory \"%s\" with non-directory \"%s\"",
			       clean, clean);
	if (!S_ISDIR(st->st_mode) && n->type == TAR_DIR)
		return err_new(e, ERR_INVALID, "cannot overwrite non-directory \"%s\" with directory \"%s\"",
			       clean, clean);
	return 0;
}

/* Makes way for an entry whose name is taken: 1 if it was a whiteout, 2 if an existing directory is to be used, 0 otherwise. */
static int make_way(Place *p, const TarEntry *n, int dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	struct stat st;
	int r;

	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "examine %s", clean);
	if (S_ISDIR(st.st_mode) && n->type == TAR_DIR)
		return 2;
	r = refuse_overwrite(p, n, clean, &st, e);
	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode)) {
		if (unlinkat(dir, base, 0) < 0)
			return err_sys(e, errno, "replace %s", clean);
		if (S_ISLNK(st.st_mode))
			tree_forget(&p->tree);
		p->made -= st.st_nlink == 1;
		return is_whiteout(p, &st);
	}
	r = remove_tree_at(dir, base);
	tree_forget(&p->tree);
	p->dir_gone = true;
	return r < 0 ? err_sys(e, r, "replace %s", clean) : 0;
}

/* ---- kinds ---- */

static int write_contents(Place *p, TarReader *t, const TarEntry *n, int fd, Err *e)
{
	const void *data;
	size_t len;
	int64_t offset;
	int r;

	while ((r = tar_data(t, &data, &len, &offset, e)) > 0) {
		const char *at = data;

		while (len > 0) {
			ssize_t w = n->sparse ? pwrite(fd, at, len, offset) : write(fd, at, len);

			if (w < 0 && errno == EINTR)
				continue;
			if (w < 0)
				return disk_error(e, errno, "write", n->name);
			at += w;
			len -= (size_t)w;
			offset += w;
		}
	}
	if (r >= 0 && n->sparse && ftruncate(fd, n->size) < 0)
		return disk_error(e, errno, "size", n->name);
	return r;
}

static int finish_file(Place *p, const TarEntry *n, int fd, Err *e)
{
	struct timespec ts[2];

	if (needs_chown(p, n) && fchown(fd, owner_of(p, n), group_of(p, n)) < 0)
		return disk_error(e, errno, "set the owner of", n->name);
	/* open(2) set the plain bits; chown clears setuid, and default ACLs of the directory may have masked others. */
	if (((n->mode & 07000) || !p->job->layer || has_acl(n)) && fchmod(fd, n->mode) < 0)
		return disk_error(e, errno, "set the mode of", n->name);
	if (n->n_xattrs > 0) {
		int r = set_xattrs_fd(n, fd, e);

		if (r < 0)
			return r;
	}
	times_of(n, ts);
	if (futimens(fd, ts) < 0)
		return disk_error(e, errno, "set the time of", n->name);
	return 0;
}

static int place_file(Place *p, TarReader *t, const TarEntry *n, int dir, const char *clean, Err *e)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	_cleanup_close_ int fd = -1;
	/* Elsewhere than in a layer somebody may look before the file is done. */
	mode_t mode = p->job->layer ? n->mode & 0777 : 0600;
	int r;

	r = layer_count_contents(&p->budget, n, clean, e);
	if (r < 0)
		return r;
	fd = openat(dir, layer_base(clean), flags, mode);
	if (fd < 0 && errno == EEXIST) {
		r = make_way(p, n, dir, clean, e);
		if (r < 0)
			return r;
		fd = openat(dir, layer_base(clean), flags, mode);
	}
	if (fd < 0)
		return disk_error(e, errno, "make the file", clean);
	p->made++;
	r = write_contents(p, t, n, fd, e);
	return r < 0 ? r : finish_file(p, n, fd, e);
}

static int remember_dir(Place *p, const TarEntry *n, const char *clean, Err *e)
{
	if ((p->n_dirs & (p->n_dirs - 1)) == 0) {
		PlaceDir *grown = reallocarray(p->dirs, p->n_dirs ? p->n_dirs * 2 : 1, sizeof(*grown));

		if (!grown)
			return err_oom(e);
		p->dirs = grown;
	}
	p->dirs[p->n_dirs] =
	    (PlaceDir){.path = strdup(clean), .mtime_s = n->mtime_s, .mtime_ns = n->mtime_ns};
	if (!p->dirs[p->n_dirs].path)
		return err_oom(e);
	p->n_dirs++;
	return 0;
}

/* `fresh`: made a moment ago with the plain bits of its mode. */
static int dress_dir(Place *p, const TarEntry *n, int dir, const char *clean, bool fresh, Err *e)
{
	bool chown = !fresh || needs_chown(p, n);
	bool chmod = !fresh || (n->mode & 07000) || p->tree.parent.setgid || !p->job->layer || has_acl(n);
	_cleanup_close_ int fd = -1;
	int r;

	if (!chown && !chmod && n->n_xattrs == 0)
		return remember_dir(p, n, clean, e);
	fd = openat(dir, *clean ? layer_base(clean) : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", n->name);
	if (chown && fchown(fd, owner_of(p, n), group_of(p, n)) < 0)
		return disk_error(e, errno, "set the owner of", n->name);
	if (chmod && fchmod(fd, n->mode) < 0)
		return disk_error(e, errno, "set the mode of", n->name);
	r = set_xattrs_fd(n, fd, e);
	return r < 0 ? r : remember_dir(p, n, clean, e);
}

static int place_root(Place *p, const TarEntry *n, Err *e)
{
	int r;

	if (n->type != TAR_DIR)
		return err_new(e, ERR_INVALID,
			       "the tar entry \"%s\" would replace the root by something else", n->name);
	/* Outside of layers "./" only names the place that is written to. */
	if (!p->job->layer)
		return 0;
	r = report_add(p->report, UNPACK_DESCRIBED, "", 0, e);
	return r < 0 ? r : dress_dir(p, n, p->tree.root_fd, "", false, e);
}

static int place_dir(Place *p, const TarEntry *n, int dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	mode_t mode = n->mode & 0777;
	bool fresh = true;
	int r;

	if (mkdirat(dir, base, mode) < 0) {
		if (errno != EEXIST)
			return disk_error(e, errno, "make the directory", clean);
		r = make_way(p, n, dir, clean, e);
		if (r < 0)
			return r;
		fresh = r != 2;
		if (fresh && mkdirat(dir, base, mode) < 0)
			return disk_error(e, errno, "make the directory", clean);
		/* The whiteout hid a lower directory: so must the new one. */
		if (r == 1)
			r = report_add(p->report, UNPACK_OPAQUE, clean, strlen(clean), e);
		else if (r == 2 && p->job->layer)
			r = report_add(p->report, UNPACK_DESCRIBED, clean, strlen(clean), e);
		if (r < 0)
			return r;
	}
	p->made += fresh;
	return dress_dir(p, n, dir, clean, fresh, e);
}

static int make_node(const TarEntry *n, int dir, const char *base)
{
	dev_t dev = makedev(n->dev_major, n->dev_minor);

	switch (n->type) {
	case TAR_SYMLINK:
		return symlinkat(n->link, dir, base);
	case TAR_CHAR:
		return mknodat(dir, base, S_IFCHR | (n->mode & 0777), dev);
	case TAR_BLOCKDEV:
		return mknodat(dir, base, S_IFBLK | (n->mode & 0777), dev);
	default:
		return mknodat(dir, base, S_IFIFO | (n->mode & 0777), 0);
	}
}

static int place_node(Place *p, const TarEntry *n, int dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	struct timespec ts[2];
	int r = layer_check_node(n, p->job->devices, p->job->whiteouts, e);

	if (r < 0)
		return r;
	if (make_node(n, dir, base) < 0) {
		if (errno != EEXIST)
			return disk_error(e, errno, "make", clean);
		r = make_way(p, n, dir, clean, e);
		if (r < 0)
			return r;
		if (make_node(n, dir, base) < 0)
			return disk_error(e, errno, "make", clean);
	}
	p->made++;
	if (needs_chown(p, n) && fchownat(dir, base, owner_of(p, n), group_of(p, n), AT_SYMLINK_NOFOLLOW) < 0)
		return disk_error(e, errno, "set the owner of", n->name);
	/* fchmodat(2) follows links: only where nobody can put one in its place. */
	if (p->job->layer && n->type != TAR_SYMLINK && (n->mode & 07000) &&
	    fchmodat(dir, base, n->mode, 0) < 0)
		return disk_error(e, errno, "set the mode of", n->name);
	r = set_xattrs_name(p, n, dir, base, e);
	if (r < 0)
		return r;
	times_of(n, ts);
	if (utimensat(dir, base, ts, AT_SYMLINK_NOFOLLOW) < 0)
		return disk_error(e, errno, "set the time of", n->name);
	return 0;
}

static int place_hardlink(Place *p, const TarEntry *n, int dir, const char *clean, Err *e)
{
	const char *base = layer_base(clean);
	char target[PATH_MAX];
	struct stat st, own;
	int from, r;

	r = layer_clean_link(n, target, e);
	if (r < 0)
		return r;
	if (streq(target, clean))
		return 0;
	from = tree_parent(&p->tree, &p->tree.target, target, false, NULL);
	if (from < 0 || fstatat(from, *target ? layer_base(target) : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_new(e, ERR_INVALID, "the hard link %s points to %s, which is not in this archive",
			       n->name, target);
	if (S_ISDIR(st.st_mode) || is_whiteout(p, &st))
		return err_new(e, ERR_INVALID, "the hard link %s points to %s, which is not a file", n->name,
			       target);
	if (linkat(from, layer_base(target), dir, base, 0) == 0)
		return 0;
	if (errno != EEXIST)
		return disk_error(e, errno, "make the hard link", clean);
	if (fstatat(dir, base, &own, AT_SYMLINK_NOFOLLOW) == 0 && own.st_dev == st.st_dev &&
	    own.st_ino == st.st_ino)
		return 0;
	r = make_way(p, n, dir, clean, e);
	if (r < 0)
		return r;
	/* Making way may have taken the target along, when it lay below the name. */
	from = tree_parent(&p->tree, &p->tree.target, target, false, e);
	if (from < 0)
		return from;
	return linkat(from, layer_base(target), dir, base, 0) < 0
		   ? disk_error(e, errno, "make the hard link", clean)
		   : 0;
}

/* ---- whiteouts ---- */

static int place_opaque(Place *p, const char *clean, Err *e)
{
	size_t up = (size_t)(layer_base(clean) - clean);

	return report_add(p->report, UNPACK_OPAQUE, clean, up ? up - 1 : 0, e);
}

static int place_whiteout(Place *p, int dir, const char *clean, const char *victim, Err *e)
{
	size_t up = (size_t)(layer_base(clean) - clean);
	char path[PATH_MAX];
	struct stat st;

	if (mknodat(dir, victim, S_IFCHR, makedev(0, 0)) == 0) {
		p->made++;
		return 0;
	}
	if (errno != EEXIST)
		return disk_error(e, errno, "make the whiteout", clean);
	if (fstatat(dir, victim, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "examine %s", clean);
	/* This layer has one of its own, which stays; if a directory, then without what lies below it. */
	if (!S_ISDIR(st.st_mode))
		return 0;
	memcpy(path, clean, up);
	strcpy(path + up, victim);
	return report_add(p->report, UNPACK_OPAQUE, path, strlen(path), e);
}

/* ---- the outside ---- */

static int place_named(Place *p, TarReader *t, const TarEntry *n, const char *clean, Err *e)
{
	const char *victim = NULL;
	int kind = p->job->whiteouts ? layer_name_kind(n, clean, &victim, e) : LAYER_PLAIN;
	int dir;

	if (kind < 0 || kind == LAYER_IGNORED)
		return kind < 0 ? kind : 0;
	dir = tree_parent(&p->tree, &p->tree.parent, clean, true, e);
	if (dir < 0)
		return dir;
	if (kind == LAYER_OPAQUE)
		return place_opaque(p, clean, e);
	if (kind == LAYER_WHITEOUT)
		return place_whiteout(p, dir, clean, victim, e);
	switch (n->type) {
	case TAR_FILE:
		return place_file(p, t, n, dir, clean, e);
	case TAR_DIR:
		return place_dir(p, n, dir, clean, e);
	case TAR_HARDLINK:
		return place_hardlink(p, n, dir, clean, e);
	default:
		return place_node(p, n, dir, clean, e);
	}
}

int place_entry(Place *p, TarReader *t, const TarEntry *n, Err *e)
{
	char clean[PATH_MAX];
	int r = layer_count_entry(&p->budget, t, e);

	if (r >= 0)
		r = layer_clean_name(n, clean, e);
	if (r >= 0)
		r = check_owner(p, n, e);
	if (r < 0)
		return r;
	return *clean ? place_named(p, t, n, clean, e) : place_root(p, n, e);
}

int place_finish(Place *p, Err *e)
{
	/* In the order of the archive: of a directory that is described twice the last word counts. */
	for (size_t i = 0; i < p->n_dirs; i++) {
		const PlaceDir *d = &p->dirs[i];
		struct timespec ts[2];
		struct stat st;
		int dir;

		ts[0] = ts[1] = (struct timespec){.tv_sec = d->mtime_s, .tv_nsec = d->mtime_ns};
		dir =
		    *d->path ? tree_parent(&p->tree, &p->tree.parent, d->path, false, NULL) : p->tree.root_fd;
		/* A later entry may have replaced it or a directory above. */
		if (dir == -ENOENT || dir == -ENOTDIR || dir == -EINVAL || dir == -ELOOP)
			continue;
		if (dir < 0)
			return err_sys(e, dir, "open the directory of %s", d->path);
		if (p->dir_gone && *d->path &&
		    (fstatat(dir, layer_base(d->path), &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)))
			continue;
		if (utimensat(dir, *d->path ? layer_base(d->path) : ".", ts, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno != ENOENT)
			return disk_error(e, errno, "set the time of", d->path);
	}
	return 0;
}
