/* SPDX-License-Identifier: Apache-2.0 */
/* Two directory trees that should be the same. */
#pragma once

#include "base/err.h"

/* 0 if they are; 1 with the first difference in *ret_difference (malloc'ed): "usr/bin/x: the contents differ". Compared are names,
 * types, modes, owners, device numbers, sizes, contents, link counts, link targets, extended attributes (without
 * what overlayfs notes for itself) and times of files and links. Not times of directories: those that no archive describes have
 * the time of their making. */
int tree_compare(int a_fd, int b_fd, char **ret_difference, Err *e);
/* The contents of two files from where they stand: 0 if they are the same, 1 if not. */
int file_compare(int a_fd, int b_fd, Err *e);
