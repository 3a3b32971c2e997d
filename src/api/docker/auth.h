/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials as clients send them: X-Registry-Auth is base64url JSON of one account, X-Registry-Config of one a host. They are used for
 * the one request that carries them and stored nowhere. Pure; fuzzed.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

#define AUTH_HEADER_MAX 32768

/* Any base64 alphabet, padding optional; the result is NUL-terminated and has no NUL in it. -EINVAL. */
int base64_decode(const char *s, char **ret, size_t *ret_len);
char *base64_encode(const void *data, size_t len);

/* The JSON object of a header; an absent or empty one gives an empty object. */
int auth_header_parse(const char *header, json_t **ret, Err *e);
/* Members of an account object, NULL where absent; pointers into it. */
void auth_account(const json_t *account, const char **username, const char **password, const char **token);
/* The account for a registry in an X-Registry-Config document ("docker.io" also as https://index.docker.io/v1/), or NULL. */
const json_t *auth_config_find(const json_t *config, const char *domain);
