/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: tars in and out again, what the sandbox reports, and what happens when the machine dies. Needs root. */
#include "kernel/mount.h"
#include "store/diff.h"
#include "store/dir.h"
#include "store/store-test.h"

#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static struct stat stat_in(Store *s, const char *chain, const char *name)
{
	_cleanup_free_ char *dir = layer_diff(chain), *path = strf("%s/%s", dir, name);
	struct stat st;

	if (fstatat(store_root_fd(s), path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

static bool is_opaque(Store *s, const char *chain, const char *name)
{
	_cleanup_free_ char *dir = layer_diff(chain), *path = strf("%s/%s/%s", s->root, dir, name);
	char c = 0;

	return getxattr(path, "trusted.overlay.opaque", &c, 1) == 1 && c == 'y';
}

static void test_apply_writes_overlay_form(void **state)
{
	static const Item low[] = {{"tmp", TAR_DIR, NULL, 01777},
				   {"etc/", TAR_DIR, NULL, 0755},
				   {"etc/a", TAR_FILE, "a"}};
	static const Item top[] = {{"tmp/x", TAR_FILE, "x"},         {"etc/.wh.a", TAR_FILE, ""},
				   {"var", TAR_DIR, NULL, 0700},     {"var/.wh..wh..opq", TAR_FILE},
				   {"etc/su", TAR_FILE, "s", 04755}, {"l", TAR_SYMLINK, "etc/su"},
				   {"h", TAR_HARDLINK, "etc/su"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	struct stat st;
	Err e = {0};

	if (apply(s, make_tar(d, low, ELEMENTSOF(low)), NULL, NULL, base, diff, &e) < 0 ||
	    apply(s, make_tar(d, top, ELEMENTSOF(top)), base, NULL, chain, diff, &e) < 0)
		fail_msg("%s", e.msg);
	st = stat_in(s, chain, "etc/a");
	assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
	assert_true(is_opaque(s, chain, "var"));
	assert_false(is_opaque(s, chain, "etc"));
	/* Not described by the second layer: as the first one says. */
	assert_int_equal(stat_in(s, chain, "tmp").st_mode & 07777, 01777);
	assert_int_equal(stat_in(s, chain, "tmp").st_mtim.tv_nsec, 123456789);
	assert_int_equal(stat_in(s, chain, "var").st_mode & 07777, 0700);
	assert_int_equal(stat_in(s, chain, "etc/su").st_mode & 07777, 04755);
	assert_int_equal(stat_in(s, chain, "etc/su").st_ino, stat_in(s, chain, "h").st_ino);
	assert_int_equal(stat_in(s, chain, "var").st_mtim.tv_sec, 1000);
	store_close(s);
}

/* Without the layers' folders and the blobs. */
static int64_t inodes_of(Store *s)
{
	StoreUsage u;
	Err e = {0};
	int64_t others = -1;

	if (store_usage(s, &u, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(db_get_int(&s->db, &others, 0, NULL,
				    "SELECT (SELECT count(*) FROM layer) + (SELECT count(*) FROM blob)", ""),
			 0);
	return u.inodes < 0 ? -1 : u.inodes - others;
}

static int64_t inodes_on_disk(Store *s, const char *chain)
{
	_cleanup_free_ char *path = layer_dir(chain);
	_cleanup_close_ int fd = openat(store_root_fd(s), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DirUsage u = {0};

	assert_int_equal(dir_usage(fd, &u, NULL), 0);
	return u.inodes;
}

/* Kept as layers are unpacked and committed; those of which an engine of before has kept nothing are counted. */
static void test_inodes_are_counted(void **state)
{
	static const Item low[] = {{"./", TAR_DIR, NULL, 0755},      {"implied/by/it", TAR_FILE, "a"},
				   {"dir", TAR_DIR, NULL, 0755},     {"dir", TAR_DIR, NULL, 0700},
				   {"dir/a", TAR_FILE, "a"},         {"dir/a", TAR_FILE, "again"},
				   {"dir/b", TAR_HARDLINK, "dir/a"}, {"dir/a", TAR_SYMLINK, "b"},
				   {"l", TAR_SYMLINK, "dir/a"}};
	static const Item top[] = {{"dir/.wh.a", TAR_FILE, ""},
				   {"dir/.wh..wh..opq", TAR_FILE, ""},
				   {".wh.l", TAR_FILE, ""},
				   {"l", TAR_FILE, "now a file"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], made[DIGEST_LEN + 1];
	_cleanup_free_ char *upper = strf("%s/counted", d->path), *file = strf("%s/f", upper);
	int64_t all;
	Err e = {0};

	assert_int_equal(inodes_of(s), 0);
	if (apply(s, make_tar(d, low, ELEMENTSOF(low)), NULL, NULL, base, diff, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(inodes_of(s), inodes_on_disk(s, base));
	if (apply(s, make_tar(d, top, ELEMENTSOF(top)), base, NULL, chain, diff, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(inodes_of(s), inodes_on_disk(s, base) + inodes_on_disk(s, chain));
	assert_int_equal(mkdir(upper, 0755), 0);
	assert_int_equal(symlink("nowhere", file), 0);
	if (store_layer_commit_upper(s, NULL, upper, false, made, diff, NULL, NULL, &e) < 0)
		fail_msg("%s", e.msg);
	all = inodes_of(s);
	assert_int_equal(all, inodes_on_disk(s, base) + inodes_on_disk(s, chain) + inodes_on_disk(s, made));

	assert_int_equal(db_run(&s->db, NULL, "UPDATE layer SET inodes = -1 WHERE chain_id <> ?1", "t", base),
			 2);
	assert_int_equal(inodes_of(s), -1);
	/* One each time, if there is no time. */
	assert_true(store_count_inodes(s, 0, &e) >= 0);
	assert_int_equal(inodes_of(s), -1);
	assert_true(store_count_inodes(s, 0, &e) >= 0);
	assert_int_equal(inodes_of(s), all);
	store_close(s);
}

static void test_digest_must_match(void **state)
{
	static const Item items[] = {{"a", TAR_FILE, "a"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], wrong[DIGEST_LEN + 1];
	_cleanup_strv_ char **left = NULL;
	_cleanup_close_ int layers = -1;
	Err e = {0};

	digest_of("x", 1, wrong);
	assert_true(apply(s, make_tar(d, items, 1), NULL, wrong, chain, diff, &e) < 0);
	assert_non_null(strstr(e.msg, "diff id mismatch"));
	assert_int_equal(e.kind, ERR_INVALID);
	layers = openat(store_root_fd(s), LAYERS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(dir_names(layers, &left), 0);
	assert_null(left);
	store_close(s);
}

static int refuse(void *user, Err *e)
{
	return err_new(e, ERR_INVALID, "the blob was wrong");
}

static void test_the_gate_decides(void **state)
{
	static const Item items[] = {{"a", TAR_FILE, "a"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	LayerApply a = {.fd = make_tar(d, items, 1), .gate = refuse};
	Err e = {0};

	assert_true(store_layer_apply(s, &a, chain, diff, &e) < 0);
	assert_non_null(strstr(e.msg, "the blob was wrong"));
	close(a.fd);
	assert_int_equal(apply(s, make_tar(d, items, 1), NULL, NULL, chain, diff, &e), 0);
	store_close(s);
}

/* An upper directory with something of everything. */
static char *make_upper(const TestDir *d)
{
	static const char cap[20] = "\x01\x00\x00\x02\x00\x20";
	_cleanup_free_ char *long_name = malloc(201);
	int up;

	assert_non_null(long_name);
	memset(long_name, 'n', 200);
	long_name[200] = 0;
	assert_int_equal(mkdirat(d->fd, "up", 0755), 0);
	up = openat(d->fd, "up", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(up, "dir", 0750), 0);
	assert_int_equal(fsetxattr(up, "user.root", "1", 1, 0), 0);
	write_file(d, "up/dir/file", "some text");
	assert_int_equal(linkat(up, "dir/file", up, "dir/second", 0), 0);
	assert_int_equal(symlinkat("../nowhere", up, "dir/link"), 0);
	assert_int_equal(mkfifoat(up, "fifo", 0640), 0);
	assert_int_equal(mknodat(up, "gone", S_IFCHR, makedev(0, 0)), 0);
	assert_int_equal(mknodat(up, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mkdirat(up, "fresh", 0755), 0);
	assert_int_equal(mkdirat(up, long_name, 0755), 0);
	int fresh = openat(up, "fresh", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fresh, "trusted.overlay.opaque", "y", 1, 0), 0);
	assert_int_equal(fsetxattr(fresh, "trusted.overlay.origin", "y", 1, 0), 0);
	close(fresh);
	int file = openat(up, "dir/file", O_WRONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(file, "user.\xE5\xAD\x97", "v\0w", 3, 0), 0);
	assert_int_equal(fsetxattr(file, "security.capability", cap, sizeof(cap), 0), 0);
	assert_int_equal(fchown(file, 3000000, 70000), 0);
	assert_int_equal(fsetxattr(file, "security.capability", cap, sizeof(cap), 0), 0);
	close(file);
	close(up);
	return strf("%s/up", d->path);
}

static void test_diff_and_apply_are_inverse(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	_cleanup_free_ char *upper = make_upper(d), *path = NULL;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], again[DIGEST_LEN + 1], copied[DIGEST_LEN + 1];
	_cleanup_close_ int tar = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	int64_t size, counted;
	DiffSum sum;
	bool empty;
	Err e = {0};

	/* A copy must give what the directory itself gives. */
	if (store_layer_commit_upper(s, NULL, upper, false, chain, diff, &size, &empty, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(size, 9);
	path = layer_diff(chain);
	int fd = openat(store_root_fd(s), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(diff_write(fd, -1, &sum, &e), 0);
	assert_string_equal(sum.digest, diff);
	assert_int_equal(sum.contents, 9);
	assert_int_equal(diff_count(fd, &counted, &e), 0);
	assert_int_equal(counted, sum.bytes);
	close(fd);
	assert_int_equal(store_layer_tar_size(s, chain, &counted, &e), 0);
	assert_int_equal(counted, sum.bytes);
	assert_true(is_opaque(s, chain, "fresh"));
	assert_int_equal(stat_in(s, chain, "dir/file").st_uid, 3000000);
	assert_int_equal(store_layer_write_tar(s, chain, tar, &e), 0);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	assert_int_equal(apply(s, take_fd(&tar), chain, diff, copied, again, &e), 0);
	assert_string_equal(again, diff);
	/* Moving finds it there and still takes the directory. */
	assert_int_equal(store_layer_commit_upper(s, NULL, upper, true, copied, again, &size, &empty, &e), 0);
	assert_string_equal(copied, chain);
	assert_int_equal(access(upper, F_OK), -1);
	store_close(s);
}

/* ---- many at once, and too little room ---- */

typedef struct Puller {
	Store *store;
	int fd;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], want[DIGEST_LEN + 1];
	int r;
	Err e;
} Puller;

static void *pull(void *user)
{
	Puller *p = user;
	LayerApply a = {.want_diff_id = p->want, .fd = p->fd};

	p->r = store_layer_apply(p->store, &a, p->chain, p->diff, &p->e);
	return NULL;
}

static void test_one_layer_pulled_by_many(void **state)
{
	static const Item items[] = {{"a", TAR_FILE, "a"}, {"b", TAR_FILE, "b"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	pthread_t threads[8];
	Puller pullers[8];
	_cleanup_strv_ char **left = NULL;
	Err e = {0};

	/* Their digest, from a store of its own. */
	assert_int_equal(apply(s, make_tar(d, items, 2), NULL, NULL, chain, diff, &e), 0);
	assert_true(db_run(&s->db, NULL, "DELETE FROM layer", "") > 0);
	for (size_t i = 0; i < 8; i++) {
		pullers[i] = (Puller){.store = s, .fd = make_tar(d, items, 2)};
		memcpy(pullers[i].want, diff, sizeof(diff));
		assert_int_equal(pthread_create(&threads[i], NULL, pull, &pullers[i]), 0);
	}
	for (size_t i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		close(pullers[i].fd);
		if (pullers[i].r < 0)
			fail_msg("%s", pullers[i].e.msg);
		assert_string_equal(pullers[i].chain, chain);
	}
	_cleanup_close_ int layers = openat(store_root_fd(s), LAYERS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(dir_names(layers, &left), 0);
	assert_int_equal(strv_len(left), 1);
	store_close(s);
}

static void test_a_full_disk_leaves_nothing(void **state)
{
	static char big[1 << 20];
	const Item items[] = {{"a", TAR_FILE, big}};
	const TestDir *d = *state;
	_cleanup_free_ char *root = strf("%s/root", d->path);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_strv_ char **left = NULL;
	_cleanup_close_ int fs = -1;
	Err e = {0};

	memset(big, 'x', sizeof(big) - 1);
	assert_int_equal(mkdirat(d->fd, "root", 0700), 0);
	assert_int_equal(mount_new_fs("tmpfs", "tmpfs", (char *[]){(char[]){"size=600k"}, NULL}, 0, &fs, &e),
			 0);
	assert_int_equal(mount_attach_path(fs, root), 0);
	Store *s = open_store(d);
	int r = apply(s, make_tar(d, items, 1), NULL, NULL, chain, diff, &e);
	int r2 = store_blob_put(s, big, sizeof(big), chain, NULL);
	_cleanup_close_ int layers = openat(store_root_fd(s), LAYERS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r3 = dir_names(layers, &left);
	close_fd(&layers);
	store_close(s);
	assert_int_equal(mount_detach(root), 0);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(e.kind, ERR_EXHAUSTED);
	assert_non_null(strstr(e.msg, "free space or move --data-root"));
	assert_int_equal(r2, -ENOSPC);
	assert_int_equal(r3, 0);
	assert_null(left);
}

/* Nothing can be written any more, and still an image can be deleted. */
static void test_deleting_on_a_full_disk(void **state)
{
	static const char config[] = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},"
				     "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
	static const char fill[4096];
	const TestDir *d = *state;
	_cleanup_free_ char *root = strf("%s/root", d->path);
	_cleanup_close_ int fs = -1;
	char id[DIGEST_LEN + 1];
	Err e = {0};

	assert_int_equal(mkdirat(d->fd, "root", 0700), 0);
	assert_int_equal(mount_new_fs("tmpfs", "tmpfs", (char *[]){(char[]){"size=300m"}, NULL}, 0, &fs, &e),
			 0);
	assert_int_equal(mount_attach_path(fs, root), 0);
	Store *s = open_store(d);
	reserve_make(s);
	int r = store_blob_put(s, config, strlen(config), id, &e);
	if (r >= 0)
		r = store_image_put(s, id, NULL, NULL, &e);
	int fd = openat(store_root_fd(s), "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (r >= 0 && posix_fallocate(fd, 0, 290 << 20) == 0)
		(void)lseek(fd, 0, SEEK_END);
	while (write(fd, fill, sizeof(fill)) > 0)
		;
	close(fd);
	_cleanup_json_ json_t *doc = json_array();
	for (int i = 0; i < 100000; i++)
		json_array_append_new(doc, json_integer(i));
	int full = store_doc_put(s, "test", "big", doc, NULL);
	int deleted = store_image_delete(s, id, NULL, &e);
	store_close(s);
	assert_int_equal(mount_detach(root), 0);
	if (r < 0 || deleted < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(full, -ENOSPC);
}

static void test_a_killed_helper_is_told(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *root = strf("%s/root", d->path);
	/* Exits with 1 whatever it is given, and reports nothing. */
	StoreOptions o = {.data_root = root, .unpack_program = "/bin/false"};
	static const Item items[] = {{"a", TAR_FILE, "a"}};
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	Store *s = NULL;
	Err e = {0};

	assert_int_equal(store_open(&o, &s, &e), 0);
	assert_true(apply(s, make_tar(d, items, 1), NULL, NULL, chain, diff, &e) < 0);
	assert_non_null(strstr(e.msg, "exited with status 1 and without a report"));
	store_close(s);
	o.unpack_program = "/nowhere/ireko-unpack";
	assert_int_equal(store_open(&o, &s, &e), 0);
	assert_true(apply(s, make_tar(d, items, 1), NULL, NULL, chain, diff, &e) < 0);
	assert_non_null(strstr(e.msg, "start /nowhere/ireko-unpack: No such file"));
	store_close(s);
}

/* As if the machine had been cut off before the janitor's sync. */
static void pretend_other_boot(Store *s)
{
	assert_true(db_run(&s->db, NULL, "UPDATE layer SET synced = 0, boot = 'another'", "") >= 0);
	assert_true(db_run(&s->db, NULL, "UPDATE blob SET synced = 0, boot = 'another'", "") >= 0);
}

static void test_unsynced_layers_of_another_boot(void **state)
{
	static const Item items[] = {{"a", TAR_FILE, "a"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], made[DIGEST_LEN + 1], other[DIGEST_LEN + 1];
	char blob[DIGEST_LEN + 1], damaged[DIGEST_LEN + 1];
	_cleanup_free_ char *text = NULL, *path = NULL;
	_cleanup_layers_ LayerDirs dirs = {0};
	size_t len;
	Err e = {0};

	int tar = make_tar(d, items, 1);
	assert_int_equal(fd_read_all(tar, 1 << 20, &text, &len), 0);
	assert_int_equal(store_blob_put(s, text, len, blob, &e), 0);
	assert_int_equal(store_blob_put(s, "other", 5, damaged, &e), 0);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	LayerApply a = {.fd = tar, .blob = blob};
	assert_int_equal(store_layer_apply(s, &a, chain, diff, &e), 0);
	close(tar);
	make_layer(s, d, NULL, "f", "made here", made, other);
	pretend_other_boot(s);
	path = blob_path(damaged);
	int fd = openat(store_root_fd(s), path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "OTHER", 5, 0), 5);
	close(fd);
	store_close(s);

	s = open_store(d);
	assert_false(store_layer_has(s, chain));
	assert_false(store_layer_has(s, made));
	assert_true(store_blob_has(s, blob));
	assert_false(store_blob_has(s, damaged));
	/* The one that came from a blob comes back at first use. */
	if (layer_dirs(s, chain, &dirs, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(store_layer_has(s, chain));
	assert_int_equal(stat_in(s, chain, "a").st_size, 1);
	assert_true(store_layer_size(s, made, &(int64_t){0}, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_close(s);
}

static void test_synced_layers_stay(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];

	make_layer(s, d, NULL, "f", "x", chain, diff);
	/* Of a step of a build. */
	assert_int_equal(store_cache_put(s,
					 &(StoreCacheEntry){.key = "key", .chain_id = chain, .diff_id = diff},
					 NULL),
			 0);
	assert_true(db_run(&s->db, NULL, "UPDATE layer SET synced = 1, boot = 'another'", "") >= 0);
	store_close(s);
	s = open_store(d);
	assert_true(store_layer_has(s, chain));
	store_close(s);
}

static void test_layers_are_spread_on_ext4(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	_cleanup_close_ int fd = openat(s->root_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	int flags = 0;

	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type == EXT4_SUPER_MAGIC) {
		assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
		assert_true(flags & FS_TOPDIR_FL);
	}
	store_close(s);
}

static void test_snapshots_mount(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_free_ char *upper = store_snapshot_upper(s, "c1");
	_cleanup_close_ int rw = -1, ro = -1;
	int64_t size;
	int fd;
	Err e = {0};

	make_layer(s, d, NULL, "f", "x", chain, diff);
	assert_int_equal(store_snapshot_prepare(s, "c1", chain, &e), 0);
	assert_true(store_snapshot_prepare(s, "c1", chain, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	if (store_snapshot_mount(s, "c1", false, &rw, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(faccessat(rw, "f", F_OK, 0), 0);
	fd = openat(rw, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "1234", 4), 4);
	close(fd);
	assert_int_equal(unlinkat(rw, "f", 0), 0);
	assert_int_equal(store_snapshot_size(s, "c1", &size, &e), 0);
	assert_int_equal(size, 4);
	close_fd(&rw);
	if (store_snapshot_mount(s, "c1", true, &ro, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(faccessat(ro, "new", F_OK, 0), 0);
	assert_int_equal(faccessat(ro, "f", F_OK, 0), -1);
	assert_int_equal(openat(ro, "x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
	close_fd(&ro);
	assert_int_equal(store_layers_mount(s, chain, &ro, &e), 0);
	assert_int_equal(faccessat(ro, "f", F_OK, 0), 0);
	close_fd(&ro);
	assert_int_equal(store_snapshot_remove(s, "c1", &e), 0);
	assert_int_equal(store_snapshot_remove(s, "c1", &e), 0);
	assert_int_equal(access(upper, F_OK), -1);
	assert_int_equal(store_snapshot_prepare(s, "empty", NULL, &e), 0);
	if (store_snapshot_mount(s, "empty", false, &rw, &e) < 0)
		fail_msg("%s", e.msg);
	store_close(s);
}

static void test_pack_and_extract(void **state)
{
	static const Item shadow[] = {{"dir", TAR_FILE, "no directory"}};
	const TestDir *d = *state;
	Store *s = open_store(d);
	_cleanup_free_ char *upper = make_upper(d);
	_cleanup_close_ int tar = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), up = -1, to = -1;
	struct stat st;
	Err e = {0};

	up = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(d->fd, "to", 0755), 0);
	to = openat(d->fd, "to", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(store_archive_pack(up, "/dir", "renamed", NULL, tar, &e), 0);
	assert_int_equal(lseek(tar, 0, SEEK_SET), 0);
	ArchiveExtract x = {.fd = tar, .dir_fd = to, .uid = 5, .gid = 6, .no_overwrite_dir_non_dir = true};
	if (store_archive_extract(s, &x, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(fstatat(to, "renamed/file", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(fstatat(to, "renamed", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_true(store_archive_pack(up, "/none", "x", NULL, tar, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);

	assert_int_equal(mkdirat(d->fd, "to/dir", 0755), 0);
	x.fd = make_tar(d, shadow, 1);
	assert_true(store_archive_extract(s, &x, &e) < 0);
	assert_non_null(strstr(e.msg, "cannot overwrite directory \"dir\" with non-directory \"dir\""));
	close(x.fd);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_apply_writes_overlay_form),
	    test_in_dir(test_digest_must_match),
	    test_in_dir(test_inodes_are_counted),
	    test_in_dir(test_the_gate_decides),
	    test_in_dir(test_diff_and_apply_are_inverse),
	    test_in_dir(test_one_layer_pulled_by_many),
	    test_in_dir(test_a_full_disk_leaves_nothing),
	    test_in_dir(test_deleting_on_a_full_disk),
	    test_in_dir(test_a_killed_helper_is_told),
	    test_in_dir(test_unsynced_layers_of_another_boot),
	    test_in_dir(test_synced_layers_stay),
	    test_in_dir(test_layers_are_spread_on_ext4),
	    test_in_dir(test_snapshots_mount),
	    test_in_dir(test_pack_and_extract),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
