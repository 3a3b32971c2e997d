/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms: spellings, and the choice from an index. */
#include "oci/image.h"
#include "base/str.h"
#include "base/test.h"

static void test_spellings(void **state _unused_)
{
	static const char *const pairs[][2] = {
	    {"linux/amd64", "linux/amd64"},   {"x86_64", "linux/amd64"},
	    {"linux/aarch64", "linux/arm64"}, {"linux/arm64/8", "linux/arm64/v8"},
	    {"armhf", "linux/arm/v7"},        {"linux/arm/v6", "linux/arm/v6"},
	    {"LINUX/AMD64", "linux/amd64"},   {"macos/arm64", "darwin/arm64"},
	    {"linux/i386", "linux/386"},      {"riscv64", "linux/riscv64"},
	};

	for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
		ImagePlatform p = {0};

		assert_int_equal(image_platform_parse(pairs[i][0], &p, NULL), 0);
		_cleanup_free_ char *text = image_platform_text(&p);
		assert_string_equal(text, pairs[i][1]);
		image_platform_done(&p);
	}
}

static void test_own(void **state _unused_)
{
	static const char *const texts[] = {NULL, "", "linux"};

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		ImagePlatform p = {0};

		assert_int_equal(image_platform_parse(texts[i], &p, NULL), 0);
		assert_string_equal(p.os, "linux");
		assert_true(*p.architecture != '\0');
		image_platform_done(&p);
	}
}

static void test_refused(void **state _unused_)
{
	static const char *const bad[] = {"/",         "linux/",    "/amd64", "linux/a/b/c",
					  "linux/a b", "linux//v7", "私/x"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		ImagePlatform p = {0};
		Err e = {0};

		if (image_platform_parse(bad[i], &p, &e) >= 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

/* entries: platforms as text, "-" for none; expect: position or -1. */
static void choose(const char *const *entries, size_t n, const char *want, int expect)
{
	ImageDescriptor d[8] = {0};
	ImageIndex index = {.manifests = d, .n_manifests = n};
	ImagePlatform p = {0};

	assert_int_equal(image_platform_parse(want, &p, NULL), 0);
	for (size_t i = 0; i < n; i++)
		if (!streq(entries[i], "-")) {
			assert_int_equal(image_platform_parse(entries[i], &d[i].platform, NULL), 0);
			d[i].has_platform = true;
		}
	const ImageDescriptor *got = image_index_select(&index, &p);
	assert_int_equal(got ? got - d : -1, expect);
	for (size_t i = 0; i < n; i++)
		image_platform_done(&d[i].platform);
	image_platform_done(&p);
}

static void test_select(void **state _unused_)
{
	static const char *const many[] = {"linux/arm/v5",  "linux/amd64", "linux/arm/v7",   "linux/arm64/v8",
					   "windows/amd64", "linux/386",   "unknown/unknown"};
	static const char *const levels[] = {"linux/amd64/v3", "linux/amd64/v2", "linux/amd64"};
	static const char *const one[] = {"-"};
	static const char *const two[] = {"-", "-"};
	static const char *const old[] = {"linux/386", "linux/arm64"};

	choose(many, 7, "linux/amd64", 1);
	choose(many, 7, "linux/arm64", 3);
	choose(many, 7, "linux/arm", 2);
	choose(many, 7, "linux/arm/v6", 0);
	choose(many, 7, "linux/arm/v8", 2);
	choose(many, 7, "linux/s390x", -1);
	choose(many, 7, "windows/amd64", 4);
	choose(levels, 3, "linux/amd64", 2);
	choose(levels, 3, "linux/amd64/v2", 1);
	choose(levels, 3, "linux/amd64/v4", 0);
	choose(one, 1, "linux/amd64", 0);
	choose(two, 2, "linux/amd64", -1);
	choose(old, 2, "linux/amd64", 0);
	choose(NULL, 0, "linux/amd64", -1);
}

static void test_attestations_are_no_images(void **state _unused_)
{
	ImageDescriptor d = {.media_type = (char *)"application/vnd.in-toto+json"};
	ImageIndex index = {.manifests = &d, .n_manifests = 1};
	ImagePlatform want = {.os = (char *)"linux", .architecture = (char *)"amd64"};

	assert_null(image_index_select(&index, &want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_own),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_select),
	    cmocka_unit_test(test_attestations_are_no_images),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
