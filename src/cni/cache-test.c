/* SPDX-License-Identifier: Apache-2.0 */
/* Records: whole, found under another network's name, and those that are none. */
#include "cni/test-cni.h"

static void put_record(const World *w, const char *network, const char *id)
{
	const CniRecord r = {.container_id = (char *)(uintptr_t)id,
			     .ifname = (char *)(uintptr_t) "eth0",
			     .network = (char *)(uintptr_t)network,
			     .netns = (char *)(uintptr_t) "/run/n",
			     .owner = (char *)(uintptr_t) "me",
			     .config = (char *)(uintptr_t) "{\"name\":\"n\"}"};
	Err e = {0};

	ok(cni_record_write(w->cache, &r, &e));
}

static void written_and_found(void **state)
{
	World *w = *state;
	_cleanup_record_ CniRecord r = {0};
	Err e = {0};

	assert_int_equal(ok(cni_record_find(w->cache, "net", "id-1", "eth0", &r, &e)), 0);
	ok(cni_record_remove(w->cache, "net", "id-1", "eth0", &e));
	put_record(w, "net", "id-1");
	assert_int_equal(ok(cni_record_find(w->cache, "net", "id-1", "eth0", &r, &e)), 1);
	assert_string_equal(r.container_id, "id-1");
	assert_string_equal(r.netns, "/run/n");
	assert_string_equal(r.owner, "me");
	assert_string_equal(r.config, "{\"name\":\"n\"}");
	assert_null(r.args);
	assert_null(r.result);
	cni_record_done(&r);
	/* The network has another name by now, or none; of names that run into one another each is only itself. */
	assert_int_equal(ok(cni_record_find(w->cache, "other", "id-1", "eth0", &r, &e)), 1);
	assert_string_equal(r.network, "net");
	cni_record_done(&r);
	assert_int_equal(ok(cni_record_find(w->cache, NULL, "1", "eth0", &r, &e)), 0);
	ok(cni_record_remove(w->cache, "net", "id-1", "eth0", &e));
	assert_int_equal(ok(cni_record_find(w->cache, NULL, "id-1", "eth0", &r, &e)), 0);
}

static void records_that_are_none(void **state)
{
	static const char *const bad[] = {
	    "",
	    "[]",
	    "{\"kind\":\"cniCacheV2\",\"containerId\":\"a\",\"ifName\":\"eth0\",\"networkName\":\"n\"}",
	    "{\"kind\":\"cniCacheV1\",\"containerId\":\"../a\",\"ifName\":\"eth0\",\"networkName\":\"n\"}",
	    "{\"kind\":\"cniCacheV1\",\"containerId\":\"a\",\"ifName\":\"e/0\",\"networkName\":\"n\"}",
	    "{\"kind\":\"cniCacheV1\",\"containerId\":\"a\",\"ifName\":\"eth0\",\"networkName\":\"..\"}",
	    "{\"kind\":\"cniCacheV1\",\"containerId\":7,\"ifName\":\"eth0\",\"networkName\":\"n\"}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		CniRecord r = {0};
		Err e = {0};

		if (cni_record_parse(bad[i], strlen(bad[i]), &r, &e) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_true(e.msg[0]);
	}
}

/* Parts that are of another kind are as if they were not there: what can be taken down, is. */
static void parts_that_are_none(void **state)
{
	static const char text[] = "{\"kind\":\"cniCacheV1\",\"containerId\":\"a\",\"ifName\":\"eth0\","
				   "\"networkName\":\"n\",\"config\":\"%%\",\"cniArgs\":[[\"A\"]],"
				   "\"capabilityArgs\":[],\"result\":7}";
	_cleanup_record_ CniRecord r = {0};
	Err e = {0};

	ok(cni_record_parse(text, strlen(text), &r, &e));
	assert_true(!r.config && !r.args && !r.capabilities && !r.result);
}

static int count(CniRecord *r, void *user, Err *e)
{
	++*(int *)user;
	return streq(r->container_id, "stop") ? err_new(e, ERR_CONFLICT, "stopped") : 0;
}

static void all_of_them(void **state)
{
	World *w = *state;
	_cleanup_free_ char *dir = must(strf("%s/results", w->cache)), *link = must(strf("%s/n-l-eth0", dir)),
			    *fifo = must(strf("%s/n-f-eth0", dir));
	int n = 0;
	Err e = {0};

	ok(cni_record_each(w->cache, count, &n, &e));
	put_record(w, "n", "a");
	put_record(w, "n", "b");
	put_at(
	    dir, "n-c-eth0",
	    "{\"kind\":\"cniCacheV1\",\"containerId\":\"other\",\"ifName\":\"eth0\",\"networkName\":\"n\"}",
	    0600);
	put_at(dir, "garbage", "{", 0600);
	assert_int_equal(symlink("n-a-eth0", link), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	ok(cni_record_each(w->cache, count, &n, &e));
	assert_int_equal(n, 2);
	put_record(w, "n", "stop");
	fails(cni_record_each(w->cache, count, &n, &e), ERR_CONFLICT, "stopped");
}

/* A result may be as deep as plugins' answers: its record is deeper. */
static void the_deepest_result(void **state)
{
	World *w = *state;
	_cleanup_json_ json_t *deep = json_object();
	_cleanup_record_ CniRecord found = {0};
	CniRecord r = {.container_id = (char *)"a",
		       .ifname = (char *)"eth0",
		       .network = (char *)"n",
		       .netns = (char *)"",
		       .owner = (char *)"o",
		       .config = (char *)"{}"};
	Err e = {0};

	for (int i = 1; i < CNI_DEPTH_MAX; i++)
		deep = json_pack("{s:o}", "x", deep);
	r.result = deep;
	ok(cni_record_write(w->cache, &r, &e));
	assert_int_equal(cni_record_find(w->cache, "n", "a", "eth0", &found, &e), 1);
	assert_true(json_equal(found.result, deep));
}

/* Of engines that were killed; what may still be written to stays. */
static void pieces_of_records(void **state)
{
	static const struct timespec long_ago[] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	World *w = *state;
	_cleanup_free_ char *dir = must(strf("%s/results", w->cache)), *old = must(strf("%s/.tmp-old", dir)),
			    *fresh = must(strf("%s/.tmp-fresh", dir)), *other = must(strf("%s/other", dir));

	cni_record_sweep(w->cache); /* there is no directory yet */
	put_record(w, "n", "a");
	put_at(dir, ".tmp-old", "{", 0600);
	put_at(dir, ".tmp-fresh", "{", 0600);
	put_at(dir, "other", "{", 0600);
	assert_int_equal(utimensat(AT_FDCWD, old, long_ago, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, other, long_ago, 0), 0);
	cni_record_sweep(w->cache);
	assert_int_equal(access(old, F_OK), -1);
	assert_int_equal(access(fresh, F_OK), 0);
	assert_int_equal(access(other, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    in_world(written_and_found),           cmocka_unit_test(records_that_are_none),
	    cmocka_unit_test(parts_that_are_none), in_world(all_of_them),
	    in_world(the_deepest_result),          in_world(pieces_of_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
