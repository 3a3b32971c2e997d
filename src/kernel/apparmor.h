/* SPDX-License-Identifier: Apache-2.0 */
/* AppArmor as the kernel shows it (Documentation/admin-guide/LSM/apparmor.rst): whether it is there, and which profiles it has. */
#pragma once

#include "base/err.h"

#include <stdbool.h>

/* The kernel enforces profiles, and lets us see its policy. */
bool apparmor_enabled(void);
/* And we may add to it: in the first user namespace, and under no profile ourselves. */
bool apparmor_is_ours(void);
/* 1 if a profile of that name is loaded, 0 if not. ERR_INTERNAL if the list cannot be read. */
int apparmor_has(const char *profile, Err *e);
