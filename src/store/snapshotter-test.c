/* SPDX-License-Identifier: Apache-2.0 */
/* Layers that are images: what the store makes of them, by way of each kind of mount, and what becomes of them elsewhere. Needs root. */
#include "kernel/mount.h"
#include "store/erofs-internal.h"
#include "store/store-test.h"
#include "store/unpack-protocol.h"

#include <sys/mman.h>
#include <sys/xattr.h>

static const Item low[] = {{"tmp", TAR_DIR, NULL, 01777},
			   {"etc/", TAR_DIR, NULL, 0750},
			   {"etc/a", TAR_FILE, "a"}};
static const Item top[] = {{"tmp/x", TAR_FILE, "x"},
			   {"etc/.wh.a", TAR_FILE},
			   {"var", TAR_DIR, NULL, 0700},
			   {"var/.wh..wh..opq", TAR_FILE}};

/* The directories of a chain, top first, each opened. */
static void open_dirs(Store *s, const char *chain, LayerDirs *ret, int fds[2])
{
	Err e = {0};

	if (layer_dirs(s, chain, ret, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(ret->n, 2);
	for (size_t i = 0; i < 2; i++) {
		fds[i] = open(ret->paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fds[i] >= 0);
	}
}

static struct stat stat_at(int fd, const char *name)
{
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return st;
}

/* What both kinds of layers must show. */
static void check_dirs(Store *s, const char *chain)
{
	_cleanup_layers_ LayerDirs dirs = {0};
	int fds[2];

	open_dirs(s, chain, &dirs, fds);
	assert_int_equal(stat_at(fds[1], "etc/a").st_size, 1);
	assert_int_equal(stat_at(fds[1], "etc/a").st_mtim.tv_nsec, 123456789);
	assert_true(S_ISCHR(stat_at(fds[0], "etc/a").st_mode));
	assert_int_equal(stat_at(fds[0], "etc/a").st_rdev, 0);
	/* Not described by the second layer: as the first one says. */
	assert_int_equal(stat_at(fds[0], "tmp").st_mode & 07777, 01777);
	assert_int_equal(stat_at(fds[0], "tmp").st_mtim.tv_nsec, 123456789);
	assert_int_equal(stat_at(fds[0], "etc").st_mode & 07777, 0750);
	assert_int_equal(stat_at(fds[0], "var").st_mode & 07777, 0700);
	close(fds[0]);
	close(fds[1]);
}

static void make_two(Store *s, const TestDir *d, char base[DIGEST_LEN + 1], char chain[DIGEST_LEN + 1],
		     char diff[DIGEST_LEN + 1])
{
	Err e = {0};

	if (apply(s, make_tar(d, low, ELEMENTSOF(low)), NULL, NULL, base, diff, &e) < 0 ||
	    apply(s, make_tar(d, top, ELEMENTSOF(top)), base, NULL, chain, diff, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_images(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store_as(d, "erofs");
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], sum[DIGEST_LEN + 1];
	_cleanup_free_ char *text = NULL;
	int out = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	size_t len;
	Err e = {0};

	make_two(s, d, base, chain, diff);
	check_dirs(s, chain);
	if (store_layer_write_tar(s, chain, out, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(out, 1 << 20, &text, &len), 0);
	digest_of(text, len, sum);
	assert_string_equal(sum, diff);
	close(out);
	/* A descriptor outlives what the store keeps. */
	int fd = layer_image_mount(s, chain, &e);
	layer_image_forget(s, NULL);
	assert_int_equal(stat_at(fd, "tmp/x").st_size, 1);
	close(fd);
	check_dirs(s, chain);
	store_close(s);
}

static void test_each_kind_of_mount(void **state)
{
	static int (*const mounts[])(int, int *, Err *) = {mount_erofs_file, mount_erofs_loop};
	const TestDir *d = *state;
	Store *s = open_store_as(d, "erofs");
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_free_ char *path = NULL;
	int image;
	Err e = {0};

	make_two(s, d, base, chain, diff);
	path = layer_image(base);
	image = openat(store_root_fd(s), path, O_RDONLY | O_CLOEXEC);
	assert_true(image >= 0);
	for (size_t i = 0; i < ELEMENTSOF(mounts); i++) {
		_cleanup_close_ int mount = -1, overlay = -1;
		_cleanup_free_ char *empty = strf("%s/empty", s->root);

		if (mounts[i](image, &mount, &e) < 0)
			fail_msg("%s", e.msg);
		assert_int_equal(stat_at(mount, "etc/a").st_size, 1);
		if (mount_overlay((char *[]){path_of_fd(mount).s, empty, NULL}, NULL, NULL, &overlay, &e) < 0)
			fail_msg("%s", e.msg);
		assert_int_equal(stat_at(overlay, "tmp").st_mode & 07777, 01777);
		assert_true(openat(mount, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0);
	}
	close(image);
	store_close(s);
}

/* Where the kernel cannot mount images any more, they become directories: the same layers with the same rows. */
static void test_image_to_dir(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store_as(d, "erofs");
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_free_ char *image = NULL, *dir = NULL;
	int64_t was = 0, size = 0;
	Err e = {0};

	make_two(s, d, base, chain, diff);
	image = layer_image(chain);
	dir = layer_diff(chain);
	assert_int_equal(store_layer_size(s, chain, &was, &e), 0);
	/* What nobody claims is not there after a start. */
	const StoreCacheEntry claim = {.key = (char *)"step", .chain_id = chain, .diff_id = diff};
	assert_int_equal(store_cache_put(s, &claim, &e), 0);
	store_close(s);
	s = open_store_as(d, "overlayfs");
	assert_int_equal(faccessat(store_root_fd(s), image, F_OK, 0), 0);
	check_dirs(s, chain);
	if (layer_image_to_dir(s, chain, &e) < 0)
		fail_msg("%s", e.msg);
	assert_true(faccessat(store_root_fd(s), image, F_OK, 0) < 0);
	assert_int_equal(faccessat(store_root_fd(s), dir, F_OK, 0), 0);
	check_dirs(s, chain);
	assert_int_equal(store_layer_size(s, chain, &size, &e), 0);
	assert_int_equal(size, was);
	store_close(s);
}

/* Below lies something that cannot be patched into an image: an attribute of a directory that the layer implies. */
static void test_what_an_image_cannot_say(void **state)
{
	static const Item hides[] = {{".wh..wh..opq", TAR_FILE}, {"own", TAR_FILE, "1"}};
	const TestDir *d = *state;
	Store *s = open_store_as(d, "erofs");
	char base[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_free_ char *upper = strf("%s/upper", d->path), *image = NULL, *dir = NULL, *marked = NULL;
	int64_t size;
	bool empty;
	char value[8] = "";
	Err e = {0};

	assert_int_equal(mkdirat(d->fd, "upper", 0755), 0);
	assert_int_equal(mkdirat(d->fd, "upper/tmp", 0755), 0);
	marked = strf("%s/tmp", upper);
	assert_int_equal(setxattr(marked, "user.color", "green", 5, 0), 0);
	if (store_layer_commit_upper(s, NULL, upper, true, base, diff, &size, &empty, &e) < 0 ||
	    apply(s, make_tar(d, top, ELEMENTSOF(top)), base, NULL, chain, diff, &e) < 0)
		fail_msg("%s", e.msg);
	image = layer_image(chain);
	dir = strf("%s/layers/%s/diff/tmp", s->root, digest_hex(chain));
	assert_true(faccessat(store_root_fd(s), image, F_OK, 0) < 0);
	assert_int_equal(getxattr(dir, "user.color", value, sizeof(value)), 5);
	if (apply(s, make_tar(d, hides, ELEMENTSOF(hides)), base, NULL, chain, diff, &e) < 0)
		fail_msg("%s", e.msg);
	free(image);
	image = layer_image(chain);
	assert_true(faccessat(store_root_fd(s), image, F_OK, 0) < 0);
	free(dir);
	dir = strf("%s/layers/%s/diff", s->root, digest_hex(chain));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(S_ISCHR(stat_at(fd, "tmp").st_mode));
	close(fd);
	store_close(s);
}

static void test_choice(void **state)
{
	static const char *const names[] = {"erofs", "overlayfs", "vfs"};
	const TestDir *d = *state;

	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		Store *s = open_store_as(d, names[i]);

		assert_string_equal(store_snapshotter(s), names[i]);
		assert_string_equal(store_snapshotter_why(s), "as configured");
		store_close(s);
	}
	Store *s = open_store_as(d, "auto");
	assert_string_not_equal(store_snapshotter_why(s), "as configured");
	store_close(s);
}

/* ---- a helper that an archive has taken over ---- */

/* What it does is told by the limit of files in its job. */
enum { LIE_NONE = 101, LIE_NO_IMAGE, LIE_SLASH, LIE_REDIRECT, LIE_BEYOND, LIE_TWICE, LIE_LENGTH, LIES };

static void replace(uint8_t *image, size_t len, const char *from, const char *to)
{
	uint8_t *at = memmem(image + EROFS_TAR_AT, len - EROFS_TAR_AT, from, strlen(from));

	if (!at)
		abort();
	memcpy(at, to, strlen(to));
}

/* The second directory's entry leads to the first. */
static void name_twice(uint8_t *image)
{
	ErofsSuper s;
	uint8_t *root;

	memcpy(&s, image + EROFS_SUPER_AT, sizeof(s));
	root = image + (size_t)s.meta_block * EROFS_BLOCK + s.root * EROFS_SLOT + sizeof(ErofsDiskInode);
	/* ".", "..", "dir-1", "dir-2" */
	memcpy(root + 3 * sizeof(ErofsDirent), root + 2 * sizeof(ErofsDirent), sizeof(uint64_t));
}

static void lie(uint8_t *image, size_t len, long which)
{
	uint32_t far = UINT32_MAX / 2;

	if (which == LIE_SLASH)
		replace(image, len, "a-file", "a/file");
	if (which == LIE_REDIRECT)
		replace(image, len, "\x05\x01", "\x05\x04"); /* user.color: trusted.color */
	if (which == LIE_TWICE)
		name_twice(image);
	if (which == LIE_BEYOND) {
		ErofsSuper s;
		uint8_t *file;

		memcpy(&s, image + EROFS_SUPER_AT, sizeof(s));
		/* The inode behind the root's is that of "a-file". */
		file = image + (size_t)s.meta_block * EROFS_BLOCK + s.root * EROFS_SLOT;
		while (((const ErofsDiskInode *)(const void *)file)->mode >> 12 != 010)
			file += EROFS_SLOT;
		memcpy(file + offsetof(ErofsDiskInode, where), &far, sizeof(far));
	}
}

static size_t make_lie(uint8_t *image, size_t cap, long which)
{
	static const char digest[] =
	    "sha256:0000000000000000000000000000000000000000000000000000000000000000";
	TarXattr x = {(char[]){"user.color"}, (char[]){"green"}, 5};
	_cleanup_(erofs_layer_freep) ErofsLayer *l = NULL;
	_cleanup_(tar_reader_freep) TarReader *t = NULL;
	int fd = memfd_create("image", MFD_CLOEXEC);
	TarEntry n[] = {{.type = TAR_FILE,
			 .name = (char[]){"a-file"},
			 .mode = 0644,
			 .size = 3,
			 .xattrs = &x,
			 .n_xattrs = 1},
			{.type = TAR_DIR, .name = (char[]){"dir-1"}, .mode = 0755},
			{.type = TAR_DIR, .name = (char[]){"dir-2"}, .mode = 0755}};
	ssize_t len;

	if (tar_reader_new(NULL, NULL, &t, NULL) < 0 || erofs_layer_new(100, 100, &l, NULL) < 0)
		abort();
	for (size_t i = 0; i < ELEMENTSOF(n); i++)
		if (erofs_layer_add(l, t, &n[i], NULL) < 0)
			abort();
	if (erofs_layer_write(l, fd, 1024, digest, NULL) < 0)
		abort();
	len = fd_pread_full(fd, image, cap, 0);
	close(fd);
	lie(image, (size_t)len, which);
	return (size_t)len;
}

static int be_the_liar(const char *job)
{
	static uint8_t image[1 << 16];
	const char *limit = strstr(job, "\"max_files\":");
	long which = limit ? atol(limit + strlen("\"max_files\":")) : 0;
	size_t len = which == LIE_NO_IMAGE ? 0 : make_lie(image, sizeof(image), which);
	UnpackDone done = {.stream_bytes = which == LIE_LENGTH ? 512 : 1024};
	const UnpackFrame frame = {.type = UNPACK_DONE, .len = sizeof(done)};

	digest_of(&which, sizeof(which), done.diff_id);
	return fd_pwrite_all(STDOUT_FILENO, image, len, 0) < 0 ||
	       fd_write_all(UNPACK_REPORT_FD, &frame, sizeof(frame)) < 0 ||
	       fd_write_all(UNPACK_REPORT_FD, &done, sizeof(done)) < 0;
}

static void test_images_are_not_believed(void **state)
{
	const TestDir *d = *state;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];

	for (long which = LIE_NONE; which < LIES; which++) {
		_cleanup_free_ char *root = strf("%s/root-%ld", d->path, which);
		const StoreOptions o = {.data_root = root,
					.unpack_program = "/proc/self/exe",
					.layer_max_files = which,
					.snapshotter = "erofs"};
		Store *s = NULL;
		Err e = {0};
		int r;

		if (store_open(&o, &s, &e) < 0)
			fail_msg("%s", e.msg);
		r = apply(s, make_tar(d, low, 1), NULL, NULL, chain, diff, &e);
		if (which == LIE_NONE && r < 0)
			fail_msg("%s", e.msg);
		if (which != LIE_NONE && (r >= 0 || !strstr(e.msg, "damaged")))
			fail_msg("%ld: %s", which, r < 0 ? e.msg : "it was believed");
		store_close(s);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && argv[1][0] == '{')
		return be_the_liar(argv[1]);

	const struct CMUnitTest tests[] = {
	    test_in_dir(test_images),       test_in_dir(test_each_kind_of_mount),
	    test_in_dir(test_image_to_dir), test_in_dir(test_what_an_image_cannot_say),
	    test_in_dir(test_choice),       test_in_dir(test_images_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
