/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Diffs of upper directories, copies and merges of trees. That a merge shows what overlayfs would show is left to the
 * kernel to say: layers are made through real mounts by random steps, and the views of both are compared. Needs root.
 */
#include "store/diff.h"

#include "kernel/mount.h"
#include "store/digest.h"
#include "store/dir.h"
#include "store/store-test.h"
#include "store/tar-walk.h"
#include "store/tree-copy.h"

#include <sys/sysmacros.h>
#include <sys/xattr.h>

static const TreeCopyLimits no_limits = {INT64_MAX, INT64_MAX};

static int make_dir(const TestDir *d, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(d->fd, name, 0755), 0);
	fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void put_at(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void set_time(int dir, const char *name, time_t s)
{
	const struct timespec ts[2] = {{.tv_sec = s + 7}, {.tv_sec = s, .tv_nsec = 5}};

	assert_int_equal(utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW), 0);
}

static DiffSum sum_of(int dir)
{
	DiffSum sum;
	Err e = {0};

	if (diff_write(dir, -1, &sum, &e) < 0)
		fail_msg("%s", e.msg);
	return sum;
}

/* ---- the same state, made in another order ---- */

static void fill(int dir, bool backwards)
{
	static const char *const names[] = {"a", "b", "sub/c", "sub/d", "z"};
	size_t n = ELEMENTSOF(names);

	assert_int_equal(mkdirat(dir, "sub", 0755), 0);
	/* One file by three names, which came about in one order or the other. */
	put_at(dir, backwards ? "sub/hard" : "0", "same");
	assert_int_equal(linkat(dir, backwards ? "sub/hard" : "0", dir, "hard", 0), 0);
	assert_int_equal(linkat(dir, "hard", dir, backwards ? "0" : "sub/hard", 0), 0);
	for (size_t i = 0; i < n; i++) {
		const char *name = names[backwards ? n - 1 - i : i];

		put_at(dir, name, name);
		set_time(dir, name, 1000);
		int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
		assert_int_equal(fsetxattr(fd, backwards ? "user.two" : "user.one", "v", 1, 0), 0);
		assert_int_equal(fsetxattr(fd, backwards ? "user.one" : "user.two", "v", 1, 0), 0);
		close(fd);
	}
	assert_int_equal(mknodat(dir, "gone", S_IFCHR | (backwards ? 0600 : 0), 0), 0);
	set_time(dir, "gone", backwards ? 5 : 6);
	set_time(dir, "hard", 77);
	set_time(dir, "sub", 1000);
}

static void test_order_does_not_matter(void **state)
{
	const TestDir *d = *state;
	_cleanup_close_ int one = make_dir(d, "one"), two = make_dir(d, "two");

	fill(one, false);
	fill(two, true);
	DiffSum a = sum_of(one), b = sum_of(two);
	assert_string_equal(a.digest, b.digest);
	assert_int_equal(a.bytes, b.bytes);
	put_at(two, "a", "b");
	set_time(two, "a", 1000);
	assert_string_not_equal(sum_of(two).digest, a.digest);
}

/* ---- holes ---- */

static void write_at(int fd, int64_t at, const char *text)
{
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
}

static void test_holes(void **state)
{
	const TestDir *d = *state;
	_cleanup_close_ int sparse = make_dir(d, "sparse"), full = make_dir(d, "full"),
			    copy = make_dir(d, "copy");
	_cleanup_free_ char *zeros = calloc(1, 8 << 20);
	struct stat st;
	Err e = {0};
	int fd;

	assert_non_null(zeros);
	fd = openat(sparse, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(ftruncate(fd, 8 << 20), 0);
	write_at(fd, 3 << 20, "in the middle");
	close(fd);
	fd = openat(full, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, zeros, 8 << 20), 8 << 20);
	write_at(fd, 3 << 20, "in the middle");
	close(fd);
	set_time(sparse, "f", 1);
	set_time(full, "f", 1);
	assert_string_equal(sum_of(sparse).digest, sum_of(full).digest);

	assert_int_equal(tree_clone(sparse, copy, &no_limits, &e), 0);
	assert_string_equal(sum_of(copy).digest, sum_of(full).digest);
	assert_int_equal(fstatat(copy, "f", &st, 0), 0);
	assert_true(st.st_blocks * 512 < 1 << 20);
	const TreeCopyLimits tight = {.max_bytes = 4 << 20, .max_files = 10}, few = {.max_bytes = 16 << 20};
	assert_true(tree_clone(sparse, copy, &few, &e) < 0);
	assert_non_null(strstr(e.msg, "more files than the limit of 0"));
	assert_int_equal(unlinkat(copy, "f", 0), 0);
	assert_true(tree_clone(sparse, copy, &tight, &e) < 0);
	assert_non_null(strstr(e.msg, "copy /f: the files are larger than the limit"));
}

/* ---- what a tar cannot say ---- */

static void test_refusals(void **state)
{
	const TestDir *d = *state;
	_cleanup_close_ int dir = make_dir(d, "dir"), copy = make_dir(d, "copy");
	DiffSum sum;
	Err e = {0};
	int fd;

	put_at(dir, "f", "x");
	fd = openat(dir, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "user.a=b", "v", 1, 0), 0);
	assert_true(diff_write(dir, -1, &sum, &e) < 0);
	assert_non_null(strstr(e.msg, "user.a=b"));
	assert_int_equal(fremovexattr(fd, "user.a=b"), 0);
	assert_int_equal(fsetxattr(fd, "trusted.overlay.metacopy", "", 0, 0), 0);
	assert_true(diff_write(dir, -1, &sum, &e) < 0);
	assert_non_null(strstr(e.msg, "f: it carries trusted.overlay.metacopy"));
	/* A copy does not make it look harmless. */
	assert_int_equal(tree_clone(dir, copy, &no_limits, &e), 0);
	assert_true(diff_write(copy, -1, &sum, &e) < 0);
	close(fd);
}

/* ---- copies ---- */

static void test_copy_is_exact(void **state)
{
	static const char cap[20] = "\x01\x00\x00\x02\x00\x20";
	const TestDir *d = *state;
	_cleanup_close_ int dir = make_dir(d, "dir"), copy = make_dir(d, "copy");
	struct stat st, other;
	Err e = {0};
	int fd;

	fill(dir, false);
	assert_int_equal(symlinkat("/nowhere", dir, "link"), 0);
	assert_int_equal(fchownat(dir, "link", 7, 8, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(mkfifoat(dir, "fifo", 0640), 0);
	assert_int_equal(mknodat(dir, "disk", S_IFBLK | 0660, makedev(8, 1)), 0);
	fd = openat(dir, "a", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fchown(fd, 4000000000u, 3000000), 0);
	assert_int_equal(fchmod(fd, 06755), 0);
	assert_int_equal(fsetxattr(fd, "security.capability", cap, sizeof(cap), 0), 0);
	close(fd);
	fd = openat(dir, "sub", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0), 0);
	close(fd);
	if (tree_clone(dir, copy, &no_limits, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(sum_of(copy).digest, sum_of(dir).digest);
	assert_int_equal(fstatat(copy, "hard", &st, 0), 0);
	assert_int_equal(fstatat(copy, "sub/hard", &other, 0), 0);
	assert_int_equal(st.st_ino, other.st_ino);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(fstatat(copy, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
}

/* ---- merges against overlayfs ---- */

#define LAYERS_N 4
#define STEPS    40

static uint32_t dice_state;

static uint32_t dice(uint32_t sides)
{
	dice_state = dice_state * 1664525 + 1013904223;
	return (dice_state >> 16) % sides;
}

static const char *random_path(char *buf)
{
	size_t n = 0;

	for (uint32_t depth = 1 + dice(3); depth > 0; depth--) {
		if (n > 0)
			buf[n++] = '/';
		buf[n++] = (char)('a' + dice(4));
	}
	buf[n] = 0;
	return buf;
}

/* Steps may fail: a parent is missing, a directory is not empty, overlayfs renames no directories of lower layers. */
static void step(int root, int count)
{
	char path[16], other[16], text[16];
	int fd;

	(void)random_path(path);
	(void)random_path(other);
	snprintf(text, sizeof(text), "%d", count);
	switch (dice(8)) {
	case 0:
	case 1:
		(void)mkdirat(root, path, 0700 + dice(64));
		break;
	case 2:
		fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd >= 0) {
			assert_true(write(fd, text, strlen(text)) > 0);
			close(fd);
		}
		break;
	case 3:
		(void)remove_tree_at(root, path);
		break;
	case 4:
		(void)renameat(root, path, root, other);
		break;
	case 5:
		(void)!linkat(root, path, root, other, 0);
		break;
	case 6:
		(void)!symlinkat(text, root, path);
		break;
	default:
		fd = openat(root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0) {
			(void)fsetxattr(fd, dice(2) ? "user.p" : "user.q", text, strlen(text), 0);
			close(fd);
		}
	}
}

static char *view_digest(int dir)
{
	_cleanup_(hasher_freep) Hasher *h = hasher_new();
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	char digest[DIGEST_LEN + 1];
	_cleanup_close_ int root = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	Err e = {0};

	assert_true(root >= 0);
	if (tar_writer_new(-1, h, &w, &e) < 0 || tar_walk_dir(w, root, 0, &e) < 0 ||
	    tar_writer_end(w, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(hasher_digest(h, digest), 0);
	return strdup(digest);
}

static char *view_of(char *const *lower)
{
	_cleanup_close_ int fd = -1;
	Err e = {0};

	if (mount_overlay(lower, NULL, NULL, &fd, &e) < 0)
		fail_msg("%s", e.msg);
	return view_digest(fd);
}

/* dirs: the topmost first, the last one is the base. */
static void make_layers(const TestDir *d, char **dirs)
{
	for (int i = LAYERS_N; i >= 0; i--) {
		_cleanup_free_ char *work = strf("%s/work%d", d->path, i);
		_cleanup_close_ int fd = -1;
		Err e = {0};

		assert_int_equal(mkdir(dirs[i], 0755), 0);
		if (i == LAYERS_N) {
			fd = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		} else {
			assert_int_equal(mkdir(work, 0755), 0);
			if (mount_overlay(&dirs[i + 1], dirs[i], work, &fd, &e) < 0)
				fail_msg("%s", e.msg);
		}
		for (int k = 0; k < STEPS; k++)
			step(fd, i * STEPS + k);
	}
}

static void merge(char *const *dirs, size_t n, bool keep_marks, const char *to)
{
	_cleanup_close_ int out = -1;
	Err e = {0};

	assert_int_equal(mkdir(to, 0755), 0);
	out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = n; i-- > 0;) {
		_cleanup_close_ int from = open(dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (tree_merge(from, out, keep_marks, &no_limits, &e) < 0)
			fail_msg("%s", e.msg);
	}
}

static void check_merge(uint32_t seed)
{
	void *state = NULL;
	char *dirs[LAYERS_N + 2] = {0};

	assert_int_equal(test_dir_setup(&state), 0);
	const TestDir *d = state;
	dice_state = seed;
	for (int i = 0; i <= LAYERS_N; i++)
		assert_non_null(dirs[i] = strf("%s/layer%d", d->path, i));
	make_layers(d, dirs);

	_cleanup_free_ char *marked = strf("%s/marked", d->path), *plain = strf("%s/plain", d->path);
	_cleanup_free_ char *want = view_of(dirs);
	/* The upper layers into one, over the base; and all of it into one. */
	merge(dirs, LAYERS_N, true, marked);
	merge(dirs, LAYERS_N + 1, false, plain);
	char *two[] = {marked, dirs[LAYERS_N], NULL};
	_cleanup_free_ char *got = view_of(two);
	_cleanup_close_ int fd = open(plain, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *alone = view_digest(fd);
	if (!streq(want, got) || !streq(want, alone))
		fail_msg("seed %u: with marks %s, without %s", seed, streq(want, got) ? "right" : "wrong",
			 streq(want, alone) ? "right" : "wrong");
	for (int i = 0; i <= LAYERS_N; i++)
		free(dirs[i]);
	assert_int_equal(test_dir_teardown(&state), 0);
}

static void test_merges_look_like_overlayfs(void **state)
{
	for (uint32_t seed = 1; seed <= 60; seed++)
		check_merge(seed);
	(void)state;
}

/* ---- squashed layers ---- */

static void test_squash(void **state)
{
	const TestDir *d = *state;
	_cleanup_(store_closep) Store *s = open_store(d);
	char one[DIGEST_LEN + 1], two[DIGEST_LEN + 1], three[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	char all[DIGEST_LEN + 1], upper[DIGEST_LEN + 1], again[DIGEST_LEN + 1];
	_cleanup_close_ int fd = -1;
	int64_t size = 0;
	Err e = {0};

	make_layer(s, d, NULL, "a", "1", one, diff);
	make_layer(s, d, one, "b", "22", two, diff);
	make_layer(s, d, two, "a", "333", three, diff);
	if (store_layers_squash(s, NULL, three, 3, all, diff, &e) < 0)
		fail_msg("%s", e.msg);
	assert_string_equal(all, diff);
	assert_int_equal(store_layer_size(s, all, &size, &e), 0);
	assert_int_equal(size, 5);
	assert_int_equal(store_layers_squash(s, one, three, 2, upper, diff, &e), 0);
	assert_int_equal(store_layers_squash(s, one, three, 2, again, diff, &e), 0);
	assert_string_equal(upper, again);
	assert_int_equal(store_layers_mount(s, upper, &fd, &e), 0);
	assert_int_equal(faccessat(fd, "b", F_OK, 0), 0);
	assert_true(store_layers_squash(s, NULL, three, 4, all, diff, &e) < 0);
	assert_non_null(strstr(e.msg, "there are only 3 layers"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_order_does_not_matter),
	    test_in_dir(test_holes),
	    test_in_dir(test_refusals),
	    test_in_dir(test_copy_is_exact),
	    cmocka_unit_test(test_merges_look_like_overlayfs),
	    test_in_dir(test_squash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
