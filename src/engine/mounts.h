/* SPDX-License-Identifier: Apache-2.0 */
/* The textual part of mounts, apart so that it can be tested: "src:dst[:options]". */
#pragma once

#include "base/err.h"
#include "engine/container-config.h"

typedef struct BindSpec {
	char *source;      /* absolute and clean path, volume name, or NULL: an anonymous volume */
	char *destination; /* absolute, clean, not "/" */
	char *mode;        /* as given, "" if not */
	char *propagation; /* "" if not given */
	char *idmap;       /* see idmap.h; NULL if not given */
	bool read_only, no_copy;
} BindSpec;

/* ERR_INVALID in Docker's words unless the mount makes sense; *ret_target is its target, clean. */
int mount_check(const ContainerMount *m, char **ret_target, Err *e);

void bind_spec_done(BindSpec *b);
/* ERR_INVALID with Docker's wording. A source that is no path is checked as the name of a volume. */
int bind_spec_parse(const char *text, BindSpec *ret, Err *e);
/* BindOptions.Propagation: a propagation and, so that every client can ask for it, idmap or idmap=...; *ret_idmap NULL if there is
 * none. */
int propagation_parse(const char *text, char **ret_propagation, char **ret_idmap, Err *e);
/* A path relative to the root of a volume or image, without "..". */
bool subpath_is_local(const char *path);
/* "container[:ro|rw]". */
int volumes_from_parse(const char *text, char **ret_container, bool *ret_read_only, Err *e);
/* The comma-separated options of a --tmpfs; ERR_INVALID names the one that is not known. */
int tmpfs_options_check(const char *options, Err *e);
