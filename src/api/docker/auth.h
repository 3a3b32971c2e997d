/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials as clients send them: X-Registry-Auth is base64url JSON of one account, X-Registry-Config of one a host. They are used for
 * the one request that carries them and stored nowhere. Pure; fuzzed.
 */
#pragma once

#include "base/json.h"
#include "engine/engine.h"

#define AUTH_HEADER_MAX   32768
#define AUTH_ACCOUNTS_MAX 512

/* The account of an X-Registry-Auth header: {}, or an object of which auth_account() reads what it knows; an absent or
 * empty header gives an empty object. Either base64 alphabet, padding optional. */
int auth_header_parse(const char *header, json_t **ret, Err *e);
/* The same of an X-Registry-Config header: an object of accounts. */
int auth_config_parse(const char *header, json_t **ret, Err *e);
/* Makes an account that came as JSON fit for auth_account(): what "auth" says (base64 of user:password) becomes username and password. */
int auth_account_normalize(json_t *account, Err *e);
/* Members of an account object, NULL where absent; pointers into it. A NULL account has none. */
void auth_account(const json_t *account, EngineAuth *ret);
/* The account for a registry in an X-Registry-Config document ("docker.io" also as https://index.docker.io/v1/), or NULL. */
const json_t *auth_config_find(const json_t *config, const char *domain);
