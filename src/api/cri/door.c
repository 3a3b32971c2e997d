/* SPDX-License-Identifier: Apache-2.0 */
/* The door itself: which methods it answers, its beginning and its end. */
#include "api/cri/door-internal.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#define RUNTIME "/runtime.v1.RuntimeService/"
#define IMAGE   "/runtime.v1.ImageService/"

const GrpcMethod cri_methods[] = {
    {RUNTIME "Version", cri_rpc_version},
    {RUNTIME "Status", cri_rpc_status},
    {RUNTIME "RuntimeConfig", cri_rpc_runtime_config},
    {RUNTIME "UpdateRuntimeConfig", cri_rpc_update_runtime_config},
    {RUNTIME "RunPodSandbox", cri_rpc_run_pod},
    {RUNTIME "StopPodSandbox", cri_rpc_stop_pod},
    {RUNTIME "RemovePodSandbox", cri_rpc_remove_pod},
    {RUNTIME "PodSandboxStatus", cri_rpc_pod_status},
    {RUNTIME "ListPodSandbox", cri_rpc_list_pods},
    {RUNTIME "StreamPodSandboxes", cri_rpc_stream_pods},
    {RUNTIME "UpdatePodSandboxResources", cri_rpc_update_pod_resources},
    {RUNTIME "CreateContainer", cri_rpc_create_container},
    {RUNTIME "StartContainer", cri_rpc_start_container},
    {RUNTIME "StopContainer", cri_rpc_stop_container},
    {RUNTIME "RemoveContainer", cri_rpc_remove_container},
    {RUNTIME "ContainerStatus", cri_rpc_container_status},
    {RUNTIME "ListContainers", cri_rpc_list_containers},
    {RUNTIME "StreamContainers", cri_rpc_stream_containers},
    {RUNTIME "UpdateContainerResources", cri_rpc_update_container_resources},
    {RUNTIME "ReopenContainerLog", cri_rpc_reopen_log},
    {RUNTIME "CheckpointContainer", cri_rpc_checkpoint},
    {RUNTIME "GetContainerEvents", cri_rpc_container_events},
    {RUNTIME "ContainerStats", cri_rpc_container_stats},
    {RUNTIME "ListContainerStats", cri_rpc_list_container_stats},
    {RUNTIME "StreamContainerStats", cri_rpc_stream_container_stats},
    {RUNTIME "PodSandboxStats", cri_rpc_pod_stats},
    {RUNTIME "ListPodSandboxStats", cri_rpc_list_pod_stats},
    {RUNTIME "StreamPodSandboxStats", cri_rpc_stream_pod_stats},
    {RUNTIME "ListMetricDescriptors", cri_rpc_list_metric_descriptors},
    {RUNTIME "ListPodSandboxMetrics", cri_rpc_list_pod_metrics},
    {RUNTIME "StreamPodSandboxMetrics", cri_rpc_stream_pod_metrics},
    {IMAGE "ListImages", cri_rpc_list_images},
    {IMAGE "StreamImages", cri_rpc_stream_images},
    {IMAGE "ImageStatus", cri_rpc_image_status},
    {IMAGE "PullImage", cri_rpc_pull_image},
    {IMAGE "RemoveImage", cri_rpc_remove_image},
    {IMAGE "ImageFsInfo", cri_rpc_image_fs_info},
    {RUNTIME "ExecSync", cri_rpc_exec_sync},
    {RUNTIME "Exec", cri_rpc_exec},
    {RUNTIME "Attach", cri_rpc_attach},
    {RUNTIME "PortForward", cri_rpc_port_forward},
    {NULL, NULL},
};

void cri_message_freep(void *message)
{
	ProtobufCMessage *m = *(ProtobufCMessage **)message;

	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

int cri_send_empty(GrpcCall *call, Err *e)
{
	return grpc_send_more(call, "", 0, e);
}

int cri_door_new(const CriDoorOptions *o, CriDoor **ret, Err *e)
{
	CriDoor *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return err_oom(e);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&d->lock, NULL);
	d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->cgroup_driver = strdup(o->cgroup_driver);
	if (d->stop_fd < 0 || !d->cgroup_driver) {
		int r = err_sys(e, d->cgroup_driver ? errno : ENOMEM, "make the kubelet's door");

		cri_door_free(d);
		return r;
	}
	int r = cri_streams_new(d, &o->stream, &d->streams, e);
	if (r < 0) {
		cri_door_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int cri_door_add(CriDoor *d, int fd, Err *e)
{
	int *more = reallocarray(d->listeners, d->n_listeners + 1, sizeof(*more)), flags;

	if (!more) {
		(void)close(fd);
		return err_oom(e);
	}
	d->listeners = more;
	d->listeners[d->n_listeners++] = fd;
	/* A client that has gone between poll and accept is not waited for. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(e, errno, "prepare a socket of the kubelet's door");
	return 0;
}

void cri_door_set_engine(CriDoor *d, Engine *en)
{
	d->engine = en;
}

int cri_door_start(CriDoor *d, Err *e)
{
	int r = d->n_listeners ? cri_streams_start(d->streams, e) : 0;

	if (r >= 0 && d->n_listeners)
		r = cri_serve_start(d, e);

	return r < 0 ? err_ctx(e, r, "start the kubelet's door") : 0;
}

bool cri_door_stop(CriDoor *d, int grace_ms)
{
	bool calls = !d || cri_serve_stop(d, grace_ms);

	return (!d || cri_streams_stop(d->streams, grace_ms)) && calls;
}

void cri_door_free(CriDoor *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->n_listeners; i++)
		close_fd(&d->listeners[i]);
	free(d->listeners);
	free(d->lasting);
	cri_image_users_free(d);
	cri_streams_free(d->streams);
	close_fd(&d->stop_fd);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->changed);
	free(d->cgroup_driver);
	free(d);
}
