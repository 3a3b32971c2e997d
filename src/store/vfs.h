/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshotter for kernels and file systems without overlayfs: a container's directory is a full copy of its layers
 * (layers_merge).
 *
 * What the container changed is found by comparing the copy with the layers, as docker's vfs driver does: a file counts as
 * changed if kind, mode, owner, size, time, device, target or attributes differ. The answer is a directory in the form of
 * an overlay's upper one, made of hard links, so whatever becomes of upper directories becomes of it.
 */
#pragma once

#include "base/err.h"

/* Fills the empty directory out_fd with what own_fd, once a copy of the layers, has that they have not, and whiteouts. */
int vfs_changes(char *const *layers, int own_fd, int out_fd, Err *e);
