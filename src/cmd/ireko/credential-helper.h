/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The credential-helper protocol, as its client: docker-credential-<name> is run with one word ("get", "store", "erase", "list"), reads a
 * server or a document from standard input and writes its answer, or on failure its complaint, to standard output. Standard error
 * and the terminal stay ours, so that a helper can ask for a passphrase.
 *
 * A helper is trusted with secrets, not with our time or memory: both are limited.
 */
#pragma once

#include "base/err.h"

#define HELPER_OWN       "ireko" /* our own store's: beside this program, or on PATH */
#define HELPER_REPLY_MAX (128u << 10)
#define HELPER_TIMEOUT_S                                                                                     \
	120 /* somebody may have to type a passphrase; $IREKO_CREDENTIAL_TIMEOUT says otherwise */

/* The answer, NUL-terminated, malloc'ed, to be wiped; ret may be NULL. `option` is a word before the action, or NULL. ERR_NOT_FOUND if the helper
 * has no credentials for the server; ERR_UNAVAILABLE if there is no such program, or it does not answer. */
int helper_run(const char *name, const char *option, const char *action, const char *input, char **ret,
	       size_t *ret_len, Err *e);
