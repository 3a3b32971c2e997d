/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs are what their digests say, documents come back, and one data root has one owner. */
#include "base/clock.h"
#include "store/store-test.h"

#define HELLO "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static void test_put_and_read(void **state)
{
	Store *s = open_store(*state);
	char digest[DIGEST_LEN + 1];
	_cleanup_free_ char *text = NULL;
	size_t len;
	Err e = {0};

	assert_false(store_blob_has(s, HELLO));
	assert_int_equal(store_blob_put(s, "hello", 5, digest, &e), 0);
	assert_string_equal(digest, HELLO);
	assert_int_equal(store_blob_put(s, "hello", 5, digest, &e), 0);
	assert_true(store_blob_has(s, HELLO));
	assert_int_equal(store_blob_read(s, HELLO, 5, &text, &len, &e), 0);
	assert_string_equal(text, "hello");
	free(take_ptr(text));
	assert_true(store_blob_read(s, HELLO, 4, &text, &len, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	store_close(s);
}

static int write_blob(Store *s, const char *text, const char *digest, int64_t size, Err *e)
{
	_cleanup_(blob_writer_freep) BlobWriter *w = NULL;
	char got[DIGEST_LEN + 1];

	assert_int_equal(blob_writer_new(s, &w, e), 0);
	for (const char *p = text; *p; p++)
		assert_int_equal(blob_writer_write(w, p, 1, e), 0);
	assert_int_equal(blob_writer_size(w), strlen(text));
	return blob_writer_commit(w, digest, size, got, e);
}

static void test_wrong_blobs_leave_nothing(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	Err e = {0};

	assert_true(write_blob(s, "hellO", HELLO, 5, &e) < 0);
	assert_non_null(strstr(e.msg, "digest mismatch: expected " HELLO ", got sha256:"));
	assert_int_equal(e.kind, ERR_INVALID);
	assert_true(write_blob(s, "hell", HELLO, 5, &e) < 0);
	assert_true(write_blob(s, "hello", HELLO, 6, &e) < 0);
	assert_non_null(strstr(e.msg, "expected 6 bytes, got 5"));
	assert_false(store_blob_has(s, HELLO));
	assert_int_equal(faccessat(d->fd,
				   "root/" BLOBS
				   "/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
				   F_OK, 0),
			 -1);
	assert_int_equal(write_blob(s, "hello", HELLO, -1, &e), 0);
	store_close(s);
}

static void test_a_damaged_blob_counts_as_missing(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char digest[DIGEST_LEN + 1];
	_cleanup_free_ char *path = blob_path(HELLO);
	int fd;

	assert_int_equal(store_blob_put(s, "hello", 5, digest, NULL), 0);
	fd = openat(store_root_fd(s), path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	assert_false(store_blob_has(s, HELLO));
	/* And is mended by the next one who brings it. */
	assert_int_equal(store_blob_put(s, "hello", 5, digest, NULL), 0);
	assert_true(store_blob_has(s, HELLO));
	store_close(s);
}

static void test_names_cannot_escape(void **state)
{
	Store *s = open_store(*state);
	Err e = {0};

	assert_true(store_blob_open(s, "sha256:../../../../etc/passwd", NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_true(store_snapshot_prepare(s, "../x", NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_true(store_snapshot_remove(s, ".", &e) < 0);
	store_close(s);
}

static int collect(void *user, const char *key, json_t *doc)
{
	strbuf_addf(user, "%s=%lld ", key, (long long)json_get_int(doc, "n", -1));
	return 0;
}

static int stop_at_first(void *user, const char *key, json_t *doc)
{
	return 7;
}

typedef struct Sum {
	int64_t n;
	int calls;
} Sum;

static int add_up(void *user, const char *key, json_t *doc)
{
	Sum *sum = user;

	__atomic_fetch_add(&sum->n, json_get_int(doc, "n", -1), __ATOMIC_RELAXED);
	__atomic_fetch_add(&sum->calls, 1, __ATOMIC_RELAXED);
	return 0;
}

static int stop_at_500(void *user, const char *key, json_t *doc)
{
	(void)add_up(user, key, doc);
	return json_get_int(doc, "n", -1) == 500 ? 9 : 0;
}

static void test_documents_at_once(void **state)
{
	Store *s = open_store(*state);
	Sum all = {0}, some = {0};
	Err e = {0};

	assert_int_equal(store_doc_each_at_once(s, "container", add_up, &all, &e), 0);
	assert_int_equal(all.calls, 0);
	for (int i = 0; i < 1000; i++) {
		_cleanup_json_ json_t *doc = json_pack("{s:i}", "n", i);
		char key[16];

		(void)snprintf(key, sizeof(key), "%d", i);
		assert_int_equal(store_doc_put(s, "container", key, doc, &e), 0);
	}
	assert_int_equal(store_doc_each_at_once(s, "container", add_up, &all, &e), 0);
	assert_int_equal(all.calls, 1000);
	assert_int_equal(all.n, 999 * 500);
	assert_int_equal(store_doc_each_at_once(s, "container", stop_at_500, &some, &e), 9);
	assert_true(some.calls > 0 && some.calls < 1000);
	store_close(s);
}

static void test_documents(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	_cleanup_json_ json_t *one = json_pack("{s:i}", "n", 1), *two = json_pack("{s:i}", "n", 2);
	json_t *got = NULL;
	Store *s = open_store(*state);
	Err e = {0};

	assert_int_equal(store_doc_put(s, "volume", "b", one, &e), 0);
	assert_int_equal(store_doc_put(s, "volume", "a", one, &e), 0);
	assert_int_equal(store_doc_put(s, "volume", "a", two, &e), 0);
	assert_int_equal(store_doc_put(s, "network", "c", one, &e), 0);
	store_close(s);

	s = open_store(*state);
	assert_int_equal(store_doc_each(s, "volume", collect, &b, &e), 0);
	assert_string_equal(b.s, "a=2 b=1 ");
	assert_int_equal(store_doc_each(s, "volume", stop_at_first, NULL, &e), 7);
	assert_int_equal(store_doc_get(s, "volume", "a", &got, &e), 0);
	assert_true(json_equal(got, two));
	json_decref(got);
	assert_int_equal(store_doc_delete(s, "volume", "a", &e), 0);
	assert_true(store_doc_get(s, "volume", "a", &got, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_close(s);
}

static void test_one_owner(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *root = strf("%s/root", d->path);
	StoreOptions o = {.data_root = root};
	Store *s = open_store(d), *second = NULL;
	struct stat st;
	Err e = {0};

	assert_true(store_open(&o, &second, &e) < 0);
	assert_non_null(strstr(e.msg, "in use by another irekod"));
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(fstat(store_root_fd(s), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0710);
	assert_int_equal(fstatat(store_root_fd(s), LAYERS, &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	store_close(s);
	assert_int_equal(store_open(&o, &second, &e), 0);
	store_close(second);
}

static void test_garbage_goes_at_start(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char digest[DIGEST_LEN + 1];

	assert_int_equal(store_blob_put(s, "hello", 5, digest, NULL), 0);
	store_close(s);
	write_file(d, "root/" INGEST "/half", "x");
	write_file(d, "root/" BLOBS "/0000", "x");
	assert_int_equal(mkdirat(d->fd, "root/" LAYERS "/.tmp-1", 0700), 0);
	assert_int_equal(mkdirat(d->fd, "root/containers/lost", 0700), 0);
	assert_int_equal(mkdirat(d->fd, "root/containers/lost/diff", 0700), 0);
	s = open_store(d);
	assert_int_equal(faccessat(d->fd, "root/" INGEST "/half", F_OK, 0), -1);
	assert_int_equal(faccessat(d->fd, "root/" BLOBS "/0000", F_OK, 0), -1);
	assert_int_equal(faccessat(d->fd, "root/" LAYERS "/.tmp-1", F_OK, 0), -1);
	assert_int_equal(faccessat(d->fd, "root/containers/lost", F_OK, 0), -1);
	assert_true(store_blob_has(s, HELLO));
	store_close(s);
}

static int64_t synced_blobs(Store *s)
{
	int64_t n;

	assert_int_equal(db_get_int(&s->db, &n, 0, NULL, "SELECT count(*) FROM blob WHERE synced = 1", ""),
			 0);
	return n;
}

/* Steps of a build commit layers and throw their containers away, one after the other: that must not be a sync each. */
static void test_what_is_deleted_hastens_no_sync(void **state)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	const TestDir *d = *state;
	Store *s = open_store(d);
	char digest[DIGEST_LEN + 1];
	int64_t until;

	assert_int_equal(store_blob_put(s, "hello", 5, digest, NULL), 0);
	assert_int_equal(mkdirat(d->fd, "root/containers/old", 0700), 0);
	assert_int_equal(trash_put(s, "containers/old", NULL), 0);
	until = clock_mono_ns() + 20000000000ll;
	while (unlinkat(d->fd, "root/" TRASH, AT_REMOVEDIR) < 0 && clock_mono_ns() < until)
		nanosleep(&pause, NULL);
	assert_int_equal(mkdirat(d->fd, "root/" TRASH, 0700), 0);
	assert_int_equal(synced_blobs(s), 0);
	while (!synced_blobs(s) && clock_mono_ns() < until)
		nanosleep(&pause, NULL);
	assert_int_equal(synced_blobs(s), 1);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_put_and_read),
	    test_in_dir(test_wrong_blobs_leave_nothing),
	    test_in_dir(test_a_damaged_blob_counts_as_missing),
	    test_in_dir(test_names_cannot_escape),
	    test_in_dir(test_documents),
	    test_in_dir(test_documents_at_once),
	    test_in_dir(test_one_owner),
	    test_in_dir(test_garbage_goes_at_start),
	    test_in_dir(test_what_is_deleted_hastens_no_sync),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
