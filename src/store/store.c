/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a data root: its folders, its lock, its database, and what the last run left behind.
 *
 * Two daemons in one data root would each delete what the other makes, so an open file lock on `lock` is
 * held as long as the Store lives; the kernel drops it with the process. The root is 0710 and what lies in it 0700, so that setuid
 * programs inside layers are out of reach of the machine's users (CVE-2024-25621).
 */
#include "base/fd.h"
#include "base/id.h"
#include "base/str.h"
#include "store/store-internal.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#define LAYER_MAX_BYTES (64ll << 30)
#define LAYER_MAX_FILES 4000000

char *blob_path(const char *digest)
{
	return strf(BLOBS "/%s", digest_hex(digest));
}

char *layer_dir(const char *chain_id)
{
	return strf(LAYERS "/%s", digest_hex(chain_id));
}

char *layer_diff(const char *chain_id)
{
	return strf(LAYERS "/%s/diff", digest_hex(chain_id));
}

int store_sys(Err *e, int no, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	if (no < 0)
		no = -no;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (no == ENOSPC || no == EDQUOT)
		return err_new_no(e, ERR_EXHAUSTED, no,
				  "no space left on device: %s: free space or move --data-root", what);
	return err_sys(e, no, "%s", what);
}

int trash_put(Store *s, const char *path, Err *e)
{
	char name[sizeof(TRASH) + 40] = TRASH "/";

	id_random_hex(name + strlen(name), 32);
	if (renameat(s->root_fd, path, s->root_fd, name) < 0)
		return errno == ENOENT ? 0 : store_sys(e, errno, "move %s/%s to the trash", s->root, path);
	janitor_wake(s, false, true);
	return 0;
}

static int make_folders(Store *s, Err *e)
{
	static const char *const folders[] = {"content", "content/blobs", BLOBS, INGEST,
					      LAYERS,    "containers",    TRASH, "empty"};

	for (size_t i = 0; i < ELEMENTSOF(folders); i++)
		if (mkdirat(s->root_fd, folders[i], 0700) < 0 && errno != EEXIST)
			return store_sys(e, errno, "make %s/%s", s->root, folders[i]);
	return 0;
}

/* Has ext4 begin each layer in a block group of its own, as chattr(1) says of T. In the group of its parent a layer would
 * follow the layers that were deleted there in the last minutes, and ext4, which does not use an inode again for as long,
 * looks at each of theirs for each file that it makes: 9,500 files took 0.7 s, and 8 s after six removals. Other file
 * systems do not know the flag and do not need it. */
static void spread(Store *s, const char *folder)
{
	_cleanup_close_ int fd = openat(s->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int flags;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || flags & FS_TOPDIR_FL)
		return;
	flags |= FS_TOPDIR_FL;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

/* What containers write and COPY makes goes as often, and becomes layers by being moved. */
static void spread_layers(Store *s)
{
	spread(s, LAYERS);
	spread(s, "containers");
}

/* What a container's mounts need to be there, as a layer of its own between the image and what the container writes
 * (snapshot.c): so that mount points never become part of a commit, and no cleaner has to take them out again by name
 * (CVE-2024-23652). */
static int make_init_layer(Store *s, Err *e)
{
	static const char *const folders[] = {"init",         "init/dev",        "init/dev/pts",
					      "init/dev/shm", "init/dev/mqueue", "init/proc",
					      "init/sys",     "init/etc"};
	static const char *const files[] = {"init/dev/console", "init/etc/hostname", "init/etc/hosts",
					    "init/etc/resolv.conf"};

	for (size_t i = 0; i < ELEMENTSOF(folders); i++)
		if (mkdirat(s->root_fd, folders[i], 0755) < 0 && errno != EEXIST)
			return store_sys(e, errno, "make %s/%s", s->root, folders[i]);
	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		int fd = openat(s->root_fd, files[i], O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

		if (fd < 0)
			return store_sys(e, errno, "make %s/%s", s->root, files[i]);
		closep(&fd);
	}
	return 0;
}

static int open_root(Store *s, const char *data_root, Err *e)
{
	_cleanup_free_ char *found = NULL;
	int r = mkdir_parents_at(AT_FDCWD, data_root, 0710);

	if (r < 0)
		return store_sys(e, r, "make the data root %s", data_root);
	/* Layers are named to overlayfs by path, which must not depend on links or on the working directory. */
	found = realpath(data_root, NULL);
	if (!found)
		return err_sys(e, errno, "find the data root %s", data_root);
	s->root = take_ptr(found);
	s->root_fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->root_fd < 0)
		return err_sys(e, errno, "open the data root %s", s->root);
	if (fchmod(s->root_fd, 0710) < 0)
		return err_sys(e, errno, "protect the data root %s", s->root);
	s->db_path = strf("%s/ireko.db", s->root);
	return s->db_path ? 0 : err_oom(e);
}

static int take_lock(Store *s, Err *e)
{
	_cleanup_free_ char *holder = NULL;
	int r;

	s->lock_fd = openat(s->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return store_sys(e, errno, "open %s/lock", s->root);
	r = fd_lock_as_owner(s->lock_fd, &holder);
	if (r == -EWOULDBLOCK)
		return err_new(e, ERR_CONFLICT,
			       "the data root %s is in use by another irekod%s%s: stop it, or give this one "
			       "another --data-root",
			       s->root, holder && *holder ? ", process " : "", holder ? holder : "");
	return r < 0 ? store_sys(e, r, "lock %s/lock", s->root) : 0;
}

int store_open(const StoreOptions *o, Store **ret, Err *e)
{
	_cleanup_(store_closep) Store *s = calloc(1, sizeof(*s));
	pthread_condattr_t monotonic;
	int r;

	if (!s)
		return err_oom(e);
	s->root_fd = s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->layer_max_bytes = o->layer_max_bytes > 0 ? o->layer_max_bytes : LAYER_MAX_BYTES;
	s->layer_max_files = o->layer_max_files > 0 ? o->layer_max_files : LAYER_MAX_FILES;
	s->unpack_program = o->unpack_program ? strdup(o->unpack_program) : NULL;
	if (o->unpack_program && !s->unpack_program)
		return err_oom(e);
	r = open_root(s, o->data_root, e);
	if (r >= 0)
		r = take_lock(s, e);
	if (r >= 0)
		r = make_folders(s, e);
	if (r >= 0)
		spread_layers(s);
	if (r >= 0)
		r = make_init_layer(s, e);
	if (r >= 0)
		r = db_open(&s->db, s->db_path, e);
	if (r == -ENOSPC && reserve_give(s))
		r = db_open(&s->db, s->db_path, e);
	if (r >= 0)
		r = gc_after_boot(s, e);
	if (r >= 0)
		r = gc_garbage(s, e);
	if (r >= 0)
		r = snapshotter_choose(s, o->snapshotter, e);
	if (r >= 0)
		r = janitor_start(s, e);
	if (r < 0)
		return err_ctx(e, r, "open the store");
	*ret = take_ptr(s);
	return 0;
}

void store_close(Store *s)
{
	if (!s)
		return;
	janitor_stop(s);
	layer_image_forget(s, NULL);
	db_close(&s->db);
	close_fd(&s->lock_fd);
	close_fd(&s->root_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	strv_free(s->pending);
	free(s->db_path);
	free(s->unpack_program);
	free(s->snapshotter_why);
	free(s->root);
	free(s);
}

StoreLayerLimits store_layer_limits(const Store *s)
{
	return (StoreLayerLimits){.bytes = s->layer_max_bytes, .files = s->layer_max_files};
}

int store_root_fd(const Store *s)
{
	return s->root_fd;
}

const char *store_root(const Store *s)
{
	return s->root;
}
