/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's file tree as its processes see it, volumes and binds included, for copies in and out.
 *
 * Of a running container it is the root of its first process, of any other one its snapshot with its
 * mounts put up in a mount namespace that nothing lives in. Either way it is one descriptor, and
 * every path is opened under it with openat2(RESOLVE_IN_ROOT): what the container does meanwhile to its links
 * and directories cannot lead anyone out of it (CVE-2018-15664).
 */
#pragma once

#include "engine/engine-internal.h"

typedef struct ContainerTree {
	Container *c;
	int root_fd;
	Engine *in_use; /* its volumes are to be given back there; or NULL */
	int ns_fd;      /* keeps the namespace of a stopped container's mounts; -1 */
	bool locked; /* `life` is held: the container must not start while its snapshot is written to here */
	bool mapped; /* files are seen with the host's ids, which are these in the container */
	StoreIds ids;
	NamespaceIdMap *pod_ids; /* two of a pod's, that `ids` points to; or NULL */
} ContainerTree;

typedef enum TreeUse {
	TREE_READ,
	/* All of it, so without /proc, /sys and what else a running one has mounted beside its binds and volumes. */
	TREE_READ_FILES,
	TREE_WRITE,
} TreeUse;

/* Reading keeps nobody from anything: a client may take its time. */
int container_tree_open(Engine *en, const char *ref, TreeUse use, ContainerTree *ret, Err *e);
void container_tree_done(ContainerTree *t);
#define CONTAINER_TREE_INIT                                                                                  \
	{                                                                                                    \
		.root_fd = -1, .ns_fd = -1                                                                   \
	}
