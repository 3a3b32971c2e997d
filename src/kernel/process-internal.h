/* SPDX-License-Identifier: Apache-2.0 */
/* Between entry.c, process.c and its fuzzer. */
#pragma once

#include "kernel/process.h"

/* Set by the entry point (only in a program linked with it) when it found the executable on a read-only mount. */
extern bool process_exe_is_protected __attribute__((visibility("hidden"))); /* reached before relocation */

/* The text of /proc/<pid>/stat. 0 or -EINVAL. */
int process_parse_stat(const char *text, ProcessStat *ret);
