/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulls, from a registry with bad manners (pull-test-server.py) and from Debian's (pull-test-registry.py).
 *
 * Each test has a store of its own. After a pull that must fail, nothing may be left that looks like an image or a
 * layer, and no half-written file.
 */
#include "registry/test-world.h"

static int pull_reference(World *w, const char *text)
{
	Reference ref = {0};
	ImagePlatform platform = {0};
	RegistryPull p = {.reference = &ref,
			  .platform = &platform,
			  .auth = w->auth,
			  .progress = on_progress,
			  .user = w,
			  .cancelled = is_cancelled};

	w->e = (Err){0};
	assert_int_equal(reference_parse(text, &ref, NULL), 0);
	assert_int_equal(image_platform_parse(w->platform, &platform, NULL), 0);
	strbuf_done(&w->said);
	int r = registry_pull(w->registry, w->store, &p, w->id, w->digest, &w->updated, &w->e);
	image_platform_done(&platform);
	reference_done(&ref);
	return r;
}

static int pull(World *w, const char *repository)
{
	_cleanup_free_ char *text = strf("127.0.0.1:%d/%s", server.port, repository);

	return pull_reference(w, text);
}

static void must_pull(World *w, const char *repository)
{
	StoreImage i = {0};

	if (pull(w, repository) < 0)
		fail_msg("%s: %s", repository, w->e.msg);
	if (store_image_get(w->store, w->id, &i, &w->e) < 0)
		fail_msg("%s: %s", repository, w->e.msg);
	assert_true(store_layer_has(w->store, i.chain_id));
	store_image_done(&i);
}

static size_t count_images(World *w)
{
	StoreImage *v = NULL;
	size_t n = 0;

	assert_int_equal(store_image_list(w->store, &v, &n, NULL), 0);
	store_images_free(v, n);
	return n;
}

static void must_fail(World *w, const char *repository, ErrKind kind, const char *why)
{
	size_t images = count_images(w);

	if (pull(w, repository) >= 0)
		fail_msg("%s was pulled", repository);
	if (!strstr(w->e.msg, why) || w->e.kind != kind)
		fail_msg("%s: expected %s \"...%s...\", got %s \"%s\"", repository, err_kind_name(kind), why,
			 err_kind_name(w->e.kind), w->e.msg);
	assert_int_equal(count_images(w), images);
	assert_int_equal(count_entries(w, "content/ingest"), 0);
}

static int start_server(void **state _unused_)
{
	return helper_start(&server, "pull-test-server.py", NULL);
}

static int stop_server(void **state _unused_)
{
	return helper_stop(&server);
}

/* ---- what works ---- */

static void test_plain(void **state)
{
	World *w = *state;

	free(seen());
	must_pull(w, "ok");
	assert_true(w->updated);
	assert_non_null(strstr(w->said.s, "latest Pulling from ok\n"));
	assert_non_null(strstr(w->said.s, " Pulling fs layer\n"));
	assert_non_null(strstr(w->said.s, " Download complete\n"));
	assert_non_null(strstr(w->said.s, " Pull complete\n"));
	assert_non_null(strstr(w->said.s, "- Digest: sha256:"));
	assert_non_null(strstr(w->said.s, "- Status: Downloaded newer image for 127.0.0.1:"));
	free(seen());

	must_pull(w, "ok");
	assert_false(w->updated);
	assert_non_null(strstr(w->said.s, "- Status: Image is up to date for 127.0.0.1:"));
	_cleanup_free_ char *again = seen();
	assert_non_null(strstr(again, "HEAD "));
	assert_null(strstr(again, "GET /v2"));
}

static void test_by_digest(void **state)
{
	World *w = *state;
	StoreImage i = {0};

	must_pull(w, "ok");
	_cleanup_free_ char *by_digest = strf("ok@%s", w->digest);
	must_pull(w, by_digest);
	assert_false(w->updated);
	assert_int_equal(store_image_get(w->store, w->id, &i, NULL), 0);
	assert_int_equal(strv_len(i.tags), 1);
	assert_int_equal(strv_len(i.digests), 1);
	store_image_done(&i);
}

static void test_many_layers(void **state)
{
	World *w = *state;

	must_pull(w, "manylayers");
	assert_non_null(strstr(w->said.s, " Waiting\n"));
	size_t done = 0;
	for (const char *p = w->said.s; (p = strstr(p, "Pull complete")); p++)
		done++;
	assert_int_equal(done, 12);
	assert_int_equal(count_entries(w, "layers"), 12);
}

static void *pull_again(void *user)
{
	World *w = user;

	return must_pull(w, "twolayers"), NULL;
}

static void test_at_once(void **state)
{
	World *w = *state;
	World copies[4];
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++) {
		copies[i] = (World){.dir = w->dir,
				    .store = w->store,
				    .registry = w->registry,
				    .platform = w->platform};
		pthread_mutex_init(&copies[i].lock, NULL);
		assert_int_equal(pthread_create(&threads[i], NULL, pull_again, &copies[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_string_equal(copies[i].id, copies[0].id);
		strbuf_done(&copies[i].said);
	}
	assert_int_equal(count_entries(w, "layers"), 2);
}

static void test_index(void **state)
{
	World *w = *state;
	ImageConfig c = {0};

	must_pull(w, "index");
	char amd64[DIGEST_LEN + 1];
	memcpy(amd64, w->id, sizeof(amd64));
	w->platform = "linux/arm64";
	must_pull(w, "index");
	assert_string_not_equal(amd64, w->id);
	assert_int_equal(store_image_config(w->store, w->id, &c, NULL), 0);
	assert_string_equal(c.platform.architecture, "arm64");
	image_config_done(&c);
}

static void test_nested_index(void **state)
{
	must_pull(*state, "nested");
	must_fail(*state, "toodeep", ERR_INVALID, "nested more than");
}

static void test_mirror(void **state)
{
	World *w = *state;
	_cleanup_free_ char *rule = strf("example.invalid=http://127.0.0.1:%d", server.port);
	char *mirrors[] = {(char *)"example.invalid=http://127.0.0.1:1", rule, NULL};

	registry_free(w->registry);
	store_close(w->store);
	world_open(w, mirrors);
	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	free(seen());
	if (pull_reference(w, "example.invalid/token") < 0)
		fail_msg("%s", w->e.msg);
	_cleanup_free_ char *log = seen();
	assert_null(strstr(log, "Basic"));
	assert_true(pull_reference(w, "example.invalid/basic") < 0);
	free(seen());
}

/* ---- hostile documents and bytes ---- */

static void test_mismatches(void **state)
{
	World *w = *state;

	must_fail(w, "bydigest@sha256:1111111111111111111111111111111111111111111111111111111111111111",
		  ERR_INVALID, "digest mismatch");
	must_fail(w, "indexlies", ERR_INVALID, "the index says");
	must_fail(w, "headerlies", ERR_INVALID, "the registry says");
	must_fail(w, "configlies", ERR_INVALID, "config digest mismatch");
	must_fail(w, "layerlies", ERR_INVALID, "mismatch");
	must_fail(w, "swapped", ERR_INVALID, "mismatch");
	assert_int_equal(count_entries(w, "layers"), 0);
}

static void test_bodies(void **state)
{
	World *w = *state;

	must_fail(w, "long", ERR_INVALID, "more than the");
	must_fail(w, "short", ERR_UNAVAILABLE, "given up after");
	registry_set_limits(w->registry, &(RegistryLimits){.attempts = 2});
	must_fail(w, "short", ERR_UNAVAILABLE, "given up after 2 tries");
	registry_set_limits(w->registry, &(RegistryLimits){0});
	must_fail(w, "gone", ERR_NOT_FOUND, "blob unknown");
	assert_true(pull(w, "notgzip") < 0);
	assert_int_equal(count_entries(w, "layers"), 0);
}

static void test_documents(void **state)
{
	World *w = *state;

	must_fail(w, "ambiguous", ERR_INVALID, "ambiguous");
	must_fail(w, "huge", ERR_INVALID, "larger than the limit");
	must_fail(w, "schema1", ERR_UNSUPPORTED, "schema 1");
	must_fail(w, "morelayers", ERR_INVALID, "layers");
	must_fail(w, "nomatch", ERR_NOT_FOUND, "no matching manifest for linux/amd64");
	must_fail(w, "headers", ERR_INVALID, "bytes of headers");
}

/* It is kept, and nothing can be made of it. */
static void test_artifacts(void **state)
{
	World *w = *state;
	size_t layers = count_entries(w, "layers");
	ImageConfig c = {0};
	StoreImage i = {0};

	if (pull(w, "helm") < 0)
		fail_msg("%s", w->e.msg);
	assert_int_equal(store_image_get(w->store, w->id, &i, &w->e), 0);
	assert_string_equal(i.artifact_type, "application/vnd.cncf.helm.config.v1+json");
	assert_string_equal(i.id, i.manifest_digest);
	assert_true(store_image_is_whole(w->store, i.id));
	assert_int_equal(count_entries(w, "layers"), layers);
	assert_true(store_image_config(w->store, i.id, &c, &w->e) < 0);
	assert_int_equal(w->e.kind, ERR_INVALID);
	assert_non_null(strstr(w->e.msg, "it is an artifact of type application/vnd.cncf.helm"));
	store_image_done(&i);
}

static void test_unknown(void **state)
{
	World *w = *state;

	must_fail(w, "ok:nope", ERR_NOT_FOUND, "not found: manifest unknown: manifest unknown");
	assert_true(str_starts(w->e.msg, "manifest for 127.0.0.1:"));
	must_fail(w, "a/b", ERR_NOT_FOUND, "not found: name unknown");
	must_fail(w, "denied", ERR_NOT_FOUND,
		  "repository does not exist or may require 'docker login': denied: requested access");
	assert_true(str_starts(w->e.msg, "pull access denied for 127.0.0.1:"));
	assert_true(pull_reference(w, "127.0.0.1:1/x") < 0);
	assert_int_equal(w->e.kind, ERR_UNAVAILABLE);
	assert_non_null(strstr(w->e.msg, "http://127.0.0.1:1/v2/x"));
	assert_non_null(strstr(w->e.msg, "check that the registry runs"));
}

/* ---- secrets ---- */

static void test_basic(void **state)
{
	World *w = *state;

	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	must_pull(w, "basic");
	_cleanup_free_ char *same = seen();
	assert_non_null(strstr(same, "Basic_dXNlcjpzZWNyZXQ="));
}

static void test_basic_refused(void **state)
{
	World *w = *state;

	must_fail(w, "basic", ERR_NOT_FOUND, "authentication required");
	w->auth = (RegistryAuth){.username = "user", .password = "wrong"};
	must_fail(w, "basic", ERR_UNAUTHORIZED, "incorrect username or password");
	assert_null(strstr(w->e.msg, "wrong"));
}

static void test_token(void **state)
{
	World *w = *state;

	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	free(seen());
	must_pull(w, "token");
	_cleanup_free_ char *log = seen();
	const char *ask = strstr(log, "GET /token-token?");
	assert_non_null(ask);
	assert_non_null(strstr(ask, "account=user"));
	assert_non_null(strstr(ask, "service=svc"));
	assert_non_null(strstr(ask, "scope=repository%3Atoken%3Apull ")); /* not what the challenge names */
	assert_non_null(strstr(ask, "Basic_dXNlcjpzZWNyZXQ="));
	assert_null(strstr(ask + 1, "GET /token-token?")); /* once */
}

static void test_identity_token(void **state)
{
	World *w = *state;

	w->auth = (RegistryAuth){.identity_token = "ident"};
	must_pull(w, "oauth");
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, "grant_type=refresh_token&refresh_token=ident"));
}

static void test_realm_elsewhere(void **state)
{
	World *w = *state;

	w->auth = (RegistryAuth){.username = "user", .password = "secret"};
	free(seen());
	must_pull(w, "elsewhere");
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, "/token-elsewhere?"));
	assert_null(strstr(log, "Basic"));
	assert_null(strstr(log, "user"));
}

static void test_redirect_drops_secrets(void **state)
{
	World *w = *state;

	free(seen());
	must_pull(w, "redirect");
	_cleanup_free_ char *log = seen();
	const char *cdn = strstr(log, "GET /cdn/");
	assert_non_null(cdn);
	_cleanup_free_ char *line = strndup(cdn, strcspn(cdn, "\n"));
	assert_non_null(strstr(line, " 127.0.0.2:"));
	assert_null(strstr(line, "good-token"));
	assert_non_null(strstr(log, "Bearer_good-token"));
}

static void test_bad_tokens(void **state)
{
	World *w = *state;

	must_fail(w, "hugetoken", ERR_INVALID, "larger than the limit");
	must_fail(w, "eviltoken", ERR_INVALID, "control characters");
	must_fail(w, "badrealm", ERR_INVALID, "no http or https URL");
}

static void test_redirects(void **state)
{
	World *w = *state;

	must_fail(w, "loop", ERR_INVALID, "redirects");
	must_fail(w, "tofile", ERR_DENIED, "only http and https");
}

/* ---- bad lines ---- */

static void test_limits(void **state)
{
	World *w = *state;
	int64_t begin = clock_mono_ns();

	must_pull(w, "limited");
	assert_true(clock_mono_ns() - begin >= 1900000000);
	begin = clock_mono_ns();
	must_fail(w, "alwayslimited:x", ERR_UNAVAILABLE, "toomanyrequests: slow?[31m down");
	assert_true(clock_mono_ns() - begin < 20000000000);
}

static void test_resume(void **state)
{
	World *w = *state;

	free(seen());
	must_pull(w, "resume");
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, "bytes="));
	must_pull(w, "norange");
}

static void test_wrong_range(void **state)
{
	must_fail(*state, "wrongrange", ERR_INVALID, "the server sent those from");
}

static void test_stall(void **state)
{
	World *w = *state;
	int64_t begin = clock_mono_ns();

	registry_free(w->registry);
	store_close(w->store);
	world_open_with(w, &(RegistryOptions){.stall_s = 1});
	free(seen());
	must_pull(w, "stalls");
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, " bytes=70000-"));
	assert_non_null(strstr(log, " bytes=140000-"));
	assert_true(clock_mono_ns() - begin < 20000000000);
}

static void test_cancel(void **state)
{
	World *w = *state;
	int64_t begin = clock_mono_ns();

	w->cancel_at = begin + 500000000;
	must_fail(w, "slow", ERR_CANCELLED, "cancelled");
	assert_true(clock_mono_ns() - begin < 15000000000);
}

/* ---- the way there ---- */

static HttpTrouble trouble_with(const char *url, bool unverified, bool named_by_server, Err *e)
{
	const HttpRequest q = {.method = "GET",
			       .url = url,
			       .max_body = 1u << 20,
			       .unverified_tls = unverified,
			       .named_by_server = named_by_server};
	HttpClient *c = NULL;
	HttpReply reply = {0};

	*e = (Err){0};
	assert_int_equal(http_client_new(NULL, &c, e), 0);
	int r = http_do(c, &q, &reply, e);
	HttpTrouble trouble = reply.trouble;
	assert_int_equal(r < 0, trouble != HTTP_FINE);
	http_reply_done(&reply);
	http_client_free(c);
	return trouble;
}

static void test_tls(void **state)
{
	World *w = *state;
	_cleanup_free_ char *image = strf("127.0.0.1:%s/ok", server.digest);
	_cleanup_free_ char *plain = strf("https://127.0.0.1:%s/seen", server.digest);
	_cleanup_free_ char *down = strf("https://127.0.0.1:%s/downgrade", server.digest);
	Err e;

	/* Loopback is trusted without a certificate that holds; nothing else is. */
	if (pull_reference(w, image) < 0)
		fail_msg("%s", w->e.msg);
	assert_int_equal(trouble_with(plain, true, false, &e), HTTP_FINE);
	assert_int_equal(trouble_with(plain, false, false, &e), HTTP_NO_TLS);
	assert_non_null(strstr(e.msg, "--insecure-registry"));
	assert_int_equal(trouble_with(down, true, false, &e), HTTP_REFUSED);
	assert_non_null(strstr(e.msg, "from https to plain http"));
}

static void test_local_addresses_are_the_users(void **state _unused_)
{
	_cleanup_free_ char *url = strf("http://127.0.0.1:%d/seen", server.port);
	_cleanup_free_ char *name = strf("http://localhost:%d/seen", server.port);
	Err e;

	assert_int_equal(trouble_with(url, false, false, &e), HTTP_FINE);
	assert_int_equal(trouble_with(url, false, true, &e), HTTP_REFUSED);
	assert_int_equal(e.kind, ERR_DENIED);
	assert_int_equal(trouble_with(name, false, true, &e), HTTP_REFUSED);
	assert_int_equal(trouble_with("http://169.254.169.254/latest/meta-data/", false, true, &e),
			 HTTP_REFUSED);
}

/* ---- a real one ---- */

static void test_docker_registry(void **state)
{
	World *w = *state;
	Helper real = {0};

	if (helper_start(&real, "pull-test-registry.py", getenv("IREKO_TEST_LAYER")) < 0) {
		assert_int_equal(helper_stop(&real), 77);
		skip();
	}
	_cleanup_free_ char *by_tag = strf("localhost:%d/busybox:1", real.port);
	_cleanup_free_ char *by_digest = strf("localhost:%d/busybox@%s", real.port, real.digest);
	_cleanup_free_ char *missing = strf("localhost:%d/busybox:2", real.port);

	int64_t begin = clock_mono_ns();
	int r = pull_reference(w, by_tag);
	print_message("pulled in %lld ms\n", (long long)(clock_mono_ns() - begin) / 1000000);
	if (r == 0) {
		assert_string_equal(w->digest, real.digest);
		r = pull_reference(w, by_digest);
	}
	Err e = w->e;
	int missing_r = pull_reference(w, missing);
	assert_int_equal(helper_stop(&real), 0);
	if (r < 0)
		fail_msg("%s", e.msg);
	assert_false(w->updated);
	assert_true(missing_r < 0);
	assert_non_null(strstr(w->e.msg, "/busybox:2 not found: manifest unknown: manifest unknown"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_plain),
	    T(test_by_digest),
	    T(test_many_layers),
	    T(test_at_once),
	    T(test_index),
	    T(test_nested_index),
	    T(test_mirror),
	    T(test_mismatches),
	    T(test_bodies),
	    T(test_documents),
	    T(test_artifacts),
	    T(test_unknown),
	    T(test_basic),
	    T(test_basic_refused),
	    T(test_token),
	    T(test_identity_token),
	    T(test_realm_elsewhere),
	    T(test_redirect_drops_secrets),
	    T(test_bad_tokens),
	    T(test_redirects),
	    T(test_limits),
	    T(test_resume),
	    T(test_wrong_range),
	    T(test_stall),
	    T(test_cancel),
	    T(test_tls),
	    cmocka_unit_test(test_local_addresses_are_the_users),
	    T(test_docker_registry),
	};
	signal(SIGPIPE, SIG_DFL);
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
