/* SPDX-License-Identifier: Apache-2.0 */
/* See credential.h. */
#include "credential.h"
#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"
#include "config.h"
#include "credential-helper.h"

#define SERVERS_MAX 512

/* Before the first secret is in our memory. */
static void guard(void)
{
	static bool done;

	if (done)
		return;
	secret_process();
	secret_wipe_json();
	done = true;
}

/* ---- get ---- */

static int ask_helper(const char *helper, const char *server, Credentials *ret, Err *e)
{
	_cleanup_free_ char *key = credentials_key(server);
	_cleanup_secret_ char *reply = NULL;
	Err why = {0};
	size_t len = 0;

	if (!key)
		return err_oom(e);
	int r = helper_run(helper, NULL, "get", key, &reply, &len, &why);
	if (r < 0 && why.kind == ERR_NOT_FOUND)
		return 0;
	if (r == 0)
		r = credentials_of_helper(reply, len, ret, &why);
	if (r < 0 && e)
		*e = why;
	return r < 0 ? err_ctx(e, r, "credentials for %s: docker-credential-%s", server, helper) : 0;
}

static int get(json_t *config, const char *server, Credentials *ret, Err *e)
{
	CredentialsPlace p;
	int r = credentials_find(config, server, &p, e);

	if (r < 0)
		return r;
	if (p.helper)
		r = ask_helper(p.helper, server, ret, e);
	/* The file may still have what was there before the helper was. */
	if (r == 0 && credentials_empty(ret) && p.entry_full) {
		credentials_done(ret);
		r = credentials_of_entry(p.entry, p.entry_key, ret, e);
	}
	if (r == 0 && p.entry && !p.entry_full && !p.helper && !p.plain)
		r = ask_helper(HELPER_OWN, server, ret, e);
	return r;
}

int credential_get(Cli *cli, const char *server, Credentials *ret, Err *e)
{
	json_t *config;

	guard();
	int r = config_load(cli, &config, e);
	return r < 0 ? r : get(config, server, ret, e);
}

/* ---- put and erase ---- */

typedef struct Change {
	const char *server, *key; /* key: canonical */
	const Credentials *c;     /* NULL: erase */
	const char *own_key;      /* of our own store, or NULL */
	CredentialKept kept;
	bool found;
} Change;

/* Every spelling of the server goes; "auths" itself stays, as docker leaves it. */
static int drop_entries(json_t *config, const char *key, Err *e)
{
	json_t *auths = json_object_get(config, "auths"), *value;
	_cleanup_strv_ char **gone = NULL;
	const char *name;

	json_object_foreach (auths, name, value) {
		_cleanup_free_ char *k = credentials_key(name);

		if (!k || (streq(k, key) && strv_add(&gone, name) < 0))
			return err_oom(e);
	}
	for (char **g = gone; g && *g; g++)
		(void)json_object_del(auths, *g);
	return 0;
}

static int set_entry(json_t *config, const char *key, json_t *entry, Err *e)
{
	json_t *auths = json_object_get(config, "auths");

	if (!json_is_object(auths)) {
		auths = json_object();
		if (json_object_set_new(config, "auths", auths) < 0) {
			json_decref(entry);
			return err_oom(e);
		}
	}
	return json_object_set_new(auths, key, entry) < 0 ? err_oom(e) : 0;
}

static int give_helper(const char *helper, const char *own_key, const char *key, const Credentials *c, Err *e)
{
	_cleanup_json_ json_t *request = credentials_to_helper(c, key);
	_cleanup_secret_ char *text = request ? json_text(request) : NULL;
	_cleanup_free_ char *option = own_key ? strf("--key=%s", own_key) : NULL;

	if (!text || (own_key && !option))
		return err_oom(e);
	int r = helper_run(helper, option, "store", text, NULL, NULL, e);
	return r < 0 ? err_ctx(e, r, "the credentials were not kept: docker-credential-%s", helper) : 0;
}

static int put(json_t *config, void *user, Err *e)
{
	Change *x = user;
	CredentialsPlace p;
	json_t *entry = NULL;
	int r = credentials_find(config, x->server, &p, e);

	if (r < 0)
		return r;
	if (x->own_key && (p.helper || p.plain))
		return err_new(
		    e, ERR_CONFLICT,
		    "--store is about ireko's own store, and config.json names another one (%s) for %s",
		    p.helper ? p.helper : "the file itself", x->server);
	x->kept = p.helper ? KEPT_HELPER : (p.plain || p.entry_full) && !x->own_key ? KEPT_PLAIN : KEPT_OWN;
	if (x->kept != KEPT_PLAIN)
		r = give_helper(p.helper ? p.helper : HELPER_OWN, x->own_key, x->key, x->c, e);
	if (r < 0)
		return r;
	entry = x->kept == KEPT_PLAIN ? credentials_to_entry(x->c) : json_object();
	if (!entry)
		return err_oom(e);
	r = drop_entries(config, x->key, e);
	if (r < 0) {
		json_decref(entry);
		return r;
	}
	r = set_entry(config, x->key, entry, e);
	return r < 0 ? r : 1;
}

int credential_put(Cli *cli, const char *server, const Credentials *c, const char *key, CredentialKept *ret,
		   Err *e)
{
	_cleanup_free_ char *canonical = credentials_key(server);
	Change x = {.server = server, .key = canonical, .c = c, .own_key = key};

	guard();
	if (!canonical)
		return err_oom(e);
	int r = config_edit(cli, put, &x, e);
	if (r == 0)
		*ret = x.kept;
	return r;
}

static int erase(json_t *config, void *user, Err *e)
{
	Change *x = user;
	CredentialsPlace p;
	Err why = {0};
	int r = credentials_find(config, x->server, &p, e);

	if (r < 0)
		return r;
	x->found = p.entry;
	const char *helper = p.helper ? p.helper : p.entry && !p.entry_full && !p.plain ? HELPER_OWN : NULL;
	r = helper ? helper_run(helper, NULL, "erase", x->key, NULL, NULL, &why) : 0;
	if (r < 0 && why.kind != ERR_NOT_FOUND) {
		if (e)
			*e = why;
		return r;
	}
	if (!p.entry)
		return 0;
	r = drop_entries(config, x->key, e);
	return r < 0 ? r : 1;
}

int credential_erase(Cli *cli, const char *server, Err *e)
{
	_cleanup_free_ char *canonical = credentials_key(server);
	Change x = {.server = server, .key = canonical};

	guard();
	if (!canonical)
		return err_oom(e);
	int r = config_edit(cli, erase, &x, e);
	return r < 0 ? r : x.found;
}

/* ---- headers ---- */

static int header_of(const char *name, const json_t *j, char **ret, Err *e)
{
	_cleanup_secret_ char *text = json_text(j);
	_cleanup_secret_ char *coded = text ? base64_encode(text, strlen(text), true) : NULL;

	*ret = coded ? strf("%s: %s", name, coded) : NULL;
	return *ret ? 0 : err_oom(e);
}

int credential_auth_header(Cli *cli, const char *server, char **ret, Err *e)
{
	_cleanup_(credentials_done) Credentials c = {0};
	_cleanup_free_ char *key = credentials_key(server);
	int r = key ? credential_get(cli, server, &c, e) : err_oom(e);

	if (r < 0 || credentials_empty(&c))
		return r;
	_cleanup_json_ json_t *account = credentials_to_api(&c, key);
	return account ? header_of("X-Registry-Auth", account, ret, e) : err_oom(e);
}

/* The servers that a helper for all of them knows. */
static int add_listed(const char *helper, char ***servers, Err *e)
{
	_cleanup_secret_ char *reply = NULL;
	_cleanup_json_ json_t *doc = NULL;
	const char *server;
	json_t *user;
	size_t len = 0;
	int r = helper_run(helper, NULL, "list", "", &reply, &len, e);

	if (r < 0)
		return r;
	if (json_parse(reply, len, "answer", &doc, NULL) < 0 || !json_is_object(doc))
		return err_new(e, ERR_INVALID, "docker-credential-%s list: the answer is not a JSON object",
			       helper);
	json_object_foreach (doc, server, user) {
		_cleanup_free_ char *key = credentials_key(server);

		if (!key)
			return err_oom(e);
		if (!strv_has(*servers, key) && strv_take(servers, take_ptr(key)) < 0)
			return err_oom(e);
	}
	return 0;
}

static int all_servers(Cli *cli, json_t *config, char ***ret, Err *e)
{
	const char *store = json_get_str(config, "credsStore");
	int r = credentials_servers(config, ret, e);
	CredentialsPlace p;
	Err why = {0};

	if (r < 0 || str_empty(store))
		return r;
	/* Checks the name. */
	r = credentials_find(config, "docker.io", &p, e);
	if (r == 0 && add_listed(store, ret, &why) < 0)
		cli_complain(cli, "WARNING: %s", why.msg);
	return r;
}

int credential_config_header(Cli *cli, const char *text, char **ret, Err *e)
{
	_cleanup_json_ json_t *all = json_object();
	_cleanup_strv_ char **servers = NULL;
	json_t *config;

	guard();
	int r = config_load(cli, &config, e);
	if (r == 0)
		r = all_servers(cli, config, &servers, e);
	for (size_t i = 0; r == 0 && servers && servers[i] && i < SERVERS_MAX; i++) {
		_cleanup_(credentials_done) Credentials c = {0};
		Err why = {0};

		if (text && !streq(servers[i], CREDENTIALS_HUB) && !strstr(text, servers[i]))
			continue;
		if (get(config, servers[i], &c, &why) < 0)
			cli_complain(cli, "WARNING: %s", why.msg);
		else if (!credentials_empty(&c) &&
			 json_object_set_new(all, servers[i], credentials_to_api(&c, servers[i])) < 0)
			r = err_oom(e);
	}
	if (r < 0 || json_object_size(all) == 0)
		return r;
	return header_of("X-Registry-Config", all, ret, e);
}
