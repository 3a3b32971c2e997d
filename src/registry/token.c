/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens for Bearer challenges: from the cache, else from the token server that the challenge names.
 *
 * A username and password are sent by GET with Basic; an identity token is exchanged by POST (OAuth2's refresh_token
 * grant), and where a server knows no such thing, by GET with the identity token as the password. A token is
 * remembered until shortly before it expires, counted from when it was asked for, so that no clock needs to be right.
 * The cache knows credentials only by a hash.
 */
#include "registry/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/str.h"
#include "registry/registry-internal.h"
#include "store/digest.h"

#include <time.h>

#define TOKEN_REPLY_MAX (1u << 20)
#define TOKEN_MAX       (64u << 10)
#define TOKEN_LIFE_S    60   /* when the server does not say, or says less (distribution: token spec) */
#define TOKEN_LIFE_MAX  3600 /* however long it says */
#define RENEW_AHEAD_S   30   /* at most; a quarter of a short life */
#define CACHE_MAX       256
#define TRIES_MAX       3
#define CLIENT_ID       "ireko"

typedef struct TokenAsk {
	const AuthAsk *a;
	const AuthChallenge *ch;
	char **scopes;
	bool have;   /* there are credentials */
	bool secret; /* and this server may see them */
	bool unverified_tls;
} TokenAsk;

/* ---- cache ---- */

typedef struct Token {
	char key[DIGEST_LEN + 1];
	char *value;
	int64_t renew_ns; /* monotonic */
} Token;

struct TokenCache {
	pthread_mutex_t lock;
	Token v[CACHE_MAX];
	size_t n;
};

TokenCache *token_cache_new(void)
{
	TokenCache *t = calloc(1, sizeof(*t));

	if (t)
		pthread_mutex_init(&t->lock, NULL);
	return t;
}

void token_cache_free(TokenCache *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		secret_free(t->v[i].value);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool cache_get(TokenCache *t, const char *key, AuthGrant *ret)
{
	int64_t now = clock_mono_ns();

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++)
		if (streq(t->v[i].key, key) && t->v[i].renew_ns > now) {
			ret->authorization = strdup(t->v[i].value);
			ret->renew_ns = t->v[i].renew_ns;
		}
	pthread_mutex_unlock(&t->lock);
	return ret->authorization != NULL;
}

/* Takes the place of the same key, else a free one, else that of the token which expires first. A failure to
 * remember costs a request, no more. */
static void cache_put(TokenCache *t, const char *key, const AuthGrant *g)
{
	Token fresh = {.value = strdup(g->authorization), .renew_ns = g->renew_ns};
	size_t at = 0;

	if (!fresh.value)
		return;
	memcpy(fresh.key, key, sizeof(fresh.key));
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].renew_ns < t->v[at].renew_ns)
			at = i;
	if (t->n < CACHE_MAX)
		at = t->n;
	for (size_t i = 0; i < t->n; i++)
		if (streq(t->v[i].key, key))
			at = i;
	if (at == t->n)
		t->n++;
	secret_free(t->v[at].value);
	t->v[at] = fresh;
	pthread_mutex_unlock(&t->lock);
}

static void hash_text(Hasher *h, const char *s)
{
	size_t n = s ? strlen(s) + 1 : 0;

	hasher_add(h, &n, sizeof(n));
	hasher_add(h, s ? s : "", n);
}

static int cache_key(const TokenAsk *k, char ret[DIGEST_LEN + 1], Err *e)
{
	static const RegistryAuth anonymous;
	const RegistryAuth *auth = k->secret ? k->a->auth : &anonymous;
	const char *const parts[] = {k->a->registry_url, k->ch->realm,   k->ch->service,
				     auth->username,     auth->password, auth->identity_token};
	_cleanup_(hasher_freep) Hasher *h = hasher_new();

	if (!h)
		return err_oom(e);
	for (size_t i = 0; i < ELEMENTSOF(parts); i++)
		hash_text(h, parts[i]);
	for (char **s = k->scopes; s && *s; s++)
		hash_text(h, *s);
	int r = hasher_digest(h, ret);
	return r < 0 ? err_sys(e, r, "hash the token's key") : 0;
}

/* ---- whom to ask, and how far to trust the way there ---- */

static bool rule_names(const char *rule, const char *registry, const char *realm)
{
	_cleanup_free_ char *bare_registry = http_url_host(registry, false);
	_cleanup_free_ char *full_registry = http_url_host(registry, true);
	_cleanup_free_ char *bare_realm = http_url_host(realm, false);
	_cleanup_free_ char *full_realm = http_url_host(realm, true);
	const char *eq = strchr(rule, '=');
	_cleanup_free_ char *left = eq ? strndup(rule, (size_t)(eq - rule)) : NULL;

	return left && (streq0(left, bare_registry) || streq0(left, full_registry)) &&
	       (streq0(eq + 1, bare_realm) || streq0(eq + 1, full_realm));
}

bool token_server_is_trusted(const AuthAsk *a, const AuthChallenge *ch)
{
	_cleanup_free_ char *host = http_url_host(a->registry_url, false);
	_cleanup_free_ char *realm_host = http_url_host(ch->realm, false);

	if (!host || !realm_host)
		return false;
	for (size_t i = 0; a->token_servers && a->token_servers[i]; i++)
		if (rule_names(a->token_servers[i], a->registry_url, ch->realm))
			return true;
	return auth_realm_is_trusted(host, realm_host);
}

/* What was allowed for the registry's host is allowed for no other. */
static int check_realm(TokenAsk *k, Err *e)
{
	const char *registry = k->a->registry_url, *realm = k->ch->realm;
	_cleanup_free_ char *host = http_url_host(registry, false);
	_cleanup_free_ char *realm_host = http_url_host(realm, false);
	_cleanup_free_ char *realm_full = http_url_host(realm, true);

	if (!realm_host || !realm_full)
		return err_new(e, ERR_INVALID,
			       "%s names the token server \"%.200s\", which is no http or https URL",
			       registry, realm);
	bool same = streq0(host, realm_host), plain = !str_starts(realm, "https:");
	bool insecure = registry_is_insecure(k->a->insecure, realm_full);

	k->unverified_tls = insecure || (same && k->a->unverified_tls);
	if (plain && !insecure && !(same && k->a->plain_http_ok) &&
	    (k->secret || str_starts(registry, "https:")))
		return err_new(e, ERR_DENIED,
			       "%s names the token server \"%.200s\": refused: a token must not travel over "
			       "plain http; if "
			       "it may, name it with --insecure-registry %s",
			       registry, realm, realm_full);
	return 0;
}

/* ---- one exchange with a token server ---- */

static HttpRequest request_to(const TokenAsk *k, const char *method)
{
	return (HttpRequest){.method = method,
			     .accept = "application/json",
			     .unverified_tls = k->unverified_tls,
			     .named_by_server = true,
			     .local_allowed = k->a->local_allowed,
			     .max_body = TOKEN_REPLY_MAX,
			     .cancelled = k->a->cancelled,
			     .cancel_user = k->a->cancel_user};
}

/* OAuth2: the identity token goes in the body, never into an URL. */
static int exchange(HttpClient *c, const TokenAsk *k, HttpReply *ret, Err *e)
{
	_cleanup_(strbuf_wipe) StrBuf form = {0};
	_cleanup_free_ char *scope = strv_join(k->scopes, " ");
	HttpRequest q = request_to(k, "POST");

	/* As long as it will ever be, so that no part of it is left behind by growing. */
	form.s = malloc(TOKEN_MAX * 3 + 4096);
	form.cap = form.s ? TOKEN_MAX * 3 + 4096 : 0;
	if (!form.s || !scope)
		return err_oom(e);
	form.s[0] = '\0';
	query_add(&form, "grant_type", "refresh_token");
	query_add(&form, "refresh_token", k->a->auth->identity_token);
	query_add(&form, "client_id", CLIENT_ID);
	if (k->ch->service)
		query_add(&form, "service", k->ch->service);
	if (*scope)
		query_add(&form, "scope", scope);
	if (form.oom)
		return err_oom(e);
	q.url = k->ch->realm;
	q.form = form.s;
	return http_do(c, &q, ret, e);
}

/* Distribution's token specification: what is asked is in the URL, the credentials are Basic's. password NULL: anonymous. */
static int ask(HttpClient *c, const TokenAsk *k, const char *username, const char *password, HttpReply *ret,
	       Err *e)
{
	_cleanup_strbuf_ StrBuf query = {0};
	_cleanup_secret_ char *basic = NULL;
	HttpRequest q = request_to(k, "GET");
	int r = password ? auth_basic_value(username, password, &basic, e) : 0;

	if (r < 0)
		return r;
	if (password && *username)
		query_add(&query, "account", username);
	if (password && k->a->offline) {
		query_add(&query, "offline_token", "true");
		query_add(&query, "client_id", CLIENT_ID);
	}
	if (k->ch->service)
		query_add(&query, "service", k->ch->service);
	for (char **s = k->scopes; s && *s; s++)
		query_add(&query, "scope", *s);
	_cleanup_free_ char *text = strbuf_steal(&query);
	const char *join = !text || !*text ? "" : strchr(k->ch->realm, '?') ? "&" : "?";
	_cleanup_free_ char *url = text ? strf("%s%s%s", k->ch->realm, join, text) : NULL;
	if (!url)
		return err_oom(e);
	q.url = url;
	q.authorization = basic;
	return http_do(c, &q, ret, e);
}

/* Some servers have no OAuth2 endpoint (404, 405, 501), or answer 401 there to all; they take the identity token for a password. */
static bool is_no_oauth(const HttpReply *reply, const RegistryAuth *auth)
{
	return reply->status == 404 || reply->status == 405 || reply->status == 501 ||
	       (reply->status == 401 && auth->username);
}

static int fetch(HttpClient *c, const TokenAsk *k, HttpReply *ret, Err *e)
{
	const RegistryAuth *auth = k->a->auth;
	const char *user = auth->username ? auth->username : "";

	if (!k->secret)
		return ask(c, k, NULL, NULL, ret, e);
	if (!auth->identity_token)
		return ask(c, k, user, auth->password ? auth->password : "", ret, e);
	int r = exchange(c, k, ret, e);
	if (r < 0 || !is_no_oauth(ret, auth))
		return r;
	http_reply_done(ret);
	return ask(c, k, user, auth->identity_token, ret, e);
}

/* ---- what it said ---- */

static int read_token(const HttpReply *reply, int64_t asked_ns, AuthGrant *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = json_parse_bounded(reply->body, reply->len, "token reply", &doc, e);

	if (r < 0)
		return r;
	const char *token = json_get_str(doc, "token"), *identity = json_get_str(doc, "refresh_token");
	if (str_empty(token))
		token = json_get_str(doc, "access_token");
	if (str_empty(token) || strlen(token) > TOKEN_MAX || (identity && strlen(identity) > TOKEN_MAX))
		return err_new(e, ERR_INVALID, "the reply has no usable token");
	int64_t life = MAX2(json_get_int(doc, "expires_in", TOKEN_LIFE_S), (int64_t)TOKEN_LIFE_S);
	life = MIN2(life, (int64_t)TOKEN_LIFE_MAX);
	ret->renew_ns = asked_ns + (life - MIN2(life / 4, (int64_t)RENEW_AHEAD_S)) * 1000000000LL;
	ret->authorization = strf("Bearer %s", token);
	if (!str_empty(identity))
		ret->identity_token = strdup(identity);
	return ret->authorization && (str_empty(identity) || ret->identity_token) ? 0 : err_oom(e);
}

/* A server's reason, as a clause ": why", made safe to show; "" if it gives none. Three forms are in use: distribution's errors, OAuth2's, and
 * Docker Hub's own. */
static char *reason(const HttpReply *reply)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *why = NULL;

	if (reply->body && json_parse_bounded(reply->body, reply->len, "error", &doc, NULL) == 0) {
		why = json_get_str(json_array_get(json_object_get(doc, "errors"), 0), "message");
		if (!why)
			why = json_get_str(doc, "error_description");
		if (!why)
			why = json_get_str(doc, "details");
	}
	char *s = str_empty(why) ? strdup("") : strf(": %.200s", why);
	for (char *p = s; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7F)
			*p = '?';
	return s;
}

static int withheld(const TokenAsk *k, const char *what, Err *e)
{
	_cleanup_free_ char *host = http_url_host(k->a->registry_url, false);
	_cleanup_free_ char *realm_host = http_url_host(k->ch->realm, false);

	return err_new(e, ERR_UNAUTHORIZED,
		       "the credentials for %s were not sent to its token server \"%.200s\", which is not "
		       "recognisably of the same owner, and %s; if it is, start the engine with "
		       "--registry-token-server %s=%s",
		       k->a->registry_url, k->ch->realm, what, host ? host : "?",
		       realm_host ? realm_host : "?");
}

static int refused(const TokenAsk *k, const HttpReply *reply, Err *e)
{
	_cleanup_free_ char *why = reason(reply);
	const char *realm = k->ch->realm;
	int status = reply->status;

	if (!why)
		return err_oom(e);
	if (status == 429 || status >= 500)
		return err_new(e, ERR_UNAVAILABLE,
			       "token server \"%.200s\" answered with status %d%s; try again later", realm,
			       status, why);
	if (k->have && !k->secret)
		return withheld(k, "it gives no anonymous token", e);
	if (k->secret && k->a->auth->identity_token)
		return err_new(e, ERR_UNAUTHORIZED,
			       "unauthorized: the identity token was refused (status %d from \"%.200s\"%s): "
			       "log in again",
			       status, realm, why);
	if (k->secret)
		return err_new(e, ERR_UNAUTHORIZED,
			       "unauthorized: incorrect username or password (status %d from \"%.200s\"%s)",
			       status, realm, why);
	return err_new(e, ERR_UNAUTHORIZED,
		       "unauthorized: authentication required (status %d from \"%.200s\"%s)", status, realm,
		       why);
}

static void reply_wipe(HttpReply *reply)
{
	if (reply->body)
		explicit_bzero(reply->body, reply->len);
	http_reply_done(reply);
}

static int wait_ms(const AuthAsk *a, int64_t ms, Err *e)
{
	for (; ms > 0; ms -= 100) {
		if (a->cancelled && a->cancelled(a->cancel_user))
			return err_new(e, ERR_CANCELLED, "cancelled");
		nanosleep(&(struct timespec){.tv_nsec = MIN2(ms, (int64_t)100) * 1000000}, NULL);
	}
	return 0;
}

/* A few more tries on 429, 5xx and broken connections. *ret_asked_ns is when the last one began: a token lives from then on at the least. */
static int fetch_patiently(HttpClient *c, const TokenAsk *k, HttpReply *ret, int64_t *ret_asked_ns, Err *e)
{
	for (int n = 1;; n++) {
		*ret_asked_ns = clock_mono_ns();
		int r = fetch(c, k, ret, e);
		bool again = r < 0 ? ret->trouble == HTTP_BROKEN : http_status_is_temporary(ret->status);
		int64_t delay = retry_delay_spread_ms(n, ret->retry_after);

		if (!again || n == TRIES_MAX)
			return r;
		reply_wipe(ret);
		r = wait_ms(k->a, delay, e);
		if (r < 0)
			return r;
	}
}

static int from_server(HttpClient *c, const TokenAsk *k, AuthGrant *ret, Err *e)
{
	_cleanup_(reply_wipe) HttpReply reply = {0};
	int64_t asked_ns = 0;
	int r = fetch_patiently(c, k, &reply, &asked_ns, e);

	if (r < 0)
		return err_ctx(e, r, "get a token for %s", k->a->registry_url);
	if (reply.status != 200)
		return refused(k, &reply, e);
	r = read_token(&reply, asked_ns, ret, e);
	return r < 0 ? err_ctx(e, r, "token server \"%.200s\"", k->ch->realm) : 0;
}

static int scopes_of(const AuthAsk *a, char ***ret, Err *e)
{
	if (a->path &&
	    strv_take(ret, strf("repository:%s:%s", a->path, a->actions ? a->actions : "pull")) < 0)
		return err_oom(e);
	for (size_t i = 0; a->more && a->more[i]; i++)
		if (!strv_has(*ret, a->more[i]) && strv_add(ret, a->more[i]) < 0)
			return err_oom(e);
	return 0;
}

int token_grant(TokenCache *t, HttpClient *c, const AuthAsk *a, const AuthChallenge *ch, AuthGrant *ret,
		Err *e)
{
	_cleanup_strv_ char **scopes = NULL;
	TokenAsk k = {.a = a, .ch = ch, .have = a->auth->username || a->auth->identity_token};
	char key[DIGEST_LEN + 1];

	k.secret = k.have && token_server_is_trusted(a, ch);
	int r = check_realm(&k, e);
	if (r < 0)
		return r;
	if (k.have && !k.secret && (a->refresh || a->offline))
		return withheld(&k, "nothing is to be had there anonymously", e);
	r = scopes_of(a, &scopes, e);
	k.scopes = scopes;
	if (r == 0)
		r = cache_key(&k, key, e);
	if (r < 0)
		return r;
	if (!a->refresh && !a->offline && cache_get(t, key, ret))
		return 0;
	r = from_server(c, &k, ret, e);
	if (r == 0 && !a->offline)
		cache_put(t, key, ret);
	return r;
}
