/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the kubelet's door share.
 *
 * Messages that are sent are filled in on the spot and point to what others own; messages that were received are freed by _cleanup_message_.
 */
#pragma once

#include "api/cri/door.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/pod.h"
#include "image.pb-c.h"
#include "runtime.pb-c.h"
#include "stats.pb-c.h"
#include "types.pb-c.h"
#include "wire/grpc/grpc.h"

#include <pthread.h>

typedef struct CriConnection CriConnection; /* serve.c */

struct CriDoor {
	Engine *engine;
	char *cgroup_driver;
	int stop_fd; /* eventfd: readable once the door is closing */
	int *listeners;
	size_t n_listeners;
	pthread_t acceptor;
	bool accepting;
	pthread_mutex_t lock;   /* of what follows */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	CriConnection *connections;
	unsigned n_connections;
};

/* ---- door.c ---- */
extern const GrpcMethod cri_methods[];
/* Freed with it. */
void cri_message_freep(void *message);
#define _cleanup_message_ _cleanup_(cri_message_freep)
/* The one message of a call without one to come back: an answer without fields. */
int cri_send_empty(GrpcCall *call, Err *e);

/* ---- runtime.c: what is asked about the runtime itself ---- */
int cri_rpc_version(GrpcCall *call, void *user, Err *e);
int cri_rpc_runtime_config(GrpcCall *call, void *user, Err *e);
int cri_rpc_update_runtime_config(GrpcCall *call, void *user, Err *e);

/* ---- serve.c: sockets, connections ---- */
int cri_serve_start(CriDoor *d, Err *e);
bool cri_serve_stop(CriDoor *d, int grace_ms);
