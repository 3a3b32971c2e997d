/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From CRI's configurations of pods and containers to the engine's.
 *
 * Pure but for what a configuration names on this host: profiles of seccomp, and its name. Whatever a message says is either translated or refused with ERR_INVALID and the
 * field's name; what was translated owns its strings. What can only be known by the engine (images, mounts, names that are taken, runtimes) it checks itself.
 */
#pragma once

#include "engine/pod.h"
#include "types.pb-c.h"

typedef struct CriPod {
	EnginePod pod; /* of what follows */
	ContainerConfig config;
	EnginePodNetwork network;
	EnginePodPort *ports;
	char *container_name, *pod_name, *pod_namespace, *pod_uid;
	char **annotations, **port_texts; /* what network points to */
} CriPod;
void cri_pod_done(CriPod *p);
/* Into a zeroed struct, which is released on failure too. The caller sets config.pod.note. `handler`: "" is the default runtime. */
int cri_pod_config(const Cri__PodSandboxConfig *c, const char *handler, CriPod *ret, Err *e);

/* Of a member of the pod that `sandbox` keeps, with the configuration that the pod was made with. Into a zeroed struct; what a failure leaves is for
 * container_config_done(). The caller sets pod.note. */
int cri_container_config(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c,
			 const ContainerInfo *sandbox, ContainerConfig *ret, Err *e);
/* Its name among containers: "k8s_...". malloc'ed. */
char *cri_container_name(const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c);

/* The score that a process can be given: wanted, or the nearest that irekod may give. */
int64_t cri_oom_score(int64_t wanted);

/* Limits, as a new container has them (fields of `host` and `pod`); NULL: none. Into a zeroed struct. */
int cri_resources(const Cri__LinuxContainerResources *r, ContainerConfig *ret, Err *e);
/* The same for engine_pod_container_update(): what is not said stays as it is. */
int cri_resources_update(const Cri__LinuxContainerResources *r, ContainerConfig *ret, Err *e);

/* The text of a signal that a container is to be stopped with; NULL: its image's, or the usual. */
const char *cri_signal_text(Cri__Signal s);
/* The other way round; RUNTIME_DEFAULT for what has no name there. */
Cri__Signal cri_signal_of(const char *text);
