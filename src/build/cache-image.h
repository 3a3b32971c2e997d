/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The build cache as something that travels: images whose configuration says which step gave which of their layers.
 *
 * Such an image is an ordinary one, which any registry takes and any runtime runs; the member "io.ireko.buildcache" of its configuration has a record for each
 * step. With mode=max there is one for each stage, named by a suffix of the tag, and with mounts=true one for each cache mount.
 */
#pragma once

#include "build/build-internal.h"

#define CACHE_RECORDS_MAX 4096

/* What one step gave. */
typedef struct CacheRecord {
	char *key, *step, *parent, *content; /* content may be NULL */
	size_t layers;                       /* how many there are with it */
	size_t own;                          /* how many of these it gave itself: 1, 2 or (empty) 0 */
	bool empty;
	int64_t created_ns;
} CacheRecord;

int cache_record_add(CacheRecord **v, size_t *n, const CacheRecord *r, Err *e);
int cache_records_copy(CacheRecord *const *from, size_t n, CacheRecord **ret, size_t *ret_n, Err *e);
void cache_records_free(CacheRecord *v, size_t n);
/* Puts them into the document of an image's configuration. */
int cache_records_encode(json_t *config, const CacheRecord *v, size_t n, char *const *more, Err *e);
/* Reads what a stranger wrote there: bounded, checked; none is no error. *ret_more: suffixes of the tags of the other images. */
int cache_records_decode(const json_t *config, CacheRecord **ret, size_t *ret_n, char ***ret_more, Err *e);

/* type=registry,ref=...: what --cache-from and --cache-to say. */
typedef struct CachePlace {
	char *type, *ref, *path;
	bool max, mounts, ignore_error;
} CachePlace;
int cache_place_parse(const char *text, CachePlace *ret, Err *e);
void cache_place_done(CachePlace *p);
