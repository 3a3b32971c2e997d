/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `diff`: what a container has changed, read off its overlay upper directory.
 *
 * What is in the upper directory and below it in the image is modified, what is only above is added, a whiteout (device 0/0)
 * is a deletion, and an opaque directory deletes what it hides. What was copied up and looks as before is no change; a
 * directory in which something changed counts as modified. All of it as in Docker. The upper directory belongs to a
 * container that may be running: every directory is opened anew under the upper root, never followed out of it.
 */
#include "engine/archive.h"

#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define CHANGES_MAX 2000000

enum { KIND_MODIFIED = 0, KIND_ADDED = 1, KIND_DELETED = 2 };

typedef struct Change {
	char *path;
	int kind;
} Change;

typedef struct Diff {
	int upper, lower; /* lower -1: an image without layers */
	Change *v;
	size_t n, cap;
	char **pending; /* directories of upper that are still to be read, "/a/b" */
	size_t n_pending, cap_pending;
} Diff;

static void diff_done(Diff *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->v[i].path);
	for (size_t i = 0; i < d->n_pending; i++)
		free(d->pending[i]);
	free(d->v);
	free(d->pending);
	close_fd(&d->upper);
	close_fd(&d->lower);
}

/* What every container gets to mount over; it is no change of the user's. */
static bool is_mount_stub(const char *path)
{
	static const char *const stubs[] = {
	    "/dev", "/dev/pts",   "/dev/shm",      "/dev/mqueue",      "/dev/console", "/proc",
	    "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/.dockerenv",
	};

	for (size_t i = 0; i < ELEMENTSOF(stubs); i++)
		if (streq(stubs[i], path))
			return true;
	return false;
}

static void *grown(void *v, size_t n, size_t *cap, size_t size)
{
	void *bigger;

	if (n < *cap)
		return v;
	bigger = realloc(v, (*cap ? *cap * 2 : 64) * size);
	if (bigger)
		*cap = *cap ? *cap * 2 : 64;
	return bigger;
}

static int record(Diff *d, const char *path, int kind, Err *e)
{
	Change *v = grown(d->v, d->n, &d->cap, sizeof(*v));

	if (!v)
		return err_oom(e);
	d->v = v;
	if (d->n >= CHANGES_MAX)
		return err_new(e, ERR_EXHAUSTED, "more than %d changes", CHANGES_MAX);
	v[d->n] = (Change){strdup(path), kind};
	return v[d->n].path ? (d->n++, 0) : err_oom(e);
}

static int later(Diff *d, const char *path, Err *e)
{
	char **v = grown(d->pending, d->n_pending, &d->cap_pending, sizeof(*v));

	if (!v)
		return err_oom(e);
	d->pending = v;
	v[d->n_pending] = strdup(path);
	return v[d->n_pending] ? (d->n_pending++, 0) : err_oom(e);
}

static DIR *open_dir(int root, const char *path)
{
	int fd = root < 0 ? -ENOENT : path_open_in_root(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		closep(&fd);
	return d;
}

static bool lower_stat(const Diff *d, const char *path, struct stat *st)
{
	_cleanup_close_ int fd =
	    d->lower < 0 ? -1 : path_open_in_root(d->lower, path, O_PATH | O_NOFOLLOW, 0);

	return fd >= 0 && fstat(fd, st) == 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool same_owner(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       a->st_rdev == b->st_rdev;
}

/* A time without a fraction may have lost it in an archive. */
static bool same_time(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec == b->st_mtim.tv_sec && (a->st_mtim.tv_nsec == b->st_mtim.tv_nsec ||
							  a->st_mtim.tv_nsec == 0 || b->st_mtim.tv_nsec == 0);
}

/* Of a file below a root; -1 if it has none. */
static ssize_t capability_of(int root, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = path_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);

	return fd < 0 ? -1 : getxattr(path_of_fd(fd).s, "security.capability", buf, size);
}

static bool same_capability(const Diff *d, const char *path)
{
	char now[64], old[64];
	ssize_t n = capability_of(d->upper, path, now, sizeof(now)),
		m = capability_of(d->lower, path, old, sizeof(old));

	return n == m && (n <= 0 || memcmp(now, old, (size_t)n) == 0);
}

/* What is in both. A file that was copied up and looks as before is no change; times and sizes of directories are none either: what
 * happened inside is recorded by itself, and record_parents() adds the directory. */
static int record_both(Diff *d, const char *path, const struct stat *now, const struct stat *old, Err *e)
{
	if (same_owner(now, old) &&
	    (S_ISDIR(now->st_mode) || (same_time(now, old) && now->st_size == old->st_size &&
				       (!S_ISREG(now->st_mode) || same_capability(d, path)))))
		return 0;
	return record(d, path, KIND_MODIFIED, e);
}

static char *child_path(const char *dir, const char *name)
{
	return streq(dir, "/") ? strf("/%s", name) : strf("%s/%s", dir, name);
}

static int look_at(Diff *d, int dir_fd, const char *dir, const char *name, Err *e)
{
	_cleanup_free_ char *path = child_path(dir, name);
	struct stat st, old;
	int r = 0;

	if (!path)
		return err_oom(e);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "stat %s", path);
	bool was = lower_stat(d, path, &old);
	if (is_whiteout(&st))
		return was ? record(d, path, KIND_DELETED, e) : 0;
	if (!was && is_mount_stub(path))
		return 0;
	r = was ? record_both(d, path, &st, &old, e) : record(d, path, KIND_ADDED, e);
	if (r >= 0 && S_ISDIR(st.st_mode))
		r = later(d, path, e);
	return r;
}

static bool is_opaque(int fd)
{
	char value[2];

	return fgetxattr(fd, "trusted.overlay.opaque", value, sizeof(value)) == 1 && value[0] == 'y';
}

/* What an opaque directory hides and does not have itself is gone. */
static int record_hidden(Diff *d, int upper_fd, const char *dir, Err *e)
{
	DIR *l = open_dir(d->lower, dir);
	const struct dirent *de;
	struct stat st;
	int r = 0;

	while (l && r >= 0 && (de = readdir(l))) {
		if (streq(de->d_name, ".") || streq(de->d_name, "..") ||
		    fstatat(upper_fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		_cleanup_free_ char *path = child_path(dir, de->d_name);
		r = path ? record(d, path, KIND_DELETED, e) : err_oom(e);
	}
	if (l)
		closedir(l);
	return r;
}

static int read_directory(Diff *d, const char *dir, Err *e)
{
	DIR *u = open_dir(d->upper, dir);
	const struct dirent *de;
	int r = 0;

	if (!u)
		return 0; /* removed meanwhile */
	while (r >= 0 && (de = readdir(u)))
		if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
			r = look_at(d, dirfd(u), dir, de->d_name, e);
	if (r >= 0 && is_opaque(dirfd(u)))
		r = record_hidden(d, dirfd(u), dir, e);
	closedir(u);
	return r;
}

static int by_path(const void *a, const void *b)
{
	const Change *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static bool recorded(const Diff *d, size_t n_sorted, const char *path)
{
	Change key = {.path = (char *)path};

	return bsearch(&key, d->v, n_sorted, sizeof(*d->v), by_path) != NULL;
}

/* Every directory above a change is modified. */
static int record_parents(Diff *d, Err *e)
{
	_cleanup_free_ char *last = strdup("");
	size_t n;
	int r = 0;

	qsort(d->v, d->n, sizeof(*d->v), by_path);
	n = d->n;
	for (size_t i = 0; r >= 0 && last && i < n; i++) {
		_cleanup_free_ char *up = strdup(d->v[i].path);

		for (char *slash; r >= 0 && up && (slash = strrchr(up, '/')) && slash != up;) {
			*slash = '\0';
			/* Neighbours share their parents: those of the last change are there already. */
			if (str_starts(last, up) && last[strlen(up)] == '/')
				break;
			if (!recorded(d, n, up))
				r = record(d, up, KIND_MODIFIED, e);
		}
		free(last);
		last = strdup(d->v[i].path);
	}
	qsort(d->v, d->n, sizeof(*d->v), by_path);
	return r < 0 ? r : last ? 0 : err_oom(e);
}

static int to_json(const Diff *d, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *a = json_array();

	for (size_t i = 0; a && i < d->n; i++) {
		/* Recorded twice when a directory was found as parent of two separate neighbours. */
		if (i > 0 && streq(d->v[i].path, d->v[i - 1].path))
			continue;
		json_t *o = json_pack("{s:s, s:i}", "Path", d->v[i].path, "Kind", d->v[i].kind);

		/* A name that is no UTF-8 cannot be said in JSON; the change itself is not hidden. */
		if (!o)
			o = json_pack("{s:s, s:i}", "Path", "(a name that is not UTF-8)", "Kind",
				      d->v[i].kind);
		if (json_array_append_new(a, o) < 0)
			return err_oom(e);
	}
	if (!a)
		return err_oom(e);
	*ret = take_ptr(a);
	return 0;
}

static int diff_open(Engine *en, Container *c, Diff *d, Err *e)
{
	_cleanup_free_ char *upper = NULL;

	int r = store_snapshot_changes(en->store, c->id, &upper, e);

	if (r < 0)
		return r;
	d->upper = open(upper, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->upper < 0)
		return err_sys(e, errno, "open %s", upper);
	return c->chain_id ? store_layers_mount(en->store, c->chain_id, &d->lower, e) : 0;
}

int engine_container_changes(Engine *en, const char *ref, json_t **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(diff_done) Diff d = {.upper = -1, .lower = -1};
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	r = diff_open(en, c, &d, e);
	if (r >= 0)
		r = later(&d, "/", e);
	while (r >= 0 && d.n_pending > 0) {
		_cleanup_free_ char *dir = d.pending[--d.n_pending];

		r = read_directory(&d, dir, e);
	}
	if (r >= 0)
		r = record_parents(&d, e);
	if (r >= 0)
		r = to_json(&d, ret, e);
	return err_ctx(e, r, "changes of container %s", ref);
}
