/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control/Solve: one build from its beginning to its end. Most clients run their frontend themselves, by LLBBridge, and return what has come of it; this call
 * waits for that, then exports. Some name the frontend here; then the build is run by this call.
 */
#include "api/buildkit/door-internal.h"

#include <poll.h>

/* The probe of a client that wants to know what we can do has a session and builds nothing: it is not waited for. */
int control_begin(Job *j, int caller_fd, Err *e)
{
	Session *s;
	int r;

	if (!*j->session_id)
		return 0;
	r = session_get(j->door, j->session_id, caller_fd, &s, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&j->lock);
	j->session = s;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

/* Until the frontend has returned. The client's departure and the session's end it, too. */
static int await_return(Job *j, int caller_fd, Err *e)
{
	struct pollfd p[] = {{.fd = j->returned_fd, .events = POLLIN},
			     {.fd = caller_fd},
			     {.fd = j->alive_fd},
			     {.fd = j->session ? grpc_connection_dead_fd(j->session->connection) : -1}};

	while (poll(p, ELEMENTSOF(p), -1) < 0 && errno == EINTR)
		;
	if (p[0].revents)
		return 0;
	if (p[1].revents)
		return err_new(e, ERR_CANCELLED, "context canceled");
	if (p[2].revents)
		return err_new(e, ERR_UNAVAILABLE, "the engine is shutting down");
	return err_new(e, ERR_UNAVAILABLE, "the session of the build is gone: its client closed it");
}

/* A build by this call must end with its client as well. */
typedef struct Watch {
	Job *job;
	int caller_fd;
	pthread_t thread;
} Watch;

static void *watch(void *arg)
{
	Watch *w = arg;
	Err err = {0};

	if (await_return(w->job, w->caller_fd, &err) < 0)
		job_stop(w->job);
	return NULL;
}

int control_run(Job *j, GrpcCall *call, int caller_fd, const Control__SolveRequest *rq, Answer *ret, Err *e)
{
	Gateway__SolveRequest inner = GATEWAY__SOLVE_REQUEST__INIT;
	Watch w = {.job = j, .caller_fd = caller_fd};
	int r = pthread_create(&w.thread, NULL, watch, &w);

	if (r != 0)
		return err_sys(e, r, "start a thread that looks at the client");
	inner.frontend = rq->frontend;
	inner.frontend_opt = rq->frontend_attrs;
	inner.n_frontend_opt = rq->n_frontend_attrs;
	inner.frontend_inputs = rq->frontend_inputs;
	inner.n_frontend_inputs = rq->n_frontend_inputs;
	r = build_run(j, call, &inner, ret, e);
	(void)!write(j->returned_fd, &(uint64_t){1}, sizeof(uint64_t)); /* an eventfd takes it */
	pthread_join(w.thread, NULL);
	return r;
}

static const char *returned_ref(const Gateway__Result *result)
{
	if (!result)
		return "";
	switch (result->result_case) {
	case GATEWAY__RESULT__RESULT_REF_DEPRECATED:
		return result->ref_deprecated;
	case GATEWAY__RESULT__RESULT_REF:
		return result->ref->id;
	case GATEWAY__RESULT__RESULT_REFS:
		return result->refs->n_refs == 1 && result->refs->refs[0]->value
			   ? result->refs->refs[0]->value->id
			   : "";
	default:
		return "";
	}
}

static int run_frontend(Job *j, GrpcCall *call, Answer *ret, Err *e)
{
	const Gateway__ReturnRequest *answer;
	const char *ref;
	int r = await_return(j, grpc_call_alive_fd(call), e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&j->lock);
	answer = j->answer;
	pthread_mutex_unlock(&j->lock);
	if (answer->error)
		return fail_with_status(call, answer->error, e);
	ref = returned_ref(answer->result);
	if (!*ref)
		return 0;
	ret->kept = kept_get(j->door, ref);
	return ret->kept ? 0
			 : err_new(e, ERR_NOT_FOUND,
				   "the result %.60s that was returned is none of this engine's", ref);
}

static int refuse(const Control__SolveRequest *rq, Err *e)
{
	if (rq->definition && rq->definition->n_def > 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "LLB definitions are not offered: this engine builds Dockerfiles itself "
			       "(frontend dockerfile.v0)");
	if (rq->source_policy.len > 0)
		return err_new(e, ERR_UNSUPPORTED, "source policies are not offered");
	for (size_t i = 0; rq->cache && i < rq->cache->n_exports; i++) {
		const char *type = rq->cache->exports[i]->type;

		if (!streq(type, "inline") && !streq(type, "registry") && !streq(type, "local"))
			return err_new(
			    e, ERR_UNSUPPORTED,
			    "cache export of type %.60s is not offered: there are inline, registry and local",
			    type);
	}
	return export_check(rq, e);
}

static int solve(Job *j, GrpcCall *call, const Control__SolveRequest *rq, ExporterResponse *ret, Err *e)
{
	_cleanup_answer_ Answer a = {0};
	int fd = grpc_call_alive_fd(call), r = refuse(rq, e);

	if (r >= 0)
		r = control_begin(j, fd, e);
	if (r >= 0)
		r = *rq->frontend ? control_run(j, call, fd, rq, &a, e) : run_frontend(j, call, &a, e);
	if (r >= 0)
		r = export_all(j, rq, a.kept, ret, e);
	if (r >= 0 && j->cache_manifest)
		r = exporter_respond(ret, "cache.manifest", j->cache_manifest, e);
	return r;
}

int rpc_control_solve(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Control__SolveRequest *rq = NULL;
	_cleanup_(exporter_response_done) ExporterResponse out = {0};
	Control__SolveResponse answer = CONTROL__SOLVE_RESPONSE__INIT;
	_cleanup_job_ Job *j = NULL;
	int r = grpc_receive_only(call, &control__solve_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = job_new(user, rq, &j, e);
	if (r < 0)
		return r;
	r = solve(j, call, rq, &out, e);
	job_end(j);
	answer.exporter_response = out.pairs;
	answer.n_exporter_response = out.n;
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}
