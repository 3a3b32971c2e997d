/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session: one repository at one endpoint, signed in as far as it asks for it.
 *
 * No ping comes first: the request itself is sent with the authorization we have, and the 401 that may come
 * back carries the same challenge that a ping would. Threads share the authorization; whoever meets a
 * 401 renews it, unless another thread has done so since.
 */
#include "registry/registry-internal.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/str.h"

#include <sys/random.h>
#include <time.h>

#define TRIES_MAX                4
#define RETRY_AFTER_MAX_S        60
#define RENEW_AGAIN_NS           (10 * 1000000000LL)
#define MIRROR_CONNECT_TIMEOUT_S 5 /* there is another place to ask */

void session_init(Session *s, Registry *r, const Endpoint *ep, const RegistryPull *p)
{
	*s = (Session){.registry = r, .endpoint = ep, .pull = p};
	pthread_mutex_init(&s->lock, NULL);
	/* A token that was brought along is said without being asked. */
	if (!ep->mirror && p->auth.registry_token)
		s->grant = (AuthGrant){.authorization = strf("Bearer %s", p->auth.registry_token),
				       .renew_ns = INT64_MAX};
}

void session_done(Session *s)
{
	pthread_mutex_destroy(&s->lock);
	free(s->base);
	auth_grant_done(&s->grant);
	strv_free(s->challenges);
	*s = (Session){0};
}

bool session_cancelled(const Session *s)
{
	return s->pull->cancelled && s->pull->cancelled(s->pull->user);
}

static bool cancelled(void *user)
{
	return session_cancelled(user);
}

void sigpipe_hold(sigset_t *ret_before)
{
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &block, ret_before);
}

void sigpipe_release(const sigset_t *before)
{
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGPIPE);
	while (sigtimedwait(&block, NULL, &(struct timespec){0}) > 0)
		;
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool http_status_is_temporary(int status)
{
	return status == 429 || status == 408 || status == 500 || (status >= 502 && status <= 504);
}

int64_t retry_delay_ms(int n, int64_t retry_after_s)
{
	if (retry_after_s > 0)
		return MIN2(retry_after_s, (int64_t)RETRY_AFTER_MAX_S) * 1000;
	return n > 5 ? 8000 : (int64_t)250 << (n - 1);
}

int64_t retry_delay_spread_ms(int n, int64_t retry_after_s)
{
	int64_t ms = retry_delay_ms(n, retry_after_s);
	uint32_t noise = 0;

	(void)!getrandom(&noise, sizeof(noise), GRND_NONBLOCK);
	return ms + (int64_t)(noise % (uint32_t)(ms / 4 + 1));
}

static char *current_authorization(Session *s)
{
	char *copy;

	pthread_mutex_lock(&s->lock);
	copy = s->grant.authorization ? strdup(s->grant.authorization) : NULL;
	pthread_mutex_unlock(&s->lock);
	return copy;
}

static int answer(Session *s, HttpClient *c, char *const *challenges, bool refresh, AuthGrant *ret, Err *e)
{
	const HostAuth *own = &s->endpoint->own;
	const RegistryAuth of_mirror = {.username = own->username,
					.password = own->password,
					.identity_token = own->identity_token};
	const AuthAsk a = {.registry_url = s->base,
			   .path = *s->pull->reference->path ? s->pull->reference->path : NULL,
			   .actions = s->actions,
			   .more = s->scopes,
			   .auth = s->endpoint->mirror ? &of_mirror : &s->pull->auth,
			   .unverified_tls = s->endpoint->unverified_tls,
			   .plain_http_ok = s->endpoint->try_http,
			   .local_allowed = s->local,
			   .insecure = s->registry->insecure,
			   .token_servers = s->registry->token_servers,
			   .refresh = refresh,
			   .cancelled = cancelled,
			   .cancel_user = s};

	return auth_answer(s->registry->tokens, c, &a, challenges, ret, e);
}

/* Takes g over. */
static void keep_grant(Session *s, AuthGrant *g, char *const *challenges)
{
	char **copy = strv_dup(challenges);

	pthread_mutex_lock(&s->lock);
	auth_grant_done(&s->grant);
	s->grant = *g;
	strv_free(s->challenges);
	s->challenges = copy;
	pthread_mutex_unlock(&s->lock);
	*g = (AuthGrant){0};
}

/* Renews what was `used` (NULL: nothing) and refused; *ret is what to use now. */
static int sign_in(Session *s, HttpClient *c, const HttpReply *reply, const char *used, char **ret, Err *e)
{
	_cleanup_secret_ char *now = current_authorization(s);
	AuthGrant g = {0};

	if (now && (!used || !streq(now, used))) {
		*ret = take_ptr(now);
		return 0;
	}
	int r = answer(s, c, reply->challenges, used != NULL, &g, e);
	if (r < 0)
		return r;
	*ret = strdup(g.authorization);
	keep_grant(s, &g, reply->challenges);
	return *ret ? 0 : err_oom(e);
}

/* A token that is about to expire is renewed before it is used: to be refused in the middle of an upload costs more. One
 * thread does so at a time; if it fails, the old token serves on, and the 401 that it meets in the end tells why. */
static void renew_in_time(Session *s, HttpClient *c)
{
	_cleanup_strv_ char **challenges = NULL;
	int64_t now = clock_mono_ns();
	AuthGrant g = {0};

	pthread_mutex_lock(&s->lock);
	if (s->grant.authorization && now >= s->grant.renew_ns && s->challenges) {
		challenges = strv_dup(s->challenges);
		s->grant.renew_ns = now + RENEW_AGAIN_NS;
	}
	pthread_mutex_unlock(&s->lock);
	if (challenges && answer(s, c, challenges, false, &g, NULL) == 0)
		keep_grant(s, &g, challenges);
}

/* To somebody who is not signed in, a registry that wants credentials says no more than that; it may not even have the image. */
static int without_credentials(const Session *s, int r, Err *e)
{
	const RegistryAuth *a = &s->pull->auth;
	_cleanup_free_ char *name = reference_familiar_name(s->pull->reference);

	if (!e || s->actions || e->kind != ERR_UNAUTHORIZED || a->username || a->identity_token ||
	    a->registry_token)
		return r;
	r = err_kind(e, r, ERR_NOT_FOUND);
	return err_ctx(e, r,
		       "pull access denied for %s, repository does not exist or may require 'docker login'",
		       name ? name : "it");
}

/* what: below the repository, or, beginning with a slash, below the endpoint. */
static char *make_url(const Session *s, const char *what)
{
	const Endpoint *ep = s->endpoint;
	const char *sep = !ep->asked_for ? "" : strchr(what, '?') ? "&ns=" : "?ns=";
	const char *ns = ep->asked_for ? ep->asked_for : "";

	if (*what == '/')
		return strf("%s%s%s%s%s", s->base, ep->prefix, what, sep, ns);
	return strf("%s%s/v2/%s/%s%s%s", s->base, ep->prefix, s->pull->reference->path, what, sep, ns);
}

/* An exchange with the registry's own origin. */
static int send_to_origin(Session *s, HttpClient *c, const char *url, HttpRequest *q, HttpReply *ret, Err *e)
{
	_cleanup_secret_ char *used = NULL;

	renew_in_time(s, c);
	used = current_authorization(s);
	q->url = url;
	q->authorization = used;
	q->unverified_tls = s->endpoint->unverified_tls;
	q->connect_timeout_s = s->endpoint->mirror ? MIRROR_CONNECT_TIMEOUT_S : 0;
	if (!q->cancelled) {
		q->cancelled = cancelled;
		q->cancel_user = s;
	}
	int r = http_do(c, q, ret, e);
	if (r == 0 && ret->local)
		s->local = true;
	/* Once more if the answer to the challenge is refused too: a cached token may be stale, a password wrong. */
	for (int n = 0; n < 2 && r == 0 && ret->status == 401 && ret->challenges; n++) {
		_cleanup_secret_ char *renewed = NULL;

		r = sign_in(s, c, ret, used, &renewed, e);
		http_reply_done(ret);
		if (r < 0)
			return without_credentials(s, r, e);
		secret_free(used);
		used = take_ptr(renewed);
		q->authorization = used;
		r = http_do(c, q, ret, e);
	}
	q->url = q->authorization = NULL;
	return r;
}

static int send_to(Session *s, HttpClient *c, const char *what, HttpRequest *q, HttpReply *ret, Err *e)
{
	_cleanup_free_ char *url = make_url(s, what);

	return url ? send_to_origin(s, c, url, q, ret, e) : err_oom(e);
}

int session_do_at(Session *s, HttpClient *c, const char *url, HttpRequest *q, HttpReply *ret, Err *e)
{
	_cleanup_free_ char *host = NULL;

	if (http_same_origin(url, s->base))
		return send_to_origin(s, c, url, q, ret, e);
	host = http_url_host(url, true);
	q->url = url;
	q->named_by_server = true;
	q->local_allowed = s->local;
	q->unverified_tls = host && registry_is_insecure(s->registry->insecure, host);
	if (!q->cancelled) {
		q->cancelled = cancelled;
		q->cancel_user = s;
	}
	int r = http_do(c, q, ret, e);
	q->url = NULL;
	return r;
}

static int try_scheme(Session *s, HttpClient *c, const char *scheme, const char *what, HttpRequest *q,
		      HttpReply *ret, Err *e)
{
	free(s->base);
	s->base = strf("%s://%s", scheme, s->endpoint->host);
	if (!s->base)
		return err_oom(e);
	return send_to(s, c, what, q, ret, e);
}

int session_do(Session *s, HttpClient *c, const char *what, HttpRequest *q, HttpReply *ret, Err *e)
{
	const Endpoint *ep = s->endpoint;
	int r;

	if (s->base)
		return send_to(s, c, what, q, ret, e);
	r = try_scheme(s, c, ep->try_https ? "https" : "http", what, q, ret, e);
	if (r < 0 && ep->try_https && ep->try_http && ret->trouble != HTTP_FINE &&
	    ret->trouble != HTTP_REFUSED) {
		http_reply_done(ret);
		r = try_scheme(s, c, "http", what, q, ret, e);
	}
	if (r < 0 && (ret->trouble == HTTP_NO_CONNECTION || ret->trouble == HTTP_NO_TLS)) {
		free(s->base);
		s->base = NULL;
	}
	return r;
}

int session_wait_ms(const Session *s, int64_t ms, Err *e)
{
	for (; ms > 0; ms -= 100) {
		int64_t step = MIN2(ms, (int64_t)100);

		if (session_cancelled(s))
			return err_new(e, ERR_CANCELLED, "cancelled");
		nanosleep(&(struct timespec){.tv_nsec = step * 1000000}, NULL);
	}
	return 0;
}

int session_do_patiently(Session *s, HttpClient *c, const char *what, HttpRequest *q, HttpReply *ret, Err *e)
{
	for (int n = 1;; n++) {
		int r = session_do(s, c, what, q, ret, e);
		bool again = r < 0 ? ret->trouble == HTTP_BROKEN : http_status_is_temporary(ret->status);
		int64_t delay = retry_delay_spread_ms(n, ret->retry_after);

		if (!again || n == TRIES_MAX)
			return r;
		http_reply_done(ret);
		r = session_wait_ms(s, delay, e);
		if (r < 0)
			return r;
	}
}

/* "code: message" of the first error in a reply (distribution spec, "error codes"), as Docker writes it. */
char *session_error_text(const HttpReply *reply)
{
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_strbuf_ StrBuf b = {0};

	if (!reply->body || json_parse_bounded(reply->body, reply->len, "error", &doc, NULL) < 0)
		return strf("the registry answered with status %d", reply->status);
	const json_t *first = json_array_get(json_object_get(doc, "errors"), 0);
	const char *code = json_get_str(first, "code"), *message = json_get_str(first, "message");

	if (!code)
		return strf("the registry answered with status %d", reply->status);
	for (size_t i = 0; code[i] && i < 64; i++)
		strbuf_add_c(&b, code[i] == '_'
				     ? ' '
				     : (char)(code[i] >= 'A' && code[i] <= 'Z' ? code[i] + 32 : code[i]));
	if (message)
		strbuf_addf(&b, ": %.300s", message);
	/* The text is the server's: nothing in it may move a cursor. */
	for (size_t i = 0; i < b.len; i++)
		if ((unsigned char)b.s[i] < 0x20 || b.s[i] == 0x7F)
			b.s[i] = '?';
	return strbuf_steal(&b);
}

int session_refusal(const Session *s, const char *what, const HttpReply *reply, Err *e)
{
	const Reference *ref = s->pull->reference;
	_cleanup_free_ char *why = session_error_text(reply);
	_cleanup_free_ char *full = reference_familiar(ref);
	_cleanup_free_ char *name = reference_familiar_name(ref);
	bool signed_in =
	    s->pull->auth.username || s->pull->auth.identity_token || s->pull->auth.registry_token;

	if (!why || !full || !name)
		return err_oom(e);
	if (reply->status == 404 && str_starts(why, "name unknown"))
		return err_new(e, ERR_NOT_FOUND, "repository %s not found: %s", name, why);
	if (reply->status == 404)
		return err_new(e, ERR_NOT_FOUND, "%s for %s not found: %s", what, full, why);
	if (reply->status == 401 || reply->status == 403)
		return err_new(
		    e, signed_in ? ERR_UNAUTHORIZED : ERR_NOT_FOUND,
		    "pull access denied for %s, repository does not exist or may require 'docker login': %s",
		    name, why);
	if (reply->status == 429)
		return err_new(e, ERR_UNAVAILABLE,
			       "%s for %s: the registry limits requests (%s); try again later or log in",
			       what, full, why);
	if (reply->status >= 500)
		return err_new(e, ERR_UNAVAILABLE, "%s for %s: %s; try again later", what, full, why);
	return err_new(e, ERR_INVALID, "%s for %s: unexpected status %d from the registry: %s", what, full,
		       reply->status, why);
}
