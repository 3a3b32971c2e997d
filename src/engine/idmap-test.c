/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/idmap.h"
#include "base/str.h"
#include "base/test.h"

static void is_map(const IdMap *m, const NamespaceIdMap *want, size_t n)
{
	assert_int_equal(m->n, n);
	assert_memory_equal(m->v, want, n * sizeof(*want));
}
#define IS_MAP(m, ...)                                                                                       \
	is_map(m, (const NamespaceIdMap[]){__VA_ARGS__},                                                     \
	       sizeof((const NamespaceIdMap[]){__VA_ARGS__}) / sizeof(NamespaceIdMap))

static void owner_is_root(void **state)
{
	IdMaps m;

	assert_int_equal(idmap_resolve(IDMAP_AUTO, 1000, 100, &m, NULL), 0);
	IS_MAP(&m.uids, {1000, 0, 1}, {1, 1, 999}, {1001, 1001, 4294966294});
	IS_MAP(&m.gids, {100, 0, 1}, {1, 1, 99}, {101, 101, 4294967194});
	assert_int_equal(idmap_resolve(IDMAP_AUTO, 1, 4294967294, &m, NULL), 0);
	IS_MAP(&m.uids, {1, 0, 1}, {2, 2, 4294967293});
	IS_MAP(&m.gids, {4294967294, 0, 1}, {1, 1, 4294967293});
	assert_int_equal(idmap_resolve(IDMAP_AUTO, 0, 5, &m, NULL), 0);
	IS_MAP(&m.uids, {0, 0, 4294967295});
	assert_int_equal(idmap_resolve(IDMAP_AUTO, 0, 0, &m, NULL), 0);
	assert_int_equal(m.uids.n + m.gids.n, 0);
	assert_true(idmap_resolve(IDMAP_AUTO, (uid_t)-1, 0, &m, NULL) < 0);
}

static void ranges(void **state)
{
	IdMaps m;

	assert_int_equal(idmap_resolve("uids=0-1-10#10-11-10;gids=0-100-10", 7, 7, &m, NULL), 0);
	IS_MAP(&m.uids, {0, 1, 10}, {10, 11, 10});
	IS_MAP(&m.gids, {0, 100, 10});
	assert_int_equal(idmap_resolve("gids=5-0-1", 7, 9, &m, NULL), 0);
	IS_MAP(&m.uids, {7, 0, 1}, {1, 1, 6}, {8, 8, 4294967287});
	IS_MAP(&m.gids, {5, 0, 1});
	assert_int_equal(idmap_resolve("uids=0-0-4294967295", 7, 0, &m, NULL), 0);
}

static void refused(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {"", "neither"},
	    {"auto2", "neither"},
	    {"uids=", "FROM-TO-LENGTH"},
	    {"uids=1-2", "FROM-TO-LENGTH"},
	    {"uids=1-2-3-4", "FROM-TO-LENGTH"},
	    {"uids=a-2-3", "no id"},
	    {"uids=-1-2-3", "FROM-TO-LENGTH"},
	    {"uids=4294967296-0-1", "no id"},
	    {"uids=1-2-0", "empty"},
	    {"uids=4294967295-0-1", "longer"},
	    {"uids=1-4294967290-6", "longer"},
	    {"uids=0-0-10#9-20-1", "overlap"},
	    {"uids=0-0-10#10-9-1", "overlap"},
	    {"uids=0-0-1;uids=1-1-1", "twice"},
	    {"uids=0-0-1;", "neither"},
	    {"uids=0-0-1,gids=0-0-1", "FROM-TO-LENGTH"},
	    {"uids=0-0-1#1-1-1#2-2-1#3-3-1#4-4-1#5-5-1#6-6-1#7-7-1#8-8-1#9-9-1#10-10-1#11-11-1#12-12-1#13-13-"
	     "1#"
	     "14-14-1#15-15-1#16-16-1#17-17-1#18-18-1#19-19-1#20-20-1#21-21-1#22-22-1#23-23-1#24-24-1#25-25-"
	     "1#26-"
	     "26-1#27-27-1#28-28-1#29-29-1#30-30-1#31-31-1#32-32-1",
	     "more than 32"},
	};
	IdMaps m;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		Err e = {0};

		assert_true(idmap_resolve(bad[i].text, 1, 1, &m, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		if (!strstr(e.msg, bad[i].why))
			fail_msg("\"%s\" gives \"%s\", not \"%s\"", bad[i].text, e.msg, bad[i].why);
	}
}

static void in_a_user_namespace(void **state)
{
	const NamespaceIdMap ns[] = {{0, 100000, 1000}, {1000, 1000, 1}, {1001, 101001, 64535}};
	IdMaps m;

	assert_int_equal(idmap_resolve(IDMAP_AUTO, 2000, 2000, &m, NULL), 0);
	assert_int_equal(idmap_into_namespace(&m.uids, ns, ELEMENTSOF(ns), NULL), 0);
	IS_MAP(&m.uids, {2000, 100000, 1}, {1, 100001, 999}, {1000, 1000, 1}, {1001, 101001, 999},
	       {2001, 102001, 63535});
	assert_int_equal(idmap_resolve("uids=5-70000-1", 1, 1, &m, NULL), 0);
	assert_true(idmap_into_namespace(&m.uids, ns, ELEMENTSOF(ns), NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(owner_is_root),
	    cmocka_unit_test(ranges),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(in_a_user_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
