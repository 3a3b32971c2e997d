/* SPDX-License-Identifier: Apache-2.0 */
/* What volume.c offers to mounts.c beyond engine.h. Engine.volumes_lock is held for all of it. */
#pragma once

#include "engine/engine-internal.h"

#define VOLUME_ANONYMOUS_LABEL "com.docker.volume.anonymous"

/* ERR_INVALID unless `name` may name a volume. */
int volume_name_check(const char *name, Err *e);
typedef struct VolumeWanted {
	const char *name;   /* NULL: a fresh anonymous one */
	const char *driver; /* NULL or "": local */
	char *const *labels, *const *options;
} VolumeWanted;
/* Finds or makes a volume; *ret_made (may be NULL) tells which. */
int volume_ensure(Engine *en, const VolumeWanted *w, VolumeInfo *ret, bool *ret_made, Err *e);
/* Removes a volume that nobody uses, with its event. */
int volume_remove_locked(Engine *en, const char *name, Err *e);

/* ---- volume-fs.c: volumes that are a file system of their own; no lock is held for these ---- */
bool volume_has_fs(char *const *options);
/* ERR_INVALID for options that the local driver does not have, or that do not go together. */
int volume_options_check(char *const *options, Err *e);
/* Mounts it at its mountpoint unless it is; whoever used it releases it. */
int volume_use(Engine *en, const char *name, Err *e);
/* Unmounts it after the last. */
void volume_release(Engine *en, const char *name);
/* A container that runs uses it, mounted by an earlier irekod. */
void volume_adopt(Engine *en, const char *name);
/* Unmounts what an earlier irekod has left mounted and nobody uses. */
void volumes_reconcile(Engine *en);
/* False while somebody uses it; else it is not mounted any more. */
bool volume_is_idle(Engine *en, const char *name);
