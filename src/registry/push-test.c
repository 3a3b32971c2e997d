/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pushes to a registry with bad manners (push-test-server.py).
 *
 * Each test has a store of its own with an image made in it. After a push that must work, the registry has a manifest whose
 * blobs it has, and a store that pulls it has the same image; how it came there is told by what the registry saw.
 */
#include "registry/test-world.h"
#include "registry/upload.h"

#include <sys/random.h>

#define BIG (5 << 20) /* incompressible: more than goes out in one PUT */

static int start_server(void **state _unused_)
{
	return helper_start(&server, "push-test-server.py", NULL);
}

static int stop_server(void **state _unused_)
{
	return helper_stop(&server);
}

/* ---- an image that was made here ---- */

static void write_noise(const char *path, size_t n)
{
	_cleanup_free_ char *noise = malloc(n);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(noise && fd >= 0);
	for (size_t i = 0; i < n; i += 256) /* what one call gives whole */
		assert_true(getrandom(noise + i, MIN2(n - i, (size_t)256), 0) > 0);
	assert_int_equal(fd_write_all(fd, noise, n), 0);
}

static void add_layer(World *w, const char *parent, size_t n, char chain[DIGEST_LEN + 1],
		      char diff[DIGEST_LEN + 1])
{
	_cleanup_free_ char *upper = strf("%s/upper", w->dir->path), *file = strf("%s/f", upper);
	bool empty;

	assert_int_equal(mkdir(upper, 0755), 0);
	write_noise(file, n);
	if (store_layer_commit_upper(w->store, parent, upper, true, chain, diff, NULL, &empty, &w->e) < 0)
		fail_msg("%s", w->e.msg);
}

/* Layers of random bytes; the image's id. */
static void make_image(World *w, const size_t *sizes, size_t n, char id[DIGEST_LEN + 1])
{
	char chain[DIGEST_LEN + 1], below[DIGEST_LEN + 1] = "", diff[DIGEST_LEN + 1];
	_cleanup_json_ json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		add_layer(w, *below ? below : NULL, sizes[i], chain, diff);
		memcpy(below, chain, sizeof(below));
		json_array_append_new(list, json_string(diff));
	}
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s s:s s:{} s:{s:s s:O}}", "architecture", "amd64", "os", "linux", "config",
		      "rootfs", "type", "layers", "diff_ids", list);
	_cleanup_free_ char *text = json_text(doc);
	assert_int_equal(store_blob_put(w->store, text, strlen(text), id, &w->e), 0);
	if (store_image_put(w->store, id, NULL, NULL, &w->e) < 0)
		fail_msg("%s", w->e.msg);
}

static void on_pushed(void *user, const char *tag, const char *digest, int64_t size)
{
	World *w = user;

	strbuf_addf(&w->said, "pushed %s %lld\n", tag, (long long)size);
	memcpy(w->digest, digest, DIGEST_LEN + 1);
}

static int push_as(World *w, const char *repository, const char *id, bool zstd)
{
	_cleanup_free_ char *name = strf("127.0.0.1:%d/%s:latest", server.port, repository);
	Reference ref = {0};
	RegistryPushTag tag = {"latest", id};
	RegistryPush p = {.repository = &ref,
			  .tags = &tag,
			  .n_tags = 1,
			  .form = zstd ? LAYER_ZSTD : LAYER_GZIP,
			  .convert = zstd,
			  .auth = w->auth,
			  .progress = on_progress,
			  .pushed = on_pushed,
			  .user = w,
			  .cancelled = is_cancelled};

	w->e = (Err){0};
	strbuf_done(&w->said);
	assert_int_equal(reference_parse(name, &ref, NULL), 0);
	store_lease_begin(w->store);
	int r = registry_push(w->registry, w->store, &p, &w->e);
	assert_int_equal(store_lease_end(w->store, NULL), 0);
	reference_done(&ref);
	assert_int_equal(count_entries(w, "content/ingest"), 0);
	return r;
}

/* The image that is there, pulled into a store that has nothing. */
static void check_pulled(World *w, const char *repository, const char *id)
{
	_cleanup_free_ char *name = strf("127.0.0.1:%d/%s@%s", server.port, repository, w->digest);
	_cleanup_free_ char *unpack = find_unpack(), *root = strf("%s/other", w->dir->path);
	const StoreOptions so = {.data_root = root, .unpack_program = unpack};
	char got[DIGEST_LEN + 1], digest[DIGEST_LEN + 1];
	ImagePlatform platform = {0};
	Reference ref = {0};
	Store *s = NULL;
	bool updated;

	assert_int_equal(mkdir(root, 0700) < 0 && errno != EEXIST, 0);
	assert_int_equal(reference_parse(name, &ref, NULL), 0);
	assert_int_equal(image_platform_parse("linux/amd64", &platform, NULL), 0);
	const RegistryPull p = {.reference = &ref, .platform = &platform, .auth = w->auth};
	if (store_open(&so, &s, &w->e) < 0 ||
	    registry_pull(w->registry, s, &p, got, digest, &updated, &w->e) < 0)
		fail_msg("%s: %s", name, w->e.msg);
	assert_string_equal(got, id);
	assert_string_equal(digest, w->digest);
	store_close(s);
	reference_done(&ref);
	image_platform_done(&platform);
	assert_int_equal(remove_tree_at(AT_FDCWD, root), 0);
}

static void must_push_image(World *w, const char *repository, const char *id)
{
	if (push_as(w, repository, id, false) < 0)
		fail_msg("%s: %s", repository, w->e.msg);
	assert_non_null(strstr(w->said.s, "- latest: digest: sha256:"));
	check_pulled(w, repository, id);
}

/* A small layer and a big one, so that both ways of sending are gone. */
static void must_push(World *w, const char *repository)
{
	char id[DIGEST_LEN + 1];

	make_image(w, (const size_t[]){1000, BIG}, 2, id);
	must_push_image(w, repository, id);
}

static void must_fail(World *w, const char *repository, ErrKind kind, const char *why)
{
	char id[DIGEST_LEN + 1];
	StoreImage i = {0};

	make_image(w, (const size_t[]){1000, BIG}, 2, id);
	if (push_as(w, repository, id, false) >= 0)
		fail_msg("%s was pushed", repository);
	if (!strstr(w->e.msg, why) || w->e.kind != kind)
		fail_msg("%s: expected %s \"...%s...\", got %s \"%s\"", repository, err_kind_name(kind), why,
			 err_kind_name(w->e.kind), w->e.msg);
	assert_int_equal(store_image_get(w->store, id, &i, NULL), 0);
	assert_null(i.manifest_digest);
	assert_null(i.digests);
	store_image_done(&i);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

/* ---- what works ---- */

static void test_plain(void **state)
{
	World *w = *state;
	char id[DIGEST_LEN + 1], first[DIGEST_LEN + 1];
	StoreImage i = {0};

	make_image(w, (const size_t[]){1000, BIG}, 2, id);
	free(seen());
	must_push_image(w, "plain", id);
	assert_int_equal(count(w->said.s, " Preparing\n"), 2);
	assert_int_equal(count(w->said.s, " Pushed\n"), 2);
	assert_non_null(strstr(w->said.s, "pushed latest "));
	_cleanup_free_ char *all = seen();
	assert_int_equal(count(all, "PATCH "), 1); /* the big one; small ones and the config are one PUT */
	assert_int_equal(count(all, "POST "), 3);
	memcpy(first, w->digest, sizeof(first));

	/* It is known by that digest now, and goes out again without a byte. */
	assert_int_equal(store_image_get(w->store, id, &i, NULL), 0);
	assert_string_equal(i.manifest_digest, first);
	assert_int_equal(strv_len(i.digests), 1);
	store_image_done(&i);
	must_push_image(w, "plain", id);
	assert_int_equal(count(w->said.s, " Layer already exists\n"), 2);
	assert_string_equal(w->digest, first);
	_cleanup_free_ char *again = seen();
	assert_int_equal(count(again, "POST ") + count(again, "PUT ") + count(again, "PATCH "), 0);
	assert_int_equal(count(again, "HEAD "), 4);
}

/* The same files give the same blobs, and what was compressed once is not compressed again. */
static void test_elsewhere_again(void **state)
{
	World *w = *state;
	char id[DIGEST_LEN + 1], digest[DIGEST_LEN + 1];

	make_image(w, (const size_t[]){BIG}, 1, id);
	must_push_image(w, "one", id);
	memcpy(digest, w->digest, sizeof(digest));
	free(seen());
	must_push_image(w, "two", id);
	assert_string_equal(w->digest, digest);
	assert_non_null(strstr(w->said.s, " Mounted from one\n"));
	_cleanup_free_ char *all = seen();
	assert_int_equal(count(all, "PATCH "), 0);
	must_push_image(w, "mountrefused", id);
	assert_non_null(strstr(w->said.s, " Pushed\n"));
	must_push_image(w, "mountlies", id);
	assert_non_null(strstr(w->said.s, " Pushed\n"));
	assert_string_equal(w->digest, digest);
}

static void test_same_layer_twice(void **state)
{
	World *w = *state;
	char id[DIGEST_LEN + 1], chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], next[DIGEST_LEN + 1];
	_cleanup_free_ char *upper = strf("%s/upper", w->dir->path);
	_cleanup_json_ json_t *list = json_array();
	bool empty;

	for (int i = 0; i < 2; i++) {
		const struct timespec ts[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

		assert_int_equal(mkdir(upper, 0755), 0);
		assert_int_equal(utimensat(AT_FDCWD, upper, ts, 0), 0);
		assert_int_equal(store_layer_commit_upper(w->store, i ? chain : NULL, upper, true,
							  i ? next : chain, diff, NULL, &empty, &w->e),
				 0);
		json_array_append_new(list, json_string(diff));
	}
	_cleanup_json_ json_t *doc = json_pack("{s:s s:s s:{s:s s:O}}", "architecture", "amd64", "os",
					       "linux", "rootfs", "type", "layers", "diff_ids", list);
	_cleanup_free_ char *text = json_text(doc);
	assert_int_equal(store_blob_put(w->store, text, strlen(text), id, &w->e), 0);
	assert_int_equal(store_image_put(w->store, id, NULL, NULL, &w->e), 0);
	free(seen());
	must_push_image(w, "twice", id);
	_cleanup_free_ char *all = seen();
	assert_int_equal(count(all, "POST "), 2); /* the layer and the config */
}

static void test_zstd(void **state)
{
	World *w = *state;
	char id[DIGEST_LEN + 1], gzip[DIGEST_LEN + 1];
	size_t blobs;
	StoreImage i = {0};

	make_image(w, (const size_t[]){BIG, 1000}, 2, id);
	must_push_image(w, "gz", id);
	memcpy(gzip, w->digest, sizeof(gzip));
	blobs = count_entries(w, "content/blobs/sha256");
	if (push_as(w, "zst", id, true) < 0)
		fail_msg("%s", w->e.msg);
	assert_string_not_equal(w->digest, gzip);
	check_pulled(w, "zst", id);
	/* It stays what it was here, and what was made for the way is gone. */
	assert_int_equal(count_entries(w, "content/blobs/sha256"), blobs);
	assert_int_equal(store_image_get(w->store, id, &i, NULL), 0);
	assert_string_equal(i.manifest_digest, gzip);
	store_image_done(&i);
	free(seen());
	if (push_as(w, "zst", id, true) < 0)
		fail_msg("%s", w->e.msg);
	_cleanup_free_ char *all = seen();
	assert_int_equal(count(all, "POST ") + count(all, "PATCH "), 0);
	/* Its blobs are gone here; a repository without them makes them again. */
	if (push_as(w, "mountrefused", id, true) < 0)
		fail_msg("%s", w->e.msg);
	check_pulled(w, "mountrefused", id);
}

static void test_places(void **state)
{
	static const char *const ok[] = {"relative", "hiccup",      "takesless",
					 "lastcut",  "manifest5xx", "races"};
	World *w = *state;

	for (size_t i = 0; i < ELEMENTSOF(ok); i++)
		must_push(w, ok[i]);
}

static void test_old_types(void **state)
{
	World *w = *state;

	must_push(w, "oldtypes");
	must_push(w, "oldtypes"); /* the same once more, by its own manifest */
}

/* ---- signing in ---- */

static void test_basic(void **state)
{
	World *w = *state;

	must_fail(w, "basic", ERR_UNAUTHORIZED, "unauthorized: authentication required");
	w->auth = (RegistryAuth){.username = "user", .password = "wrong"};
	must_fail(w, "basic", ERR_UNAUTHORIZED, "unauthorized: incorrect username or password");
	w->auth.password = "secret";
	must_push(w, "basic");
}

static void test_token(void **state)
{
	World *w = *state;
	char id[DIGEST_LEN + 1];

	make_image(w, (const size_t[]){BIG}, 1, id);
	must_push_image(w, "tokena", id);
	free(seen());
	must_push_image(w, "tokenb", id);
	_cleanup_free_ char *all = seen();
	/* What is asked for is to push there and to pull from where it may be mounted from, once. */
	assert_int_equal(count(all,
			       "scope=repository%3Atokenb%3Apull%2Cpush&scope=repository%3Atokena%3Apull "),
			 1);
	assert_non_null(strstr(w->said.s, " Mounted from tokena\n"));
	/* A token that runs out on the way: the request that meets it is sent once more, with its body. */
	must_push(w, "tokenfew");
}

static void test_denied(void **state)
{
	World *w = *state;

	must_fail(w, "denied", ERR_DENIED, "denied: requested access to the resource is denied");
	must_fail(w, "silent", ERR_UNAUTHORIZED, "unauthorized: authentication required");
	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	must_fail(w, "silent", ERR_DENIED, "denied: requested access to the resource is denied");
}

static void test_location_elsewhere(void **state)
{
	World *w = *state;
	_cleanup_free_ char *elsewhere = strf(" 127.0.0.2:%d -", server.port);
	_cleanup_free_ char *astray = strf(" 127.0.0.2:%d Basic", server.port);

	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	free(seen());
	/* The double wants the password there too, and does not get it. */
	must_fail(w, "elsewhere", ERR_UNAUTHORIZED, "authentication required");
	_cleanup_free_ char *all = seen();
	assert_non_null(strstr(all, elsewhere));
	assert_null(strstr(all, astray));
}

/* ---- what breaks ---- */

static void test_range(void **state _unused_)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} t[] = {{"0-499", 500},
		 {"bytes=0-499", 500},
		 {"0-0", 0},
		 {"0-1", 2},
		 {NULL, -1},
		 {"", -1},
		 {"500", -1},
		 {"0-", -1},
		 {"0--1", -1},
		 {"0-x", -1},
		 {"0-9223372036854775807", -1},
		 {"0-99999999999999999999", -1}};

	for (size_t i = 0; i < ELEMENTSOF(t); i++)
		assert_int_equal(upload_range_end(t[i].text), t[i].bytes);
}

static void test_resume(void **state)
{
	World *w = *state;

	free(seen());
	must_push(w, "cuts");
	_cleanup_free_ char *all = seen();
	/* Three times cut, asked how far it came, and gone on from there. */
	assert_int_equal(count(all, "PATCH "), 4);
	assert_int_equal(count(all, "GET /upload/"), 3);
	assert_int_equal(count(all, "POST "), 3);

	must_push(w, "forgets");
	_cleanup_free_ char *anew = seen();
	assert_int_equal(count(anew, "POST "), 6); /* the big one four times */
}

static void test_pieces(void **state)
{
	World *w = *state;

	free(seen());
	must_push(w, "maxbody");
	_cleanup_free_ char *all = seen();
	assert_non_null(strstr(all, " 0-2097151 2097152\n"));
	assert_non_null(strstr(all, " 2097152-4194303 2097152\n"));
	must_push(w, "minlength");
	_cleanup_free_ char *min = seen();
	assert_non_null(strstr(min, " 2097152-4194303 2097152\n"));
}

static void test_limited(void **state)
{
	World *w = *state;
	int64_t begin = clock_mono_ns();

	must_push(w, "limited");
	assert_true(clock_mono_ns() - begin >= 1000000000);
	must_fail(w, "alwayslimited", ERR_UNAVAILABLE, "slow?[31m down");
	must_fail(w, "broken", ERR_UNAVAILABLE, "the disk is full");
}

static void test_lies(void **state)
{
	World *w = *state;

	must_fail(w, "tofile", ERR_DENIED, "only http and https");
	must_fail(w, "nolocation", ERR_INVALID, "without saying where it goes on");
	must_fail(w, "claims", ERR_INVALID, "only");
	must_fail(w, "keepsother", ERR_INVALID, "the registry keeps the blob");
	must_fail(w, "renames", ERR_INVALID, "manifest digest mismatch");
	free(seen());
	must_fail(w, "picky", ERR_INVALID, "did not match");
	_cleanup_free_ char *all = seen();
	assert_true(count(all, "PATCH ") <= 2); /* once more, and no more */
	assert_true(count(all, "DELETE ") >= 1);
}

static void test_cancel(void **state)
{
	World *w = *state;
	int64_t begin = clock_mono_ns();

	w->cancel_at = begin + 500000000;
	must_fail(w, "broken", ERR_CANCELLED, "cancelled");
	assert_true(clock_mono_ns() - begin < 15000000000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_plain),
	    T(test_elsewhere_again),
	    T(test_same_layer_twice),
	    T(test_zstd),
	    T(test_places),
	    T(test_old_types),
	    T(test_basic),
	    T(test_token),
	    T(test_denied),
	    T(test_location_elsewhere),
	    cmocka_unit_test(test_range),
	    T(test_resume),
	    T(test_pieces),
	    T(test_limited),
	    T(test_lies),
	    T(test_cancel),
	};
	signal(SIGPIPE, SIG_DFL);
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
