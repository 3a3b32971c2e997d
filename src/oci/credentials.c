/* SPDX-License-Identifier: Apache-2.0 */
/* The contracts are in credentials.h. */
#include "oci/credentials.h"
#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"

#include <ctype.h>

#define HELPER_NAME_MAX 64
#define TOKEN_USER      "<token>" /* what a helper has for a username when the secret is an identity token */

void credentials_done(Credentials *c)
{
	secret_free(c->username);
	secret_free(c->password);
	secret_free(c->identity_token);
	secret_free(c->registry_token);
	*c = (Credentials){0};
}

bool credentials_empty(const Credentials *c)
{
	return str_empty(c->username) && str_empty(c->identity_token) && str_empty(c->registry_token);
}

/* ---- servers ---- */

static const char *without_scheme(const char *server)
{
	const char *rest = str_after(server, "https://");

	if (!rest)
		rest = str_after(server, "http://");
	return rest ? rest : server;
}

bool credentials_is_hub(const char *server)
{
	const char *host = without_scheme(server);
	size_t n = strcspn(host, "/");

	return (n == 9 && strncmp(host, "docker.io", n) == 0) ||
	       (n == 15 && strncmp(host, "index.docker.io", n) == 0) ||
	       (n == 20 && strncmp(host, "registry-1.docker.io", n) == 0);
}

char *credentials_key(const char *server)
{
	const char *host = without_scheme(server);

	return credentials_is_hub(server) ? strdup(CREDENTIALS_HUB) : strndup(host, strcspn(host, "/"));
}

int credentials_check_server(const char *server, Err *e)
{
	const char *host = without_scheme(server);
	size_t n = strcspn(host, "/");

	if (strlen(server) > CREDENTIALS_SERVER_MAX)
		return err_new(e, ERR_INVALID, "the registry's address is longer than %u bytes",
			       CREDENTIALS_SERVER_MAX);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr(".-_:[]", host[i]))
			n = 0;
	if (n == 0 || *host == ':' || *host == '-')
		return err_new(e, ERR_INVALID,
			       "\"%.200s\" is no address of a registry: write host or host:port", server);
	return 0;
}

static bool same_server(const char *a, const char *b)
{
	_cleanup_free_ char *x = credentials_key(a);
	_cleanup_free_ char *y = credentials_key(b);

	return streq0(x, y);
}

/* ---- config.json ---- */

/* The name becomes part of a program's: it must not lead anywhere. */
static int check_helper(const char *where, const char *name, Err *e)
{
	size_t n = strlen(name);
	bool good = n > 0 && n <= HELPER_NAME_MAX && *name != '-' && *name != '.';

	for (size_t i = 0; i < n; i++)
		good &= isalnum((unsigned char)name[i]) || strchr("-_.+", name[i]) != NULL;
	return good ? 0
		    : err_new(e, ERR_INVALID,
			      "config.json: %s: \"%.80s\" cannot be the name of a credential helper", where,
			      name);
}

/* A member that is absent, null or of the wanted type; config.json is the user's, but other programs write it too. */
static int member(const json_t *config, const char *name, json_type type, json_t **ret, Err *e)
{
	json_t *v = json_object_get(config, name);

	*ret = NULL;
	if (!v || json_is_null(v))
		return 0;
	if (json_typeof(v) != type)
		return err_new(e, ERR_INVALID, "config.json: %s: expected %s", name,
			       type == JSON_OBJECT ? "an object" : "a string");
	*ret = v;
	return 0;
}

static bool entry_is_full(const json_t *entry)
{
	static const char *const names[] = {"auth", "username", "identitytoken", "registrytoken"};

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (!str_empty(json_get_str(entry, names[i])))
			return true;
	return false;
}

static void find_entry(json_t *auths, const char *server, CredentialsPlace *p)
{
	const char *key;
	json_t *v;

	json_object_foreach (auths, key, v) {
		if (!json_is_object(v) || !same_server(key, server))
			continue;
		/* Of two spellings of one server the one that holds something counts. */
		if (!p->entry || (!p->entry_full && entry_is_full(v))) {
			p->entry = v;
			p->entry_key = key;
			p->entry_full = entry_is_full(v);
		}
	}
}

static int find_helper(json_t *helpers, const char *server, CredentialsPlace *p, Err *e)
{
	const char *key;
	json_t *v;

	json_object_foreach (helpers, key, v) {
		if (!same_server(key, server))
			continue;
		if (!json_is_string(v))
			return err_new(e, ERR_INVALID, "config.json: credHelpers: %.200s: expected a string",
				       key);
		p->helper = json_string_value(v);
		/* An empty one switches credsStore off for this server. */
		if (!*p->helper) {
			p->helper = NULL;
			p->plain = true;
			return 0;
		}
		return check_helper("credHelpers", p->helper, e);
	}
	return 0;
}

int credentials_find(json_t *config, const char *server, CredentialsPlace *ret, Err *e)
{
	CredentialsPlace p = {0};
	json_t *auths, *store, *helpers;
	int r = member(config, "auths", JSON_OBJECT, &auths, e);

	if (r == 0)
		r = member(config, "credsStore", JSON_STRING, &store, e);
	if (r == 0)
		r = member(config, "credHelpers", JSON_OBJECT, &helpers, e);
	if (r < 0)
		return r;
	find_entry(auths, server, &p);
	r = find_helper(helpers, server, &p, e);
	if (r == 0 && !p.helper && !p.plain && store) {
		const char *name = json_string_value(store);

		p.helper = *name ? name : NULL;
		p.plain = !*name;
		r = p.helper ? check_helper("credsStore", p.helper, e) : 0;
	}
	if (r == 0)
		*ret = p;
	return r;
}

static int add_servers(json_t *from, char ***to)
{
	const char *key;
	json_t *v;

	json_object_foreach (from, key, v) {
		_cleanup_free_ char *server = credentials_key(key);

		if (!server)
			return -ENOMEM;
		if (*server && !strv_has(*to, server) && strv_take(to, take_ptr(server)) < 0)
			return -ENOMEM;
	}
	return 0;
}

int credentials_servers(const json_t *config, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	json_t *auths, *helpers;
	int r = member(config, "auths", JSON_OBJECT, &auths, e);

	if (r == 0)
		r = member(config, "credHelpers", JSON_OBJECT, &helpers, e);
	if (r < 0)
		return r;
	if (add_servers(auths, &v) < 0 || add_servers(helpers, &v) < 0)
		return err_oom(e);
	*ret = take_ptr(v);
	return 0;
}

static int take_text(const char *s, size_t max, const char *server, char **ret, Err *e)
{
	if (str_empty(s))
		return 0;
	if (strlen(s) > max)
		return err_new(e, ERR_INVALID, "the credentials for %.200s are longer than %zu bytes", server,
			       max);
	if (!str_is_utf8(s, strlen(s)))
		return err_new(e, ERR_INVALID, "the credentials for %.200s are not UTF-8", server);
	*ret = strdup(s);
	return *ret ? 0 : err_oom(e);
}

/* base64 of "user:password". */
static int take_auth(const char *auth, const char *server, Credentials *c, Err *e)
{
	_cleanup_secret_ char *plain = NULL;
	size_t len = 0;
	int r = strlen(auth) > CREDENTIALS_SECRET_MAX * 2 ? -EINVAL : base64_decode(auth, &plain, &len);
	char *colon = r == 0 ? strchr(plain, ':') : NULL;

	if (r == -ENOMEM)
		return err_oom(e);
	/* Some tools have written a NUL behind the password. */
	while (r == 0 && len > 0 && !plain[len - 1])
		len--;
	if (!colon || strlen(plain) != len)
		return err_new(
		    e, ERR_INVALID,
		    "config.json: auths: %.200s: \"auth\" is not base64 of user:password; log in again",
		    server);
	*colon = '\0';
	r = take_text(plain, CREDENTIALS_USER_MAX, server, &c->username, e);
	return r < 0 ? r : take_text(colon + 1, CREDENTIALS_SECRET_MAX, server, &c->password, e);
}

int credentials_of_entry(const json_t *entry, const char *server, Credentials *ret, Err *e)
{
	Credentials c = {0};
	const char *auth = json_get_str(entry, "auth");
	int r = !str_empty(auth) ? take_auth(auth, server, &c, e)
				 : take_text(json_get_str(entry, "username"), CREDENTIALS_USER_MAX, server,
					     &c.username, e);

	if (r == 0 && str_empty(auth))
		r = take_text(json_get_str(entry, "password"), CREDENTIALS_SECRET_MAX, server, &c.password,
			      e);
	if (r == 0)
		r = take_text(json_get_str(entry, "identitytoken"), CREDENTIALS_SECRET_MAX, server,
			      &c.identity_token, e);
	if (r == 0)
		r = take_text(json_get_str(entry, "registrytoken"), CREDENTIALS_SECRET_MAX, server,
			      &c.registry_token, e);
	if (r < 0) {
		credentials_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* NULL and "" are left out. */
static int put(json_t *o, const char *name, const char *value)
{
	return str_empty(value) ? 0 : json_object_set_new(o, name, json_string(value));
}

json_t *credentials_to_entry(const Credentials *c)
{
	_cleanup_json_ json_t *o = json_object();
	_cleanup_secret_ char *plain =
	    strf("%s:%s", c->username ? c->username : "", c->password ? c->password : "");
	_cleanup_secret_ char *auth = plain ? base64_encode(plain, strlen(plain), false) : NULL;

	if (!o || !auth || put(o, "auth", streq(plain, ":") ? NULL : auth) < 0 ||
	    put(o, "identitytoken", c->identity_token) < 0 || put(o, "registrytoken", c->registry_token) < 0)
		return NULL;
	return take_ptr(o);
}

/* ---- helpers ---- */

int credentials_of_helper(const char *text, size_t len, Credentials *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	Credentials c = {0};

	if (json_parse(text, len, "answer", &doc, NULL) < 0 || !json_is_object(doc))
		return err_new(e, ERR_INVALID, "the answer is not a JSON object");
	const char *user = json_get_str(doc, "Username"), *secret = json_get_str(doc, "Secret");
	bool token = streq0(user, TOKEN_USER);

	if (!user || !secret)
		return err_new(e, ERR_INVALID, "the answer has no Username and Secret");
	int r = token ? 0 : take_text(user, CREDENTIALS_USER_MAX, "this server", &c.username, e);
	if (r == 0)
		r = take_text(secret, CREDENTIALS_SECRET_MAX, "this server",
			      token ? &c.identity_token : &c.password, e);
	if (r < 0) {
		credentials_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

json_t *credentials_to_helper(const Credentials *c, const char *server)
{
	bool token = !str_empty(c->identity_token);

	return json_pack("{s:s, s:s, s:s}", "ServerURL", server, "Username",
			 token         ? TOKEN_USER
			 : c->username ? c->username
				       : "",
			 "Secret",
			 token         ? c->identity_token
			 : c->password ? c->password
				       : "");
}

/* ---- the Engine API ---- */

json_t *credentials_to_api(const Credentials *c, const char *server)
{
	_cleanup_json_ json_t *o = json_object();

	if (!o || put(o, "username", c->username) < 0 || put(o, "password", c->password) < 0 ||
	    put(o, "identitytoken", c->identity_token) < 0 ||
	    put(o, "registrytoken", c->registry_token) < 0 || put(o, "serveraddress", server) < 0)
		return NULL;
	return take_ptr(o);
}
