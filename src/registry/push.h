/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of a push: the blobs of one image on their way to one repository.
 *
 * push.c says what they are; push-blobs.c brings each one there, several at once; push-manifest.c puts the manifest on top; push-index.c finds
 * the index that an image belongs to. index-put.c makes an index of what the registry has already.
 */
#pragma once

#include "registry/upload.h"

struct PushImage;

typedef struct PushBlob {
	struct PushImage *all;
	char chain[DIGEST_LEN + 1]; /* of a layer; "": the config */
	char id[13];                /* what progress calls it */
	const ImageDescriptor *d;   /* in the manifest that the image came with; NULL: none */
	bool foreign;               /* fetched from elsewhere by whoever wants it: never sent */
	const struct PushBlob
	    *same;          /* an earlier one with the same contents, which is sent instead; or NULL */
	char **from;        /* repositories that it may be mounted from */
	int64_t layer_size; /* unpacked */
	/* Known from the start, or when it is made. */
	bool known;
	char digest[DIGEST_LEN + 1];
	int64_t size;
	LayerForm form;
	bool plain;  /* not compressed: as the manifest that the image came with has it */
	bool packed; /* made by this push: to be released after it */
	int64_t last_progress;
} PushBlob;

typedef struct PushImage {
	Session *session;
	Store *store;
	const RegistryPush *p;
	PushBlob *blobs;
	size_t n;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	size_t next;
	int packing; /* how many are being compressed */
	atomic_bool stopping;
	int r;
	Err err;
} PushImage;

/* Brings every blob to the repository; c is for the calling thread. */
int push_blobs(PushImage *a, HttpClient *c, Err *e);

/* An index that an image came by. */
typedef struct PushIndex {
	char digest[DIGEST_LEN + 1];
	char *text;
	size_t len;
	ImageIndex index;
	bool complete; /* all of it is here */
	char **ids;    /* then: images, one a manifest */
} PushIndex;

/* 1 if there is one, complete or not; 0 if not. */
int push_index_find(Store *s, const char *image_id, PushIndex *ret, Err *e);
void push_index_done(PushIndex *x);

/* A manifest or an index on its way. */
typedef struct Outgoing {
	const char *text, *digest, *type;
	size_t len;
} Outgoing;

/* 1: the registry does not know this kind of manifest; why, is in e. */
int push_manifest(Session *s, HttpClient *c, const Outgoing *o, const char *tag, Err *e);
