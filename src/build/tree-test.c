/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that are out to do harm, digested and copied; as root for devices. */
#include "build/tree.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/test.h"
#include "base/test-dir.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>

static WalkLimits limits;

typedef struct World {
	int from, to;
	TreeFilter filter;
} World;

static void world(void **state, World *w)
{
	int dir = ((TestDir *)*state)->fd;

	assert_int_equal(mkdirat(dir, "from", 0755), 0);
	assert_int_equal(mkdirat(dir, "to", 0755), 0);
	*w = (World){.from = openat(dir, "from", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		     .to = openat(dir, "to", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	limits = (WalkLimits){.max_bytes = 1 << 20, .max_files = 1000};
}

static void world_done(World *w)
{
	close_fd(&w->from);
	close_fd(&w->to);
}

static void put(int dir, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

static int copy(World *w, const char *pattern, TreeCopy *k, Err *e)
{
	Sources s = {0};
	int r = sources_match(w->from, pattern, &w->filter, &s, e);

	k->filter = &w->filter;
	k->limits = &limits;
	limits.files = limits.bytes = 0;
	for (size_t i = 0; r >= 0 && i < s.n; i++)
		r = tree_copy(k, w->from, &s.items[i], w->to, s.items[i].name, e);
	sources_done(&s);
	file_copy_done(&k->contents);
	return r;
}

static int digest(World *w, const char *pattern, char ret[DIGEST_LEN + 1], Err *e)
{
	const SourceDigest how = {.filter = &w->filter, .limits = &limits, .memo_root = -1};
	Sources s = {0};
	int r = sources_match(w->from, pattern, &w->filter, &s, e);

	limits.files = limits.bytes = 0;
	if (r >= 0)
		r = sources_digest(w->from, &s, &how, ret, e);
	sources_done(&s);
	return r;
}

/* Neither reads it. */
static void refused(World *w, const char *pattern, const char *why)
{
	char d[DIGEST_LEN + 1];
	TreeCopy k = {0};
	Err e = {0};

	assert_true(digest(w, pattern, d, &e) < 0);
	assert_non_null(strstr(e.msg, why));
	e = (Err){0};
	assert_true(copy(w, pattern, &k, &e) < 0);
	assert_non_null(strstr(e.msg, why));
}

static void bounded(void **state)
{
	World w;
	char name[16];

	world(state, &w);
	put(w.from, "huge", "x");
	_cleanup_close_ int fd = openat(w.from, "huge", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 1LL << 42), 0);
	refused(&w, "huge", "larger than the limit of 1048576 bytes");
	refused(&w, ".", "larger than the limit");
	assert_int_equal(unlinkat(w.from, "huge", 0), 0);
	for (int i = 0; i < 1001; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(w.from, name, "");
	}
	refused(&w, ".", "more files than the limit of 1000");
	world_done(&w);
}

static void too_deep(void **state)
{
	World w;
	int at;

	world(state, &w);
	at = dup(w.from);
	for (int i = 0; i < WALK_DEPTH_MAX + 10; i++) {
		assert_int_equal(mkdirat(at, "d", 0755), 0);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close_fd(&at);
		at = next;
	}
	close_fd(&at);
	refused(&w, ".", "nested more than 512 deep");
	world_done(&w);
}

static void special_files(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char d[DIGEST_LEN + 1];
	TreeCopy k = {0};
	struct stat st;
	Err e = {0};
	World w;

	world(state, &w);
	assert_int_equal(mkfifoat(w.from, "fifo", 0640), 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/from/sock", ((TestDir *)*state)->path);
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(digest(&w, ".", d, &e), 0);
	assert_int_equal(copy(&w, ".", &k, &e), 0);
	assert_int_equal(fstatat(w.to, "fifo", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISFIFO(st.st_mode) && (st.st_mode & 07777) == 0640);
	assert_int_equal(fstatat(w.to, "sock", &st, AT_SYMLINK_NOFOLLOW), -1);
	if (geteuid() == 0) {
		assert_int_equal(mknodat(w.from, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
		assert_true(copy(&w, ".", &k, &e) < 0);
		assert_non_null(strstr(e.msg, "copy /null: it is a device"));
		k.devices = true;
		assert_int_equal(copy(&w, ".", &k, &e), 0);
		assert_int_equal(fstatat(w.to, "null", &st, 0), 0);
		assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	}
	world_done(&w);
}

/* Links in the source are copied, those in the target neither followed nor written through. */
static void links(void **state)
{
	TreeCopy k = {0};
	struct stat st;
	Err e = {0};
	World w;
	int dir = ((TestDir *)*state)->fd;

	world(state, &w);
	put(dir, "outside", "keep");
	assert_int_equal(mkdirat(dir, "elsewhere", 0755), 0);
	assert_int_equal(mkdirat(w.from, "d", 0755), 0);
	put(w.from, "d/f", "new");
	put(w.from, "g", "new");
	assert_int_equal(symlinkat("../outside", w.to, "g"), 0);
	assert_int_equal(copy(&w, "g", &k, &e), 0);
	assert_int_equal(fstatat(dir, "outside", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(symlinkat("../elsewhere", w.to, "d"), 0);
	assert_true(copy(&w, ".", &k, &e) < 0);
	assert_non_null(strstr(e.msg, "cannot copy to non-directory: d"));
	assert_int_equal(fstatat(dir, "elsewhere/f", &st, 0), -1);
	/* What is named may be a link, inside the root. */
	assert_int_equal(symlinkat("../outside", w.from, "up"), 0);
	assert_int_equal(symlinkat("d/f", w.from, "in"), 0);
	assert_int_equal(copy(&w, "up", &k, &e), 0);
	assert_int_equal(fstatat(w.to, "up", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(copy(&w, "in", &k, &e), 0);
	assert_int_equal(fstatat(w.to, "in", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	world_done(&w);
}

/* A name that .dockerignore hides stays hidden behind a link. */
static void ignored(void **state)
{
	Ignore ig = {0};
	TreeCopy k = {0};
	Err e = {0};
	World w;

	world(state, &w);
	w.filter.ignore = &ig;
	assert_int_equal(ignore_add(&ig, "secret"), 0);
	put(w.from, "secret", "s");
	assert_int_equal(symlinkat("secret", w.from, "way"), 0);
	assert_true(copy(&w, "way", &k, &e) < 0);
	assert_non_null(strstr(e.msg, "\"/way\": not found"));
	assert_true(copy(&w, "secret", &k, &e) < 0);
	ignore_done(&ig);
	world_done(&w);
}

static void kept(void **state)
{
	ModeChange chmod;
	TreeCopy k = {.chmod = &chmod};
	struct stat a, b;
	char value[8];
	Err e = {0};
	World w;

	world(state, &w);
	assert_int_equal(mode_change_parse("g=u", &chmod, &e), 0);
	assert_int_equal(mkdirat(w.from, "d", 0700), 0);
	put(w.from, "d/one", "text");
	put(w.from, "d/sparse", "x");
	assert_int_equal(linkat(w.from, "d/one", w.from, "d/two", 0), 0);
	_cleanup_close_ int fd = openat(w.from, "d/sparse", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 900000), 0);
	bool attributes = fsetxattr(fd, "user.a", "1", 1, 0) == 0;
	assert_int_equal(utimensat(w.from, "d", (struct timespec[]){{1, 0}, {2, 3}}, 0), 0);
	assert_int_equal(copy(&w, ".", &k, &e), 0);
	assert_int_equal(fstatat(w.to, "d/one", &a, 0), 0);
	assert_int_equal(fstatat(w.to, "d/two", &b, 0), 0);
	assert_true(a.st_ino == b.st_ino && (a.st_mode & 07777) == 0664);
	assert_int_equal(fstatat(w.to, "d/sparse", &a, 0), 0);
	assert_true(a.st_size == 900000 && a.st_blocks < 100);
	assert_int_equal(fstatat(w.to, "d", &a, 0), 0);
	assert_true((a.st_mode & 07777) == 0770 && a.st_mtim.tv_sec == 2 && a.st_mtim.tv_nsec == 3);
	_cleanup_close_ int copied = openat(w.to, "d/sparse", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fgetxattr(copied, "user.a", value, sizeof(value)), attributes ? 1 : -1);
	world_done(&w);
}

static void digest_is_of_what_is_there(void **state)
{
	char first[DIGEST_LEN + 1], again[DIGEST_LEN + 1];
	Err e = {0};
	World w;

	world(state, &w);
	assert_int_equal(mkdirat(w.from, "d", 0755), 0);
	put(w.from, "d/f", "one");
	assert_int_equal(digest(&w, "d", first, &e), 0);
	assert_int_equal(utimensat(w.from, "d/f", NULL, 0), 0);
	assert_int_equal(digest(&w, "d", again, &e), 0);
	assert_string_equal(first, again);
	for (int change = 0; change < 6; change++) {
		_cleanup_close_ int fd = openat(w.from, "d/f", O_RDONLY | O_CLOEXEC);

		if (change == 0)
			put(w.from, "d/f", "two");
		else if (change == 1)
			assert_int_equal(fchmod(fd, 0600), 0);
		else if (change == 2)
			assert_int_equal(linkat(w.from, "d/f", w.from, "d/g", 0), 0);
		else if (change == 3)
			assert_int_equal(renameat(w.from, "d/g", w.from, "d/h"), 0);
		else if (change == 4)
			assert_int_equal(symlinkat("a", w.from, "d/l"), 0);
		else if (fsetxattr(fd, "user.a", "1", 1, 0) < 0)
			break; /* a file system without attributes */
		assert_int_equal(digest(&w, "d", again, &e), 0);
		assert_string_not_equal(first, again);
		memcpy(first, again, sizeof(first));
	}
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(bounded),
	    test_in_dir(too_deep),
	    test_in_dir(special_files),
	    test_in_dir(links),
	    test_in_dir(ignored),
	    test_in_dir(kept),
	    test_in_dir(digest_is_of_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
