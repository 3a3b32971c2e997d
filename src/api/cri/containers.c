/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of pods: create, start, stop, remove, status, update, and a new file for the log of one.
 *
 * What is asked for is remembered as it was asked, with the image as it was found: its names may lead elsewhere later, and the container stays what it was made of.
 */
#include "api/cri/config.h"
#include "api/cri/door-internal.h"
#include "api/cri/status.h"
#include "api/cri/verbose.h"

/* ---- create ---- */

static int note_make(const Cri__ContainerConfig *c, const StoreImage *image, const char *log_path, char **ret,
		     Err *e)
{
	Cri__Container listed = CRI__CONTAINER__INIT;
	Cri__ContainerNote whole = CRI__CONTAINER_NOTE__INIT;
	Cri__ImageSpec spec = CRI__IMAGE_SPEC__INIT;
	bool tagged = strv_len(image->tags) > 0, pulled = strv_len(image->digests) > 0;

	whole.config = (Cri__ContainerConfig *)c;
	whole.image = tagged ? image->tags[0] : c->image->image;
	whole.image_ref = pulled ? image->digests[0] : image->id;
	whole.image_id = image->id;
	whole.log_path = (char *)log_path;
	spec = *c->image;
	listed.metadata = c->metadata;
	listed.image = &spec;
	listed.image_ref = image->id;
	listed.image_id = image->id;
	listed.labels = (Cri__Container__LabelsEntry **)c->labels;
	listed.n_labels = c->n_labels;
	listed.annotations = (Cri__Container__AnnotationsEntry **)c->annotations;
	listed.n_annotations = c->n_annotations;
	return cri_note_make(&listed.base, &whole.base, ret, e);
}

static int label(ContainerConfig *k, const char *pod_id)
{
	int r = strv_env_set(&k->labels, CRI_LABEL_TYPE "=" CRI_TYPE_CONTAINER);
	_cleanup_free_ char *sandbox = strf(CRI_LABEL_SANDBOX "=%s", pod_id),
			    *log = strf(CRI_LABEL_LOG "=%s", k->pod.log_path ?: "");

	if (r >= 0)
		r = sandbox ? strv_env_set(&k->labels, sandbox) : -ENOMEM;
	if (r >= 0)
		r = log ? strv_env_set(&k->labels, log) : -ENOMEM;
	return r;
}

/* By the name that says most and always leads to it. */
static int name_image(ContainerConfig *k, const StoreImage *image)
{
	free(k->image);
	k->image = strdup(strv_len(image->digests) ? image->digests[0] : image->id);
	return k->image ? 0 : -ENOMEM;
}

static int complete(const Cri__ContainerConfig *c, const StoreImage *image, const ContainerInfo *sandbox,
		    ContainerConfig *k, Err *e)
{
	int r = note_make(c, image, k->pod.log_path ?: "", &k->pod.note, e);

	if (r < 0)
		return r;
	free(k->pod.id);
	k->pod.id = strdup(sandbox->id);
	return !k->pod.id || label(k, sandbox->id) < 0 || name_image(k, image) < 0 ? err_oom(e) : 0;
}

static int create_in(CriDoor *d, const Cri__PodSandboxConfig *pod, const Cri__ContainerConfig *c,
		     const ContainerInfo *sandbox, char **ret_id, Err *e)
{
	_cleanup_(container_config_done) ContainerConfig k = {.stop_timeout = STOP_TIMEOUT_UNSET};
	_cleanup_(store_image_done) StoreImage image = {0};
	_cleanup_free_ char *name = cri_container_name(pod, c);
	_cleanup_strv_ char **warnings = NULL;
	int r = store_image_find(engine_store(d->engine), c->image->image, &image, e);

	if (r < 0)
		return err_ctx(e, r, "config.image");
	r = name ? cri_container_config(pod, c, sandbox, &k, e) : err_oom(e);
	if (r >= 0)
		r = complete(c, &image, sandbox, &k, e);
	if (r >= 0)
		r = engine_container_create(d->engine, name, NULL, &k, ret_id, &warnings, e);
	for (char **w = warnings; w && *w; w++)
		log_warn("container %s: %s", name, *w);
	return r;
}

static int create(CriDoor *d, const Cri__CreateContainerRequest *rq, char **ret_id, Err *e)
{
	const Cri__ContainerConfig *c = rq->config;
	_cleanup_(cri_pod_doc_done) CriPodDoc pod = {0};
	int r;

	if (!c || !c->metadata || !c->image)
		return err_new(e, ERR_INVALID, "config.%s is missing",
			       c && c->metadata ? "image" : "metadata");
	r = cri_pod_doc_make(d->engine, rq->pod_sandbox_id, &pod, e);
	if (r >= 0)
		r = create_in(d, pod.note->config, c, &pod.info, ret_id, e);
	return r < 0 ? err_ctx(e, r, "container %s", c->metadata->name) : 0;
}

int cri_rpc_create_container(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_free_ char *id = NULL;
	Cri__CreateContainerResponse answer = CRI__CREATE_CONTAINER_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__create_container_request__descriptor, &rq, e);

	if (r >= 0)
		r = create(user, (const Cri__CreateContainerRequest *)rq, &id, e);
	if (r < 0)
		return r;
	answer.container_id = id;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- start, stop, remove ---- */

/* A whole id of one that is there; 0 if there is none. */
static int find_if_there(CriDoor *d, const char *id, ContainerInfo *ret, Err *e)
{
	Err own = {0};
	int r = cri_container_find(d->engine, id, ret, &own);

	if (r < 0 && own.kind == ERR_NOT_FOUND)
		return 0;
	return r < 0 ? err_new_no(e, own.kind, -r, "%s", err_msg(&own, r)) : 1;
}

/* What is as it was to be, or gone meanwhile, is success. */
static int forgive(int r, const Err *own, Err *e)
{
	if (r >= 0 || own->kind == ERR_NOT_FOUND || own->kind == ERR_NOT_MODIFIED)
		return 0;
	return err_new_no(e, own->kind, -r, "%s", err_msg(own, r));
}

int cri_rpc_start_container(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	int r = grpc_receive_only(call, &cri__start_container_request__descriptor, &rq, e);

	if (r >= 0)
		r = cri_container_find(d->engine, ((const Cri__StartContainerRequest *)rq)->container_id, &i,
				       e);
	if (r >= 0)
		r = engine_pod_container_start(d->engine, i.id, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

static int stop(CriDoor *d, const Cri__StopContainerRequest *rq, Err *e)
{
	_cleanup_(container_info_done) ContainerInfo i = {0};
	Err own = {0};
	int64_t timeout = MAX2(rq->timeout, (int64_t)0);
	int seconds = (int)MIN2(timeout, (int64_t)INT32_MAX / 1000);
	int r = find_if_there(d, rq->container_id, &i, e);

	if (r <= 0)
		return r;
	r = engine_container_stop(d->engine, i.id, seconds ? NULL : "KILL", seconds, &own);
	return forgive(r, &own, e);
}

int cri_rpc_stop_container(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__stop_container_request__descriptor, &rq, e);

	if (r >= 0)
		r = stop(user, (const Cri__StopContainerRequest *)rq, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

static int remove_one(CriDoor *d, const char *id, Err *e)
{
	_cleanup_(container_info_done) ContainerInfo i = {0};
	Err own = {0};
	int r = find_if_there(d, id, &i, e);

	if (r <= 0)
		return r;
	r = engine_pod_container_remove(d->engine, i.id, &own);
	return forgive(r, &own, e);
}

int cri_rpc_remove_container(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__remove_container_request__descriptor, &rq, e);

	if (r >= 0)
		r = remove_one(user, ((const Cri__RemoveContainerRequest *)rq)->container_id, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

/* ---- status, update ---- */

int cri_rpc_container_status(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(cri_container_doc_done) CriContainerDoc doc = {0};
	_cleanup_(cri_verbose_done) CriVerbose info = {0};
	Cri__ContainerStatusResponse answer = CRI__CONTAINER_STATUS_RESPONSE__INIT;
	const Cri__ContainerStatusRequest *rq;
	int r = grpc_receive_only(call, &cri__container_status_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__ContainerStatusRequest *)m;
	r = cri_container_doc_make(d->engine, rq->container_id, &doc, e);
	if (r >= 0 && rq->verbose)
		r = cri_verbose_container(d->engine, &doc, &info, e);
	if (r < 0)
		return r;
	answer.status = &doc.status;
	answer.info = (Cri__ContainerStatusResponse__InfoEntry **)info.pairs;
	answer.n_info = info.n;
	return grpc_send_message_more(call, &answer.base, e);
}

static int update(CriDoor *d, const Cri__UpdateContainerResourcesRequest *rq, Err *e)
{
	_cleanup_(container_info_done) ContainerInfo i = {0};
	_cleanup_(container_config_done) ContainerConfig changes = {0};
	int r = cri_container_find(d->engine, rq->container_id, &i, e);

	if (r < 0)
		return r;
	if (cri_container_state(&i) == CRI__CONTAINER_STATE__CONTAINER_EXITED)
		return err_new(e, ERR_CONFLICT,
			       "container %.12s has ended: there is nothing to be limited any more", i.id);
	r = cri_resources_update(rq->linux_part, &changes, e);
	return r < 0 ? r : engine_pod_container_update(d->engine, i.id, &changes, e);
}

int cri_rpc_update_container_resources(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__update_container_resources_request__descriptor, &rq, e);

	if (r >= 0)
		r = update(user, (const Cri__UpdateContainerResourcesRequest *)rq, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

int cri_rpc_reopen_log(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	int r = grpc_receive_only(call, &cri__reopen_container_log_request__descriptor, &rq, e);

	if (r >= 0)
		r = cri_container_find(d->engine, ((const Cri__ReopenContainerLogRequest *)rq)->container_id,
				       &i, e);
	if (r >= 0)
		r = engine_container_log_reopen(d->engine, i.id, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

int cri_rpc_checkpoint(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	const Cri__CheckpointContainerRequest *rq;
	int r = grpc_receive_only(call, &cri__checkpoint_container_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__CheckpointContainerRequest *)m;
	r = cri_container_find(d->engine, rq->container_id, &i, e);
	if (r >= 0)
		r = engine_container_checkpoint(d->engine, i.id, rq->location, rq->timeout,
						grpc_call_alive_fd(call), e);
	return r < 0 ? r : cri_send_empty(call, e);
}
