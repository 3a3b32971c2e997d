/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of files out of and into containers (`cp`), and `export`.
 *
 * A path is opened once, under the tree's descriptor; what follows works on the descriptor. As in Docker the
 * last component is not followed, unless the path ends in "/" or "/."; a directory to extract into always is.
 */
#include "engine/archive.h"
#include "store/tar-walk.h"

#include <limits.h>
#include <sys/statvfs.h>

#define LINKS_MAX 40
#define SILENCE_S 10

void engine_path_stat_done(EnginePathStat *s)
{
	free(s->name);
	free(s->link_target);
	*s = (EnginePathStat){0};
}

typedef struct CopyPath {
	char *path;     /* absolute and clean */
	const char *as; /* its name on the wire: last component, "." for "x/.", "/" for the root */
	bool follow;
} CopyPath;

static int copy_path_parse(const char *given, CopyPath *ret, Err *e)
{
	if (str_empty(given))
		return err_new(e, ERR_INVALID, "the path must not be empty");
	if (strlen(given) >= PATH_MAX)
		return err_new(e, ERR_INVALID, "the path is longer than %d bytes", PATH_MAX - 1);
	*ret = (CopyPath){.path = path_join_clean("/", given)};
	if (!ret->path)
		return err_oom(e);
	bool root = streq(ret->path, "/"), dot = str_ends(given, "/.") || streq(given, ".");
	ret->as = dot ? "." : root ? "/" : path_base(ret->path);
	ret->follow = root || dot || str_ends(given, "/");
	return 0;
}

static void copy_path_done(CopyPath *p)
{
	free(p->path);
}

static int path_error(const ContainerTree *t, const char *path, int r, Err *e)
{
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return err_new(e, ERR_NOT_FOUND, "Could not find the file %s in container %s", path,
			       t->c->id);
	return err_sys(e, r, "open %s in container %.12s", path, t->c->id);
}

/* O_PATH on what the path names. */
static int open_named(const ContainerTree *t, const CopyPath *p)
{
	return path_open_in_root(t->root_fd, p->path, O_PATH | (p->follow ? 0 : O_NOFOLLOW), 0);
}

/* ---- stat ---- */

static int read_link(int fd, char **ret)
{
	char buf[PATH_MAX];
	ssize_t n = readlinkat(fd, "", buf, sizeof(buf) - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	*ret = strdup(buf);
	return *ret ? 0 : -ENOMEM;
}

/* Where a link leads, as an absolute path of the container; chains are followed, and what is missing ends them. */
static int link_target(const ContainerTree *t, const char *path, char **ret)
{
	_cleanup_free_ char *here = strdup(path);

	for (int i = 0; here && i < LINKS_MAX; i++) {
		_cleanup_close_ int fd = path_open_in_root(t->root_fd, here, O_PATH | O_NOFOLLOW, 0);
		_cleanup_free_ char *value = NULL, *dir = NULL;
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISLNK(st.st_mode)) {
			*ret = take_ptr(here);
			return 0;
		}
		int r = read_link(fd, &value);
		if (r < 0)
			return r;
		dir = strndup(here, (size_t)(path_base(here) - here));
		free(here);
		here = dir ? path_join_clean(dir, value) : NULL;
	}
	return here ? -ELOOP : -ENOMEM;
}

/* Opens what the path names and tells what it is; the caller frees ret_stat. */
static int open_and_stat(const ContainerTree *t, const CopyPath *p, const char *given, int *ret_fd,
			 EnginePathStat *ret_stat, Err *e)
{
	_cleanup_close_ int fd = open_named(t, p);
	EnginePathStat out = {0};
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return path_error(t, given, fd < 0 ? fd : -errno, e);
	if (p->follow && !S_ISDIR(st.st_mode))
		return path_error(t, given, -ENOTDIR, e);
	out = (EnginePathStat){
	    .name = strdup(p->as),
	    .size = st.st_size,
	    .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
	    .mode = st.st_mode,
	};
	if (S_ISLNK(st.st_mode))
		r = link_target(t, p->path, &out.link_target);
	else
		out.link_target = strdup("");
	if (r >= 0 && (!out.name || !out.link_target))
		r = -ENOMEM;
	if (r < 0) {
		engine_path_stat_done(&out);
		return path_error(t, given, r, e);
	}
	*ret_fd = take_fd(&fd);
	*ret_stat = out;
	return 0;
}

int engine_container_path_stat(Engine *en, const char *ref, const char *path, EnginePathStat *ret, Err *e)
{
	_cleanup_(container_tree_done) ContainerTree t = CONTAINER_TREE_INIT;
	_cleanup_(copy_path_done) CopyPath p = {0};
	_cleanup_close_ int fd = -1;
	int r = copy_path_parse(path, &p, e);

	if (r >= 0)
		r = container_tree_open(en, ref, TREE_READ, &t, e);
	return r < 0 ? r : open_and_stat(&t, &p, path, &fd, ret, e);
}

/* ---- out ---- */

/* What is to be packed: an entry of a directory. A directory is its own ".", as it was opened; anything else is named at its parent. */
typedef struct Source {
	int dir;
	const char *name, *as;
} Source;

static int source_open(const ContainerTree *t, const CopyPath *p, int there, mode_t mode, Source *ret, Err *e)
{
	struct stat st;

	if (S_ISDIR(mode)) {
		ret->dir = openat(there, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ret->name = ".";
		/* The root's entries are "/", "/bin", which clients count on when they rename. */
		ret->as = streq(p->as, "/") ? "" : p->as;
		return ret->dir < 0 ? err_sys(e, errno, "open %s in container %.12s", p->path, t->c->id) : 0;
	}
	ret->as = p->as;
	ret->dir = path_open_parent_in_root(t->root_fd, p->path, false, &ret->name);
	if (ret->dir < 0 || fstatat(ret->dir, ret->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return path_error(t, p->path, ret->dir < 0 ? ret->dir : -errno, e);
	return 0;
}

int engine_container_archive_get(Engine *en, const char *ref, const char *path, const EngineArchiveOut *o,
				 Err *e)
{
	_cleanup_(container_tree_done) ContainerTree t = CONTAINER_TREE_INIT;
	_cleanup_(copy_path_done) CopyPath p = {0};
	_cleanup_(engine_path_stat_done) EnginePathStat st = {0};
	_cleanup_close_ int there = -1;
	Source source = {.dir = -1};
	int out, r = copy_path_parse(path, &p, e);

	if (r >= 0)
		r = container_tree_open(en, ref, streq(p.path, "/") ? TREE_READ_FILES : TREE_READ, &t, e);
	if (r >= 0)
		r = open_and_stat(&t, &p, path, &there, &st, e);
	if (r >= 0)
		r = source_open(&t, &p, there, st.mode, &source, e);
	if (r >= 0) {
		container_event(en, t.c, "archive-path", "path", path, NULL);
		r = out = o->begin(o->user, &st, e);
	}
	if (r >= 0)
		r = err_ctx(e,
			    store_archive_pack(source.dir, source.name, source.as, t.mapped ? &t.ids : NULL,
					       out, e),
			    "copy %s from container %s", path, ref);
	close_fd(&source.dir);
	return r;
}

/* ---- in ---- */

static int mount_id(int fd, uint64_t *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0)
		return -errno;
	*ret = sx.stx_mnt_id;
	return 0;
}

static int check_writable(const ContainerTree *t, int dir, Err *e)
{
	struct statvfs fs;
	uint64_t here = 0, root = 0;
	int r = mount_id(dir, &here);

	if (r >= 0)
		r = mount_id(t->root_fd, &root);
	if (r < 0 || fstatvfs(dir, &fs) < 0)
		return err_sys(e, r < 0 ? r : errno, "look at the mount to copy to");
	if (here == root && t->c->config.host.readonly_rootfs)
		return err_new(e, ERR_INVALID, "container rootfs is marked read-only");
	if (fs.f_flag & ST_RDONLY)
		return err_new(e, ERR_INVALID, "mounted volume is marked read-only");
	return 0;
}

static int set_owner(const ContainerTree *t, ArchiveExtract *x, Err *e)
{
	_cleanup_(user_ids_done) UserIds u = {0};
	int r;

	if (str_empty(t->c->config.user))
		return 0;
	r = user_resolve(t->root_fd, t->c->config.user, NULL, user_rules_of(&t->c->config), &u, e);
	if (r < 0)
		return r;
	x->keep_owner = false;
	x->uid = u.uid;
	x->gid = u.gid;
	return 0;
}

/* A container that does not run cannot start while its files are written. Its client may take as long as it likes until somebody else waits
 * for the container. */
typedef struct Patience {
	Container *c;
	int64_t bytes_read, since_ns;
} Patience;

static int go_on(void *user, int64_t bytes_read, Err *e)
{
	Patience *p = user;
	int64_t now = clock_mono_ns();

	if (bytes_read != p->bytes_read || __atomic_load_n(&p->c->life_wanted, __ATOMIC_RELAXED) == 0) {
		p->bytes_read = bytes_read;
		p->since_ns = now;
	}
	return now - p->since_ns < SILENCE_S * 1000000000ll
		   ? 0
		   : err_new(
			 e, ERR_CONFLICT,
			 "less than 1 MiB came in %d s, and another operation on container %.12s waits for "
			 "the copy to end: it is broken off",
			 SILENCE_S, p->c->id);
}

int engine_container_archive_put(Engine *en, const char *ref, const char *path, int tar_fd,
				 bool no_overwrite_dir_non_dir, bool copy_uid_gid, Err *e)
{
	_cleanup_(container_tree_done) ContainerTree t = CONTAINER_TREE_INIT;
	_cleanup_(copy_path_done) CopyPath p = {0};
	_cleanup_close_ int dir = -1;
	int r = copy_path_parse(path, &p, e);

	if (r >= 0)
		r = container_tree_open(en, ref, TREE_WRITE, &t, e);
	if (r < 0)
		return r;
	Patience patience = {.c = t.c, .since_ns = clock_mono_ns()};
	dir = path_open_in_root(t.root_fd, p.path, O_RDONLY | O_DIRECTORY, 0);
	if (dir == -ENOTDIR)
		return err_new(e, ERR_INVALID, "extraction point is not a directory: %s", path);
	if (dir < 0)
		return path_error(&t, path, dir, e);
	ArchiveExtract x = {
	    .fd = tar_fd,
	    .dir_fd = dir,
	    .no_overwrite_dir_non_dir = no_overwrite_dir_non_dir,
	    .keep_owner = true,
	    .allow_devices = true,
	    .ids = t.mapped ? &t.ids : NULL,
	    .go_on = t.locked ? go_on : NULL,
	    .user = &patience,
	};
	r = check_writable(&t, dir, e);
	if (r >= 0 && copy_uid_gid)
		r = set_owner(&t, &x, e);
	if (r >= 0)
		r = err_ctx(e, store_archive_extract(en->store, &x, e), "copy to %s in container %s", path,
			    ref);
	if (r >= 0)
		container_event(en, t.c, "extract-to-dir", "path", path, NULL);
	return r;
}

/* ---- export ---- */

/* Names without a "./", as in Docker's exports: programs look for "etc/passwd" in them. */
int engine_directory_archive(int root, int out_fd, Err *e)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	_cleanup_close_ int dir = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? err_sys(e, errno, "open the directory") : tar_writer_new(out_fd, NULL, &w, e);

	if (r >= 0)
		r = tar_walk_dir(w, dir, 0, e);
	return r < 0 ? r : tar_writer_end(w, e);
}

int engine_container_export(Engine *en, const char *ref, int out_fd, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_close_ int root = -1;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	/* The image and the container's own layer without its mounts; read-only, so it may run. */
	container_lock(c);
	r = c->removed ? err_new(e, ERR_NOT_FOUND, "No such container: %s", ref)
		       : store_snapshot_mount(en->store, c->id, true, &root, e);
	pthread_mutex_unlock(&c->life);
	if (r >= 0)
		r = engine_directory_archive(root, out_fd, e);
	if (r < 0)
		return err_ctx(e, r, "export container %s", ref);
	container_event(en, c, "export", NULL);
	return 0;
}
