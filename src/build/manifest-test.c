/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: the order of the walk, what a difference is, and files that are not what was written. */
#include "build/manifest.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "base/test.h"

#define CONTENT "sha256:0123456789012345678901234567890123456789012345678901234567890123"

static void add(Manifest *m, const char *path, int digest)
{
	ManifestEntry x = {.path = path, .mode = 0100644, .size = digest};

	x.digest[0] = (uint8_t)digest;
	assert_int_equal(manifest_add(m, &x), 0);
}

static int note(void *user, const ManifestEntry *old, const ManifestEntry *now)
{
	strbuf_addf(user, "%s%s ", !old ? "+" : !now ? "-" : "*", (now ?: old)->path);
	return 0;
}

static void assert_diff(const Manifest *a, const Manifest *b, const char *expected)
{
	_cleanup_strbuf_ StrBuf said = {0};

	strbuf_add(&said, "");
	assert_int_equal(manifest_diff(a, b, note, &said), 0);
	assert_string_equal(said.len ? said.s : "", expected);
}

static void test_difference(void **state _unused_)
{
	_cleanup_(manifest_freep) Manifest *a = manifest_new(), *b = manifest_new();
	/* As walked: what is in a directory comes before names that begin like it. */
	const char *const walk[] = {"",    "a",  "a/b",   "a/b/c", "a/b-c", "a-b",
				    "a.b", "ab", "b\x01", "b/x",   "\xff"};

	for (size_t i = 0; i < ELEMENTSOF(walk); i++) {
		add(a, walk[i], (int)i);
		if (i != 3)
			add(b, walk[i], i == 5 ? 99 : (int)i);
	}
	assert_diff(a, a, "");
	assert_diff(a, b, "-a/b/c *a-b ");
	assert_diff(b, a, "+a/b/c *a-b ");
	manifest_clear(b);
	add(b, "", 0);
	add(b, "a", 1);
	add(b, "a/0", 1);
	assert_diff(b, a, "-a/0 +a/b +a/b/c +a/b-c +a-b +a.b +ab +b\x01 +b/x +\xff ");
}

static void test_file(void **state)
{
	_cleanup_close_ int root = open(*state, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1;
	_cleanup_(manifest_freep) Manifest *a = manifest_new(), *b = NULL;
	char path[128];
	Err e = {0};

	snprintf(path, sizeof(path), "build/manifests/%s", CONTENT + 7);
	assert_int_equal(manifest_load(root, CONTENT, &b, &e), 0);
	add(a, "", 0);
	add(a, "x", 7);
	assert_int_equal(manifest_save(root, CONTENT, a, &e), 0);
	assert_int_equal(manifest_load(root, CONTENT, &b, &e), 1);
	assert_diff(a, b, "");
	assert_int_equal(manifest_bytes(b), 7);
	fd = openat(root, path, O_WRONLY | O_CLOEXEC);
	for (off_t at = 0; at < 100; at++) {
		char before, other;
		_cleanup_close_ int in = openat(root, path, O_RDONLY | O_CLOEXEC);

		assert_int_equal(pread(in, &before, 1, at), 1);
		other = (char)(before ^ 1);
		assert_int_equal(pwrite(fd, &other, 1, at), 1);
		manifest_free(take_ptr(b));
		assert_int_equal(manifest_load(root, CONTENT, &b, &e), 0);
		assert_int_equal(pwrite(fd, &before, 1, at), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_difference), test_in_dir(test_file)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
