/* SPDX-License-Identifier: Apache-2.0 */
/* No name, however built, leads out of the root: dir/root is the root, dir/secret and dir/out lie outside.
 * Names say ireko, so that a failure does not litter real directories under familiar names. */
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"

typedef struct Fixture {
	const TestDir *dir;
	int root;
} Fixture;

static void fixture_done(Fixture *f)
{
	closep(&f->root);
}

static Fixture fixture(void **state)
{
	Fixture f = {.dir = *state};

	assert_int_equal(mkdirat(f.dir->fd, "root", 0755), 0);
	assert_int_equal(mkdirat(f.dir->fd, "out", 0755), 0);
	assert_int_equal(file_replace_at(f.dir->fd, "secret", "s", 1, 0644, false), 0);
	f.root = openat(f.dir->fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(f.root >= 0);
	assert_int_equal(file_replace_at(f.root, "plain", "p", 1, 0644, false), 0);
	return f;
}

static void link_to(const Fixture *f, const char *target, const char *name)
{
	assert_int_equal(symlinkat(target, f->root, name), 0);
}

static bool exists(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* True if fd (closed here) is the file dirfd/name. */
static bool is_file(int fd, int dirfd, const char *name)
{
	struct stat a, b;

	if (fd < 0)
		fail_msg("%s: %s", name, strerror(-fd));
	bool same = fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, 0) == 0 && a.st_ino == b.st_ino &&
		    a.st_dev == b.st_dev;
	close(fd);
	return same;
}

static void test_open_stays_inside(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_free_ char *absolute = strf("%s/secret", f.dir->path);

	link_to(&f, "../secret", "up");
	link_to(&f, absolute, "abs");
	link_to(&f, "/plain", "abs-inside");
	link_to(&f, "../../../../plain", "up-inside");
	assert_int_equal(path_open_in_root(f.root, "../secret", O_RDONLY, 0), -ENOENT);
	assert_int_equal(path_open_in_root(f.root, absolute, O_RDONLY, 0), -ENOENT);
	assert_int_equal(path_open_in_root(f.root, "up", O_RDONLY, 0), -ENOENT);
	assert_int_equal(path_open_in_root(f.root, "abs", O_RDONLY, 0), -ENOENT);
	assert_true(is_file(path_open_in_root(f.root, "/../../plain", O_RDONLY, 0), f.root, "plain"));
	assert_true(is_file(path_open_in_root(f.root, "abs-inside", O_RDONLY, 0), f.root, "plain"));
	assert_true(is_file(path_open_in_root(f.root, "up-inside", O_RDONLY, 0), f.root, "plain"));
	assert_true(is_file(path_open_in_root(f.root, "..", O_PATH, 0), f.root, "."));
}

static void test_open_beneath(void **state)
{
	static const char *const out[] = {"..",    "../secret", "absolute", "up",
					  "chain", "root",      "/",        "plain/../../out"};
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_free_ char *absolute = strf("%s/secret", f.dir->path);

	link_to(&f, absolute, "absolute");
	link_to(&f, "../secret", "up");
	link_to(&f, "up", "chain");
	link_to(&f, "/", "root");
	link_to(&f, "./plain", "inside");
	assert_true(is_file(path_open_beneath(f.root, "inside", O_RDONLY), f.root, "plain"));
	assert_int_equal(path_open_beneath(f.root, "none", O_PATH), -ENOENT);
	for (size_t i = 0; i < ELEMENTSOF(out); i++) {
		int fd = path_open_beneath(f.root, out[i], O_PATH);

		if (fd != -EXDEV && fd != -ENOTDIR)
			fail_msg("%s: %d", out[i], fd);
	}
}

static void test_open_creates_inside(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);

	link_to(&f, "../out/new", "up");
	assert_int_equal(path_open_in_root(f.root, "up", O_WRONLY | O_CREAT, 0644), -ENOENT);
	link_to(&f, "/../ireko-new", "up-to-top");
	assert_true(
	    is_file(path_open_in_root(f.root, "up-to-top", O_WRONLY | O_CREAT, 0644), f.root, "ireko-new"));
	assert_false(exists(f.dir->fd, "ireko-new"));
	assert_false(exists(f.dir->fd, "out/new"));
}

static void test_open_is_cloexec(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_close_ int fd = path_open_in_root(f.root, "plain", O_RDONLY, 0777);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

/* /proc/self/root and /proc/self/fd/N jump without a path; that is how containers got out. */
static void test_magic_links_are_refused(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *fd = strf("%d/fd/%d", getpid(), f.dir->fd);
	_cleanup_free_ char *below = strf("%d/fd/%d/made", getpid(), f.dir->fd);
	_cleanup_free_ char *root = strf("%d/root/etc", getpid());

	assert_true(proc >= 0);
	assert_int_equal(path_open_in_root(proc, fd, O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open_in_root(proc, root, O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_mkdir_in_root(proc, below, 0755), -ELOOP);
	assert_int_equal(path_touch_in_root(proc, below, 0644), -ELOOP);
	assert_false(exists(f.dir->fd, "made"));
}

static void test_mkdir_makes_what_is_missing(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	struct stat st;

	assert_true(is_file(path_mkdir_in_root(f.root, "/ireko-a//b/./c/", 0700), f.root, "ireko-a/b/c"));
	assert_int_equal(fstatat(f.root, "ireko-a/b/c", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(fstatat(f.root, "ireko-a/b", &st, 0), 0);
	assert_int_equal(st.st_mode & 0700, 0700);
	assert_true(is_file(path_mkdir_in_root(f.root, "ireko-a/b", 0700), f.root, "ireko-a/b"));
	assert_true(is_file(path_mkdir_in_root(f.root, "/", 0700), f.root, "."));
	assert_int_equal(path_mkdir_in_root(f.root, "plain", 0755), -ENOTDIR);
	assert_int_equal(path_mkdir_in_root(f.root, "plain/x", 0755), -ENOTDIR);
}

static void test_mkdir_stays_inside(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_free_ char *out = strf("%s/out", f.dir->path);
	_cleanup_free_ char *inside = strf("root%s/x", out);

	assert_true(is_file(path_mkdir_in_root(f.root, "../../ireko-d1/../../ireko-d2", 0755), f.dir->fd,
			    "root/ireko-d2"));
	assert_false(exists(f.dir->fd, "ireko-d1"));
	assert_false(exists(f.dir->fd, "ireko-d2"));

	link_to(&f, "../out", "up");
	assert_true(is_file(path_mkdir_in_root(f.root, "up/x", 0755), f.dir->fd, "root/out/x"));
	link_to(&f, out, "abs");
	assert_true(is_file(path_mkdir_in_root(f.root, "abs/x", 0755), f.dir->fd, inside));
	assert_false(exists(f.dir->fd, "out/x"));
}

static void test_mkdir_follows_links_to_nothing(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);

	assert_int_equal(mkdirat(f.root, "var", 0755), 0);
	link_to(&f, "/ireko-run", "var/run");
	link_to(&f, "lib/deep", "var/rel");
	assert_true(is_file(path_mkdir_in_root(f.root, "var/run/a/b", 0755), f.root, "ireko-run/a/b"));
	assert_true(is_file(path_mkdir_in_root(f.root, "var/rel/x", 0755), f.root, "var/lib/deep/x"));
	assert_false(exists(AT_FDCWD, "/ireko-run/a/b"));
	link_to(&f, "loop-b", "loop-a");
	link_to(&f, "loop-a", "loop-b");
	assert_int_equal(path_mkdir_in_root(f.root, "loop-a/x", 0755), -ELOOP);
	link_to(&f, "grow/x", "grow"); /* grows with every replacement */
	assert_int_equal(path_mkdir_in_root(f.root, "grow", 0755), -ELOOP);
}

static void test_touch(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	struct stat st;

	assert_true(
	    is_file(path_touch_in_root(f.root, "/ireko-etc/a/hosts", 0640), f.root, "ireko-etc/a/hosts"));
	assert_int_equal(fstatat(f.root, "ireko-etc/a/hosts", &st, 0), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, 0);
	assert_true(is_file(path_touch_in_root(f.root, "plain", 0640), f.root, "plain"));
	assert_int_equal(fstatat(f.root, "plain", &st, 0), 0);
	assert_int_equal(st.st_size, 1);
	assert_int_equal(path_touch_in_root(f.root, "ireko-etc", 0640), -EISDIR);
	assert_int_equal(path_touch_in_root(f.root, "/", 0640), -EISDIR);
	assert_int_equal(path_touch_in_root(f.root, "plain/x", 0640), -ENOTDIR);
	assert_int_equal(path_touch_in_root(f.root, "new/", 0640), -EINVAL);
}

static void test_touch_stays_inside(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	_cleanup_free_ char *absolute = strf("%s/out/f", f.dir->path);
	_cleanup_free_ char *inside = strf("root%s", absolute);

	link_to(&f, "../out/e", "up");
	assert_true(is_file(path_touch_in_root(f.root, "up", 0644), f.dir->fd, "root/out/e"));
	link_to(&f, absolute, "abs");
	assert_true(is_file(path_touch_in_root(f.root, "abs", 0644), f.dir->fd, inside));
	assert_true(is_file(path_touch_in_root(f.root, "../../ireko-g", 0644), f.dir->fd, "root/ireko-g"));
	assert_false(exists(f.dir->fd, "out/e"));
	assert_false(exists(f.dir->fd, "out/f"));
	assert_false(exists(f.dir->fd, "ireko-g"));
	link_to(&f, "self", "self");
	assert_int_equal(path_touch_in_root(f.root, "self", 0644), -ELOOP);
}

static void test_parent(void **state)
{
	_cleanup_(fixture_done) Fixture f = fixture(state);
	const char *name = NULL;

	link_to(&f, "../secret", "up");
	assert_true(is_file(path_open_parent_in_root(f.root, "/up", false, &name), f.root, "."));
	assert_string_equal(name, "up");
	assert_true(is_file(path_open_parent_in_root(f.root, "x/y/z", true, &name), f.root, "x/y"));
	assert_string_equal(name, "z");
	assert_false(exists(f.root, "x/y/z"));
	assert_true(is_file(path_open_parent_in_root(f.root, "//", true, &name), f.root, "."));
	assert_string_equal(name, ".");
	assert_true(is_file(path_open_parent_in_root(f.root, ".", true, &name), f.root, "."));
	assert_string_equal(name, ".");
	name = NULL;
	assert_int_equal(path_open_parent_in_root(f.root, "no/z", false, &name), -ENOENT);
	assert_int_equal(path_open_parent_in_root(f.root, "..", true, &name), -EINVAL);
	assert_int_equal(path_open_parent_in_root(f.root, "x/..", true, &name), -EINVAL);
	assert_int_equal(path_open_parent_in_root(f.root, "up/", true, &name), -EINVAL);
	assert_null(name);
}

static void test_clean(void **state _unused_)
{
	static const char *const cases[][2] = {
	    {"/a/./b//../c/", "/a/c"},
	    {"/", "/"},
	    {"//", "/"},
	    {"/..", "/"},
	    {"/../../a", "/a"},
	    {"/a/../..", "/"},
	    {"/a/../../b", "/b"},
	    {"", "."},
	    {".", "."},
	    {"./", "."},
	    {"a/..", "."},
	    {"a/../b", "b"},
	    {"..", ".."},
	    {"../../a", "../../a"},
	    {"../a/../..", "../.."},
	    {"a/b/../../..", ".."},
	    {"a//b/", "a/b"},
	    {"/...", "/..."},
	    {"..a/.b", "..a/.b"},
	    {"a/../../b", "../b"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *s = path_clean(cases[i][0]);

		assert_string_equal(s, cases[i][1]);
	}
}

static void test_join_and_base(void **state _unused_)
{
	_cleanup_free_ char *a = path_join_clean("/w", "x/../y"), *b = path_join_clean("/w", "/z/."),
			    *c = path_join_clean("/w", "../../.."), *d = path_join_clean("/", "");

	assert_string_equal(a, "/w/y");
	assert_string_equal(b, "/z");
	assert_string_equal(c, "/");
	assert_string_equal(d, "/");
	assert_string_equal(path_base("/a/b"), "b");
	assert_string_equal(path_base("b"), "b");
	assert_string_equal(path_base("a/"), "");
	assert_string_equal(path_of_fd(7).s, "/proc/self/fd/7");
}

static void test_own_dir(void **state _unused_)
{
	_cleanup_free_ char *dir = NULL, *exe = realpath("/proc/self/exe", NULL);

	assert_int_equal(path_of_own_dir(&dir), 0);
	*strrchr(exe, '/') = '\0';
	assert_string_equal(dir, exe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_open_stays_inside),
	    test_in_dir(test_open_beneath),
	    test_in_dir(test_open_creates_inside),
	    test_in_dir(test_open_is_cloexec),
	    test_in_dir(test_magic_links_are_refused),
	    test_in_dir(test_mkdir_makes_what_is_missing),
	    test_in_dir(test_mkdir_stays_inside),
	    test_in_dir(test_mkdir_follows_links_to_nothing),
	    test_in_dir(test_touch),
	    test_in_dir(test_touch_stays_inside),
	    test_in_dir(test_parent),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_join_and_base),
	    cmocka_unit_test(test_own_dir),
	};
	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
