/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/mounts.h"
#include "base/str.h"
#include "base/test.h"

static void reads(const char *text, const char *source, const char *destination, const char *mode,
		  const char *propagation, bool read_only, bool no_copy)
{
	BindSpec b = {0};
	Err e = {0};

	if (bind_spec_parse(text, &b, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	if (source)
		assert_string_equal(b.source, source);
	else
		assert_null(b.source);
	assert_string_equal(b.destination, destination);
	assert_string_equal(b.mode, mode);
	assert_string_equal(b.propagation, propagation);
	assert_int_equal(b.read_only, read_only);
	assert_int_equal(b.no_copy, no_copy);
	bind_spec_done(&b);
}

static void refused(const char *text, ErrKind kind, const char *why)
{
	BindSpec b = {0};
	Err e = {0};

	assert_true(bind_spec_parse(text, &b, &e) < 0);
	assert_int_equal(e.kind, kind);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" gives \"%s\", not \"%s\"", text, e.msg, why);
	assert_null(b.destination);
}

static void good_specs(void **state)
{
	reads("/src:/dst", "/src", "/dst", "", "", false, false);
	reads("/home/u/私の 名前//x/../y:/a/./b/", "/home/u/私の 名前/y", "/a/b", "", "", false, false);
	reads("/src:/dst:ro", "/src", "/dst", "ro", "", true, false);
	reads("/src:/dst:z,rw,rshared", "/src", "/dst", "z,rw,rshared", "rshared", false, false);
	reads("/src:/dst:delegated", "/src", "/dst", "delegated", "", false, false);
	reads("vol:/dst:nocopy,ro", "vol", "/dst", "nocopy,ro", "", true, true);
	reads("my.vol_1-x:/dst", "my.vol_1-x", "/dst", "", "", false, false);
	reads("/only", NULL, "/only", "", "", false, false);
	reads("/src:/../../etc", "/src", "/etc", "", "", false, false);
}

static void bad_specs(void **state)
{
	refused("", ERR_INVALID, "invalid volume specification: ''");
	refused(":", ERR_INVALID, "invalid volume specification");
	refused(":/x", ERR_INVALID, "invalid volume specification");
	refused("/a:/b:ro:rw", ERR_INVALID, "invalid volume specification");
	refused("/a:ro", ERR_INVALID, "invalid volume specification: '/a:ro'");
	refused("/a:b", ERR_INVALID, "mount path must be absolute");
	refused("vol:x", ERR_INVALID, "mount path must be absolute");
	refused("/a:/", ERR_INVALID, "destination can't be '/'");
	refused("/a:/x/..", ERR_INVALID, "destination can't be '/'");
	refused("/a:/b:ro,rw", ERR_INVALID, "invalid mode: ro,rw");
	refused("/a:/b:", ERR_INVALID, "invalid mode");
	refused("/a:/b:exec", ERR_INVALID, "invalid mode: exec");
	refused("vol:/b:idmap", ERR_INVALID, "idmap is for bind mounts");
	refused("/a:/b:idmap,idmap", ERR_INVALID, "invalid mode");
	refused("/a:/b:idmap=", ERR_INVALID, "invalid idmap");
	refused("/a:/b:idmap=uids=1", ERR_INVALID, "FROM-TO-LENGTH");
	refused("/a:/b:nocopy", ERR_INVALID, "nocopy is for volumes");
	refused("vol:/b:shared", ERR_INVALID, "propagation is for bind mounts");
	refused("/a:/b:U", ERR_UNSUPPORTED, "option U");
	refused("./rel:/b", ERR_INVALID, "includes invalid characters for a local volume name");
	refused("v:/b", ERR_INVALID, "too short");
	refused("../v:/b", ERR_INVALID, "use absolute path");
	refused("vo\x01l:/b", ERR_INVALID, "invalid characters");
}

static void propagations(void **state)
{
	static const struct {
		const char *text, *propagation, *idmap;
	} good[] = {
	    {"", "", NULL},
	    {"rslave", "rslave", NULL},
	    {"idmap", "", "auto"},
	    {"shared,idmap", "shared", "auto"},
	    {"idmap=gids=5-0-1,private", "private", "gids=5-0-1"},
	};
	static const char *const bad[] = {"x",      "shared,slave", "ro",     "idmap,idmap",
					  "idmap=", "shared,",      "rwlave", "idmap=uids=1"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		_cleanup_free_ char *propagation = NULL, *idmap = NULL;

		assert_int_equal(propagation_parse(good[i].text, &propagation, &idmap, NULL), 0);
		assert_string_equal(propagation, good[i].propagation);
		assert_string_equal(idmap ?: "", good[i].idmap ?: "");
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *propagation, *idmap;
		Err e = {0};

		assert_true(propagation_parse(bad[i], &propagation, &idmap, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

static void subpaths(void **state)
{
	static const char *const good[] = {"a", "a/b", "a/../b", "./a", "私の 名前/..", "a//b", ".", ""};
	static const char *const bad[] = {"/a", "..", "../a", "a/../..", "./../a", "a/../../a"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_true(subpath_is_local(good[i]));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_false(subpath_is_local(bad[i]));
}

static void idmaps(void **state)
{
	BindSpec b = {0};

	assert_int_equal(bind_spec_parse("/a:/b:ro,idmap", &b, NULL), 0);
	assert_string_equal(b.idmap, "auto");
	assert_true(b.read_only);
	bind_spec_done(&b);
	assert_int_equal(bind_spec_parse("/a:/b:idmap=uids=7-0-1;gids=8-0-1,rslave", &b, NULL), 0);
	assert_string_equal(b.idmap, "uids=7-0-1;gids=8-0-1");
	assert_string_equal(b.propagation, "rslave");
	bind_spec_done(&b);
}

static void volumes_from(void **state)
{
	_cleanup_free_ char *name = NULL;
	bool ro;

	assert_int_equal(volumes_from_parse("web", &name, &ro, NULL), 0);
	assert_string_equal(name, "web");
	assert_false(ro);
	free(take_ptr(name));
	assert_int_equal(volumes_from_parse("web:ro", &name, &ro, NULL), 0);
	assert_string_equal(name, "web");
	assert_true(ro);
	free(take_ptr(name));
	assert_true(volumes_from_parse("web:what", &name, &ro, NULL) < 0);
	assert_true(volumes_from_parse("web:idmap", &name, &ro, NULL) < 0);
	assert_true(volumes_from_parse(":ro", &name, &ro, NULL) < 0);
	assert_true(volumes_from_parse("", &name, &ro, NULL) < 0);
}

static void tmpfs(void **state)
{
	Err e = {0};

	assert_int_equal(tmpfs_options_check("", NULL), 0);
	assert_int_equal(tmpfs_options_check("rw,size=64m,mode=1777,noexec,uid=1", NULL), 0);
	assert_true(tmpfs_options_check("size=1,bogus", &e) < 0);
	assert_non_null(strstr(e.msg, "invalid tmpfs option \"bogus\""));
	assert_true(tmpfs_options_check("size=", NULL) < 0);
	assert_true(tmpfs_options_check("rw,,ro", NULL) < 0);
	assert_true(tmpfs_options_check("context=x", NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good_specs),   cmocka_unit_test(bad_specs), cmocka_unit_test(volumes_from),
	    cmocka_unit_test(propagations), cmocka_unit_test(subpaths),  cmocka_unit_test(idmaps),
	    cmocka_unit_test(tmpfs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
