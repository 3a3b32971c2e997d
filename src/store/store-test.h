/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's unit tests share: a store in a scratch directory, with the helper that was built beside the test. */
#pragma once

#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "store/store-internal.h"
#include "store/tar-write.h"

static inline Store *open_store_as(const TestDir *d, const char *snapshotter)
{
	_cleanup_free_ char *root = strf("%s/root", d->path), *own = NULL, *unpack = NULL;
	const char *from_env = getenv("IREKO_UNPACK");
	StoreOptions o = {.data_root = root, .snapshotter = snapshotter};
	Store *s = NULL;
	Err e = {0};

	assert_true(path_of_own_dir(&own) >= 0);
	unpack = from_env ? strdup(from_env) : strf("%s/ireko-unpack", own);
	o.unpack_program = unpack;
	if (store_open(&o, &s, &e) < 0)
		fail_msg("%s", e.msg);
	return s;
}

static inline Store *open_store(const TestDir *d)
{
	return open_store_as(d, "overlayfs");
}

/* Makes dir/name with a text in it. */
static inline void write_file(const TestDir *d, const char *name, const char *text)
{
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

/* A layer with one file, by way of an upper directory. */
static inline void make_layer(Store *s, const TestDir *d, const char *parent, const char *file,
			      const char *text, char chain[DIGEST_LEN + 1], char diff[DIGEST_LEN + 1])
{
	_cleanup_free_ char *upper = strf("%s/upper", d->path), *path = strf("upper/%s", file);
	const struct timespec ts[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	int64_t size;
	bool empty;
	Err e = {0};

	assert_int_equal(mkdirat(d->fd, "upper", 0755), 0);
	write_file(d, path, text);
	assert_int_equal(utimensat(d->fd, path, ts, 0), 0);
	if (store_layer_commit_upper(s, parent, upper, true, chain, diff, &size, &empty, &e) < 0)
		fail_msg("%s", e.msg);
	assert_false(empty);
	assert_int_equal(size, strlen(text));
}

typedef struct Item {
	const char *name;
	TarType type;
	const char *text; /* contents, or the target of a link */
	uint32_t mode;
} Item;

/* A tar with these entries; the fd stands at its start. */
static inline int make_tar(const TestDir *d, const Item *items, size_t n)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	int fd = openat(d->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	Err e = {0};

	assert_true(fd >= 0);
	assert_int_equal(tar_writer_new(fd, NULL, &w, &e), 0);
	for (size_t i = 0; i < n; i++) {
		bool file = items[i].type == TAR_FILE;
		TarEntry t = {.type = items[i].type,
			      .name = (char *)(uintptr_t)items[i].name,
			      .link = file ? NULL : (char *)(uintptr_t)items[i].text,
			      .mode = items[i].mode ? items[i].mode : 0644,
			      .mtime_s = 1000,
			      .mtime_ns = 123456789,
			      .size = file && items[i].text ? (int64_t)strlen(items[i].text) : 0};
		assert_int_equal(tar_write_header(w, &t, &e), 0);
		if (t.size)
			assert_int_equal(tar_write_data(w, items[i].text, (size_t)t.size, &e), 0);
	}
	assert_int_equal(tar_writer_end(w, &e), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static inline int apply(Store *s, int fd, const char *parent, const char *want, char chain[DIGEST_LEN + 1],
			char diff[DIGEST_LEN + 1], Err *e)
{
	LayerApply a = {.parent = parent, .want_diff_id = want, .fd = fd};
	int r = store_layer_apply(s, &a, chain, diff, e);

	close(fd);
	return r;
}
