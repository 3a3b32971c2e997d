/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of COPY and ADD: what one such step asks for (copy-words.c), where it takes it from (origin.c), and how it is written
 * (copy.c, place.c) into a view of the stage (work.c).
 */
#pragma once

#include "build/fetch.h"
#include "build/tree.h"

/* ---- work.c: a writable view of a stage ---- */
typedef struct Work {
	char key[32];
	int root; /* of the mount */
} Work;
/* chain: what lies below; NULL: nothing. */
int work_open(Build *b, const char *chain, Work *w, Err *e);
/* What was written becomes a layer over the stage. */
int work_commit(Build *b, const Stage *s, Work *w, CacheHit *ret, Err *e);
/* e NULL: something has failed already, and that is what is told. */
int work_close(Build *b, Work *w, Err *e);

/* ---- copy.c ---- */
/* All of a named context that is a directory, as the first layer of a stage. told: what history says of it. */
int copy_whole(Build *b, Stage *s, const DockerfileStep *step, const char *from, const char *told, Err *e);

/* ---- context-part.c ---- */
WalkLimits build_limits(Build *b);

/* ---- origin.c: a directory that things are copied from ---- */
typedef struct Origin {
	char *name;           /* what --from says; NULL: the context */
	char *chain;          /* of a stage or an image: its layers; NULL: a directory of the client's */
	char *value;          /* of a named context that is a directory: what it stands for */
	const Ignore *ignore; /* its own rules; set with root */
	int root;             /* -1: not opened yet (origin_root) */
	bool borrowed;        /* root is the Build's */
} Origin;
int origin_find(Build *b, const char *from, Origin *ret, Err *e);
/* What `from` names: layers (both NULL: there are none), or what context_get takes. malloc'ed. */
int origin_of_name(Build *b, const char *from, char **ret_chain, char **ret_value, Err *e);
int origin_root(Build *b, Origin *o, Err *e);
void origin_done(Origin *o);

/* ---- copy-words.c ---- */
typedef enum CopyKind { COPY_LOCAL, COPY_TEXT, COPY_HTTP, COPY_GIT } CopyKind;

typedef struct CopyItem {
	CopyKind kind;
	char *word;      /* as it was written, variables replaced; of a here-document: its name */
	char *text;      /* of a here-document */
	Sources sources; /* of a local one, once they were looked for */
	Fetch fetch;     /* of a remote one */
} CopyItem;

typedef struct CopyStep {
	const char *verb;
	bool add, link, parents;
	char *from, *chown, *chmod, *checksum, *unpack,
	    *keep_git_dir; /* as flags, variables replaced; NULL: not given */
	bool changes_mode;
	ModeChange mode;
	Ignore exclude;
	CopyItem *items;
	size_t n;
	char *dest;                   /* absolute and clean */
	char *dest_word;              /* as it was written */
	bool into_dir;                /* it says that it is a directory */
	bool unpacks, unpacks_remote; /* archives of the context; what comes from an URL */
	bool keeps_git, says_keep_git;
} CopyStep;
int copy_step_parse(Build *b, const Stage *s, const DockerfileStep *step, CopyStep *ret, Err *e);
void copy_step_done(CopyStep *c);
/* How history shows it; malloc'ed. */
char *copy_step_told(const CopyStep *c);

/* ---- place.c: where things go ---- */
typedef struct Place {
	int dir;    /* O_PATH */
	char *name; /* in it; NULL: dir itself */
} Place;
/* into: a directory is wanted, and what is called `name` goes into it. Links in the stage are followed, inside it. Directories that are made are the owner's. */
int place_open(int root, const char *dest, bool into, const char *name, const TreeCopy *how, Place *ret,
	       Err *e);
/* The directory `dest`, made if it is not there. */
int place_directory(int root, const char *dest, const TreeCopy *how, Err *e);
void place_done(Place *p);
/* Of the directories on the way to dest, and dest, those that are in `below` already: what they are is added to told, and those of root (-1: none) are made the same. */
int place_as_below(int below, int root, const char *dest, StrBuf *told, Err *e);

/* ---- unpack.c: archives ---- */
/* Unpacks the archive `path` into the directory dest: 1; 0 if it is none. keep_owner: as it says; else all is how's. */
int unpack_into(Build *b, int from, const char *path, int to_root, const char *dest, TreeCopy *how,
		bool keep_owner, Err *e);
int unpack_fd(Build *b, int fd, int to_root, const char *dest, const TreeCopy *how, bool keep_owner, Err *e);
