/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that know of pods share: pod*.c, and those of a container's life that pods are an exception in. */
#pragma once

#include "engine/engine-internal.h"
#include "engine/pod.h"

/* The process of a sandbox without an image. */
#define POD_PAUSE_PATH "/pause"

static inline bool container_in_pod(const Container *c)
{
	return c->config.pod.id != NULL;
}

static inline bool container_is_sandbox(const Container *c)
{
	return c->config.pod.sandbox;
}

/* A sandbox without an image: its process is ours, and it has no writable layer. */
static inline bool container_is_pause(const Container *c)
{
	return container_is_sandbox(c) && str_empty(c->image_id);
}

/* In a pod, but not the sandbox. */
static inline bool container_is_member(const Container *c)
{
	return c->config.pod.id && !c->config.pod.sandbox;
}

/* pod.c */
/* At create: of a member, what "pod" means; ERR_CONFLICT if its pod is not ready. Of others nothing. */
int pod_settle(Engine *en, Container *c, Err *e);
/* ERR_CONFLICT for what belongs to a pod: whoever keeps that has calls of his own. verb: "remove". */
int pod_guard(const Container *c, const char *verb, Err *e);
/* ERR_CONFLICT: a member runs once. */
int pod_ran_before(const Container *c, Err *e);
/* Returns when no member of the sandbox runs; of others at once. */
void pod_members_await(Engine *en, const Container *c);
/* The directory of the shim that keeps the pod; malloc'ed. */
char *pod_shim_dir(Engine *en, const Container *member);
/* At the engine's start, beside the first requests: pods that were never told of go, with their networks. */
void pods_recover(Engine *en);

/* pod-root.c: the root of sandboxes without an image, as a detached mount. */
int pod_root_open(Engine *en, int *ret_fd, Err *e);

/* pod-network.c */
int pods_open(Engine *en, Err *e);
void pods_close(Engine *en);
/* Attachments of this engine's that no pod has. After pods_recover(). */
void pods_networks_sweep(Engine *en);
/* Of a sandbox whose network is its own: names the namespace and has CNI attach it, with what Container.pod_asked says. */
int pod_network_attach(Engine *en, Container *c, int netns_fd, Err *e);
/* Success if it has none any more. `life` is held. */
int pod_network_release(Engine *en, Container *c, Err *e);

/* Whether CNI's plugins find it as they made it (CHECK); ERR_UNSUPPORTED if they cannot tell. `life` is held. */
int pod_network_check(Engine *en, Container *c, int alive_fd, Err *e);

/* pod-ranges.c */
int pod_ranges_load(Engine *en, Err *e);
/* A copy, or NULL: there are none. */
int pod_ranges(Engine *en, char ***ret, Err *e);

/* create.c: a sandbox, entered and recorded; without an image, unless the options name one. */
int container_create_sandbox(Engine *en, const char *name, const ContainerConfig *config, Container **ret,
			     Err *e);
/* life.c: SIGKILL now, and the wait for it; success if it has ended already. */
int container_kill_begin(Engine *en, Container *c, unsigned *ret_exits, Err *e);
int container_kill_end(Container *c, unsigned exits, Err *e);
/* As engine_container_remove, without a word about pods. */
int container_remove(Engine *en, Container *c, const char *ref, bool force, bool volumes, Err *e);
/* start.c, update.c: the same. */
int container_start(Engine *en, Container *c, const char *ref, Err *e);
/* `pod`: of what only pods are asked for; NULL: nothing. */
int container_update(Engine *en, Container *c, const ContainerHost *changes, const ContainerPod *pod, Err *e);
