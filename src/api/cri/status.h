/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kubelet is told of one pod, or of one container: messages that point into what the engine says of it now and into the note of what was asked for.
 *
 * The structs are as long as the message is in use, and are not moved: their parts point to one another. A failed call leaves nothing to be released.
 */
#pragma once

#include "api/cri/note.h"
#include "engine/engine.h"
#include "runtime.pb-c.h"

typedef struct CriContainerDoc {
	ContainerInfo info;
	Cri__ContainerNote *note;
	Cri__ContainerStatus status;
	Cri__ImageSpec image;
	Cri__ContainerResources resources;
	Cri__LinuxContainerResources linux_resources;
	char **pairs; /* that the next four point into */
	Cri__HugepageLimit *pages, **page_list;
	Cri__LinuxContainerResources__UnifiedEntry *unified, **unified_list;
	Cri__ContainerUser user;
	Cri__LinuxContainerUser linux_user;
	int64_t *groups;
} CriContainerDoc;

typedef struct CriPodDoc {
	ContainerInfo info;
	Cri__PodNote *note;
	Cri__PodSandboxStatus status;
	Cri__PodSandboxNetworkStatus network;
	Cri__LinuxPodSandboxStatus linux_part;
	Cri__Namespace namespaces;
	Cri__NamespaceOption options; /* of one that asked for none */
	Cri__PodIP *ips, **ip_list;
} CriPodDoc;

Cri__ContainerState cri_container_state(const ContainerInfo *i);
Cri__PodSandboxState cri_pod_state(const ContainerInfo *i);

/* By id or its beginning. ERR_NOT_FOUND also for what is in no pod, and for a sandbox in place of a container or the reverse. */
int cri_container_find(Engine *en, const char *id, ContainerInfo *ret, Err *e);
int cri_pod_find(Engine *en, const char *id, ContainerInfo *ret, Err *e);

int cri_container_doc_make(Engine *en, const char *id, CriContainerDoc *ret, Err *e);
void cri_container_doc_done(CriContainerDoc *d);
int cri_pod_doc_make(Engine *en, const char *id, CriPodDoc *ret, Err *e);
void cri_pod_doc_done(CriPodDoc *d);

/* All containers of one pod. */
typedef struct CriMembers {
	CriContainerDoc *docs;
	Cri__ContainerStatus **statuses;
	size_t n;
} CriMembers;
int cri_members_make(Engine *en, const char *pod_id, CriMembers *ret, Err *e);
void cri_members_done(CriMembers *m);
