/* SPDX-License-Identifier: Apache-2.0 */
/* config.json as a hostile or confused program leaves it, and what a credential helper answers; the first byte says which. */
#include "oci/credentials.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const Credentials *c)
{
	const char *const parts[] = {c->username, c->password, c->identity_token, c->registry_token};

	for (size_t i = 0; i < ELEMENTSOF(parts); i++)
		if (parts[i] && (!*parts[i] || strlen(parts[i]) > CREDENTIALS_SECRET_MAX))
			abort();
	json_t *api = credentials_to_api(c, "h"), *entry = credentials_to_entry(c),
	       *helper = credentials_to_helper(c, "h");
	Credentials again = {0};

	if (!api || !entry || !helper)
		abort();
	/* What is written is read again. */
	if (!(c->username && strchr(c->username, ':')) && credentials_of_entry(entry, "h", &again, NULL) < 0)
		abort();
	if (!(c->username && strchr(c->username, ':')) && c->username && !streq0(again.username, c->username))
		abort();
	credentials_done(&again);
	json_decref(api);
	json_decref(entry);
	json_decref(helper);
}

static void read_helper(const char *text, size_t len)
{
	Credentials c = {0};

	if (credentials_of_helper(text, len, &c, NULL) == 0)
		check(&c);
	credentials_done(&c);
}

static void read_server(json_t *config, const char *server)
{
	Credentials c = {0};
	CredentialsPlace p;
	Err e = {0};

	if (credentials_find(config, server, &p, &e) < 0) {
		if (!*e.msg)
			abort();
		return;
	}
	/* It becomes part of a program's name. */
	if (p.helper && (!*p.helper || strchr(p.helper, '/') || *p.helper == '.' || *p.helper == '-'))
		abort();
	if (p.entry && credentials_of_entry(p.entry, p.entry_key, &c, NULL) == 0)
		check(&c);
	credentials_done(&c);
}

static void read_config(const char *text, size_t len)
{
	_cleanup_json_ json_t *config = NULL;
	_cleanup_strv_ char **servers = NULL;

	if (json_parse(text, len, "config.json", &config, NULL) < 0 || !json_is_object(config))
		return;
	read_server(config, "docker.io");
	read_server(config, "localhost:5000");
	if (credentials_servers(config, &servers, NULL) < 0)
		return;
	for (size_t i = 0; servers && servers[i] && i < 16; i++) {
		(void)credentials_check_server(servers[i], NULL);
		read_server(config, servers[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 65536)
		return 0;
	if (data[0] & 1)
		read_helper((const char *)data + 1, size - 1);
	else
		read_config((const char *)data + 1, size - 1);
	return 0;
}
