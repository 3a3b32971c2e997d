/* SPDX-License-Identifier: Apache-2.0 */
/* Mount options by name: what a list of words asks for. Also for file systems that the engine mounts (volumes). */
#pragma once

#include "base/err.h"

typedef struct MountOptions {
	uint64_t set, clear;         /* MOUNT_ATTR_* of the mount itself */
	bool atime_given;            /* by a word that sets a mode, not one that only takes a mode away */
	uint64_t rec_set, rec_clear; /* of it and everything below */
	uint64_t propagation;        /* MS_* or 0 */
	bool propagation_recursive;
	bool bind, recursive_bind;
	bool copy_up;
	bool remount;
	bool idmap, recursive_idmap;
	char **params; /* for the filesystem */
} MountOptions;
/* The i-th word that is known, NULL behind the last. Valid until the next call in this thread. */
const char *mount_option_name(size_t i);
int mount_options_parse(char *const *options, MountOptions *ret, Err *e);
void mount_options_done(MountOptions *o);
