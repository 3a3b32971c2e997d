/* SPDX-License-Identifier: Apache-2.0 */
/* Between entry.c and process.c. */
#pragma once

#include "kernel/process.h"

/* Set by the entry point (only in a program linked with it) when it found the executable on a read-only mount. */
extern bool process_exe_is_protected __attribute__((visibility("hidden"))); /* reached before relocation */
