/* SPDX-License-Identifier: Apache-2.0 */
/* Docker's command-line plugins: "compose" is the program docker-compose in one of the folders for them. */
#pragma once

#include "cli.h"

/* Becomes the plugin, which gets our whole command line. Returns 0 if there is none of this name, or -errno. */
int plugin_run(Cli *cli, const char *name, char **argv, Err *e);
