/* SPDX-License-Identifier: Apache-2.0 */
/* Challenges, whom to trust, and the choice of an answer; the rules are in auth.h. Secrets appear in no error. */
#include "registry/auth.h"
#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

#define CREDENTIALS_MAX (96u << 10)

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

/* Under these everybody may have a name, or a tree of names: they make nobody the same party. */
static const char *const shared_domains[] = {
    "amazonaws.com",
    "amazonaws.com.cn",
    "azurecontainer.io",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azurewebsites.net",
    "cloudapp.azure.com",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "gcr.io",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "jfrog.io",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "ondigitalocean.app",
    "onrender.com",
    "pages.dev",
    "pkg.dev",
    "run.app",
    "scw.cloud",
    "sslip.io",
    "trycloudflare.com",
    "vercel.app",
    "workers.dev",
};

/* Those of the above that share their subdomains as well: 1.dkr.ecr.eu-west-1.amazonaws.com. */
static bool shares_subdomains(const char *domain)
{
	return str_ends(domain, ".amazonaws.com") || str_ends(domain, ".amazonaws.com.cn") ||
	       str_ends(domain, ".cloudapp.azure.com") || str_ends(domain, ".scw.cloud");
}

static bool is_shared_suffix(const char *domain)
{
	static const char *const second[] = {"co", "com", "org", "net", "edu", "gov", "ac", "or", "ne", "go"};
	const char *dot = strchr(domain, '.');

	if (!dot || shares_subdomains(domain))
		return true;
	for (size_t i = 0; i < ELEMENTSOF(shared_domains); i++)
		if (streq(domain, shared_domains[i]))
			return true;
	/* "co.uk" and its like. */
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

/* ---- answers ---- */

void auth_grant_done(AuthGrant *g)
{
	secret_free(g->authorization);
	secret_free(g->identity_token);
	*g = (AuthGrant){0};
}

int auth_basic_value(const char *username, const char *password, char **ret, Err *e)
{
	_cleanup_secret_ char *plain = strf("%s:%s", username, password);
	size_t len = plain ? strlen(plain) : 0;
	_cleanup_secret_ char *coded =
	    len <= CREDENTIALS_MAX && plain ? base64_encode(plain, len, false) : NULL;

	if (len > CREDENTIALS_MAX)
		return err_new(e, ERR_INVALID, "the username and password are longer than %u bytes",
			       CREDENTIALS_MAX);
	*ret = coded ? strf("Basic %s", coded) : NULL;
	return *ret ? 0 : err_oom(e);
}

/* A token that the user brought is all there is to say. */
static int registry_token_grant(const AuthAsk *a, AuthGrant *ret, Err *e)
{
	if (a->refresh)
		return err_new(e, ERR_UNAUTHORIZED, "unauthorized: %s refuses the registry token",
			       a->registry_url);
	ret->authorization = strf("Bearer %s", a->auth->registry_token);
	ret->renew_ns = INT64_MAX;
	return ret->authorization ? 0 : err_oom(e);
}

static int basic_grant(const AuthAsk *a, AuthGrant *ret, Err *e)
{
	const RegistryAuth *auth = a->auth;

	if (!auth->username && auth->identity_token)
		return err_new(
		    e, ERR_UNAUTHORIZED,
		    "unauthorized: %s wants a username and password, and what is known is an identity "
		    "token: log in to it again",
		    a->registry_url);
	if (!auth->username)
		return err_new(e, ERR_UNAUTHORIZED, "unauthorized: authentication required");
	if (a->refresh)
		return err_new(e, ERR_UNAUTHORIZED, "unauthorized: incorrect username or password");
	ret->renew_ns = INT64_MAX;
	return auth_basic_value(auth->username, auth->password ? auth->password : "", &ret->authorization, e);
}

int auth_answer(TokenCache *t, HttpClient *c, const AuthAsk *a, char *const *challenges, AuthGrant *ret,
		Err *e)
{
	AuthChallenge ch = {0};
	AuthGrant g = {0};
	int r = auth_challenge_parse(challenges, &ch);

	/* A registry that offers both gets the password itself rather than through a token server that may not see it. */
	bool basic = ch.basic && (!ch.bearer || (a->auth->username && !token_server_is_trusted(a, &ch)));
	if (a->auth->registry_token)
		r = registry_token_grant(a, &g, e);
	else if (r < 0)
		r = err_new(e, ERR_UNAUTHORIZED,
			    "%s wants credentials in a way that is not known here (neither Bearer nor Basic)",
			    a->registry_url);
	else
		r = basic ? basic_grant(a, &g, e) : token_grant(t, c, a, &ch, &g, e);
	auth_challenge_done(&ch);
	if (r < 0)
		auth_grant_done(&g);
	else
		*ret = g;
	return r;
}
