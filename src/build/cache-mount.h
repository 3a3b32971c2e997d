/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that outlive builds: RUN --mount=type=cache. */
#pragma once

#include "dockerfile/mount.h"
#include "store/store.h"

#include <sys/types.h>

typedef struct CacheMount CacheMount;

typedef struct CacheMountWanted {
	const char *space, *id; /* BUILDKIT_CACHE_MOUNT_NS, id= */
	DockerfileSharing sharing;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int seed_root; /* what a new one is filled with, or -1 */
	const char *seed_path;
} CacheMountWanted;

/* Waits for it if it is to be the caller's alone. ERR_CANCELLED once alive_fd says POLLHUP. */
int cache_mount_take(Store *s, const CacheMountWanted *w, int alive_fd, CacheMount **ret, Err *e);
/* Its directory: a descriptor of the caller's. */
int cache_mount_open(Store *s, const CacheMount *m, Err *e);
void cache_mount_release(CacheMount *m);
/* The hash that names it on the disk: 64 hexadecimal digits; the mount's. */
const char *cache_mount_name(const CacheMount *m);
/* Where the caches of a name are that steps share: below the store's root. malloc'ed. */
char *cache_mount_path(const char *name);
/* Makes the shared cache of that name with what is in the layers, if there is none yet. */
int cache_mount_fill(Store *s, const char *name, const char *chain, Err *e);
