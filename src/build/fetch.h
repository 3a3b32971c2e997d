/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ADD and contexts name in the network: files over http and https, repositories over git.
 *
 * First it is found out what it is, at as little cost as possible (fetch_identify): a step whose result is in the cache fetches nothing. Then it is
 * fetched, into a directory of its own below tmp/ of the data root, which goes with the Fetch.
 */
#pragma once

#include "build/build-internal.h"
#include "build/git-ref.h"

typedef struct Fetch {
	Build *b;
	char *url;
	bool is_git;
	GitRef git;
	bool keep_git_dir;
	char *checksum; /* that it must have; NULL: any */
	/* fetch_identify: */
	char content[DIGEST_LEN + 1]; /* of a repository: of remote and commit */
	char *commit;
	/* fetch_get: */
	char *path; /* of the directory, below the data root */
	int dir;    /* has a file called `file`, or the tree of a commit; -1 */
	char *file; /* NULL: a tree */
} Fetch;

/* ERR_INVALID: the text is neither. context: also "github.com/owner/repo". */
int fetch_init(Fetch *f, Build *b, const char *url, bool context, Err *e);
void fetch_done(Fetch *f);
int fetch_identify(Fetch *f, Err *e);
int fetch_get(Fetch *f, Err *e);

/* A fresh directory below tmp/: *ret_path below the data root, malloc'ed, *ret_dir the caller's. */
int fetch_room(Build *b, char **ret_path, int *ret_dir, Err *e);
void fetch_room_done(Build *b, char **path, int *dir);

/* ---- fetch-http.c ---- */
int fetch_http_identify(Fetch *f, Err *e);
int fetch_http_get(Fetch *f, Err *e);
/* What a file from this URL is called: malloc'ed. disposition: Content-Disposition, or NULL. */
char *fetch_http_name(const char *url, const char *disposition);

/* ---- fetch-git.c ---- */
int fetch_git_identify(Fetch *f, Err *e);
int fetch_git_get(Fetch *f, Err *e);

/* ---- git-run.c ---- */
/* Runs git with these arguments, as nobody, who sees the directory as /tmp, with an environment of its own; its group of processes ends with it, and with the build. Its standard
 * output is *ret_out (may be NULL). */
typedef struct GitRun {
	Build *b;
	const char *dir; /* below the data root: where it works */
	bool ssh;        /* it has the client's ssh agent */
} GitRun;
int git_run(const GitRun *g, const char *const *args, char **ret_out, Err *e);
