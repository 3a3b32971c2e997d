/* SPDX-License-Identifier: Apache-2.0 */
#include "build/memo.h"
#include "build/build.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/test.h"
#include "base/test-dir.h"

#include <fcntl.h>

static MemoKey key(uint64_t i)
{
	return (MemoKey){
	    .dev = 1 + i % 3, .ino = i * 7919 % 10007, .size = (int64_t)i, .mtime_ns = 5, .ctime_ns = 6};
}

static void put(Memo *m, uint64_t i, uint8_t with)
{
	uint8_t digest[MEMO_DIGEST];
	MemoKey k = key(i);

	memset(digest, with, sizeof(digest));
	assert_int_equal(memo_put(m, &k, digest), 0);
}

static void expect(Memo *m, uint64_t i, int with)
{
	uint8_t digest[MEMO_DIGEST];
	MemoKey k = key(i);
	bool found = memo_get(m, &k, digest);

	if (found != (with >= 0))
		fail_msg("%llu %s there", (unsigned long long)i, found ? "is" : "is not");
	if (found)
		assert_int_equal(digest[31], with);
}

/* A view's files are those of what it shows, as long as it is known as one. */
static void views_of_devices(void **state)
{
	struct stat st = {.st_dev = 77, .st_ino = 5, .st_size = 1};
	MemoKey own = memo_key_of_file(&st), view;

	build_device_is(77, 3);
	build_device_is(78, 4);
	view = memo_key_of_file(&st);
	assert_int_equal(view.dev, 3);
	assert_int_equal(view.ino, own.ino);
	build_device_forget(77);
	view = memo_key_of_file(&st);
	assert_true(memo_keys_equal(&own, &view));
	st.st_dev = 78;
	assert_int_equal(memo_key_of_file(&st).dev, 4);
	build_device_forget(78);
	build_device_forget(78);
	for (uint64_t i = 0; i < 100; i++)
		build_device_is(1000 + i, i);
	for (uint64_t i = 0; i < 100; i++)
		build_device_forget(1000 + i);
	st.st_dev = 1000;
	assert_int_equal(memo_key_of_file(&st).dev, 1000);
}

static void open_memo(int dir, Memo **ret)
{
	Err e = {0};

	if (memo_open(dir, ret, &e) < 0)
		fail_msg("%s", e.msg);
}

static void keeps_and_replaces(void **state)
{
	int dir = ((TestDir *)*state)->fd;
	_cleanup_(memo_freep) Memo *m = NULL, *other = NULL;
	Err e = {0};

	open_memo(dir, &m);
	expect(m, 1, -1);
	for (uint64_t i = 0; i < 5000; i++)
		put(m, i, (uint8_t)i);
	put(m, 17, 99);
	open_memo(dir, &other);
	put(other, 7000, 1);
	assert_int_equal(memo_save(m, &e), 0);
	assert_int_equal(memo_save(other, &e), 0);
	for (uint64_t i = 0; i < 5000; i++)
		if (i != 17)
			expect(other, i, (uint8_t)i);
	expect(other, 7000, 1);
	expect(m, 7000, -1);
	/* The same file, changed. */
	MemoKey k = key(20);
	uint8_t digest[MEMO_DIGEST] = {0};
	k.mtime_ns++;
	assert_false(memo_get(other, &k, digest));
	k.mtime_ns--;
	k.ctime_ns++;
	assert_false(memo_get(other, &k, digest));
	assert_int_equal(memo_put(other, &k, digest), 0);
	assert_int_equal(memo_save(other, &e), 0);
	expect(other, 20, -1);
	assert_true(memo_get(other, &k, digest));
}

static void damaged_is_empty(void **state)
{
	int dir = ((TestDir *)*state)->fd;
	_cleanup_close_ int fd = -1;
	_cleanup_(memo_freep) Memo *m = NULL;
	uint8_t byte = 0;

	open_memo(dir, &m);
	put(m, 1, 1);
	put(m, 2, 2);
	assert_int_equal(memo_save(m, NULL), 0);
	for (off_t at = 0; at < 24 + 2 * 80; at += 11) {
		_cleanup_(memo_freep) Memo *n = NULL;

		fd = openat(dir, "build/digests", O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		open_memo(dir, &n);
		expect(n, 1, -1);
		expect(n, 2, -1);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close_fd(&fd);
	}
	fd = openat(dir, "build/digests", O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 100), 0);
	_cleanup_(memo_freep) Memo *cut = NULL;
	open_memo(dir, &cut);
	expect(cut, 1, -1);
	put(cut, 3, 3);
	assert_int_equal(memo_save(cut, NULL), 0);
	expect(cut, 3, 3);
}

static void bounded(void **state)
{
	int dir = ((TestDir *)*state)->fd;
	_cleanup_(memo_freep) Memo *m = NULL;
	struct stat st;

	open_memo(dir, &m);
	for (uint64_t i = 0; i < MEMO_ROWS_MAX + 1000; i++) {
		uint8_t digest[MEMO_DIGEST] = {1};
		MemoKey k = {.dev = 1, .ino = i};

		assert_int_equal(memo_put(m, &k, digest), 0);
	}
	assert_int_equal(memo_save(m, NULL), 0);
	assert_int_equal(fstatat(dir, "build/digests", &st, 0), 0);
	assert_int_equal(st.st_size, 24 + MEMO_ROWS_MAX * 80LL);
}

static void what_is_new_is_not_settled(void **state)
{
	int64_t now = 1700000000123456789LL;
	struct stat st = {.st_mtim = {.tv_sec = 1700000000, .tv_nsec = 100000000},
			  .st_ctim = {.tv_sec = 1700000000, .tv_nsec = 1}};

	assert_false(memo_is_settled(&st, now));
	st.st_mtim.tv_nsec = 20000000;
	assert_true(memo_is_settled(&st, now));
	st.st_ctim.tv_nsec = 100000000;
	assert_false(memo_is_settled(&st, now));
	/* A clock that was set back. */
	st.st_ctim.tv_sec++;
	assert_false(memo_is_settled(&st, now));
	/* Whole seconds. */
	st.st_mtim = st.st_ctim = (struct timespec){.tv_sec = 1699999999};
	assert_false(memo_is_settled(&st, now));
	st.st_mtim = st.st_ctim = (struct timespec){.tv_sec = 1699999997};
	assert_true(memo_is_settled(&st, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(views_of_devices),
	    test_in_dir(keeps_and_replaces),
	    test_in_dir(damaged_is_empty),
	    test_in_dir(bounded),
	    cmocka_unit_test(what_is_new_is_not_settled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
