/* SPDX-License-Identifier: Apache-2.0 */
/* Overlays of directories whose names are as awkward as names may be, with one layer, some and many. Needs root. */
#include "kernel/mount.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"

#include <fcntl.h>
#include <sys/stat.h>

typedef struct Fixture {
	char *top;
	char **lower; /* top first; each holds a file of its number, and "all" */
} Fixture;

static char *make_dir(const Fixture *f, const char *name)
{
	char *dir = strf("%s/%s", f->top, name);

	assert_int_equal(mkdir(dir, 0755), 0);
	return dir;
}

static void write_file(const char *dir, const char *name, const char *text)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, name);

	assert_int_equal(file_replace_at(AT_FDCWD, path, text, strlen(text), 0644, false), 0);
}

static void make(Fixture *f, size_t n)
{
	char top[] = "/tmp/overlay-test-XXXXXX";
	const char *odd[] = {"a:b", "c\\d", "e,f", "lower dir=\"g\"", "層"};

	assert_non_null(mkdtemp(top));
	*f = (Fixture){.top = strdup(top)};
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *name = strf("%zu%s", i, odd[i % ELEMENTSOF(odd)]),
				    *number = strf("%zu", i);
		char *dir = make_dir(f, name);

		write_file(dir, number, number);
		write_file(dir, "all", number);
		assert_int_equal(strv_take(&f->lower, dir), 0);
	}
}

static void done(Fixture *f)
{
	assert_int_equal(remove_tree_at(AT_FDCWD, f->top), 0);
	free(f->top);
	strv_free(f->lower);
}

static void check_layers(int fd, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *name = strf("%zu", i), *text = NULL;

		assert_int_equal(file_read_at(fd, name, 16, &text, NULL), 0);
		assert_string_equal(text, name);
	}
	_cleanup_free_ char *all = NULL;
	assert_int_equal(file_read_at(fd, "all", 16, &all, NULL), 0);
	assert_string_equal(all, "0");
}

static void check_count(size_t n, bool with_upper)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *upper = NULL, *work = NULL;
	Fixture f;
	Err e = {0};

	if (geteuid() != 0)
		skip();
	make(&f, n);
	if (with_upper) {
		upper = make_dir(&f, "up:per\\,");
		work = make_dir(&f, "wo:rk\\,");
	}
	if (mount_overlay(f.lower, upper, work, &fd, &e) < 0)
		fail_msg("%s", e.msg);
	check_layers(fd, n);
	int made = openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (with_upper) {
		assert_true(made >= 0);
		_cleanup_free_ char *path = strf("%s/new", upper);
		assert_int_equal(access(path, F_OK), 0);
	} else
		assert_true(made < 0 && errno == EROFS);
	closep(&made);
	close_fd(&fd);
	done(&f);
}

static void test_one_layer(void **state _unused_)
{
	check_count(1, false);
}

static void test_one_layer_and_upper(void **state _unused_)
{
	check_count(1, true);
}

static void test_some_layers(void **state _unused_)
{
	check_count(6, false);
	check_count(6, true);
}

static void test_many_layers(void **state _unused_)
{
	check_count(200, true);
}

static void test_volatile(void **state _unused_)
{
	_cleanup_close_ int fd = -1;
	Fixture f;
	Err e = {0};

	if (geteuid() != 0)
		skip();
	make(&f, 2);
	_cleanup_free_ char *upper = make_dir(&f, "u"), *work = make_dir(&f, "w");
	assert_int_equal(mount_overlay_volatile(f.lower, upper, work, &fd, &e), 0);
	check_layers(fd, 2);
	close_fd(&fd);
	done(&f);
}

static void test_errors_name_the_layer(void **state _unused_)
{
	char *missing[] = {(char *)"/nonexistent/a:b", (char *)"/tmp", NULL}, *none[] = {NULL};
	Err e = {0};
	int fd = -1;

	if (geteuid() != 0)
		skip();
	assert_int_equal(mount_overlay(missing, NULL, NULL, &fd, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent/a:b"));
	assert_true(mount_overlay(none, NULL, NULL, &fd, &e) < 0);
	assert_int_equal(fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_layer),   cmocka_unit_test(test_one_layer_and_upper),
	    cmocka_unit_test(test_some_layers), cmocka_unit_test(test_many_layers),
	    cmocka_unit_test(test_volatile),    cmocka_unit_test(test_errors_name_the_layer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
