/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Container Device Interface (CDI 0.3 to 1.0): files of the administrator say what a container needs to have a device.
 *
 * A device is named vendor.com/class=name. Directories are in order of rising priority; a device that two files of one directory describe is
 * nobody's. A file is JSON or YAML (yaml.h), as its name ends. The files are read when a container that asks for a device starts, and at no other time.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

/* Whether this is one file's content. */
int cdi_spec_check(const json_t *spec, Err *e);
/* One "containerEdits" of a file that was checked, done to the runtime-spec document. */
int cdi_edits_apply(const json_t *edits, json_t *config, Err *e);
bool cdi_name_is_qualified(const char *name);
/* Every name that the directories describe, in no order; files that cannot be read or are wrong are left out, with a line in the log. A
 * directory that is not there is an empty one. */
int cdi_list(char *const *dirs, char ***ret, Err *e);
/* Changes the runtime-spec document `config` so that the container has these devices. ERR_INVALID "CDI device injection failed: unresolvable
 * CDI devices x" for what nobody describes. */
int cdi_apply(char *const *dirs, char *const *names, json_t *config, Err *e);
