/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling an image, for pull and for run. */
#pragma once

#include "cli.h"

/* Progress goes to `out`, nothing is shown if quiet. */
int pull_image(Cli *cli, const char *image, const char *platform, bool quiet, FILE *out, Err *e);
/* "X-Registry-Auth: ..." for the registry of an image, malloc'ed, to be wiped; *ret NULL when there are no credentials. */
int pull_auth_header(Cli *cli, const char *image, char **ret, Err *e);
