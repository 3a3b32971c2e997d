/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing in, start to end, at doubles of the large registries (auth-flow-test-server.py): log in, then ask for a manifest. What matters is as
 * much what the doubles did not see: a secret at a host that it is not for.
 */
#include "registry/registry-internal.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/str.h"
#include "registry/test-server.h"

#define HUB      "127.0.0.11"
#define HUB_AUTH "127.0.0.21"
#define ECR      "127.0.0.12"
#define GAR      "127.0.0.13"
#define ACR      "127.0.0.14"
#define GHCR     "127.0.0.15"
#define HARBOR   "127.0.0.16"
#define GITLAB   "127.0.0.17"
#define BOTH     "127.0.0.18"
#define OPEN     "127.0.0.19"
#define ODD      "127.0.0.20"

static Helper server;

static int start_server(void **state _unused_)
{
	return helper_start(&server, "auth-flow-test-server.py", NULL);
}

static int stop_server(void **state _unused_)
{
	return helper_stop(&server);
}

static int setup(void **state)
{
	char *const trusted[] = {(char *)HUB "=" HUB_AUTH, (char *)GITLAB "=127.0.0.27", NULL};
	const RegistryOptions o = {.token_servers = trusted};
	Registry *r = NULL;

	if (registry_new(&o, &r, NULL) < 0)
		return -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	registry_free(*state);
	return 0;
}

/* What the doubles have seen since last asked. malloc'ed */
static char *ask_server(const char *path)
{
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	_cleanup_free_ char *url = strf("http://" HUB ":%d%s", server.port, path);
	const HttpRequest q = {.method = "GET", .url = url, .max_body = 1 << 20};
	HttpReply reply = {0};

	assert_int_equal(http_client_new(NULL, &c, NULL), 0);
	assert_int_equal(http_do(c, &q, &reply, NULL), 0);
	char *body = take_ptr(reply.body);
	http_reply_done(&reply);
	return body;
}

static char *seen(void)
{
	return ask_server("/seen");
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, part)); p++)
		n++;
	return n;
}

static char *host_of(const char *address)
{
	return strf("%s:%d", address, server.port);
}

/* ---- logging in ---- */

static int login(Registry *r, const char *address, RegistryAuth auth, char **token, Err *e)
{
	_cleanup_free_ char *host = host_of(address);
	const RegistryLogin l = {.server = host, .auth = auth};

	return registry_login(r, &l, token, e);
}

static void login_works(Registry *r, const char *address, const char *user, const char *password)
{
	char *token = NULL;
	Err e = {0};

	if (login(r, address, (RegistryAuth){.username = user, .password = password}, &token, &e) < 0)
		fail_msg("%s: %s", address, e.msg);
	assert_null(token);
}

static void login_fails(Registry *r, const char *address, const char *user, const char *password,
			const char *why)
{
	char *token = NULL;
	Err e = {0};

	if (login(r, address, (RegistryAuth){.username = user, .password = password}, &token, &e) == 0)
		fail_msg("%s takes a wrong password", address);
	assert_int_equal(e.kind, ERR_UNAUTHORIZED);
	if (!strstr(e.msg, why))
		fail_msg("%s: %s", address, e.msg);
	assert_null(strstr(e.msg, password));
	assert_null(token);
}

static void test_login(void **state)
{
	static const char json_key[] =
	    "{\n  \"type\": \"service_account\",\n  \"private_key\": \"-----BEGIN\\n\"\n}";
	_cleanup_free_ char *ecr = calloc(1, 2005);
	static const struct {
		const char *address, *why;
	} wrong[] = {{HUB, "incorrect username or password"},
		     {ECR, "incorrect username or password"},
		     {GAR, "incorrect username or password"},
		     {ACR, "incorrect username or password"},
		     {GHCR, "access forbidden"},
		     {HARBOR, "incorrect username or password"},
		     {GITLAB, "access forbidden"}};

	memcpy(ecr, "ecr-", 4);
	memset(ecr + 4, 't', 2000);
	login_works(*state, HUB, "hub", "dckr_pat_1");
	login_works(*state, ECR, "AWS", ecr);
	login_works(*state, GAR, "_json_key", json_key);
	login_works(*state, GAR, "oauth2accesstoken", "ya29.token");
	login_works(*state, GHCR, "octocat", "ghp_1");
	login_works(*state, HARBOR, "robot$ci+x", "harbor-pw");
	login_works(*state, GITLAB, "gitlab", "glpat-1");
	/* A registry that asks for nothing takes everything. */
	login_works(*state, OPEN, "anyone", "x");
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, "account=robot%24ci%2Bx"));
	assert_non_null(strstr(log, "offline_token=true&client_id=ireko&service=harbor-registry"));
	for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
		login_fails(*state, wrong[i].address, "hub", "geheim", wrong[i].why);
}

static void test_login_nowhere(void **state)
{
	_cleanup_free_ char *away = strf("127.0.0.99:%d", server.port);
	const RegistryLogin nobody = {.server = away, .auth = {.username = "u", .password = "p"}};
	const RegistryLogin bad = {.server = "h h", .auth = {.username = "u", .password = "p"}};
	char *token = NULL;
	Err e = {0};

	assert_true(registry_login(*state, &nobody, &token, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAVAILABLE);
	assert_true(registry_login(*state, &bad, &token, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
	/* Something that is no registry. */
	assert_true(login(*state, HUB_AUTH, (RegistryAuth){.username = "u", .password = "p"}, &token, &e) <
		    0);
	assert_int_equal(e.kind, ERR_INVALID);
	assert_non_null(strstr(e.msg, "as no registry does"));
}

/* A token server that is not recognisably the registry's gets nothing, and the error names both and the remedy. */
static void test_stranger(void **state _unused_)
{
	const RegistryOptions o = {0};
	Registry *r = NULL;

	assert_int_equal(registry_new(&o, &r, NULL), 0);
	free(seen());
	login_fails(r, HUB, "hub", "dckr_pat_1", "--registry-token-server " HUB "=" HUB_AUTH);
	_cleanup_free_ char *log = seen();
	assert_int_equal(count(log, "Basic"), 0);
	registry_free(r);
}

/* One that offers Basic as well gets the password itself, and the stranger nothing. */
static void test_both_ways(void **state)
{
	free(seen());
	login_works(*state, BOTH, "both", "both-pw");
	_cleanup_free_ char *log = seen();
	assert_int_equal(count(log, "Basic"), 1);
	assert_int_equal(count(log, "127.0.0.28"), 0);
	login_fails(*state, BOTH, "both", "wrong", "incorrect username or password");
}

static void test_rules(void **state _unused_)
{
	static const char *const bad[] = {"x", "=h", "h=", "h=a/b", "https://h=x", "h=https://x", "u:p@h=x"};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *const rules[] = {(char *)bad[i], NULL};
		const RegistryOptions o = {.token_servers = rules};
		Registry *r = NULL;
		Err e = {0};

		if (registry_new(&o, &r, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
	}
}

/* What is allowed for a registry's own host is allowed for no other: plain http above all. Nobody listens there, and local
 * addresses are allowed, so that nothing else decides. */
static void test_ways_to_a_token_server(void **state)
{
	const RegistryAuth anonymous = {0}, secret = {.username = "u", .password = "geheim"};
	char *const rule[] = {(char *)"auth.acme.localhost", NULL};
	const struct {
		const char *registry, *realm;
		const RegistryAuth *auth;
		bool plain_http_ok, unverified_tls;
		char *const *insecure;
		ErrKind kind; /* ERR_UNAVAILABLE: it was asked for, where nobody listens */
	} cases[] = {
	    {"https://registry.acme.localhost", "http://auth.acme.localhost:1/t", &anonymous, false, false,
	     NULL, ERR_DENIED},
	    {"https://registry.acme.localhost", "http://auth.acme.localhost:1/t", &anonymous, true, true,
	     NULL, ERR_DENIED},
	    {"http://registry.acme.localhost", "http://auth.acme.localhost:1/t", &secret, true, true, NULL,
	     ERR_DENIED},
	    {"http://registry.acme.localhost", "http://auth.acme.localhost:1/t", &secret, true, true, rule,
	     ERR_UNAVAILABLE},
	    {"http://registry.acme.localhost", "http://registry.acme.localhost:1/t", &secret, true, true,
	     NULL, ERR_UNAVAILABLE},
	    {"https://registry.acme.localhost", "ftp://auth.acme.localhost:1/t", &secret, true, true, rule,
	     ERR_INVALID},
	    {"https://registry.acme.localhost", "https://u:p@auth.acme.localhost:1/t", &secret, true, true,
	     rule, ERR_INVALID},
	};
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	Registry *r = *state;

	assert_int_equal(http_client_new(NULL, &c, NULL), 0);
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *challenge = strf("Bearer realm=\"%s\"", cases[i].realm);
		char *const challenges[] = {challenge, NULL};
		const AuthAsk a = {.registry_url = cases[i].registry,
				   .path = "x",
				   .auth = cases[i].auth,
				   .local_allowed = true,
				   .plain_http_ok = cases[i].plain_http_ok,
				   .unverified_tls = cases[i].unverified_tls,
				   .insecure = cases[i].insecure};
		AuthGrant g = {0};
		Err e = {0};

		assert_true(auth_answer(r->tokens, c, &a, challenges, &g, &e) < 0);
		if (e.kind != cases[i].kind)
			fail_msg("case %zu: kind %d: %s", i, (int)e.kind, e.msg);
		assert_null(strstr(e.msg, "geheim"));
		assert_null(g.authorization);
	}
}

/* ---- asking for a manifest ---- */

typedef struct Visit {
	Reference reference;
	RegistryPull pull;
	Endpoint *endpoints;
	size_t n;
	Session session;
	HttpClient *client;
} Visit;

static void visit_begin(Visit *v, Registry *r, const char *address, const char *repository, RegistryAuth auth)
{
	_cleanup_free_ char *host = host_of(address);
	_cleanup_free_ char *name = strf("%s/%s:latest", host, repository);

	memset(v, 0, sizeof(*v));
	assert_int_equal(reference_parse(name, &v->reference, NULL), 0);
	v->pull = (RegistryPull){.reference = &v->reference, .auth = auth};
	assert_int_equal(registry_endpoints(r, host, &v->endpoints, &v->n, NULL), 0);
	assert_int_equal(http_client_new(NULL, &v->client, NULL), 0);
	session_init(&v->session, r, &v->endpoints[v->n - 1], &v->pull);
	free(seen());
}

static void visit_end(Visit *v)
{
	session_done(&v->session);
	http_client_free(v->client);
	registry_endpoints_free(v->endpoints, v->n);
	reference_done(&v->reference);
}

static int get(Visit *v, int *ret_status, Err *e)
{
	HttpRequest q = {.method = "GET", .max_body = 4096};
	HttpReply reply = {0};
	int r = session_do(&v->session, v->client, "manifests/latest", &q, &reply, e);

	*ret_status = reply.status;
	http_reply_done(&reply);
	return r;
}

static void get_works(Visit *v)
{
	int status = 0;
	Err e = {0};

	if (get(v, &status, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(status, 200);
}

static void test_scopes(void **state)
{
	char *const more[] = {(char *)"repository:other/x:pull", NULL};
	Visit v;

	visit_begin(&v, *state, HUB, "library/x",
		    (RegistryAuth){.username = "hub", .password = "dckr_pat_1"});
	get_works(&v);
	get_works(&v);
	_cleanup_free_ char *log = seen();
	/* One token for both, for what is done and not for what the challenge names; nothing for keeps. */
	assert_int_equal(count(log, "GET " HUB_AUTH), 1);
	assert_non_null(strstr(log, "scope=repository%3Alibrary%2Fx%3Apull "));
	assert_null(strstr(log, "delete"));
	assert_null(strstr(log, "offline_token"));
	/* The password was at the token server alone. */
	assert_int_equal(count(log, "Basic"), 1);
	visit_end(&v);

	visit_begin(&v, *state, HUB, "library/x",
		    (RegistryAuth){.username = "hub", .password = "dckr_pat_1"});
	v.session.actions = "pull,push";
	v.session.scopes = more;
	get_works(&v);
	_cleanup_free_ char *push = seen();
	assert_int_equal(count(push, "GET " HUB_AUTH), 1);
	assert_non_null(
	    strstr(push,
		   "scope=repository%3Alibrary%2Fx%3Apull%2Cpush&scope=repository%3Aother%2Fx%3Apull "));
	visit_end(&v);
}

static void test_cache(void **state)
{
	Visit v;

	for (int i = 0; i < 2; i++) {
		visit_begin(&v, *state, HARBOR, "cache/x",
			    (RegistryAuth){.username = "robot$ci+x", .password = "harbor-pw"});
		get_works(&v);
		_cleanup_free_ char *log = seen();
		assert_int_equal(count(log, "/service/token"), i == 0);
		visit_end(&v);
	}
	/* Another password is another account: the token of the right one is not for it. */
	int status = 0;
	Err e = {0};
	visit_begin(&v, *state, HARBOR, "cache/x",
		    (RegistryAuth){.username = "robot$ci+x", .password = "wrong"});
	assert_true(get(&v, &status, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHORIZED);
	visit_end(&v);
}

/* A token that is refused is renewed, and one that is about to expire before it is. */
static void test_renewal(void **state)
{
	Registry *r = *state;
	Visit v;

	visit_begin(&v, r, GHCR, "renew/x", (RegistryAuth){.username = "octocat", .password = "ghp_1"});
	get_works(&v);
	free(ask_server("/revoke"));
	free(seen());
	get_works(&v);
	_cleanup_free_ char *log = seen();
	assert_int_equal(count(log, "GET " GHCR " /token"), 1);
	assert_int_equal(count(log, "/manifests/"), 2);

	token_cache_free(r->tokens);
	r->tokens = token_cache_new();
	v.session.grant.renew_ns = clock_mono_ns() - 1;
	get_works(&v);
	_cleanup_free_ char *ahead = seen();
	assert_true(str_starts(ahead, "GET " GHCR " /token"));
	assert_int_equal(count(ahead, "/manifests/"), 1);
	visit_end(&v);
}

static void test_identity_token(void **state)
{
	char *token = NULL;
	Visit v;
	Err e = {0};

	/* What a login with a password yields, and what is then sent: by POST, and in no URL. */
	assert_int_equal(login(*state, ACR, (RegistryAuth){.username = "admin", .password = "azure-pw"},
			       &token, &e),
			 0);
	assert_string_equal(token, "azure-refresh");
	visit_begin(&v, *state, ACR, "app", (RegistryAuth){.username = "admin", .identity_token = token});
	get_works(&v);
	_cleanup_free_ char *log = seen();
	assert_non_null(strstr(log, "POST " ACR
				    " /oauth2/token - grant_type=refresh_token&refresh_token=azure-refresh&"
				    "client_id=ireko&service=name.azurecr.io&scope=repository%3Aapp%3Apull"));
	assert_int_equal(count(log, "azure-refresh"), 1);
	assert_int_equal(count(log, "Basic"), 0);
	visit_end(&v);
	/* Azure's own way: the identity token as a password, with a user of zeros. */
	char *second = NULL;
	assert_int_equal(login(*state, ACR,
			       (RegistryAuth){.username = "00000000-0000-0000-0000-000000000000",
					      .password = "azure-refresh"},
			       &second, &e),
			 0);
	assert_string_equal(second, "azure-refresh");
	secret_free(second);
	/* One that has expired. */
	int status = 0;
	visit_begin(&v, *state, ACR, "app", (RegistryAuth){.identity_token = "old"});
	assert_true(get(&v, &status, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHORIZED);
	assert_non_null(strstr(e.msg, "the refresh token?[2J is not valid"));
	assert_non_null(strstr(e.msg, "log in again"));
	assert_null(strstr(e.msg, "old"));
	visit_end(&v);
	secret_free(token);
}

/* No POST there: the identity token goes as a password. */
static void test_identity_token_by_get(void **state)
{
	Visit v;

	visit_begin(&v, *state, GAR, "p/x",
		    (RegistryAuth){.username = "oauth2accesstoken", .identity_token = "ya29.token"});
	get_works(&v);
	_cleanup_free_ char *log = seen();
	assert_int_equal(count(log, "POST " GAR " /v2/token"), 1);
	assert_int_equal(count(log, "GET " GAR " /v2/token"), 1);
	visit_end(&v);
	/* A registry with Basic alone has no use for one. */
	int status = 0;
	Err e = {0};
	visit_begin(&v, *state, ECR, "p/x", (RegistryAuth){.identity_token = "geheim"});
	assert_true(get(&v, &status, &e) < 0);
	assert_non_null(strstr(e.msg, "identity token"));
	assert_null(strstr(e.msg, "geheim"));
	visit_end(&v);
}

static void test_registry_token(void **state)
{
	int status = 0;
	Err e = {0};
	Visit v;

	visit_begin(&v, *state, GHCR, "x",
		    (RegistryAuth){.username = "octocat", .registry_token = "brought-along"});
	get_works(&v);
	_cleanup_free_ char *log = seen();
	assert_int_equal(count(log, "/token"), 0);
	visit_end(&v);
	visit_begin(&v, *state, GHCR, "x", (RegistryAuth){.registry_token = "refused"});
	assert_true(get(&v, &status, &e) < 0);
	assert_int_equal(e.kind, ERR_UNAUTHORIZED);
	assert_non_null(strstr(e.msg, "refuses the registry token"));
	visit_end(&v);
}

/* However long a server says that a token lives: not less than a minute, not more than an hour, and renewed some time before. */
static void test_lives(void **state)
{
	static const struct {
		const char *repository;
		int least_s, most_s;
	} cases[] = {{"short", 40, 46},
		     {"negative", 40, 46},
		     {"text", 40, 46},
		     {"none", 40, 46},
		     {"forever", 3500, 3571}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		Visit v;

		visit_begin(&v, *state, ODD, cases[i].repository,
			    (RegistryAuth){.username = "odd", .password = "odd-pw"});
		get_works(&v);
		int64_t s = (v.session.grant.renew_ns - clock_mono_ns()) / 1000000000;
		if (s < cases[i].least_s || s > cases[i].most_s)
			fail_msg("%s: renewed after %lld s", cases[i].repository, (long long)s);
		visit_end(&v);
	}
}

/* A token server that is busy, or drops the line, is asked again, as often as a registry would be; not for ever. */
static void test_busy_token_server(void **state)
{
	static const struct {
		const char *repository;
		size_t asked;
		bool works;
	} cases[] = {{"limited", 3, true}, {"cut", 2, true}, {"alwayslimited", 3, false}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		int status = 0;
		Err e = {0};
		Visit v;

		visit_begin(&v, *state, ODD, cases[i].repository,
			    (RegistryAuth){.username = "odd", .password = "odd-pw"});
		int r = get(&v, &status, &e);
		if (cases[i].works != (r == 0))
			fail_msg("%s: %s", cases[i].repository, e.msg);
		if (!cases[i].works) {
			assert_int_equal(e.kind, ERR_UNAVAILABLE);
			assert_non_null(strstr(e.msg, "slow down"));
		}
		_cleanup_free_ char *log = seen();
		assert_int_equal(count(log, "GET " ODD " /token"), cases[i].asked);
		visit_end(&v);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_login),
	    T(test_login_nowhere),
	    T(test_stranger),
	    T(test_both_ways),
	    T(test_rules),
	    T(test_ways_to_a_token_server),
	    T(test_scopes),
	    T(test_cache),
	    T(test_renewal),
	    T(test_identity_token),
	    T(test_identity_token_by_get),
	    T(test_registry_token),
	    T(test_lives),
	    T(test_busy_token_server),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
