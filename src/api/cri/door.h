/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet's door: RuntimeService and ImageService of CRI's runtime.v1, as gRPC on unix sockets, over the engine's pods (engine/pod.h).
 *
 * It keeps nothing that the engine does not keep as well: what a kubelet wants to hear again of what it has asked for is in the record of the pod or container (ContainerPod.note).
 * Calls are blocking code, each in a thread of its own; a call that its client gives up, or whose deadline has passed, gives up as well.
 */
#pragma once

#include "engine/engine.h"

typedef struct CriDoor CriDoor;

/* The server of exec, attach and port-forward. Zeros and NULL are the usual. */
typedef struct CriStreamOptions {
	const char *address;     /* 127.0.0.1; another than a loopback address needs cert and key */
	int port;                /* one that is free */
	const char *cert, *key;  /* PEM files: TLS */
	int64_t idle_timeout_ns; /* 4 h */
} CriStreamOptions;

typedef struct CriDoorOptions {
	const char *cgroup_driver; /* "cgroupfs" or "systemd": what RuntimeConfig tells the kubelet */
	CriStreamOptions stream;
} CriDoorOptions;

int cri_door_new(const CriDoorOptions *o, CriDoor **ret, Err *e);
/* A listening unix socket more, which is the door's from then on, on failure too. Clients wait in its queue until the door has started. */
int cri_door_add(CriDoor *d, int fd, Err *e);
/* Before it starts; the engine has to outlive the door. */
void cri_door_set_engine(CriDoor *d, Engine *en);
int cri_door_start(CriDoor *d, Err *e);
/* No more calls are taken, and those under way have grace_ms to end by themselves; then their clients are gone for them. False: some have not ended, and the door is to be
 * left as it is. NULL is allowed. */
bool cri_door_stop(CriDoor *d, int grace_ms);
/* After it was stopped, or was never started. */
void cri_door_free(CriDoor *d);
