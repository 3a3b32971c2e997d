/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user of a process as text: "1000" or "1000:100". Numbers only; names are for engines, which know the container's passwd.
 * 2^32-1 is no id: to setresuid(2) it means "no change", and so root.
 */
#pragma once

#include "oci/runtime-spec.h"

/* Digits and nothing else. 0 or -EINVAL. */
int oci_id_parse(const char *text, uint32_t *ret);
/* Without a group the user's stays as it is. Untouched on failure. */
int oci_user_parse(const char *text, OciUser *u, Err *e);
