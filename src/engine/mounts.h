/* SPDX-License-Identifier: Apache-2.0 */
/* The textual part of mounts, apart so that it can be tested: "src:dst[:options]". */
#pragma once

#include "base/err.h"

typedef struct BindSpec {
	char *source;      /* absolute and clean path, volume name, or NULL: an anonymous volume */
	char *destination; /* absolute, clean, not "/" */
	char *mode;        /* as given, "" if not */
	char *propagation; /* "" if not given */
	bool read_only, no_copy;
} BindSpec;

void bind_spec_done(BindSpec *b);
/* ERR_INVALID with Docker's wording. A source that is no path is checked as the name of a volume. */
int bind_spec_parse(const char *text, BindSpec *ret, Err *e);
/* "container[:ro|rw]". */
int volumes_from_parse(const char *text, char **ret_container, bool *ret_read_only, Err *e);
/* The comma-separated options of a --tmpfs; ERR_INVALID names the one that is not known. */
int tmpfs_options_check(const char *options, Err *e);
