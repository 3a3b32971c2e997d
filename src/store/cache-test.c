/* SPDX-License-Identifier: Apache-2.0 */
/* The build cache, the sweep of what nothing needs, what images take, and leases against deletions. */
#include "base/clock.h"
#include "base/id.h"
#include "store/store-test.h"

static void put(Store *s, const char *key, const char *chain, const char *diff)
{
	const StoreCacheEntry c = {.key = (char *)(uintptr_t)key,
				   .chain_id = (char *)(uintptr_t)chain,
				   .diff_id = (char *)(uintptr_t)diff,
				   .created_ns = 1};
	Err e = {0};

	if (store_cache_put(s, &c, &e) < 0)
		fail_msg("%s", e.msg);
}

/* An image of one layer with that diff id. */
static void make_image(Store *s, const char *diff, char id[DIGEST_LEN + 1])
{
	char text[512];
	Err e = {0};

	snprintf(text, sizeof(text),
		 "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Labels\":{\"a\":\"b\"}},"
		 "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
		 diff);
	assert_int_equal(store_blob_put(s, text, strlen(text), id, &e), 0);
	if (store_image_put(s, id, NULL, NULL, &e) < 0)
		fail_msg("%s", e.msg);
}

static size_t rows(Store *s)
{
	StoreCacheEntry *v;
	size_t n;
	Err e = {0};

	assert_int_equal(store_cache_list(s, &v, &n, &e), 0);
	store_cache_free(v, n);
	return n;
}

static void test_a_row_keeps_its_layer_from_the_sweep(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char cached[DIGEST_LEN + 1], loose[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], blob[DIGEST_LEN + 1];
	_cleanup_(store_freed_done) StoreFreed freed = {0};
	StoreCacheEntry c = {0};
	Err e = {0};

	make_layer(s, d, NULL, "a", "12345", cached, diff);
	put(s, "key", cached, diff);
	make_layer(s, d, NULL, "b", "123", loose, diff);
	assert_int_equal(store_blob_put(s, "blob", 4, blob, &e), 0);
	/* Too young to go. */
	assert_int_equal(store_sweep(s, clock_now_ns() - 1000000000, &freed, &e), 0);
	assert_true(store_layer_has(s, loose));
	/* Not while somebody brings something in. */
	store_lease_begin(s);
	assert_int_equal(store_sweep(s, clock_now_ns(), &freed, &e), 0);
	assert_int_equal(store_lease_end(s, &e), 0);
	assert_true(store_layer_has(s, loose) && store_blob_has(s, blob));

	assert_int_equal(store_sweep(s, clock_now_ns(), &freed, &e), 0);
	assert_false(store_layer_has(s, loose) || store_blob_has(s, blob));
	assert_true(store_layer_has(s, cached));
	assert_int_equal(freed.bytes, 3 + 4);
	assert_int_equal(strv_len(freed.layers), 1);

	assert_int_equal(store_cache_get(s, "key", &c, &e), 1);
	assert_string_equal(c.chain_id, cached);
	store_cache_entry_done(&c);
	assert_int_equal(store_cache_get(s, "other", &c, &e), 0);
	assert_int_equal(store_cache_delete(s, "key", &freed, &e), 0);
	assert_false(store_layer_has(s, cached));
	assert_int_equal(freed.bytes, 3 + 4 + 5);
	assert_int_equal(store_cache_delete(s, "key", &freed, &e), 0);
	store_close(s);
}

static void test_prune_by_size(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[3][DIGEST_LEN + 1], diff[3][DIGEST_LEN + 1], id[DIGEST_LEN + 1];
	static const char *const keys[] = {"one", "two", "three"};
	_cleanup_(store_freed_done) StoreFreed freed = {0};
	_cleanup_strv_ char **gone = NULL;
	StoreCachePrune p = {.max_bytes = 12};
	StoreCacheEntry c = {0};
	Err e = {0};

	for (int i = 0; i < 3; i++) {
		make_layer(s, d, NULL, keys[i], "12345", chain[i], diff[i]);
		put(s, keys[i], chain[i], diff[i]);
	}
	/* Used last, so it goes last. */
	assert_int_equal(store_cache_get(s, "one", &c, &e), 1);
	store_cache_entry_done(&c);
	assert_int_equal(store_cache_prune(s, &p, &gone, &freed, &e), 0);
	assert_int_equal(strv_len(gone), 1);
	assert_string_equal(gone[0], "two");
	/* What an image has too costs nothing, and goes only when all is to. */
	make_image(s, diff[2], id);
	p = (StoreCachePrune){.reserved = 4};
	assert_int_equal(store_cache_prune(s, &p, &gone, &freed, &e), 0);
	assert_string_equal(gone[1], "one");
	assert_int_equal(rows(s), 1);
	p = (StoreCachePrune){.all = true};
	assert_int_equal(store_cache_prune(s, &p, &gone, &freed, &e), 0);
	assert_int_equal(rows(s), 0);
	assert_true(store_layer_has(s, chain[2]));
	assert_int_equal(freed.bytes, 10);
	store_close(s);
}

static void test_what_images_take(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char base[DIGEST_LEN + 1], base_diff[DIGEST_LEN + 1], top[DIGEST_LEN + 1], top_diff[DIGEST_LEN + 1];
	char one[DIGEST_LEN + 1], two[DIGEST_LEN + 1], text[600];
	char *just_one[] = {one, NULL};
	_cleanup_free_ StoreImageUsage *v = NULL;
	int64_t all, of_one;
	size_t n;
	Err e = {0};

	make_layer(s, d, NULL, "base", "12345", base, base_diff);
	make_layer(s, d, base, "top", "123", top, top_diff);
	make_image(s, base_diff, one);
	snprintf(text, sizeof(text),
		 "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},"
		 "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\",\"%s\"]}}",
		 base_diff, top_diff);
	assert_int_equal(store_blob_put(s, text, strlen(text), two, &e), 0);
	assert_int_equal(store_image_put(s, two, NULL, NULL, &e), 0);
	assert_int_equal(store_image_usage(s, &v, &n, &e), 0);
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++) {
		bool larger = streq(v[i].id, two);

		assert_int_equal(v[i].layers, larger ? 8 : 5);
		assert_int_equal(v[i].shared_layers, 5);
		assert_int_equal(v[i].shared_blobs, 0);
		assert_true(v[i].blobs > 0);
	}
	assert_int_equal(store_images_size(s, NULL, &all, &e), 0);
	assert_int_equal(store_images_size(s, just_one, &of_one, &e), 0);
	assert_int_equal(all, 8 + v[0].blobs + v[1].blobs);
	assert_int_equal(of_one, 5 + (streq(v[0].id, one) ? v[0].blobs : v[1].blobs));
	store_close(s);
}

/* The power went before the config was on disk: an image that nobody can read is none. */
static void test_an_image_without_its_config_goes(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], id[DIGEST_LEN + 1];
	_cleanup_free_ char *path = NULL;
	StoreImage i;
	Err e = {0};

	make_layer(s, d, NULL, "f", "1", chain, diff);
	put(s, "key", chain, diff);
	make_image(s, diff, id);
	assert_int_equal(store_tag_put(s, "docker.io/library/x:1", id, NULL, &e), 0);
	assert_true(db_run(&s->db, &e, "UPDATE blob SET synced = 0, boot = 'another'", "") > 0);
	path = blob_path(id);
	assert_int_equal(unlinkat(s->root_fd, path, 0), 0);
	store_close(s);
	s = open_store(d);
	assert_true(store_image_find(s, "x:1", &i, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_true(store_layer_has(s, chain));
	store_close(s);
}

/* A build that was killed between making a layer and saying which step it is of: the layer goes, and with it what only it stood on. */
static void test_a_layer_of_no_step_goes_at_the_next_start(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char one[DIGEST_LEN + 1], two[DIGEST_LEN + 1], three[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];

	make_layer(s, d, NULL, "a", "1", one, diff);
	put(s, "key", one, diff);
	make_layer(s, d, one, "b", "2", two, diff);
	make_layer(s, d, two, "c", "3", three, diff);
	store_close(s);
	s = open_store(d);
	assert_true(store_layer_has(s, one));
	assert_false(store_layer_has(s, two) || store_layer_has(s, three));
	store_close(s);
}

static void test_use_is_noted_once_an_hour(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], id[DIGEST_LEN + 1];
	StoreImage i = {0};
	int64_t first;
	Err e = {0};

	make_layer(s, d, NULL, "f", "1", chain, diff);
	make_image(s, diff, id);
	assert_int_equal(store_image_get(s, id, &i, &e), 0);
	first = i.used_ns;
	assert_true(first > 0);
	store_image_done(&i);
	assert_int_equal(store_image_used(s, id, &e), 0);
	assert_int_equal(store_image_get(s, id, &i, &e), 0);
	assert_int_equal(i.used_ns, first);
	store_image_done(&i);
	assert_true(db_run(&s->db, &e, "UPDATE image SET used_ns = 5", "") >= 0);
	assert_int_equal(store_image_used(s, id, &e), 0);
	assert_int_equal(store_image_get(s, id, &i, &e), 0);
	assert_true(i.used_ns >= first);
	store_image_done(&i);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_a_row_keeps_its_layer_from_the_sweep),
	    test_in_dir(test_prune_by_size),
	    test_in_dir(test_what_images_take),
	    test_in_dir(test_an_image_without_its_config_goes),
	    test_in_dir(test_a_layer_of_no_step_goes_at_the_next_start),
	    test_in_dir(test_use_is_noted_once_an_hour),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
