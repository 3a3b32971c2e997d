/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing trees, and that a whole store has no findings while a damaged one has. Needs root. */
#include "store/check.h"
#include "store/compare.h"
#include "store/store-test.h"

#include <sys/xattr.h>

static int dir(const TestDir *d, const char *name)
{
	int fd;

	assert_true(mkdirat(d->fd, name, 0755) == 0 || errno == EEXIST);
	fd = openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Two trees with a file, a link and a folder in them, alike. */
static void twins(const TestDir *d)
{
	const struct timespec ts[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	for (int i = 0; i < 2; i++) {
		const char *top = i ? "b" : "a";
		char name[32];

		close(dir(d, top));
		snprintf(name, sizeof(name), "%s/sub", top);
		close(dir(d, name));
		snprintf(name, sizeof(name), "%s/sub/file", top);
		write_file(d, name, "text");
		assert_int_equal(utimensat(d->fd, name, ts, 0), 0);
		snprintf(name, sizeof(name), "%s/link", top);
		assert_int_equal(symlinkat("sub/file", d->fd, name), 0);
		assert_int_equal(utimensat(d->fd, name, ts, AT_SYMLINK_NOFOLLOW), 0);
	}
}

static void expect(const TestDir *d, const char *difference)
{
	int a = dir(d, "a"), b = dir(d, "b");
	_cleanup_free_ char *found = NULL;
	Err e = {0};

	assert_int_equal(tree_compare(a, b, &found, &e), difference ? 1 : 0);
	if (difference)
		assert_string_equal(found, difference);
	close(a);
	close(b);
}

static void test_trees(void **state)
{
	const struct timespec ts[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	const TestDir *d = *state;

	twins(d);
	expect(d, NULL);
	write_file(d, "a/extra", "");
	expect(d, "extra: it does not belong there");
	assert_int_equal(unlinkat(d->fd, "a/extra", 0), 0);
	write_file(d, "b/zone", "");
	expect(d, "zone: it is missing");
	assert_int_equal(unlinkat(d->fd, "b/zone", 0), 0);
	write_file(d, "a/sub/file", "next");
	expect(d, "sub/file: the time differs");
	assert_int_equal(utimensat(d->fd, "a/sub/file", ts, 0), 0);
	expect(d, "sub/file: the contents differ");
	write_file(d, "a/sub/file", "");
	expect(d, "sub/file: it is empty");
	write_file(d, "a/sub/file", "text");
	assert_int_equal(utimensat(d->fd, "a/sub/file", ts, 0), 0);
	assert_int_equal(fchmodat(d->fd, "a/sub", 0700, 0), 0);
	expect(d, "sub: the mode differs");
	assert_int_equal(fchmodat(d->fd, "a/sub", 0755, 0), 0);
	assert_int_equal(fchownat(d->fd, "a/link", 1, 1, AT_SYMLINK_NOFOLLOW), 0);
	expect(d, "link: the owner differs");
	assert_int_equal(fchownat(d->fd, "a/link", 0, 0, AT_SYMLINK_NOFOLLOW), 0);
	expect(d, NULL);
}

static void test_attributes(void **state)
{
	const TestDir *d = *state;
	int sub;

	twins(d);
	sub = dir(d, "a/sub");
	/* What overlayfs notes for itself says nothing; that a directory is opaque does. */
	assert_int_equal(fsetxattr(sub, "trusted.overlay.impure", "y", 1, 0), 0);
	expect(d, NULL);
	assert_int_equal(fsetxattr(sub, "trusted.overlay.opaque", "y", 1, 0), 0);
	expect(d, "sub: the extended attributes differ");
	close(sub);
}

static void test_files(void **state)
{
	const TestDir *d = *state;
	int a, b;
	Err e = {0};

	write_file(d, "a", "12");
	write_file(d, "b", "123");
	a = openat(d->fd, "a", O_RDONLY | O_CLOEXEC);
	b = openat(d->fd, "b", O_RDONLY | O_CLOEXEC);
	assert_int_equal(file_compare(a, b, &e), 1);
	assert_int_equal(lseek(a, 1, SEEK_SET), 1);
	assert_int_equal(lseek(b, 3, SEEK_SET), 3);
	assert_int_equal(file_compare(a, b, &e), 1);
	assert_int_equal(file_compare(a, b, &e), 0);
	close(a);
	close(b);
}

static size_t findings(Store *s, bool repair)
{
	const StoreCheck c = {.repair = repair};
	StoreReport r = {0};
	Err e = {0};

	if (store_check(s, &c, &r, &e) < 0)
		fail_msg("%s", e.msg);
	size_t n = r.n;
	store_report_done(&r);
	return n;
}

static void test_store(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], blob[DIGEST_LEN + 1];
	_cleanup_free_ char *path = NULL, *diff_dir = NULL, *file = NULL;
	Err e = {0};

	make_layer(s, d, NULL, "file", "12345", chain, diff);
	assert_int_equal(store_blob_put(s, "blob", 4, blob, &e), 0);
	assert_int_equal(findings(s, false), 0);

	path = blob_path(blob);
	assert_int_equal(unlinkat(s->root_fd, path, 0), 0);
	diff_dir = layer_diff(chain);
	file = strf("root/%s/file", diff_dir);
	write_file(d, file, "1234");
	assert_int_equal(findings(s, false), 2);
	/* Nothing needs the blob, so there is none any more; the layer was made here and stays damaged. */
	assert_int_equal(findings(s, true), 2);
	assert_int_equal(findings(s, false), 1);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_trees),
	    test_in_dir(test_attributes),
	    test_in_dir(test_files),
	    test_in_dir(test_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
