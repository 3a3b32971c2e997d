/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods: containers that live together, as a kubelet asks for them.
 *
 * A pod is kept by a container of its own, the sandbox. Its process, ireko-pause, holds the namespaces that the pod's other containers (members) join, and reaps.
 * One shim keeps all containers of a pod. Sandbox and members are containers with a ContainerConfig.pod; apart from that they are like any other, so that
 * to inspect, list, exec, attach, read logs, stop, count and follow events of them are the calls of engine.h. What is not like others: they are not pruned, and to start, restart,
 * rename, update or remove them is refused by the calls of engine.h; whoever keeps pods has calls of his own.
 *
 * The pod's id is the sandbox's. It is ready while the sandbox runs. Its network is an attachment by CNI to a namespace with a name in the file system (EngineOptions.netns_dir): made
 * before the sandbox starts, released by the first stop that succeeds, by a start that fails, and by the next engine for what a crash has left half made.
 */
#pragma once

#include "engine/engine.h"

typedef struct EnginePodPort {
	const char *protocol, *host_ip; /* "tcp", "udp", "sctp"; "" */
	uint16_t host_port, container_port;
} EnginePodPort;

/* What CNI's plugins are told of the pod. */
typedef struct EnginePodNetwork {
	const char *name, *namespace_, *uid;
	const EnginePodPort *ports; /* only those with a host port */
	size_t n_ports;
	int64_t ingress_rate, egress_rate; /* bits a second; 0: none */
	char *const *annotations;          /* K=V */
} EnginePodNetwork;

typedef struct EnginePod {
	const char *container_name; /* the sandbox's among containers: "k8s_POD_..." */
	/* The sandbox's. Of it count: labels, hostname, pod.note, pod.user_maps; and of host: network_mode ("host", or "pod" for one of its own by CNI), pid_mode ("" or "host"),
	 * ipc_mode ("" or "host"), dns*, sysctls, cgroup_parent, security_opt, readonly_rootfs, oom_score_adj, runtime, annotations, and limits. */
	const ContainerConfig *config;
	const EnginePodNetwork *network; /* of "pod" */
} EnginePod;

/* Makes and starts it; all or nothing. ERR_CONFLICT for a taken name. */
int engine_pod_run(Engine *en, const EnginePod *p, int alive_fd, char ret_id[65], Err *e);
/* Kills what runs of its members, releases the network, ends the sandbox. One that is stopped is stopped again with success. ERR_NOT_FOUND if there is none. */
int engine_pod_stop(Engine *en, const char *id, Err *e);
/* As stop, and removes members and sandbox. */
int engine_pod_remove(Engine *en, const char *id, Err *e);
/* A connection to 127.0.0.1 (or ::1) in the pod's network namespace. ERR_CONFLICT if it is not ready; ERR_UNAVAILABLE if nobody listens there. */
int engine_pod_connect(Engine *en, const char *id, uint16_t port, int *ret_fd, Err *e);
/* The image whose command keeps pods; NULL: none is needed. */
const char *engine_pod_image(Engine *en);
/* Whether networks can be made now; the error says why not. */
int engine_pod_network_status(Engine *en, Err *e);
/* The node's ranges of pods' addresses, "10.1.0.0/16,fd00:1::/64", which plugins with the capability ipRanges are told; they outlast the engine. */
int engine_pod_ranges_set(Engine *en, const char *cidrs, Err *e);
/* CNI's configuration as it is now, for `Status`; json_null() if there is none. The caller's. */
json_t *engine_pod_network_describe(Engine *en);

/* A member is made by engine_container_create() with config.pod.id set: the pod has to be ready. In config.host, network_mode is "pod"; pid_mode "pod", "" (its own), "host" or
 * "container:ID"; ipc_mode "pod" or "host"; uts follows the network. It runs once. */
int engine_pod_container_start(Engine *en, const char *id, Err *e);
/* One that runs is killed first. ERR_NOT_FOUND if there is none. */
int engine_pod_container_remove(Engine *en, const char *id, Err *e);
/* Limits of `changes`, in host and pod, that are set there. */
int engine_pod_container_update(Engine *en, const char *id, const ContainerConfig *changes, Err *e);
