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
typedef struct CriImageUser CriImageUser;   /* images.c */
typedef struct CriStreams CriStreams;       /* stream.c */

/* What containers of pods are labelled with beside what a kubelet says, as those of Docker's adapter for kubelets are: programs find them by it. */
#define CRI_LABEL_TYPE     "io.kubernetes.docker.type"
#define CRI_TYPE_SANDBOX   "podsandbox"
#define CRI_TYPE_CONTAINER "container"
#define CRI_LABEL_SANDBOX  "io.kubernetes.sandbox.id" /* of containers: their pod's id */
#define CRI_LABEL_LOG      "io.kubernetes.container.logpath"

struct CriDoor {
	Engine *engine;
	char *cgroup_driver;
	CriStreams *streams;
	int stop_fd; /* eventfd: readable once the door is closing */
	int *listeners;
	size_t n_listeners;
	pthread_t acceptor;
	bool accepting;
	pthread_mutex_t lock;   /* of what follows */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	CriConnection *connections;
	unsigned n_connections;
	GrpcCall **lasting; /* calls that end when their client or the door does */
	size_t n_lasting;
	bool stopping;
	CriImageUser *image_users; /* images.c */
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
int cri_rpc_status(GrpcCall *call, void *user, Err *e);
int cri_rpc_runtime_config(GrpcCall *call, void *user, Err *e);
int cri_rpc_update_runtime_config(GrpcCall *call, void *user, Err *e);

/* ---- stream-rpc.c, stream.c: commands and connections in containers, by a server of their own ---- */
int cri_rpc_exec(GrpcCall *call, void *user, Err *e);
int cri_rpc_exec_sync(GrpcCall *call, void *user, Err *e);
int cri_rpc_attach(GrpcCall *call, void *user, Err *e);
int cri_rpc_port_forward(GrpcCall *call, void *user, Err *e);
int cri_streams_new(CriDoor *d, const CriStreamOptions *o, CriStreams **ret, Err *e);
int cri_streams_start(CriStreams *s, Err *e);
/* After CriDoor.stop_fd became readable. False: some sessions have not ended. NULL is allowed. */
bool cri_streams_stop(CriStreams *s, int grace_ms);
void cri_streams_free(CriStreams *s);

/* ---- serve.c: sockets, connections ---- */
/* For a call that would not end by itself: the door's end cancels it. ERR_UNAVAILABLE when that has come. */
int cri_lasting_begin(CriDoor *d, GrpcCall *call, Err *e);
void cri_lasting_end(CriDoor *d, GrpcCall *call);
/* No signal is handled by it. 0 or -errno. */
int cri_thread_start(pthread_t *ret, bool detached, size_t stack, void *(*fn)(void *), void *arg);
int cri_serve_start(CriDoor *d, Err *e);
bool cri_serve_stop(CriDoor *d, int grace_ms);

/* ---- list.c ---- */
int cri_rpc_list_pods(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_pods(GrpcCall *call, void *user, Err *e);
int cri_rpc_list_containers(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_containers(GrpcCall *call, void *user, Err *e);

/* ---- pods.c ---- */
int cri_rpc_run_pod(GrpcCall *call, void *user, Err *e);
int cri_rpc_stop_pod(GrpcCall *call, void *user, Err *e);
int cri_rpc_remove_pod(GrpcCall *call, void *user, Err *e);
int cri_rpc_pod_status(GrpcCall *call, void *user, Err *e);
int cri_rpc_update_pod_resources(GrpcCall *call, void *user, Err *e);

/* ---- containers.c ---- */
int cri_rpc_create_container(GrpcCall *call, void *user, Err *e);
int cri_rpc_start_container(GrpcCall *call, void *user, Err *e);
int cri_rpc_stop_container(GrpcCall *call, void *user, Err *e);
int cri_rpc_remove_container(GrpcCall *call, void *user, Err *e);
int cri_rpc_container_status(GrpcCall *call, void *user, Err *e);
int cri_rpc_update_container_resources(GrpcCall *call, void *user, Err *e);
int cri_rpc_reopen_log(GrpcCall *call, void *user, Err *e);
int cri_rpc_checkpoint(GrpcCall *call, void *user, Err *e);

/* ---- stats.c ---- */
int cri_rpc_container_stats(GrpcCall *call, void *user, Err *e);
int cri_rpc_list_container_stats(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_container_stats(GrpcCall *call, void *user, Err *e);
int cri_rpc_pod_stats(GrpcCall *call, void *user, Err *e);
int cri_rpc_list_pod_stats(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_pod_stats(GrpcCall *call, void *user, Err *e);

/* ---- metrics.c ---- */
int cri_rpc_list_metric_descriptors(GrpcCall *call, void *user, Err *e);
int cri_rpc_list_pod_metrics(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_pod_metrics(GrpcCall *call, void *user, Err *e);

/* ---- events.c ---- */
int cri_rpc_container_events(GrpcCall *call, void *user, Err *e);

/* ---- images.c ---- */
int cri_rpc_list_images(GrpcCall *call, void *user, Err *e);
int cri_rpc_stream_images(GrpcCall *call, void *user, Err *e);
int cri_rpc_image_status(GrpcCall *call, void *user, Err *e);
int cri_rpc_pull_image(GrpcCall *call, void *user, Err *e);
int cri_rpc_remove_image(GrpcCall *call, void *user, Err *e);
int cri_rpc_image_fs_info(GrpcCall *call, void *user, Err *e);
void cri_image_users_free(CriDoor *d);
