/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying what a COPY takes into a layer.
 *
 * Both sides may be hostile: they are reached by descriptors and single names that are not followed. Directories are merged; a file takes the
 * place of anything but a directory, and a directory that of nothing but a directory. Kept are contents with their holes, modes, times, links,
 * hard links among what is copied by one call, the attributes that a layer may have, and owners unless others are told.
 */
#pragma once

#include "build/chmod.h"
#include "build/source.h"
#include "store/file-copy.h"

typedef struct TreeCopy {
	bool set_owner;
	uint32_t uid, gid;
	const ModeChange *chmod; /* NULL: modes stay */
	bool devices;            /* they are copied; else they are refused */
	const TreeFilter *filter;
	WalkLimits *limits;
	FileCopy contents; /* begins as zeros; to be ended by the caller */
	uint64_t state;    /* grows by memo_key_mix of each file, as it was before and after it was read */
} TreeCopy;

/* Copies a file to the name `as` in to_dir, or what is in a directory into to_dir. */
int tree_copy(TreeCopy *k, int root, const Source *s, int to_dir, const char *as, Err *e);
/* The same with what is in the directory `path` of layers, as it is, devices too. */
int tree_copy_contents(int root, const char *path, int to_dir, Err *e);
/* A new empty file in the place of whatever has the name, unless that is a directory: a descriptor of the caller's. */
int tree_create_file(int dir, const char *name, Err *e);
