/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idmapped binds: which id of the files' own file system is seen as which id in the container.
 *
 *   idmap                              the folder's owner is the container's root, its group root's group; other ids
 *                                      stay as they are
 *   idmap=uids=1000-0-1;gids=100-0-1   FROM-TO-LENGTH: ids from FROM in the file system are TO and on in the container; several
 *                                      with "#" between them; what is not named is mapped as without a value
 *
 * A map is one to one, because the kernel also reads it backwards, for what the container writes. So with "idmap" the ids
 * that made room (root's in the file system, the owner's in the container) have no counterpart: such files belong to nobody, and
 * such processes cannot make any (EOVERFLOW).
 */
#pragma once

#include "base/err.h"
#include "kernel/namespace.h"

#define IDMAP_AUTO       "auto" /* how "idmap" without a value is kept */
#define IDMAP_SAME       "uids=0-0-4294967295;gids=0-0-4294967295"
#define IDMAP_RANGES_MAX 32

typedef struct IdMap {
	NamespaceIdMap v[IDMAP_RANGES_MAX]; /* inside: in the file system; outside: in the container */
	size_t n;
} IdMap;

typedef struct IdMaps {
	IdMap uids, gids;
} IdMaps;

/* What a user wrote, IDMAP_AUTO or the text after "idmap=", for a folder of this owner. Both maps are empty if there is nothing to
 * map. ERR_INVALID says what is wrong. */
int idmap_resolve(const char *text, uid_t owner, gid_t group, IdMaps *ret, Err *e);
/* As the container of a user namespace with these maps (inside: in the container; outside: on the host) has it: `outside` becomes the
 * host's id. What the namespace does not have is left out. */
int idmap_into_namespace(IdMap *m, const NamespaceIdMap *ns, size_t n, Err *e);
/* Maps the ids of a detached mount and what is mounted below it. */
int idmap_apply(int mount_fd, const IdMaps *m, Err *e);
