/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How git repositories are written in ADD and as contexts: "https://host/repo.git#ref:subdir", the same with "?ref=&subdir=&checksum=...", "git://",
 * "ssh://", "user@host:path", and, as a context only, "github.com/owner/repo". Pure; fuzzed.
 */
#pragma once

#include "base/err.h"

typedef struct GitRef {
	char *remote;   /* what git is given; without user data of ours */
	char *ref;      /* branch, tag or commit; NULL: the default branch */
	char *subdir;   /* clean and relative; NULL: all */
	char *checksum; /* hex digits that the commit must begin with; NULL: any */
	bool ssh;
	bool keep_git_dir, says_keep_git_dir;
	bool no_submodules;
} GitRef;

/* 1 if the text names a repository, 0 if it does not, ERR_INVALID if it does and is wrong. context: the short form too. */
int git_ref_parse(const char *text, bool context, GitRef *ret, Err *e);
void git_ref_done(GitRef *r);
/* True for what ADD fetches with git. */
bool git_ref_is_one(const char *text, bool context);
/* 7 to 64 lower-case hex digits. */
bool git_is_commit(const char *s);
