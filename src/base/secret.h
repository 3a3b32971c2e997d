/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that held a password or a token is wiped before it is given back, so that neither a core dump nor the next user
 * of the same memory finds it there.
 *
 * A string is released with secret_free or _cleanup_secret_. Libraries that copy secrets are told to use secret_free for all that they release:
 * jansson by secret_wipe_json(), libcurl by curl_global_init_mem with the functions here.
 */
#pragma once

#include "base/macro.h"

/* Wipes all of the block, then frees it. NULL is fine; errno is kept. */
void secret_free(void *p);
#define _cleanup_secret_ _cleanup_(secret_cleanup)

static inline void secret_cleanup(void *p)
{
	secret_free(*(void **)p);
}

/* As realloc, but what is left behind is wiped. */
void *secret_realloc(void *p, size_t size);
/* From now on everything that jansson frees is wiped. Once, before there are threads. */
void secret_wipe_json(void);
/* This process leaves no core dump, and others of the same user may not look into its memory. Until it executes another program. */
void secret_process(void);
