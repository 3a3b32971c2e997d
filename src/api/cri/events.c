/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetContainerEvents: a kubelet that is told what happens need not ask.
 *
 * Each event carries the pod and its containers as they are when it is sent, which may be later than what it tells of; its own time is that of the event. What happens
 * while a client does not read is kept by the engine up to its number of events; beyond that the stream ends with an error, so that the kubelet looks at everything itself.
 */
#include "api/cri/door-internal.h"
#include "api/cri/status.h"

typedef struct EventType {
	const char *action;
	Cri__ContainerEventType type;
} EventType;

static const EventType types[] = {
    {"create", CRI__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT},
    {"start", CRI__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT},
    {"die", CRI__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT},
    {"destroy", CRI__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT},
};

typedef struct Following {
	CriDoor *door;
	GrpcCall *call;
	Err *e;
	int failed;
} Following;

static const EventType *type_of(const EngineEvent *ev)
{
	if (!streq(ev->type, "container"))
		return NULL;
	for (size_t i = 0; i < ELEMENTSOF(types); i++)
		if (streq(ev->action, types[i].action))
			return &types[i];
	return NULL;
}

/* NULL: of no pod. Labels are among the attributes, and last as long as the event. */
static const char *pod_of(const EngineEvent *ev)
{
	const char *pod = strv_env_get(ev->attributes, CRI_LABEL_SANDBOX);

	if (pod)
		return pod;
	return streq0(strv_env_get(ev->attributes, CRI_LABEL_TYPE), CRI_TYPE_SANDBOX) ? ev->id : NULL;
}

/* Of a pod that is gone nothing is said but that it was. */
static int tell(Following *f, const EngineEvent *ev, Cri__ContainerEventType type, const char *pod_id)
{
	_cleanup_(cri_pod_doc_done) CriPodDoc pod = {0};
	_cleanup_(cri_members_done) CriMembers members = {0};
	Cri__ContainerEventResponse told = CRI__CONTAINER_EVENT_RESPONSE__INIT;
	Err gone = {0};

	told.container_id = ev->id;
	told.container_event_type = type;
	told.created_at = ev->time_ns;
	if (cri_pod_doc_make(f->door->engine, pod_id, &pod, &gone) >= 0) {
		told.pod_sandbox_status = &pod.status;
		if (cri_members_make(f->door->engine, pod_id, &members, &gone) >= 0) {
			told.containers_statuses = members.statuses;
			told.n_containers_statuses = members.n;
		}
	}
	return grpc_send_message(f->call, &told.base, f->e);
}

static int sink(void *user, const EngineEvent *ev)
{
	Following *f = user;
	const EventType *t = type_of(ev);
	const char *pod = t ? pod_of(ev) : NULL;

	if (!pod)
		return 0;
	f->failed = tell(f, ev, t->type, pod);
	return f->failed < 0 ? 1 : 0;
}

int cri_rpc_container_events(GrpcCall *call, void *user, Err *e)
{
	CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	const EngineEventsWanted wanted = {.all = true};
	Following f = {.door = d, .call = call, .e = e};
	int r = grpc_receive_only(call, &cri__get_events_request__descriptor, &rq, e);

	if (r >= 0)
		r = cri_lasting_begin(d, call, e);
	if (r < 0)
		return r;
	r = engine_events_follow(d->engine, &wanted, sink, &f, grpc_call_alive_fd(call), e);
	cri_lasting_end(d, call);
	return f.failed < 0 ? f.failed : r;
}
