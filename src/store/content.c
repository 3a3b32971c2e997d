/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs: named by what is in them, never changed.
 *
 * A blob is written to a nameless file (O_TMPFILE; it vanishes with the process), hashed on the way, and gets
 * its name only when size and digest are right; the row comes last, and without it the name does not stay. Whoever comes second with the same blob finds the
 * name taken and is content. The bytes are brought to disk by the background thread (sync.c).
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/path.h"
#include "base/str.h"
#include "store/digest.h"
#include "store/store-internal.h"

#include <fcntl.h>
#include <sys/stat.h>

struct BlobWriter {
	Store *store;
	int fd;
	int64_t size;
	Hasher *hasher;
};

static int no_such_blob(const char *digest, Err *e)
{
	return err_new(e, ERR_NOT_FOUND, "No such blob: %s", digest);
}

int store_blob_open(Store *s, const char *digest, int64_t *ret_size, Err *e)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int64_t size;
	int r;

	if (!digest_is_valid(digest))
		return err_new(e, ERR_INVALID, "invalid digest: %s", digest);
	r = db_get_int(&s->db, &size, -1, e, "SELECT size FROM blob WHERE digest = ?1", "t", digest);
	if (r < 0)
		return r;
	if (size < 0)
		return no_such_blob(digest, e);
	path = blob_path(digest);
	if (!path)
		return err_oom(e);
	fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return no_such_blob(digest, e);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, errno, "open the blob %s", digest);
	/* As if it were not there, so that a pull repairs it. */
	if (st.st_size != size)
		return no_such_blob(digest, e);
	if (ret_size)
		*ret_size = size;
	return take_fd(&fd);
}

bool store_blob_has(Store *s, const char *digest)
{
	_cleanup_close_ int fd = store_blob_open(s, digest, NULL, NULL);

	return fd >= 0;
}

bool store_blob_lost(Store *s, const char *digest)
{
	int64_t needed = 0;

	return db_get_int(&s->db, &needed, 0, NULL,
			  "SELECT EXISTS (SELECT 1 FROM image_blob WHERE digest = ?1)", "t", digest) >= 0 &&
	       needed && !store_blob_has(s, digest);
}

int store_blob_read(Store *s, const char *digest, size_t max, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = -1;
	int64_t size;
	int r;

	fd = store_blob_open(s, digest, &size, e);
	if (fd < 0)
		return fd;
	if ((uint64_t)size > max)
		return err_new(e, ERR_INVALID, "the blob %s has %lld bytes: at most %zu are allowed here",
			       digest, (long long)size, max);
	r = fd_read_all(fd, max, ret, ret_len);
	return r < 0 ? err_sys(e, r, "read the blob %s", digest) : 0;
}

int store_blob_put(Store *s, const void *data, size_t len, char ret_digest[DIGEST_LEN + 1], Err *e)
{
	_cleanup_(blob_writer_freep) BlobWriter *w = NULL;
	char digest[DIGEST_LEN + 1];
	int r;

	digest_of(data, len, digest);
	if (store_blob_has(s, digest)) {
		memcpy(ret_digest, digest, sizeof(digest));
		return 0;
	}
	r = blob_writer_new(s, &w, e);
	if (r >= 0)
		r = blob_writer_write(w, data, len, e);
	return r < 0 ? r : blob_writer_commit(w, digest, (int64_t)len, ret_digest, e);
}

int blob_writer_new(Store *s, BlobWriter **ret, Err *e)
{
	_cleanup_(blob_writer_freep) BlobWriter *w = calloc(1, sizeof(*w));

	if (!w)
		return err_oom(e);
	w->store = s;
	w->fd = openat(s->root_fd, INGEST, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (w->fd < 0)
		return store_sys(e, errno, "make a file in %s/%s", s->root, INGEST);
	w->hasher = hasher_new();
	if (!w->hasher)
		return err_oom(e);
	*ret = take_ptr(w);
	return 0;
}

int blob_writer_write(BlobWriter *w, const void *buf, size_t len, Err *e)
{
	int r = fd_write_all(w->fd, buf, len);

	if (r < 0)
		return store_sys(e, r, "write a blob to %s", w->store->root);
	hasher_add(w->hasher, buf, len);
	w->size += (int64_t)len;
	return 0;
}

int64_t blob_writer_size(const BlobWriter *w)
{
	return w->size;
}

int blob_writer_fd(const BlobWriter *w)
{
	return w->fd;
}

static int check(BlobWriter *w, const char *want_digest, int64_t want_size, char digest[DIGEST_LEN + 1],
		 Err *e)
{
	int r = hasher_digest(w->hasher, digest);

	if (r < 0)
		return err_sys(e, r, "hash a blob");
	if (want_size >= 0 && want_size != w->size)
		return err_new(e, ERR_INVALID, "size mismatch of %s: expected %lld bytes, got %lld",
			       want_digest ? want_digest : digest, (long long)want_size, (long long)w->size);
	if (want_digest && !streq(want_digest, digest))
		return err_new(e, ERR_INVALID, "digest mismatch: expected %s, got %s", want_digest, digest);
	return 0;
}

/* Gives the file its name: 1. One that is there already is right, unless a crash or a hand has damaged it: 0. */
static int link_blob(Store *s, int fd, int64_t size, const char *digest, Err *e)
{
	_cleanup_free_ char *path = blob_path(digest);
	struct stat st;

	if (!path)
		return err_oom(e);
	for (int attempt = 0; attempt < 3; attempt++) {
		if (linkat(AT_FDCWD, path_of_fd(fd).s, s->root_fd, path, AT_SYMLINK_FOLLOW) == 0)
			return 1;
		if (errno != EEXIST)
			break;
		if (fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_size == size)
			return 0;
		if (unlinkat(s->root_fd, path, 0) < 0 && errno != ENOENT)
			break;
	}
	return store_sys(e, errno, "name the blob %s", digest);
}

/* A new file in the place of one that was lost is not on disk yet, whatever its row said of the old one. */
static int put_row(Store *s, const char *digest, int64_t size, bool new_file, Err *e)
{
	return db_run(
	    &s->db, e,
	    "INSERT INTO blob (digest, size, synced, boot, created_ns) VALUES (?1, ?2, 0, ?3, ?4)"
	    " ON CONFLICT DO UPDATE SET size = excluded.size, synced = CASE WHEN ?5 THEN 0 ELSE synced END,"
	    " boot = CASE WHEN ?5 THEN excluded.boot ELSE boot END",
	    "titii", digest, size, id_boot(), clock_now_ns(), (int64_t)new_file);
}

/* Name and row come under one lock, so that a name whose row could not be written is taken away again before anybody relies on it. */
int blob_record(Store *s, int fd, int64_t size, const char *digest, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	_cleanup_free_ char *path = blob_path(digest);
	bool linked = false;
	int r = path ? db_begin(&s->db, &tx, e) : err_oom(e);

	if (r >= 0)
		r = link_blob(s, fd, size, digest, e);
	linked = r > 0;
	if (r >= 0)
		r = put_row(s, digest, size, linked, e);
	if (r >= 0)
		r = db_commit(&tx, e);
	if (r < 0 && linked)
		(void)unlinkat(s->root_fd, path, 0);
	if (r < 0)
		return r;
	janitor_wake(s, true, false);
	return 0;
}

int blob_writer_commit(BlobWriter *w, const char *want_digest, int64_t want_size,
		       char ret_digest[DIGEST_LEN + 1], Err *e)
{
	char digest[DIGEST_LEN + 1];
	int r = check(w, want_digest, want_size, digest, e);

	if (r >= 0)
		r = blob_record(w->store, w->fd, w->size, digest, e);
	if (r < 0)
		return r;
	memcpy(ret_digest, digest, sizeof(digest));
	return 0;
}

void blob_writer_free(BlobWriter *w)
{
	if (!w)
		return;
	close_fd(&w->fd);
	hasher_free(w->hasher);
	free(w);
}
