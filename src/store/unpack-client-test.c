/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store makes of the reports of an ireko-unpack that an archive has taken over: a script in its place says
 * what a test wants, after having put a few things into the target directory.
 */
#include "base/fd.h"
#include "base/test.h"
#include "store/dir.h"
#include "store/store-test.h"
#include "store/unpack-protocol.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static const char good_id[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void add_frame(StrBuf *b, uint32_t type, const void *data, size_t len)
{
	UnpackFrame f = {.type = type, .len = (uint32_t)len};

	strbuf_add_n(b, &f, sizeof(f));
	strbuf_add_n(b, data, len);
}

static void add_done(StrBuf *b, const char *diff_id)
{
	UnpackDone done = {.diff_id = ""};

	memcpy(done.diff_id, diff_id, MIN2(strlen(diff_id), sizeof(done.diff_id)));
	add_frame(b, UNPACK_DONE, &done, sizeof(done));
}

/* Runs the store with a helper that reports these bytes (of a directory: those of an image are in snapshotter-test.c); what store_layer_apply
 * returns. */
static int apply_report(const TestDir *d, const StrBuf *report, const char *want, Err *e)
{
	_cleanup_free_ char *script =
	    strf("#!/bin/sh\ncd /proc/self/fd/3 && mkdir d && ln -s '%s/outside' l && : > f\n"
		 "/bin/cat '%s/report' >&4\n",
		 d->path, d->path);
	_cleanup_free_ char *root = strf("%s/root", d->path), *program = strf("%s/helper", d->path);
	StoreOptions o = {.data_root = root, .unpack_program = program, .snapshotter = "overlayfs"};
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	_cleanup_(store_closep) Store *s = NULL;
	_cleanup_close_ int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int fd = openat(d->fd, "report", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0 && in >= 0 && script && root && program);
	assert_int_equal(fd_write_all(fd, report->s ? report->s : "", report->len), 0);
	close(fd);
	write_file(d, "helper", script);
	assert_int_equal(fchmodat(d->fd, "helper", 0755, 0), 0);
	(void)mkdirat(d->fd, "outside", 0755);
	assert_int_equal(store_open(&o, &s, e), 0);

	LayerApply a = {.fd = in, .want_diff_id = want};
	int r = store_layer_apply(s, &a, chain, diff, e);
	if (r == 0)
		assert_true(store_layer_has(s, chain));
	return r;
}

static bool is_opaque(const TestDir *d, const char *name)
{
	_cleanup_free_ char *path = strf("%s/%s", d->path, name);
	char value[8];

	return path && lgetxattr(path, "trusted.overlay.opaque", value, sizeof(value)) >= 0;
}

/* Nothing may be left of it, and nothing may have been marked outside. */
static void refused(const TestDir *d, const StrBuf *report, const char *want, const char *why)
{
	_cleanup_close_ int layers = -1;
	_cleanup_strv_ char **names = NULL;
	Err e = {0};

	if (apply_report(d, report, want, &e) >= 0)
		fail_msg("a report that deserves \"%s\" is believed", why);
	if (!strstr(e.msg, why))
		fail_msg("expected \"%s\", got \"%s\"", why, e.msg);
	layers = openat(d->fd, "root/layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(layers >= 0 && dir_names(layers, &names) >= 0);
	assert_int_equal(strv_len(names), 0);
	assert_false(is_opaque(d, "outside"));
}

static void test_a_report_that_is_true(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	int64_t n = 5;
	Err e = {0};

	add_frame(&b, UNPACK_PROGRESS, &n, sizeof(n));
	add_frame(&b, UNPACK_OPAQUE, "d", 1);
	add_done(&b, good_id);
	if (apply_report(*state, &b, good_id, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_frames_that_are_none(void **state)
{
	static const UnpackFrame frames[] = {{0, 0},
					     {99, 4},
					     {UNPACK_FAILED, 3},
					     {UNPACK_DONE, 3},
					     {UNPACK_PROGRESS, 3},
					     {UNPACK_OPAQUE, UNPACK_FRAME_MAX + 1},
					     {UNPACK_OPAQUE, UINT32_MAX}};

	for (size_t i = 0; i < ELEMENTSOF(frames); i++) {
		_cleanup_strbuf_ StrBuf b = {0};

		strbuf_add_n(&b, &frames[i], sizeof(frames[i]));
		strbuf_add_n(&b, "payload", MIN2(frames[i].len, 7u));
		add_done(&b, good_id);
		refused(*state, &b, good_id, "damaged report");
	}
}

static void test_a_report_that_is_cut(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};

	refused(*state, &b, good_id, "without a report");
	add_frame(&b, UNPACK_OPAQUE, "d", 1);
	refused(*state, &b, good_id, "without a report");
	strbuf_add_n(&b, "\5\0\0", 3);
	refused(*state, &b, good_id, "damaged report");
}

static void test_digests_that_are_none(void **state)
{
	static const char *const ids[] = {
	    "", "sha256:", "sha256:../../../../../../../../../../../../../../../../../../../../../x",
	    "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"};

	for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
		_cleanup_strbuf_ StrBuf b = {0};

		add_done(&b, ids[i]);
		refused(*state, &b, NULL, "damaged report");
	}
	_cleanup_strbuf_ StrBuf b = {0};
	add_done(&b, good_id);
	refused(*state, &b, "sha256:0000000000000000000000000000000000000000000000000000000000000000",
		"diff id mismatch");
}

/* Numbers that would make a sum of layers run over. */
static void test_numbers_that_are_none(void **state)
{
	for (int i = 0; i < 6; i++) {
		_cleanup_strbuf_ StrBuf b = {0};
		UnpackDone done = {.diff_id = ""};
		int64_t *const numbers[] = {&done.stream_bytes, &done.content_bytes, &done.inodes};

		memcpy(done.diff_id, good_id, sizeof(done.diff_id));
		*numbers[i / 2] = i % 2 ? -1 : INT64_MAX / 2;
		add_frame(&b, UNPACK_DONE, &done, sizeof(done));
		refused(*state, &b, good_id, "damaged report");
	}
}

static void test_errors_that_are_none(void **state)
{
	Err lie = {.no = EIO, .kind = ERR_INVALID};

	memset(lie.msg, 'm', sizeof(lie.msg));
	memset(lie.file, 'f', sizeof(lie.file));
	_cleanup_strbuf_ StrBuf b = {0};
	add_frame(&b, UNPACK_FAILED, &lie, sizeof(lie));
	refused(*state, &b, good_id, "mmm");
	for (int i = 0; i < 3; i++) {
		_cleanup_strbuf_ StrBuf c = {0};

		lie.no = i == 0 ? 0 : i == 1 ? -5 : EIO;
		lie.kind = i == 2 ? (ErrKind)ERR_KIND_MAX : ERR_INVALID;
		add_frame(&c, UNPACK_FAILED, &lie, sizeof(lie));
		refused(*state, &c, good_id, "damaged report");
	}
}

/* Paths that lead out by name or by a link that was put there: what they mean is looked for inside. */
static void test_paths_that_lead_out(void **state)
{
	static const char *const paths[] = {"../outside", "../../outside",      "l", "l/.", "/l",
					    "d/../l",     "d/../../../outside", "/", ".",   "f",
					    "nothing",    "/proc/self/fd/3"};
	const TestDir *d = *state;

	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		for (int type = UNPACK_OPAQUE; type <= UNPACK_IMPLIED; type++) {
			_cleanup_strbuf_ StrBuf b = {0};
			_cleanup_free_ char *absolute = strf("%s/outside", d->path);

			add_frame(&b, (uint32_t)type, paths[i], strlen(paths[i]));
			add_frame(&b, (uint32_t)type, absolute, strlen(absolute));
			add_done(&b, good_id);
			(void)apply_report(d, &b, NULL, NULL);
			assert_false(is_opaque(d, "outside"));
		}
	}
}

static void test_a_report_without_end(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	char path[4000];

	memset(path, 'x', sizeof(path));
	for (int i = 0; i < 17000; i++) {
		memcpy(path, &i, sizeof(i));
		path[0] |= 1;
		add_frame(&b, UNPACK_OPAQUE, path, sizeof(path));
	}
	add_done(&b, good_id);
	refused(*state, &b, good_id, "too many opaque or undescribed directories");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_a_report_that_is_true), test_in_dir(test_frames_that_are_none),
	    test_in_dir(test_a_report_that_is_cut),  test_in_dir(test_digests_that_are_none),
	    test_in_dir(test_errors_that_are_none),  test_in_dir(test_paths_that_lead_out),
	    test_in_dir(test_a_report_without_end),  test_in_dir(test_numbers_that_are_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
