/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal in raw mode, and back under all circumstances: at exit, and on the signals that end us. The
 * mode is saved once, process-wide.
 */
#pragma once

#include "base/err.h"

int terminal_raw(int fd, Err *e);
void terminal_restore(void);
/* What is typed is not shown, until terminal_restore(). */
int terminal_hide(int fd, Err *e);
/* One line from a descriptor, without its end, of at most `max` bytes; nothing of it stays in a buffer. malloc'ed. ERR_INVALID if it is longer, or has
 * control characters in it. */
int terminal_read_line(int fd, size_t max, char **ret, Err *e);
/* False if fd has no size. */
bool terminal_size(int fd, int *ret_height, int *ret_width);
/* "ctrl-p,ctrl-q" or "a,b" as bytes. The number of them; -EINVAL. */
int terminal_parse_keys(const char *text, unsigned char *keys, size_t cap);
/* "INT" for SIGINT; NULL if unknown. */
const char *terminal_signal_name(int signo);
