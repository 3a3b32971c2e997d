/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `login`: the question whether a registry takes the credentials, put as the distribution specification has it, with GET /v2/.
 *
 * Mirrors are not asked: the credentials are the registry's. A registry that wants none takes all.
 */
#include "base/secret.h"
#include "base/str.h"
#include "oci/credentials.h"
#include "registry/registry-internal.h"

#define PING_MAX (64u << 10)

typedef struct Login {
	Registry *registry;
	const RegistryLogin *l;
	const Endpoint *endpoint;
	HttpClient *client;
	char *base; /* scheme://host[:port] */
	bool local;
} Login;

static int ping(Login *x, const char *authorization, HttpReply *ret, Err *e)
{
	_cleanup_free_ char *url = strf("%s/v2/", x->base);
	const HttpRequest q = {.method = "GET",
			       .url = url,
			       .authorization = authorization,
			       .unverified_tls = x->endpoint->unverified_tls,
			       .max_body = PING_MAX,
			       .cancelled = x->l->cancelled,
			       .cancel_user = x->l->user};

	if (!url)
		return err_oom(e);
	int r = http_do(x->client, &q, ret, e);
	x->local |= r == 0 && ret->local;
	return r;
}

/* The first answer; finds out the scheme. */
static int knock(Login *x, HttpReply *ret, Err *e)
{
	const char *const schemes[] = {x->endpoint->try_https ? "https" : NULL,
				       x->endpoint->try_http ? "http" : NULL};
	int r = -ENOTCONN;

	for (size_t i = 0; i < ELEMENTSOF(schemes) && r < 0; i++) {
		if (!schemes[i])
			continue;
		http_reply_done(ret);
		free(x->base);
		x->base = strf("%s://%s", schemes[i], x->endpoint->host);
		if (!x->base)
			return err_oom(e);
		r = ping(x, NULL, ret, e);
		if (r < 0 && ret->trouble == HTTP_REFUSED)
			break;
	}
	return r;
}

static int sign_in(Login *x, char *const *challenges, AuthGrant *ret, Err *e)
{
	const AuthAsk a = {.registry_url = x->base,
			   .auth = &x->l->auth,
			   .unverified_tls = x->endpoint->unverified_tls,
			   .plain_http_ok = x->endpoint->try_http,
			   .local_allowed = x->local,
			   .insecure = x->registry->insecure,
			   .token_servers = x->registry->token_servers,
			   .offline = true,
			   .cancelled = x->l->cancelled,
			   .cancel_user = x->l->user};

	return auth_answer(x->registry->tokens, x->client, &a, challenges, ret, e);
}

static int verdict(const Login *x, const HttpReply *reply, bool signed_in, Err *e)
{
	if (reply->status == 200)
		return 0;
	if (reply->status == 401)
		return err_new(e, ERR_UNAUTHORIZED,
			       signed_in ? "unauthorized: incorrect username or password"
					 : "unauthorized: authentication required");
	if (reply->status == 403)
		return err_new(e, ERR_UNAUTHORIZED, "denied: %s refuses the account", x->base);
	if (http_status_is_temporary(reply->status))
		return err_new(e, ERR_UNAVAILABLE, "%s answered with status %d; try again later", x->base,
			       reply->status);
	return err_new(e, ERR_INVALID,
		       "%s/v2/ answered with status %d, as no registry does; check the address", x->base,
		       reply->status);
}

static int login(Login *x, char **ret_identity_token, Err *e)
{
	_cleanup_(http_reply_done) HttpReply reply = {0};
	AuthGrant g = {0};
	int r = knock(x, &reply, e);

	if (r == 0 && reply.status == 401 && reply.challenges) {
		r = sign_in(x, reply.challenges, &g, e);
		http_reply_done(&reply);
		if (r == 0)
			r = ping(x, g.authorization, &reply, e);
	}
	if (r == 0)
		r = verdict(x, &reply, g.authorization, e);
	if (r == 0)
		*ret_identity_token = take_ptr(g.identity_token);
	auth_grant_done(&g);
	return r;
}

int registry_login(Registry *registry, const RegistryLogin *l, char **ret_identity_token, Err *e)
{
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	_cleanup_free_ char *key = NULL;
	Login x = {.registry = registry, .l = l};
	Endpoint *v = NULL;
	size_t n = 0;
	int r = credentials_check_server(l->server, e);

	if (r < 0)
		return r;
	key = credentials_key(l->server);
	if (!key)
		return err_oom(e);
	r = registry_endpoints(registry, credentials_is_hub(key) ? "docker.io" : key, &v, &n, e);
	if (r == 0)
		r = registry_client_get(registry, &c, e);
	if (r == 0) {
		x.endpoint = &v[n - 1];
		x.client = c;
		r = login(&x, ret_identity_token, e);
	}
	free(x.base);
	registry_endpoints_free(v, n);
	return r;
}
