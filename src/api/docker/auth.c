/* SPDX-License-Identifier: Apache-2.0 */
#include "api/docker/auth.h"

#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"
#include "oci/credentials.h"

static const char *member(const json_t *o, const char *key)
{
	const char *s = json_get_str(o, key);

	return str_empty(s) ? NULL : s;
}

int auth_account_normalize(json_t *account, Err *e)
{
	Credentials c = {0};

	if (!member(account, "auth") || member(account, "username") || member(account, "identitytoken"))
		return 0;
	int r = credentials_of_entry(account, "this request", &c, NULL);
	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0)
		return err_new(e, ERR_INVALID,
			       "invalid registry credentials: \"auth\" is not base64 of user:password");
	if (c.username)
		r = json_object_set_new(account, "username", json_string(c.username));
	if (r == 0 && c.password)
		r = json_object_set_new(account, "password", json_string(c.password));
	credentials_done(&c);
	return r < 0 ? err_oom(e) : 0;
}

/* The JSON object of a header; {} if it is absent, empty or null. */
static int parse(const char *header, json_t **ret, Err *e)
{
	_cleanup_secret_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	size_t len;

	if (str_empty(header)) {
		*ret = json_object();
		return *ret ? 0 : err_oom(e);
	}
	/* The message never quotes the header: it is a secret. */
	if (strlen(header) > AUTH_HEADER_MAX || base64_decode(header, &text, &len) < 0)
		return err_new(e, ERR_INVALID, "invalid registry credentials: the header is not base64");
	bool null = len == 4 && memcmp(text, "null", 4) == 0;
	if (!null && (json_parse(text, len, "registry credentials", &doc, NULL) < 0 || !json_is_object(doc)))
		return err_new(e, ERR_INVALID,
			       "invalid registry credentials: the header is not a JSON object");
	*ret = null ? json_object() : take_ptr(doc);
	return *ret ? 0 : err_oom(e);
}

int auth_header_parse(const char *header, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = parse(header, &doc, e);

	if (r == 0)
		r = auth_account_normalize(doc, e);
	if (r == 0)
		*ret = take_ptr(doc);
	return r;
}

int auth_config_parse(const char *header, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *key;
	json_t *account;
	int r = parse(header, &doc, e);

	if (r == 0 && json_object_size(doc) > AUTH_ACCOUNTS_MAX)
		r = err_new(e, ERR_INVALID, "invalid registry credentials: more than %d accounts",
			    AUTH_ACCOUNTS_MAX);
	if (r < 0)
		return r;
	json_object_foreach (doc, key, account) {
		r = auth_account_normalize(account, e);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(doc);
	return 0;
}

void auth_account(const json_t *account, EngineAuth *ret)
{
	*ret = (EngineAuth){.username = member(account, "username"),
			    .password = member(account, "password"),
			    .identity_token = member(account, "identitytoken"),
			    .registry_token = member(account, "registrytoken")};
}

const json_t *auth_config_find(const json_t *config, const char *domain)
{
	_cleanup_free_ char *wanted = credentials_key(domain);
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)config, key, value) {
		_cleanup_free_ char *have = credentials_key(key);

		if (streq0(have, wanted))
			return value;
	}
	return NULL;
}
