/* SPDX-License-Identifier: Apache-2.0 */
/* What files of CDI make of a container, which of two wins, and what is no such file. */
#include "engine/cdi.h"

#include "base/fd.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "base/test.h"

#include <fcntl.h>
#include <sys/stat.h>

static json_t *parse(const char *text)
{
	json_t *j = NULL;
	Err e = {0};

	if (json_parse(text, strlen(text), "test", &j, &e) < 0)
		fail_msg("%s", e.msg);
	return j;
}

static void names(void **state)
{
	static const char *const good[] = {"vendor.com/class=x", "nvidia.com/gpu=0", "a.b/c-d_e=GPU-1:2.3"};
	static const char *const bad[] = {"/dev/null", "vendor.com/class", "vendor.com/class=", "=x",
					  "a=b",       "1.com/c=x",        "a.com/c=x y",       "a.com/c=-x",
					  "a./c=x"};

	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		assert_true(cdi_name_is_qualified(good[i]));
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_false(cdi_name_is_qualified(bad[i]));
}

#define HEAD "{\"cdiVersion\":\"0.6.0\",\"kind\":\"v.com/c\",\"devices\":[{\"name\":\"x\""
static void files_that_are_none(void **state)
{
	static const char *const bad[] = {
	    "{}",
	    "[]",
	    HEAD "}],\"containerEdits\":[]}",
	    HEAD ",\"containerEdits\":{\"env\":[7]}}]}",
	    HEAD ",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"dev/x\"}]}}]}",
	    HEAD ",\"containerEdits\":{\"mounts\":[{\"hostPath\":\"/a\"}]}}]}",
	    HEAD ",\"containerEdits\":{\"mounts\":[{\"hostPath\":\"/a\",\"containerPath\":\"b\"}]}}]}",
	    HEAD ",\"containerEdits\":{\"hooks\":[{\"hookName\":\"later\",\"path\":\"/bin/true\"}]}}]}",
	    HEAD ",\"containerEdits\":{\"hooks\":[{\"hookName\":\"prestart\",\"path\":\"true\"}]}}]}",
	    HEAD ",\"containerEdits\":{\"additionalGids\":[-1]}}]}",
	    HEAD ",\"containerEdits\":{\"somethingNew\":[]}}]}",
	    "{\"cdiVersion\":\"2.0\",\"kind\":\"v.com/c\",\"devices\":[{\"name\":\"x\"}]}",
	    "{\"cdiVersion\":\"0.6.0\",\"kind\":\"v.com\",\"devices\":[{\"name\":\"x\"}]}",
	    "{\"cdiVersion\":\"0.6.0\",\"kind\":\"v.com/c\",\"devices\":[]}",
	    "{\"cdiVersion\":\"0.6.0\",\"kind\":\"v.com/c\",\"devices\":[{\"name\":\"a b\"}]}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_json_ json_t *j = parse(bad[i]);
		Err e = {0};

		if (cdi_spec_check(j, &e) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_true(e.msg[0]);
	}
}

static void put(int dir, const char *name, const char *text)
{
	_cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0 && fd_write_all(fd, text, strlen(text)) >= 0);
}

static const char whole[] =
    "{\"cdiVersion\":\"0.5.0\",\"kind\":\"v.com/c\",\"containerEdits\":{\"env\":[\"ALL=1\"]},\"devices\":["
    "{\"name\":\"null\",\"containerEdits\":{\"env\":[\"A=new\"],\"deviceNodes\":[{\"path\":\"/dev/mine\","
    "\"hostPath\":\"/dev/null\",\"permissions\":\"rw\"}],\"additionalGids\":[0,44,44],"
    "\"mounts\":[{\"hostPath\":\"/lib/x\",\"containerPath\":\"/lib/x\",\"options\":[\"ro\",\"bind\"]}],"
    "\"hooks\":[{\"hookName\":\"createContainer\",\"path\":\"/bin/hook\",\"args\":[\"hook\"]}]}},"
    "{\"name\":\"two\",\"containerEdits\":{\"env\":[\"B=2\"]}}]}";

static void a_container_with_devices(void **state)
{
	TestDir *d = *state;
	char *const dirs[] = {d->path, (char *)"/nowhere/at all", NULL};
	char *const ask[] = {(char *)"v.com/c=null", (char *)"v.com/c=two", NULL};
	_cleanup_json_ json_t *config = parse("{\"process\":{\"env\":[\"A=old\",\"C=3\"]}}"), *want = NULL;
	Err e = {0};

	put(d->fd, "v 名前.json", whole);
	put(d->fd, "broken.json", "{");
	put(d->fd, "other.txt", "{");
	if (cdi_apply(dirs, ask, config, &e) < 0)
		fail_msg("%s", e.msg);
	want = parse(
	    "{\"process\":{\"env\":[\"A=new\",\"C=3\",\"ALL=1\",\"B=2\"],\"user\":{\"additionalGids\":["
	    "44]}},\"linux\":{\"devices\":[{\"path\":\"/dev/mine\",\"type\":\"c\",\"major\":1,\"minor\":"
	    "3,\"fileMode\":438,\"uid\":0,\"gid\":0}],\"resources\":{\"devices\":[{\"allow\":true,"
	    "\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rw\"}]}},\"mounts\":[{\"destination\":"
	    "\"/lib/x\",\"type\":\"bind\",\"source\":\"/lib/x\",\"options\":[\"ro\",\"bind\"]}],"
	    "\"hooks\":{\"createContainer\":[{\"path\":\"/bin/hook\",\"args\":[\"hook\"]}]}}");
	if (!json_equal(config, want)) {
		_cleanup_free_ char *text = json_text(config);

		fail_msg("%s", text);
	}
}

static void of_two_files(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *low = strf("%s/low", d->path), *high = strf("%s/high", d->path);
	char *const dirs[] = {low, high, NULL};
	char *const ask[] = {(char *)"v.com/c=x", (char *)"v.com/c=y", NULL};
	_cleanup_json_ json_t *config = json_object();
	Err e = {0};

	assert_true(mkdirat(d->fd, "low", 0755) == 0 && mkdirat(d->fd, "high", 0755) == 0);
	put(d->fd, "low/a.json", HEAD ",\"containerEdits\":{\"env\":[\"FROM=low\"]}}]}");
	put(d->fd, "low/b.json", HEAD ",\"containerEdits\":{\"env\":[\"FROM=low too\"]}}]}");
	assert_int_equal(cdi_apply(dirs, ask, config, &e), -EINVAL);
	assert_string_equal(e.msg,
			    "CDI device injection failed: unresolvable CDI devices v.com/c=x, v.com/c=y");
	put(d->fd, "high/c.json", HEAD ",\"containerEdits\":{\"env\":[\"FROM=high\"]}}]}");
	assert_int_equal(cdi_apply(dirs, (char *const[]){ask[0], NULL}, config, &e), 0);
	assert_string_equal(
	    json_string_value(json_array_get(json_object_get(json_object_get(config, "process"), "env"), 0)),
	    "FROM=high");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(files_that_are_none),
	    test_in_dir(a_container_with_devices),
	    test_in_dir(of_two_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
