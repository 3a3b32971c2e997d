/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See auth.h. The forms in the order in which they count: a name and a password, a token to be changed for another, both in base64 as config.json has them, and a token for
 * the registry itself. Secrets stay where the request has them; what is decoded is wiped.
 */
#include "api/cri/auth.h"

#include "base/base64.h"
#include "base/secret.h"
#include "base/str.h"

#define DOCKER_HUB "docker.io"

/* The host of an address: "https://HOST:PORT/path" or "HOST:PORT". malloc'ed. */
static char *host_of(const char *address)
{
	const char *scheme = strstr(address, "://"), *host = scheme ? scheme + 3 : address;

	return strndup(host, strcspn(host, "/"));
}

static bool is_hub(const char *host)
{
	static const char *const names[] = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io"};

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (streq(host, names[i]))
			return true;
	return false;
}

/* 1, 0, or an error. */
static int is_for(const char *server, const char *reference, Err *e)
{
	Reference ref = {0};
	_cleanup_free_ char *host = NULL;
	int r;

	if (str_empty(server))
		return 1;
	r = reference_parse(reference, &ref, e);
	if (r < 0)
		return r;
	host = host_of(server);
	r = host ? streq(host, ref.domain) || (is_hub(host) && streq(ref.domain, DOCKER_HUB)) : err_oom(e);
	reference_done(&ref);
	return r;
}

static int decode_pair(const char *text, CriAuth *ret, Err *e)
{
	char *colon;
	size_t len;
	int r = base64_decode(text, &ret->decoded, &len);

	if (r == -ENOMEM)
		return err_oom(e);
	colon = r < 0 || strlen(ret->decoded) == 0 ? NULL : strchr(ret->decoded, ':');
	if (!colon)
		return err_new(e, ERR_INVALID, "auth.auth: expected NAME:PASSWORD in base64");
	*colon = '\0';
	ret->auth.username = ret->decoded;
	ret->auth.password = colon + 1;
	return 0;
}

int cri_auth_read(const Cri__AuthConfig *a, const char *reference, CriAuth *ret, Err *e)
{
	int r = a ? is_for(a->server_address, reference, e) : 0;

	if (r <= 0)
		return r;
	if (!str_empty(a->username)) {
		ret->auth.username = a->username;
		ret->auth.password = a->password;
	} else if (!str_empty(a->identity_token)) {
		ret->auth.identity_token = a->identity_token;
	} else if (!str_empty(a->auth)) {
		return decode_pair(a->auth, ret, e);
	} else if (!str_empty(a->registry_token)) {
		ret->auth.registry_token = a->registry_token;
	}
	return 0;
}

void cri_auth_done(CriAuth *a)
{
	secret_free(a->decoded);
	*a = (CriAuth){0};
}
