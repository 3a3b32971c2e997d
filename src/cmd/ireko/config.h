/* SPDX-License-Identifier: Apache-2.0 */
/* Which engine we talk to, and the credentials that docker's config.json holds. */
#pragma once

#include "base/json.h"
#include "cli.h"

#define DEFAULT_ADDRESS "unix:///run/ireko/ireko.sock"

/* Fills cli->address: -H, --context, $DOCKER_HOST, $DOCKER_CONTEXT, the current context of config.json,
 * our socket. */
int config_find_engine(Cli *cli, Err *e);
/* The value of X-Registry-Auth for a registry ("docker.io", "localhost:5000"); *ret NULL if there are no
 * credentials. */
int config_registry_auth(const Cli *cli, const char *domain, char **ret, Err *e);
/* The value of X-Registry-Config: all credentials; *ret NULL if there are none. */
int config_registry_config(const Cli *cli, char **ret, Err *e);
