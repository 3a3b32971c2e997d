/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods: run, stop, remove, status.
 *
 * To stop or to remove one that is not there is success: a kubelet repeats both until it has heard so once.
 */
#include "api/cri/config.h"
#include "api/cri/door-internal.h"
#include "api/cri/status.h"
#include "api/cri/verbose.h"

static int note_make(const Cri__RunPodSandboxRequest *rq, char **ret, Err *e)
{
	const Cri__PodSandboxConfig *c = rq->config;
	Cri__PodSandbox listed = CRI__POD_SANDBOX__INIT;
	Cri__PodNote whole = CRI__POD_NOTE__INIT;

	listed.metadata = c->metadata;
	listed.labels = (Cri__PodSandbox__LabelsEntry **)c->labels;
	listed.n_labels = c->n_labels;
	listed.annotations = (Cri__PodSandbox__AnnotationsEntry **)c->annotations;
	listed.n_annotations = c->n_annotations;
	listed.runtime_handler = rq->runtime_handler;
	whole.config = rq->config;
	whole.runtime_handler = rq->runtime_handler;
	return cri_note_make(&listed.base, &whole.base, ret, e);
}

static int run(CriDoor *d, const Cri__RunPodSandboxRequest *rq, int alive_fd, char ret_id[65], Err *e)
{
	_cleanup_(cri_pod_done) CriPod pod = {0};
	const Cri__PodSandboxMetadata *m = rq->config ? rq->config->metadata : NULL;
	int r;

	if (!m)
		return err_new(e, ERR_INVALID, "config.metadata is missing: the pod has no name");
	r = cri_pod_config(rq->config, rq->runtime_handler, &pod, e);
	if (r >= 0)
		r = note_make(rq, &pod.config.pod.note, e);
	if (r >= 0 && strv_env_set(&pod.config.labels, CRI_LABEL_TYPE "=" CRI_TYPE_SANDBOX) < 0)
		r = err_oom(e);
	if (r >= 0)
		r = engine_pod_run(d->engine, &pod.pod, alive_fd, ret_id, e);
	return r < 0 ? err_ctx(e, r, "pod %s/%s", m->namespace_, m->name) : 0;
}

int cri_rpc_run_pod(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__RunPodSandboxResponse answer = CRI__RUN_POD_SANDBOX_RESPONSE__INIT;
	char id[65];
	int r = grpc_receive_only(call, &cri__run_pod_sandbox_request__descriptor, &rq, e);

	if (r >= 0)
		r = run(user, (const Cri__RunPodSandboxRequest *)rq, grpc_call_alive_fd(call), id, e);
	if (r < 0)
		return r;
	answer.pod_sandbox_id = id;
	return grpc_send_message_more(call, &answer.base, e);
}

/* The whole id of a pod; 1, or 0 if there is none. */
static int find_if_there(CriDoor *d, const char *id, char ret[65], Err *e)
{
	ContainerInfo i = {0};
	Err own = {0};
	int r = cri_pod_find(d->engine, id, &i, &own);

	if (r < 0 && own.kind == ERR_NOT_FOUND)
		return 0;
	if (r < 0)
		return err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
	memcpy(ret, i.id, sizeof(i.id));
	container_info_done(&i);
	return 1;
}

static int end(CriDoor *d, const char *ref, int (*how)(Engine *, const char *, Err *), Err *e)
{
	Err own = {0};
	char id[65];
	int r = find_if_there(d, ref, id, e);

	if (r <= 0)
		return r;
	r = how(d->engine, id, &own);
	if (r >= 0 || own.kind == ERR_NOT_FOUND)
		return 0;
	return err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
}

int cri_rpc_stop_pod(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__stop_pod_sandbox_request__descriptor, &rq, e);

	if (r >= 0)
		r = end(user, ((const Cri__StopPodSandboxRequest *)rq)->pod_sandbox_id, engine_pod_stop, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

int cri_rpc_remove_pod(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__remove_pod_sandbox_request__descriptor, &rq, e);

	if (r >= 0)
		r = end(user, ((const Cri__RemovePodSandboxRequest *)rq)->pod_sandbox_id, engine_pod_remove,
			e);
	return r < 0 ? r : cri_send_empty(call, e);
}

int cri_rpc_pod_status(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(cri_pod_doc_done) CriPodDoc doc = {0};
	_cleanup_(cri_members_done) CriMembers members = {0};
	_cleanup_(cri_verbose_done) CriVerbose info = {0};
	Cri__PodSandboxStatusResponse answer = CRI__POD_SANDBOX_STATUS_RESPONSE__INIT;
	const Cri__PodSandboxStatusRequest *rq;
	int r = grpc_receive_only(call, &cri__pod_sandbox_status_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__PodSandboxStatusRequest *)m;
	answer.timestamp = clock_now_ns();
	r = cri_pod_doc_make(d->engine, rq->pod_sandbox_id, &doc, e);
	if (r >= 0)
		r = cri_members_make(d->engine, doc.info.id, &members, e);
	if (r >= 0 && rq->verbose)
		r = cri_verbose_pod(d->engine, &doc, &info, e);
	if (r < 0)
		return r;
	answer.status = &doc.status;
	answer.containers_statuses = members.statuses;
	answer.n_containers_statuses = members.n;
	answer.info = (Cri__PodSandboxStatusResponse__InfoEntry **)info.pairs;
	answer.n_info = info.n;
	return grpc_send_message_more(call, &answer.base, e);
}

int cri_rpc_update_pod_resources(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	ContainerInfo i = {0};
	int r = grpc_receive_only(call, &cri__update_pod_sandbox_resources_request__descriptor, &m, e);

	if (r >= 0)
		r = cri_pod_find(d->engine,
				 ((const Cri__UpdatePodSandboxResourcesRequest *)m)->pod_sandbox_id, &i, e);
	if (r < 0)
		return r;
	/* The kubelet has set the limits of the pod's cgroup itself, and tells of them those who keep a pod in a machine of its own. */
	container_info_done(&i);
	return cri_send_empty(call, e);
}
