/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's contexts as files, in docker's own places and form, so that both clients share them:
 * <config dir>/contexts/meta/<sha256 of the name>/meta.json and .../tls/<the same>/docker/{ca,cert,key}.pem.
 *
 * The context "default" has no files: it is what the environment and the flags say.
 */
#pragma once

#include "cli.h"
#include "dial.h"

#define CONTEXT_DEFAULT "default"

/* Two characters at least, and not "default". */
int context_check_name(const char *name, Err *e);
/* meta.json; ERR_NOT_FOUND if there is no such context. */
int context_load(const Cli *cli, const char *name, json_t **ret, Err *e);
/* An array of the meta.json of all, sorted by name. Broken ones are left out. */
int context_list(const Cli *cli, json_t **ret, Err *e);
/* Makes or replaces it. The name is the document's "Name". */
int context_save(const Cli *cli, const json_t *meta, Err *e);
/* True if there was one. */
int context_remove(const Cli *cli, const char *name, Err *e);

/* The docker endpoint of a meta.json: an object, or NULL. */
json_t *context_endpoint(const json_t *meta);
/* A new meta.json. */
json_t *context_make(const char *name, const char *description, const char *host, bool skip_verify);

/* The PEM files that a context has. */
int context_tls(const Cli *cli, const char *name, TlsFiles *ret, Err *e);
/* Copies the files to the context's, in the place of all that it had. */
int context_save_tls(const Cli *cli, const char *name, const TlsFiles *from, Err *e);
/* <config dir>/contexts/<kind>/<hash>; kind is "meta" or "tls". malloc'ed. */
char *context_folder(const Cli *cli, const char *kind, const char *name);
