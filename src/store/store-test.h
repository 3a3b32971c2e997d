/* SPDX-License-Identifier: Apache-2.0 */
/* What the store's unit tests share: a store in a scratch directory, with the helper that was built beside the test. */
#pragma once

#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "store/store-internal.h"

static inline Store *open_store(const TestDir *d)
{
	_cleanup_free_ char *root = strf("%s/root", d->path), *own = NULL, *unpack = NULL;
	const char *from_env = getenv("IREKO_UNPACK");
	StoreOptions o = {.data_root = root, .snapshotter = "overlayfs"};
	Store *s = NULL;
	Err e = {0};

	assert_true(path_of_own_dir(&own) >= 0);
	unpack = from_env ? strdup(from_env) : strf("%s/ireko-unpack", own);
	o.unpack_program = unpack;
	if (store_open(&o, &s, &e) < 0)
		fail_msg("%s", e.msg);
	return s;
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
