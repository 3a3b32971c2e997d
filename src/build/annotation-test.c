/* SPDX-License-Identifier: Apache-2.0 */
/* Where an annotation goes, and what is none. */
#include "base/test.h"
#include "build/annotation.h"

#include "base/str.h"

static void check(const char *text, unsigned places, const char *platform, const char *key, const char *value)
{
	Annotation a = {0};
	Err e = {0};

	if (annotation_parse(text, &a, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	assert_int_equal(a.places, places);
	assert_true(streq0(a.platform ?: "", platform ?: ""));
	assert_string_equal(a.key, key);
	assert_string_equal(a.value, value);
	annotation_done(&a);
}

static void test_places(void **state _unused_)
{
	check("a=b", ANNOTATE_MANIFEST, NULL, "a", "b");
	check("a=b:c=d", ANNOTATE_MANIFEST, NULL, "a", "b:c=d");
	check("a=", ANNOTATE_MANIFEST, NULL, "a", "");
	check("index:org.x=1", ANNOTATE_INDEX, NULL, "org.x", "1");
	check("index,manifest:k=v", ANNOTATE_INDEX | ANNOTATE_MANIFEST, NULL, "k", "v");
	check("manifest[linux/x86_64]:k=v", ANNOTATE_MANIFEST, "linux/amd64", "k", "v");
	check("manifest-descriptor:k=v", ANNOTATE_DESCRIPTOR, NULL, "k", "v");
}

static void test_refused(void **state _unused_)
{
	static const char *const bad[] = {"",
					  "a",
					  "=b",
					  "index:=v",
					  "layer:k=v",
					  ":k=v",
					  "index[linux/amd64]:k=v",
					  "manifest[]:k=v",
					  "manifest[x:k=v",
					  "manifest[linux/]:k=v"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Annotation a = {0};
		Err e = {0};

		if (annotation_parse(bad[i], &a, &e) >= 0)
			fail_msg("%s was taken", bad[i]);
		assert_true(strlen(e.msg) > 0);
	}
}

static void test_added(void **state _unused_)
{
	char *texts[] = {(char *)"a=1", (char *)"manifest[linux/arm64]:b=2", (char *)"index:c=3", NULL};
	_cleanup_json_ json_t *doc = json_object(), *index = json_object();
	ImagePlatform p = {.os = (char *)"linux", .architecture = (char *)"amd64"};
	Err e = {0};
	unsigned places;

	assert_int_equal(annotations_add(doc, texts, ANNOTATE_MANIFEST, &p, &e), 0);
	assert_int_equal(json_object_size(json_object_get(doc, "annotations")), 1);
	p.architecture = (char *)"arm64";
	assert_int_equal(annotations_add(doc, texts, ANNOTATE_MANIFEST, &p, &e), 0);
	assert_string_equal(json_get_str(json_object_get(doc, "annotations"), "b"), "2");
	assert_int_equal(annotations_add(index, texts, ANNOTATE_INDEX, NULL, &e), 0);
	assert_string_equal(json_get_str(json_object_get(index, "annotations"), "c"), "3");
	assert_int_equal(annotations_places(texts, &places, &e), 0);
	assert_int_equal(places, ANNOTATE_MANIFEST | ANNOTATE_INDEX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_places),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
