/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One blob into one repository (distribution-spec 1.1, "Pushing blobs"), and the blob while it is still being made.
 *
 * A Growing is filled by one thread and read by another: bytes of a file, of which more can be read as time goes by, until it
 * is whole and has a digest. Since it is a file, a broken upload goes on from whatever byte the registry has.
 */
#pragma once

#include "registry/registry-internal.h"

typedef struct Growing {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int fd;                      /* -1: nothing yet; its own */
	int64_t have;                /* bytes that can be read */
	bool ended;                  /* no more will come */
	int r;                       /* why it ended before it was whole */
	char digest[DIGEST_LEN + 1]; /* of the whole */
} Growing;

void growing_init(Growing *g);
void growing_done(Growing *g);
/* So many bytes can be read from fd, which is duplicated. */
void growing_add(Growing *g, int fd, int64_t have);
/* It is whole, or (r < 0) will never be. */
void growing_end(Growing *g, const char *digest, int r);
/* A blob that is whole already. The fd is taken. */
void growing_whole(Growing *g, int fd, int64_t size, const char *digest);
/* Waits until there are more than `bytes` or it has ended. 1: ended and whole; 0: more to come; -ECANCELED, or why it ended. */
int growing_wait(Growing *g, int64_t bytes, bool (*stopped)(void *user), void *user, Err *e);

typedef struct Upload {
	Session *session;
	HttpClient *client;
	Growing *blob;
	void (*sent)(void *user, int64_t bytes); /* so many have gone out; may be NULL */
	bool (*stopped)(void *user);             /* somebody wants it to end */
	void *user;
	/* of upload.c */
	char *location;    /* where the upload goes on; NULL: none is begun */
	int64_t offset;    /* the next byte that the registry wants */
	int64_t best;      /* the highest that it has had */
	int64_t chunk;     /* bytes of one PATCH; 0: all in one */
	int64_t chunk_min; /* what the registry wants at least */
	bool unsure;       /* the last request broke: offset is to be asked for */
	bool finishing;    /* it was the one that completes the blob */
	int64_t piece_end; /* of the PATCH that goes on; -1: until the blob ends */
	int restarts;      /* from the first byte, because the registry wanted it */
	bool at_once;      /* the next try need not wait */
} Upload;

void upload_done(Upload *u);
/* 1 if the repository has the blob, 0 if not or if it does not say. */
int upload_blob_exists(Session *s, HttpClient *c, const char *digest, Err *e);
/* Asks for the blob out of another repository of the registry: 1 if it is there now. 0 if not; an upload may have begun then. */
int upload_mount(Upload *u, const char *digest, const char *from, Err *e);
/* Sends it, with new tries and from where it stopped when something breaks. */
int upload_blob(Upload *u, Err *e);
/* How many bytes have arrived: 500 of "0-499" (or "bytes=0-499"). "0-0" is what many say who have nothing. -1: it does not say. */
int64_t upload_range_end(const char *range);
/* What a reply to a push that is no success means to the user. */
int upload_refusal(const Session *s, const char *what, const HttpReply *reply, Err *e);
