/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Engine API as calls. Plain requests share one kept connection; streams and hijacked connections get
 * their own.
 *
 * Paths are versioned with the version we were written for, without asking first: an engine that does not
 * speak it says so with 400 and names its own, and the request is sent again. Errors of the engine become
 * "Error response from daemon: ..." with the ErrKind of their status.
 */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "cli.h"

#define API_VERSION "1.51"

typedef struct ApiRequest {
	const char *method;
	const char *target; /* path and query, without the version; "/_ping" and "/ireko/..." have none */
	const json_t *body; /* or NULL */
	char *const *headers;
	bool upgrade;
	bool chunked; /* the caller sends the body */
} ApiRequest;

/* Sends, reads the answer whole (*ret may be NULL; NULL is stored if the body is empty). The status (200
 * to 399). */
int api_call(Cli *cli, const char *method, const char *target, const json_t *body, json_t **ret, Err *e);
int api_get(Cli *cli, const char *target, json_t **ret, Err *e);
/* Sees an answer grow: all of it so far, NUL-terminated. */
typedef struct ApiMore {
	void (*fn)(void *user, const char *text, size_t len);
	void *user;
} ApiMore;
/* The answer as text, NUL-terminated. more: NULL, or told while it arrives. */
int api_get_text(Cli *cli, const char *target, const ApiMore *more, char **ret, size_t *ret_len, Err *e);
/* What api_get makes of such a text. */
int api_parse(const char *text, size_t len, json_t **ret, Err *e);
/* Any plain request; an empty answer is an error. */
int api_ask(Cli *cli, const ApiRequest *rq, json_t **ret, Err *e);
/* A connection of its own, with the request sent; nothing was read. Call api_settle() before chunked
 * uploads. */
int api_start(Cli *cli, const ApiRequest *rq, Httpc **ret, Err *e);
/* The head of the answer: its status, or the engine's error. rs may be NULL. */
int api_answer(Cli *cli, Httpc *c, const HttpcResponse **rs, Err *e);
/* api_start and api_answer, once more if the version was wrong. */
int api_stream(Cli *cli, const ApiRequest *rq, Httpc **ret, const HttpcResponse **rs, Err *e);
/* A connection on which nothing was sent. */
int api_connect(Cli *cli, Httpc **ret, Err *e);
/* Makes sure that the API version fits. */
int api_settle(Cli *cli, Err *e);

/* "/containers/<name>" + rest, the name checked and encoded. malloc'ed; NULL with the Err filled. */
char *api_path(const char *kind, const char *name, const char *rest, Err *e);
/* {"k":{"v":true}} from "k=v" strings. A new object, or NULL with the Err filled. */
json_t *api_filters(char *const *assignments, Err *e);
/* Appends filters=... if there are any. */
int api_add_filters(StrBuf *target, char *const *assignments, Err *e);
/* Appends `key` with an OS/ARCH[/VARIANT] as the API has platforms, in JSON. Nothing if it is NULL. */
int api_add_platform(StrBuf *target, const char *key, const char *platform, Err *e);
/* Appends created=... if the environment has a SOURCE_DATE_EPOCH: the time that a new image says it was made. */
int api_add_created(StrBuf *target, Err *e);
