/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's config.json. Credentials are in credential.h, contexts in context-store.h. */
#pragma once

#include "base/json.h"
#include "cli.h"

/* Its folder: --config, $DOCKER_CONFIG or ~/.docker; malloc'ed. */
char *config_dir(const Cli *cli);
/* Where it is or would be; malloc'ed. */
char *config_path(const Cli *cli);
/* The object, borrowed from cli; empty if there is no file. */
int config_load(Cli *cli, json_t **ret, Err *e);
/* Reads it anew, under a lock, lets `change` work on it, and replaces the file if that returns 1. */
int config_edit(Cli *cli, int (*change)(json_t *config, void *user, Err *e), void *user, Err *e);
/* Adds its "HttpHeaders" to a vector, as "Name: value"; those of the connection itself are passed over. */
int config_headers(Cli *cli, char ***ret, Err *e);
/* What to print a list with: `given`, or without it the member `key` of config.json ("psFormat"), or NULL. */
const char *config_format(Cli *cli, const char *key, const char *given);
/* The member `key`, or NULL: also when the file is broken. */
const char *config_text(Cli *cli, const char *key);
/* Appends the "proxies" of config.json for the engine in use: HTTP_PROXY=... and http_proxy=..., but for those that the vector
 * sets itself. */
int config_add_proxies(Cli *cli, char ***assignments, Err *e);
/* Appends the "pruneFilters" of config.json. A label that the vector chooses by is not chosen by again. */
int config_add_prune_filters(Cli *cli, char ***filters, Err *e);
