/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that are not the main context of the client: named ones, and what lies in the network. They are the Build's. */
#pragma once

#include "build/fetch.h"

typedef struct Context Context;

/* value: "local:NAME", "http://buildkit-session/...", or an URL. */
int context_get(Build *b, const char *value, Context **ret, Err *e);
int context_dir(const Context *c);
/* What its own .dockerignore says. */
const Ignore *context_ignore(const Context *c);
