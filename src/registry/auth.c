/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to challenges; the rules are in auth.h. Secrets appear in no error. */
#include "registry/auth.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"

#include <ctype.h>
#include <curl/curl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <strings.h>

#define TOKEN_REPLY_MAX (1u << 20)
#define TOKEN_MAX       (64u << 10)
#define TOKEN_LIFE_S    60   /* when the server does not say (distribution: token spec) */
#define TOKEN_LIFE_MAX  3600 /* however long it says */
#define CACHE_MAX       256

/* ---- challenges ---- */

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " \t,");
}

/* value := token | quoted-string, at s; the place behind it, NULL if malformed. */
static const char *read_value(const char *s, char **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (*s != '"') {
		while (is_token_char(*s) || *s == '/' || *s == ':')
			strbuf_add_c(&b, *s++);
		*ret = strbuf_steal(&b);
		return s;
	}
	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\' && s[1])
			s++;
		strbuf_add_c(&b, *s);
	}
	if (*s != '"')
		return NULL;
	*ret = strbuf_steal(&b);
	return s + 1;
}

static void take_parameter(AuthChallenge *c, const char *name, size_t len, char **value)
{
	char **to = NULL;

	if (len == 5 && strncasecmp(name, "realm", len) == 0)
		to = &c->realm;
	else if (len == 7 && strncasecmp(name, "service", len) == 0)
		to = &c->service;
	if (to && !*to)
		*to = take_ptr(*value);
}

/* One header may hold several challenges: a token that no '=' follows is the next scheme. */
static void read_header(const char *s, AuthChallenge *c)
{
	bool in_bearer = false;

	for (s = skip_blanks(s); *s; s = skip_blanks(s)) {
		const char *name = s;
		_cleanup_free_ char *value = NULL;

		while (is_token_char(*s))
			s++;
		size_t len = (size_t)(s - name);
		if (len == 0)
			return;
		const char *eq = s + strspn(s, " \t");
		if (*eq == '=') {
			s = read_value(eq + 1 + strspn(eq + 1, " \t"), &value);
			if (!s || !value)
				return;
			if (in_bearer)
				take_parameter(c, name, len, &value);
			if (*s && !strchr(" \t,", *s))
				return;
			continue;
		}
		in_bearer = len == 6 && strncasecmp(name, "Bearer", len) == 0 && !c->bearer;
		c->bearer |= in_bearer;
		c->basic |= len == 5 && strncasecmp(name, "Basic", len) == 0;
	}
}

int auth_challenge_parse(char *const *values, AuthChallenge *ret)
{
	AuthChallenge c = {0};

	for (size_t i = 0; values && values[i]; i++)
		read_header(values[i], &c);
	c.bearer = c.bearer && !str_empty(c.realm);
	if (!c.bearer && !c.basic) {
		auth_challenge_done(&c);
		return -EINVAL;
	}
	*ret = c;
	return 0;
}

void auth_challenge_done(AuthChallenge *c)
{
	free(c->realm);
	free(c->service);
	*c = (AuthChallenge){0};
}

/* ---- whom to trust with a password ---- */

static bool is_address(const char *host)
{
	return host[0] == '[' || strspn(host, "0123456789.") == strlen(host);
}

static size_t count_dots(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '.';
	return n;
}

/* Under "co.uk" and its like everybody may register: such a suffix makes nobody the same party. */
static bool is_shared_suffix(const char *domain)
{
	static const char *const second[] = {"co", "com", "org", "net", "edu", "gov", "ac", "or", "ne", "go"};
	const char *dot = strchr(domain, '.');

	if (!dot)
		return true;
	if (strchr(dot + 1, '.') || strlen(dot + 1) != 2)
		return false;
	for (size_t i = 0; i < ELEMENTSOF(second); i++)
		if (strlen(second[i]) == (size_t)(dot - domain) &&
		    strncmp(domain, second[i], (size_t)(dot - domain)) == 0)
			return true;
	return false;
}

static bool is_below(const char *host, const char *domain)
{
	size_t n = strlen(host), m = strlen(domain);

	return n > m && host[n - m - 1] == '.' && streq(host + n - m, domain) && !is_shared_suffix(domain);
}

/* The same host, one below the other, or siblings below a domain that has one owner (registry.acme.org and
 * auth.acme.org; registry-1.docker.io and auth.docker.io). */
bool auth_realm_is_trusted(const char *registry_host, const char *realm_host)
{
	const char *parent = strchr(registry_host, '.');

	if (streq(registry_host, realm_host))
		return true;
	if (is_address(registry_host) || is_address(realm_host))
		return false;
	if (is_below(registry_host, realm_host) || is_below(realm_host, registry_host))
		return true;
	return parent && count_dots(parent + 1) >= 1 && is_below(realm_host, parent + 1);
}

/* ---- token cache ---- */

typedef struct Token {
	char *key, *value;
	int64_t expires_ns; /* monotonic */
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
	for (size_t i = 0; i < t->n; i++) {
		free(t->v[i].key);
		free(t->v[i].value);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static char *cache_get(TokenCache *t, const char *key)
{
	char *value = NULL;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n && !value; i++)
		if (streq(t->v[i].key, key) && t->v[i].expires_ns > clock_mono_ns())
			value = strdup(t->v[i].value);
	pthread_mutex_unlock(&t->lock);
	return value;
}

/* Takes the place of the same key, else a free one, else that of the token which expires first. A failure to
 * remember costs a request, no more. */
static void cache_put(TokenCache *t, const char *key, const char *value, int64_t life_s)
{
	Token fresh = {strdup(key), strdup(value), clock_mono_ns() + life_s * 1000000000LL};
	size_t at = 0;

	if (!fresh.key || !fresh.value) {
		free(fresh.key);
		free(fresh.value);
		return;
	}
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].expires_ns < t->v[at].expires_ns)
			at = i;
	if (t->n < CACHE_MAX)
		at = t->n;
	for (size_t i = 0; i < t->n; i++)
		if (streq(t->v[i].key, key))
			at = i;
	if (at == t->n)
		t->n++;
	free(t->v[at].key);
	free(t->v[at].value);
	t->v[at] = fresh;
	pthread_mutex_unlock(&t->lock);
}

/* ---- answers ---- */

static int basic_value(const RegistryAuth *a, char **ret, Err *e)
{
	_cleanup_free_ char *plain = strf("%s:%s", a->username, a->password ? a->password : "");
	size_t len = plain ? strlen(plain) : 0;
	_cleanup_free_ char *coded = malloc(len / 3 * 4 + 8);

	if (!plain || !coded || len > TOKEN_MAX)
		return err_oom(e);
	EVP_EncodeBlock((unsigned char *)coded, (const unsigned char *)plain, (int)len);
	*ret = strf("Basic %s", coded);
	return *ret ? 0 : err_oom(e);
}

static void add_query(StrBuf *b, const char *name, const char *value)
{
	char *escaped = curl_easy_escape(NULL, value, (int)strlen(value));

	strbuf_addf(b, "%s%s=%s", b->len ? "&" : "", name, escaped ? escaped : "");
	if (!escaped)
		b->oom = true;
	curl_free(escaped);
}

static int read_token(const HttpReply *reply, const char *realm, char **ret, int64_t *ret_life, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = json_parse(reply->body, reply->len, "token reply", &doc, e);

	if (r < 0)
		return err_ctx(e, r, "token server \"%.200s\"", realm);
	const char *token = json_get_str(doc, "token");
	if (str_empty(token))
		token = json_get_str(doc, "access_token");
	if (str_empty(token) || strlen(token) > TOKEN_MAX)
		return err_new(e, ERR_INVALID, "token server \"%.200s\": the reply has no usable token",
			       realm);
	*ret_life = json_get_int(doc, "expires_in", TOKEN_LIFE_S);
	/* Some seconds less, so that a token does not expire on its way. */
	*ret_life = MIN2(*ret_life, (int64_t)TOKEN_LIFE_MAX) - 10;
	*ret = strf("Bearer %s", token);
	return *ret ? 0 : err_oom(e);
}

static int token_refused(const HttpReply *reply, const char *realm, const AuthAsk *a, bool withheld, Err *e)
{
	if (reply->status == 429 || reply->status >= 500)
		return err_new(e, ERR_UNAVAILABLE,
			       "token server \"%.200s\" answered with status %d; try again later", realm,
			       reply->status);
	if (withheld)
		return err_new(
		    e, ERR_UNAUTHORIZED,
		    "the credentials for %s were not sent to the token server \"%.200s\", which is on "
		    "another host, and it gives no anonymous token (status %d)",
		    a->registry_url, realm, reply->status);
	if (a->auth->username || a->auth->identity_token)
		return err_new(e, ERR_UNAUTHORIZED,
			       "unauthorized: incorrect username or password (status %d from \"%.200s\")",
			       reply->status, realm);
	return err_new(e, ERR_UNAUTHORIZED,
		       "unauthorized: authentication required (status %d from \"%.200s\")", reply->status,
		       realm);
}

static int check_realm(const AuthAsk *a, const char *realm, Err *e)
{
	if (str_starts(a->registry_url, "https:") && !str_starts(realm, "https:") && !a->plain_http_ok)
		return err_new(
		    e, ERR_DENIED,
		    "%s names the token server \"%.200s\": refused: a token must not travel over plain http",
		    a->registry_url, realm);
	return 0;
}

/* GET with Basic, or POST of an identity token; anonymous if `secret` is false. */
static int fetch_token(HttpClient *c, const AuthAsk *a, const AuthChallenge *ch, const char *scope,
		       bool secret, HttpReply *ret, Err *e)
{
	_cleanup_strbuf_ StrBuf query = {0};
	_cleanup_free_ char *basic = NULL, *url = NULL;
	bool oauth = secret && a->auth->identity_token;
	HttpRequest q = {.method = oauth ? "POST" : "GET",
			 .accept = "application/json",
			 .unverified_tls = a->unverified_tls,
			 .named_by_server = true,
			 .local_allowed = a->local_allowed,
			 .max_body = TOKEN_REPLY_MAX,
			 .cancelled = a->cancelled,
			 .cancel_user = a->cancel_user};

	if (oauth) {
		add_query(&query, "grant_type", "refresh_token");
		add_query(&query, "refresh_token", a->auth->identity_token);
		add_query(&query, "client_id", "ireko");
	} else if (secret) {
		add_query(&query, "account", a->auth->username);
		int r = basic_value(a->auth, &basic, e);
		if (r < 0)
			return r;
	}
	if (ch->service)
		add_query(&query, "service", ch->service);
	add_query(&query, "scope", scope);
	_cleanup_free_ char *text = strbuf_steal(&query);
	url = text ? (oauth ? strdup(ch->realm)
			    : strf("%s%c%s", ch->realm, strchr(ch->realm, '?') ? '&' : '?', text))
		   : NULL;
	if (!url)
		return err_oom(e);
	q.url = url;
	q.form = oauth ? text : NULL;
	q.authorization = basic;
	return http_do(c, &q, ret, e);
}

static int bearer_value(TokenCache *t, HttpClient *c, const AuthAsk *a, const AuthChallenge *ch, char **ret,
			Err *e)
{
	_cleanup_free_ char *host = http_url_host(a->registry_url, false);
	_cleanup_free_ char *realm_host = http_url_host(ch->realm, false);
	_cleanup_free_ char *scope = strf("repository:%s:pull", a->path);
	bool have = a->auth->username || a->auth->identity_token;
	_cleanup_(http_reply_done) HttpReply reply = {0};
	int64_t life = 0;

	if (!realm_host)
		return err_new(e, ERR_INVALID,
			       "%s names the token server \"%.200s\", which is no http or https URL",
			       a->registry_url, ch->realm);
	int r = check_realm(a, ch->realm, e);
	if (r < 0)
		return r;
	bool secret = have && host && auth_realm_is_trusted(host, realm_host);
	const char *user = secret && a->auth->username ? a->auth->username : "";
	const char *password = !secret                   ? NULL
			       : a->auth->identity_token ? a->auth->identity_token
							 : a->auth->password;
	_cleanup_free_ char *key =
	    strf("%s\n%s\n%s\n%s\n%s\n%s", a->registry_url, ch->realm, ch->service ? ch->service : "",
		 a->path, user, password ? password : "");
	if (!scope || !key)
		return err_oom(e);

	*ret = a->refresh ? NULL : cache_get(t, key);
	if (*ret)
		return 0;
	r = fetch_token(c, a, ch, scope, secret, &reply, e);
	if (r < 0)
		return err_ctx(e, r, "get a token for %s", a->registry_url);
	if (reply.status != 200)
		return token_refused(&reply, ch->realm, a, have && !secret, e);
	r = read_token(&reply, ch->realm, ret, &life, e);
	if (r == 0)
		cache_put(t, key, *ret, life);
	return r;
}

int auth_answer(TokenCache *t, HttpClient *c, const AuthAsk *a, char *const *challenges, char **ret, Err *e)
{
	AuthChallenge ch = {0};
	int r = auth_challenge_parse(challenges, &ch);

	if (r < 0)
		return err_new(
		    e, ERR_UNAUTHORIZED,
		    "%s wants credentials in a way that is not known here (neither Bearer nor Basic)",
		    a->registry_url);
	if (ch.bearer)
		r = bearer_value(t, c, a, &ch, ret, e);
	else if (a->refresh)
		r = err_new(e, ERR_UNAUTHORIZED, "unauthorized: incorrect username or password");
	else if (a->auth->username)
		r = basic_value(a->auth, ret, e);
	else
		r = err_new(e, ERR_UNAUTHORIZED, "unauthorized: authentication required");
	auth_challenge_done(&ch);
	return r;
}
