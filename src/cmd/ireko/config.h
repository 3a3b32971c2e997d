/* SPDX-License-Identifier: Apache-2.0 */
/* Which engine we talk to, and docker's config.json. Credentials are in credential.h. */
#pragma once

#include "base/json.h"
#include "cli.h"

#define DEFAULT_ADDRESS "unix:///run/ireko/ireko.sock"

/* Fills cli->address: -H, --context, $DOCKER_HOST, $DOCKER_CONTEXT, the current context of config.json,
 * our socket. */
int config_find_engine(Cli *cli, Err *e);

/* Where it is or would be; malloc'ed. */
char *config_path(const Cli *cli);
/* The object, borrowed from cli; empty if there is no file. */
int config_load(Cli *cli, json_t **ret, Err *e);
/* Reads it anew, under a lock, lets `change` work on it, and replaces the file if that returns 1. */
int config_edit(Cli *cli, int (*change)(json_t *config, void *user, Err *e), void *user, Err *e);
/* Adds its "HttpHeaders" to a vector, as "Name: value"; those of the connection itself are passed over. */
int config_headers(Cli *cli, char ***ret, Err *e);
