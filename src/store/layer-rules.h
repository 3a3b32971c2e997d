/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the entries of a layer's tar mean, whatever the layer is written to: a directory (ireko-unpack's place.c) or an
 * EROFS image (erofs-layer.c). OCI image-spec, "Image Layer Filesystem Changeset".
 *
 * Invariant: every name from an archive is cleaned here first, which leaves plain components and refuses what climbs out
 * of the root.
 */
#pragma once

#include "store/tar-read.h"

#include <limits.h>

/* The entry's name: "./a//b/" -> "a/b", "/" -> "". ERR_INVALID for what leaves the root, is too long or empty. */
int layer_clean_name(const TarEntry *n, char ret[PATH_MAX], Err *e);
/* The same of a hard link's target. */
int layer_clean_link(const TarEntry *n, char ret[PATH_MAX], Err *e);
/* The last component of a cleaned path. */
const char *layer_base(const char *clean);

typedef enum LayerNameKind {
	LAYER_PLAIN,
	LAYER_IGNORED,  /* left over from aufs */
	LAYER_WHITEOUT, /* ".wh.NAME": *ret_victim is NAME */
	LAYER_OPAQUE,   /* ".wh..wh..opq": the directory hides what is below it */
} LayerNameKind;
/* A LayerNameKind, or ERR_INVALID for a whiteout that names nothing or is used as a directory. */
int layer_name_kind(const TarEntry *n, const char *clean, const char **ret_victim, Err *e);

/* Refuses links without a target and, unless `devices`, devices; with `whiteouts` also a 0/0 character device. */
int layer_check_node(const TarEntry *n, bool devices, bool whiteouts, Err *e);

/* Files and bytes of a layer, counted against its limits. */
typedef struct LayerBudget {
	int64_t max_files, max_bytes;
	int64_t files, content_bytes;
} LayerBudget;
/* Of each entry, and of each regular file. */
int layer_count_entry(LayerBudget *b, const TarReader *t, Err *e);
int layer_count_contents(LayerBudget *b, const TarEntry *n, const char *clean, Err *e);
