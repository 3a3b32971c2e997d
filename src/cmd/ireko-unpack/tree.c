/* SPDX-License-Identifier: Apache-2.0 */
/* Names and parents; the invariant is in tree.h. */
#include "tree.h"

#include "base/path.h"

static void forget_slot(TreeSlot *s)
{
	if (s->path[0])
		close_fd(&s->fd);
	s->fd = -1;
	s->path[0] = 0;
	s->stale = false;
}

void tree_forget(Tree *t)
{
	t->parent.stale = t->target.stale = true;
}

/* Makes the missing directories of `path` from the top; each is reported, because the archive said nothing about it. */
static int make_dirs(Tree *t, const char *path, Err *e)
{
	char part[PATH_MAX];

	for (const char *p = path; p; p = *p ? p + 1 : NULL) {
		_cleanup_close_ int up = -1;
		const char *up_path = "";
		char *slash;
		size_t n;

		p = strchrnul(p, '/');
		n = (size_t)(p - path);
		memcpy(part, path, n);
		part[n] = 0;
		slash = strrchr(part, '/');
		if (slash) {
			*slash = 0;
			up_path = part;
		}
		up = path_open_in_root(t->root_fd, *up_path ? up_path : ".", O_PATH | O_DIRECTORY, 0);
		if (up < 0)
			return err_sys(e, up, "open %s", up_path);
		if (mkdirat(up, slash ? slash + 1 : part, 0755) < 0) {
			if (errno == EEXIST)
				continue;
			return err_sys(e, errno, "make the directory %.*s", (int)n, path);
		}
		t->made++;
		if ((t->uid || t->gid) &&
		    fchownat(up, slash ? slash + 1 : part, t->uid, t->gid, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, errno, "set the owner of %.*s", (int)n, path);
		if (t->report) {
			int r = report_add(t->report, UNPACK_IMPLIED, path, n, e);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int tree_parent(Tree *t, TreeSlot *slot, const char *clean, bool make, Err *e)
{
	const char *slash = strrchr(clean, '/');
	size_t n = slash ? (size_t)(slash - clean) : 0;
	char path[PATH_MAX];
	struct stat st;
	int fd, r;

	if (slot->fd >= 0 && !slot->stale && strncmp(slot->path, clean, n) == 0 && slot->path[n] == 0)
		return slot->fd;
	forget_slot(slot);
	memcpy(path, clean, n);
	path[n] = 0;
	fd = n ? path_open_in_root(t->root_fd, path, O_PATH | O_DIRECTORY, 0) : t->root_fd;
	if (fd == -ENOENT && make) {
		r = make_dirs(t, path, e);
		if (r < 0)
			return r;
		fd = path_open_in_root(t->root_fd, path, O_PATH | O_DIRECTORY, 0);
	}
	if (fd == -ENOTDIR)
		return err_new(e, ERR_INVALID, "%s: a part of the path %s is not a directory", clean, path);
	if (fd < 0)
		return err_sys(e, fd, "open %s", path);
	if (fstat(fd, &st) < 0) {
		r = err_sys(e, errno, "examine %s", path);
		if (n)
			(void)close(fd);
		return r;
	}
	slot->fd = fd;
	slot->setgid = st.st_mode & S_ISGID;
	memcpy(slot->path, path, n + 1);
	return fd;
}
