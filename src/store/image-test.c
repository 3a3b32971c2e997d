/* SPDX-License-Identifier: Apache-2.0 */
/* Images: chain ids, what a user may type, and that deletion takes what nobody else needs and nothing more. */
#include "store/store-test.h"

static void test_chain_ids(void **state _unused_)
{
	/* The last one is from coreutils: printf 'sha256:e3b0... sha256:2cf2...' | sha256sum */
	char a[DIGEST_LEN + 1], b[DIGEST_LEN + 1], chain[DIGEST_LEN + 1];

	digest_of("", 0, a);
	assert_string_equal(a, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	digest_of("hello", 5, b);
	chain_id_next(NULL, a, chain);
	assert_string_equal(chain, a);
	chain_id_next(a, b, chain);
	assert_string_equal(chain, "sha256:4b87186f13a401ec4724eb47471de50a8c78f1cf9673b8fbdcca65b3875a4e55");
}

/* An image with the given layers; its id. */
static void make_image(Store *s, const char *author, const char *const *diffs, size_t n,
		       char id[DIGEST_LEN + 1])
{
	_cleanup_json_ json_t *list = json_array();
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *text = NULL;
	Err e = {0};

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(diffs[i]));
	doc = json_pack("{s:s s:s s:s s:s s:{} s:{s:s s:O}}", "architecture", "amd64", "os", "linux",
			"author", author, "created", "2024-01-02T03:04:05Z", "config", "rootfs", "type",
			"layers", "diff_ids", list);
	text = json_text(doc);
	assert_int_equal(store_blob_put(s, text, strlen(text), id, &e), 0);
	if (store_image_put(s, id, NULL, NULL, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_find(void **state)
{
	Store *s = open_store(*state);
	char id[DIGEST_LEN + 1], other[DIGEST_LEN + 1], text[16];
	_cleanup_free_ char *old = NULL;
	StoreImage i;
	Err e = {0};

	make_image(s, "a", NULL, 0, id);
	make_image(s, "b", NULL, 0, other);
	assert_int_equal(store_tag_put(s, "docker.io/library/web:latest", id, NULL, &e), 0);
	assert_int_equal(store_tag_put(s,
				       "docker.io/library/web@sha256:"
				       "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
				       id, NULL, &e),
			 0);
	static const char *const names[] = {
	    "web", "web:latest", "docker.io/library/web",
	    "web@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	    "web:1@sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"};
	for (size_t n = 0; n < ELEMENTSOF(names); n++) {
		if (store_image_find(s, names[n], &i, &e) < 0)
			fail_msg("%s: %s", names[n], e.msg);
		assert_string_equal(i.id, id);
		assert_int_equal(strv_len(i.tags), 1);
		assert_int_equal(strv_len(i.digests), 1);
		assert_int_equal(i.created_ns, 1704164645000000000);
		store_image_done(&i);
	}
	snprintf(text, sizeof(text), "%.12s", id + 7);
	assert_int_equal(store_image_find(s, text, &i, &e), 0);
	store_image_done(&i);
	assert_int_equal(store_image_find(s, id, &i, &e), 0);
	store_image_done(&i);
	assert_true(store_image_find(s, "nope", &i, &e) < 0);
	assert_string_equal(e.msg, "No such image: nope:latest");
	assert_int_equal(e.kind, ERR_NOT_FOUND);

	assert_int_equal(store_tag_put(s, "docker.io/library/web:latest", other, &old, &e), 0);
	assert_string_equal(old, id);
	assert_true(store_tag_put(s, "docker.io/library/x:1", "sha256:none", NULL, &e) < 0);
	assert_int_equal(store_tag_delete(s, "docker.io/library/web:latest", &e), 0);
	assert_true(store_tag_delete(s, "docker.io/library/web:latest", &e) < 0);
	store_close(s);
}

static void test_ambiguous_prefix(void **state)
{
	Store *s = open_store(*state);
	char id[DIGEST_LEN + 1], seen[16] = "", author[16], prefix[2] = "";
	StoreImage i;
	Err e = {0};

	/* Two of 17 images share their first digit. */
	for (int n = 0; n < 17 && !*prefix; n++) {
		snprintf(author, sizeof(author), "%d", n);
		make_image(s, author, NULL, 0, id);
		int digit = id[7] <= '9' ? id[7] - '0' : id[7] - 'a' + 10;
		if (seen[digit]++)
			prefix[0] = id[7];
	}
	assert_true(store_image_find(s, prefix, &i, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	store_close(s);
}

static void test_delete_keeps_what_others_need(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char base[DIGEST_LEN + 1], base_diff[DIGEST_LEN + 1], top[DIGEST_LEN + 1], top_diff[DIGEST_LEN + 1];
	char one[DIGEST_LEN + 1], two[DIGEST_LEN + 1];
	StoreFreed gone = {0};
	StoreImage i;
	Err e = {0};

	make_layer(s, d, NULL, "base", "12345", base, base_diff);
	make_layer(s, d, base, "top", "123", top, top_diff);
	make_image(s, "one", (const char *[]){base_diff}, 1, one);
	make_image(s, "two", (const char *[]){base_diff, top_diff}, 2, two);
	assert_int_equal(store_image_get(s, two, &i, &e), 0);
	assert_int_equal(i.size, 8);
	assert_string_equal(i.chain_id, top);
	store_image_done(&i);

	assert_int_equal(store_tag_put(s, "docker.io/library/two:latest", two, NULL, &e), 0);
	assert_true(store_image_delete(s, two, NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(store_tag_delete(s, "docker.io/library/two:latest", &e), 0);

	/* A container keeps the layer, not the image. */
	assert_int_equal(store_snapshot_prepare(s, "c1", top, &e), 0);
	assert_int_equal(store_image_delete(s, two, &gone, &e), 0);
	assert_null(gone.layers);
	assert_false(store_blob_has(s, two));
	assert_true(store_layer_has(s, top));
	assert_int_equal(store_snapshot_remove(s, "c1", &e), 0);

	make_image(s, "two", (const char *[]){base_diff, top_diff}, 2, two);
	assert_int_equal(store_image_delete(s, two, &gone, &e), 0);
	assert_int_equal(strv_len(gone.layers), 1);
	assert_string_equal(gone.layers[0], top);
	assert_false(store_layer_has(s, top));
	assert_true(store_layer_has(s, base));
	assert_int_equal(store_image_delete(s, one, &gone, &e), 0);
	assert_int_equal(strv_len(gone.layers), 2);
	assert_false(store_layer_has(s, base));
	store_freed_done(&gone);
	store_close(s);
}

static void test_a_lease_postpones(void **state)
{
	const TestDir *d = *state;
	Store *s = open_store(d);
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], id[DIGEST_LEN + 1];
	Err e = {0};

	make_layer(s, d, NULL, "f", "1", chain, diff);
	make_image(s, "x", (const char *[]){diff}, 1, id);
	store_lease_begin(s);
	store_lease_begin(s);
	assert_int_equal(store_image_delete(s, id, NULL, &e), 0);
	assert_true(store_layer_has(s, chain));
	assert_int_equal(store_lease_end(s, &e), 0);
	assert_true(store_layer_has(s, chain));
	assert_int_equal(store_lease_end(s, &e), 0);
	assert_false(store_layer_has(s, chain));
	assert_false(store_blob_has(s, id));
	store_close(s);
}

static void test_an_image_needs_its_layers(void **state)
{
	static const char text[] =
	    "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\","
	    "\"diff_ids\":"
	    "[\"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"]}}";
	Store *s = open_store(*state);
	char id[DIGEST_LEN + 1];
	Err e = {0};

	assert_int_equal(store_blob_put(s, text, strlen(text), id, &e), 0);
	assert_true(store_image_put(s, id, NULL, NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_close(s);
}

static void test_parts(void **state)
{
	Store *s = open_store(*state);
	char ids[3][DIGEST_LEN + 1], index[DIGEST_LEN + 1];
	_cleanup_strv_ char **parts = NULL, **after = NULL;
	StoreImage i, *v;
	size_t n;
	Err e = {0};

	make_image(s, "main", NULL, 0, ids[0]);
	make_image(s, "b", NULL, 0, ids[1]);
	make_image(s, "a", NULL, 0, ids[2]);
	assert_int_equal(store_blob_put(s, "{}", 2, index, &e), 0);
	char *set[] = {ids[0], ids[1], ids[2], NULL};
	assert_int_equal(store_image_parts_set(s, ids[0], index, set, &e), 0);
	/* In their order; it is no part of itself. */
	assert_int_equal(store_image_parts(s, ids[0], &parts, &e), 0);
	assert_int_equal(strv_len(parts), 2);
	assert_string_equal(parts[0], ids[1]);
	assert_string_equal(parts[1], ids[2]);
	assert_int_equal(store_image_get(s, ids[0], &i, &e), 0);
	assert_string_equal(i.index_digest, index);
	assert_false(i.part);
	store_image_done(&i);
	assert_int_equal(store_image_list(s, &v, &n, &e), 0);
	for (size_t k = 0; k < n; k++)
		assert_true(v[k].part == !streq(v[k].id, ids[0]));
	store_images_free(v, n);
	/* The index is a blob of the image's. */
	assert_int_equal(store_blob_release(s, index, &e), 0);
	assert_true(store_blob_has(s, index));
	assert_int_equal(store_image_delete(s, ids[0], NULL, &e), 0);
	assert_false(store_blob_has(s, index));
	assert_int_equal(store_image_get(s, ids[1], &i, &e), 0);
	assert_false(i.part);
	store_image_done(&i);
	assert_int_equal(store_image_parts(s, ids[0], &after, &e), 0);
	assert_null(after);
	assert_true(store_image_parts_set(s, ids[0], NULL, NULL, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	store_close(s);
}

static void test_choose(void **state)
{
	Store *s = open_store(*state);
	char id[DIGEST_LEN + 1], arm[DIGEST_LEN + 1], index[DIGEST_LEN + 1];
	static const char text[] = "{\"architecture\":\"arm64\",\"os\":\"linux\",\"config\":{},"
				   "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
	ImagePlatform want = {.os = (char *)"linux", .architecture = (char *)"arm64"};
	StoreImage i;
	Err e = {0};

	make_image(s, "main", NULL, 0, id);
	assert_int_equal(store_blob_put(s, text, strlen(text), arm, &e), 0);
	assert_int_equal(store_image_put(s, arm, NULL, NULL, &e), 0);
	assert_int_equal(store_blob_put(s, "{}", 2, index, &e), 0);
	assert_int_equal(store_image_parts_set(s, id, index, (char *[]){arm, NULL}, &e), 0);
	assert_int_equal(store_image_get(s, id, &i, &e), 0);
	assert_int_equal(store_image_choose(s, &i, &want, &e), 0);
	assert_string_equal(i.id, arm);
	store_image_done(&i);
	want.architecture = (char *)"s390x";
	assert_int_equal(store_image_get(s, id, &i, &e), 0);
	assert_int_equal(store_image_choose(s, &i, &want, &e), 0);
	assert_string_equal(i.id, id);
	store_image_done(&i);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chain_ids),    test_in_dir(test_find),
	    cmocka_unit_test(test_chain_ids),    test_in_dir(test_parts),
	    cmocka_unit_test(test_chain_ids),    test_in_dir(test_choose),
	    test_in_dir(test_ambiguous_prefix),  test_in_dir(test_delete_keeps_what_others_need),
	    test_in_dir(test_a_lease_postpones), test_in_dir(test_an_image_needs_its_layers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
