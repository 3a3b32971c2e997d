/* SPDX-License-Identifier: Apache-2.0 */
/* RUN --mount: fields, defaults, what is refused and in which words. */
#include "base/str.h"
#include "base/test.h"
#include "dockerfile/mount.h"
#include "dockerfile/suggest.h"

static DockerfileMount mount_ok(const char *spec)
{
	char *env[] = {(char *)"t=tmpfs", (char *)"dir=/a,b", (char *)"n=100", NULL};
	DockerfileMount m;
	Err e = {0};

	if (dockerfile_mount_expand(spec, '\\', env, &m, &e) < 0)
		fail_msg("%s: %s", spec, e.msg);
	return m;
}

static void assert_refused(const char *spec, const char *message)
{
	char *env[] = {(char *)"t=tmpfs", NULL};
	DockerfileMount m;
	Err e = {0};

	assert_true(dockerfile_mount_expand(spec, '\\', env, &m, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_string_equal(e.msg, message);
}

static void test_defaults_of_types(void **state _unused_)
{
	static const struct {
		const char *spec;
		DockerfileMountType type;
		bool read_only;
	} rows[] = {
	    {"target=/x", DF_MOUNT_BIND, true},
	    {"type=bind,target=/x", DF_MOUNT_BIND, true},
	    {"type=CACHE,target=/x", DF_MOUNT_CACHE, false},
	    {"type=tmpfs,target=/x", DF_MOUNT_TMPFS, false},
	    {"type=secret,id=x", DF_MOUNT_SECRET, true},
	    {"type=ssh", DF_MOUNT_SSH, true},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		DockerfileMount m = mount_ok(rows[i].spec);

		assert_int_equal(m.type, rows[i].type);
		assert_int_equal(m.read_only, rows[i].read_only);
		assert_false(m.has_read_only || m.has_mode || m.has_uid || m.has_gid || m.required);
		assert_int_equal(m.sharing, DF_SHARING_SHARED);
		assert_null(m.env);
		dockerfile_mount_done(&m);
	}
}

static void test_all_keys(void **state _unused_)
{
	DockerfileMount m =
	    mount_ok("type=cache,from=base,source=/s,target=/t,id=n,sharing=Locked,mode=0700,uid=1,gid=2,ro");

	assert_string_equal(m.from, "base");
	assert_string_equal(m.source, "/s");
	assert_string_equal(m.target, "/t");
	assert_string_equal(m.id, "n");
	assert_int_equal(m.sharing, DF_SHARING_LOCKED);
	assert_true(m.has_mode && m.has_uid && m.has_gid && m.has_read_only && m.read_only);
	assert_int_equal(m.mode, 0700);
	assert_int_equal(m.uid, 1);
	assert_int_equal(m.gid, 2);
	dockerfile_mount_done(&m);
	m = mount_ok("type=secret,id=a,env=TOKEN,required");
	assert_string_equal(m.env, "TOKEN");
	assert_true(m.required);
	dockerfile_mount_done(&m);
	m = mount_ok("type=tmpfs,dst=/t,size=1.5m");
	assert_int_equal(m.size, 1572864);
	dockerfile_mount_done(&m);
	m = mount_ok("src=a,destination=/b,rw=true");
	assert_true(m.has_read_only && !m.read_only);
	dockerfile_mount_done(&m);
	m = mount_ok("target=/b,READWRITE=false");
	assert_true(m.has_read_only && m.read_only);
	dockerfile_mount_done(&m);
}

static void test_quotes_and_variables(void **state _unused_)
{
	DockerfileMount m = mount_ok("type=$t,\"target=/a,\"\"b\"\"\",size=${n}k");

	assert_int_equal(m.type, DF_MOUNT_TMPFS);
	assert_string_equal(m.target, "/a,b");
	assert_int_equal(m.size, 102400);
	dockerfile_mount_done(&m);
	/* What a variable holds adds no field. */
	m = mount_ok("target=$dir");
	assert_string_equal(m.target, "/a,b");
	dockerfile_mount_done(&m);
	assert_int_equal(dockerfile_mount_parse("target=$dir", &m, NULL), 0);
	assert_string_equal(m.target, "$dir");
	dockerfile_mount_done(&m);
}

static void test_refusals_name_the_key(void **state _unused_)
{
	assert_refused("type=bin", "unsupported mount type \"bin\" (did you mean bind?)");
	assert_refused("type=volume", "unsupported mount type \"volume\"");
	assert_refused("type=cache,target=/x,sharing=lock",
		       "unsupported sharing value \"lock\" (did you mean locked?)");
	assert_refused("tpe=cache", "unexpected key 'tpe' in 'tpe=cache' (did you mean type?)");
	assert_refused("type=cache,target", "invalid field 'target' must be a key=value pair");
	assert_refused("target=/x,required", "unexpected key 'required' for mount type 'bind'");
	assert_refused("target=/x,size=1", "unexpected key 'size' for mount type 'bind'");
	assert_refused("type=tmpfs,target=/x,size=x", "invalid value for size: x");
	assert_refused("target=/x,ro=maybe", "invalid value for ro: maybe");
	assert_refused("type=cache,target=/x,mode=9", "invalid value 9 for mode");
	assert_refused("type=cache,target=/x,uid=-1", "invalid value -1 for uid");
	assert_refused("type=cache,target=/x,gid=4294967296", "invalid value 4294967296 for gid");
	assert_refused("target=/x,uid=1", "uid not allowed for \"bind\" type mounts");
	assert_refused("type=tmpfs,target=/x,mode=1", "mode not allowed for \"tmpfs\" type mounts");
	assert_refused("type=secret", "invalid secret mount. one of source, target required");
	assert_refused("type=secret,id=a,source=b", "both source and id can't be set");
	assert_refused("type=secret,id=a,from=b", "secret mount should not have a from");
	assert_refused("type=secret,id=a,sharing=shared", "secret mount should not define sharing");
	assert_refused("type=ssh,source=a", "ssh does not support source");
	assert_refused("target=/x,sharing=shared", "invalid cache sharing set for bind mount");
	assert_refused("from=$t,target=/x",
		       "'from' doesn't support variable expansion, define alias stage instead");
	assert_refused(
	    "target=\"/x",
	    "failed to parse csv mounts: a quote in 'target=\"/x' is not closed or in the middle of a field");
}

static void test_suggestions(void **state _unused_)
{
	static const char *const words[] = {"from", "copy", "a-word-that-is-longer-than-any-that-is-compared",
					    NULL};

	assert_string_equal(dockerfile_suggest("FRO", words, true), "from");
	assert_null(dockerfile_suggest("FRO", words, false));
	assert_string_equal(dockerfile_suggest("cpoy", words, false), "copy");
	assert_null(dockerfile_suggest("a-word-that-is-longer-than-any-that-is-compare", words, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_defaults_of_types),    cmocka_unit_test(test_all_keys),
	    cmocka_unit_test(test_quotes_and_variables), cmocka_unit_test(test_refusals_name_the_key),
	    cmocka_unit_test(test_suggestions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
