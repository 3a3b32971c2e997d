/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate as a hostile registry writes it. */
#include "registry/auth.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = strndup((const char *)data, size);
	_cleanup_strv_ char **values = s ? strv_split(s, '\n') : NULL;
	AuthChallenge c = {0};

	if (values && auth_challenge_parse(values, &c) == 0) {
		if (!c.basic && !c.bearer)
			abort();
		_cleanup_free_ char *host = c.realm ? http_url_host(c.realm, false) : NULL;
		if (host)
			(void)auth_realm_is_trusted("registry.example.org", host);
		auth_challenge_done(&c);
	}
	return 0;
}
