/* SPDX-License-Identifier: Apache-2.0 */
/* X-Registry-Auth and X-Registry-Config as a hostile client writes them: the first byte says which, and whether the rest is still to be
 * encoded, so that the fuzzer need not learn base64 first. */
#include "api/docker/auth.h"
#include "base/base64.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const json_t *account)
{
	EngineAuth a;

	auth_account(account, &a);
	/* What is there is never empty: an empty username would look like credentials. */
	if ((a.username && !*a.username) || (a.password && !*a.password) ||
	    (a.identity_token && !*a.identity_token) || (a.registry_token && !*a.registry_token))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *header = NULL;
	_cleanup_json_ json_t *doc = NULL;
	Err e = {0};

	if (size < 1 || size > 65536)
		return 0;
	header =
	    data[0] & 1 ? base64_encode(data + 1, size - 1, true) : strndup((const char *)data + 1, size - 1);
	if (!header)
		return 0;
	int r = data[0] & 2 ? auth_config_parse(header, &doc, &e) : auth_header_parse(header, &doc, &e);
	if (r < 0 && (doc || !*e.msg))
		abort();
	if (r == 0 && !json_is_object(doc))
		abort();
	if (r == 0) {
		use(doc);
		use(auth_config_find(doc, "docker.io"));
		use(auth_config_find(doc, "localhost:5000"));
	}
	return 0;
}
