/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a COPY took, entry by entry, so that the next one can tell what is different.
 *
 * A file of the data root, build/manifests/<content digest>: a head, entries in the order of the walk (a directory before what is in it, names by their
 * bytes), a checksum. It may be lost or damaged: then there is none. A few are kept, the last ones.
 */
#pragma once

#include "base/err.h"
#include "oci/reference.h"

#include <sys/types.h>

#define MANIFEST_DIGEST      32
#define MANIFEST_ENTRIES_MAX 1000000
#define MANIFESTS_KEPT       32

typedef struct ManifestEntry {
	const char *path; /* from what the step names; "" for that itself */
	mode_t mode;
	int64_t size;                    /* of a file */
	uint8_t digest[MANIFEST_DIGEST]; /* of contents and attributes, of a link's target */
	/* Not written down: */
	uint64_t mix; /* memo_key_mix of a file */
	bool linked;  /* a file with other names */
} ManifestEntry;

typedef struct Manifest Manifest;

Manifest *manifest_new(void);
void manifest_free(Manifest *m);
DEFINE_CLEANUP(Manifest *, manifest_free)
void manifest_clear(Manifest *m);
/* In the order of the walk. 0 or -ENOMEM; what is more than MANIFEST_ENTRIES_MAX makes it one that cannot be used. */
int manifest_add(Manifest *m, const ManifestEntry *e);
size_t manifest_count(const Manifest *m);
int64_t manifest_bytes(const Manifest *m);

int manifest_save(int root_fd, const char *content, const Manifest *m, Err *e);
/* 1 and one to be freed, 0 if there is none that can be trusted. */
int manifest_load(int root_fd, const char *content, Manifest **ret, Err *e);

/* What is different, in the order of the walk: old is NULL for what is new, now is NULL for what is gone. A negative result ends it. */
typedef int (*ManifestDiffFn)(void *user, const ManifestEntry *old, const ManifestEntry *now);
int manifest_diff(const Manifest *old, const Manifest *now, ManifestDiffFn fn, void *user);
