/* SPDX-License-Identifier: Apache-2.0 */
/* What volume.c offers to mounts.c beyond engine.h. Engine.volumes_lock is held for all of it. */
#pragma once

#include "engine/engine-internal.h"

#define VOLUME_ANONYMOUS_LABEL "com.docker.volume.anonymous"

/* ERR_INVALID unless `name` may name a volume. */
int volume_name_check(const char *name, Err *e);
/* Finds or makes a volume; name NULL: a fresh anonymous one. */
int volume_ensure(Engine *en, const char *name, const char *driver, char *const *labels, char *const *options,
		  VolumeInfo *ret, Err *e);
/* Removes a volume that nobody uses. */
int volume_remove_locked(Engine *en, const char *name, Err *e);
