/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's role: a thread for each call whose method runs, started when there is a call for it; a few wait some seconds for the next.
 *
 * The thread that called grpc_serve reads. It answers by itself what needs no method: calls of unknown ones, and of the health service.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/str.h"

#include <time.h>

#define WORKER_STACK (512 * 1024)
#define IDLE_WORKERS 2
#define IDLE_S       5
#define HEALTH_PATH  "/grpc.health.v1.Health/Check"

/* ---- the methods' threads ---- */

/* Waits a while. NULL: there is none. Under the lock. */
static GrpcCall *next_ready(GrpcConnection *c)
{
	struct timespec until;
	GrpcCall *call;
	int r = 0;

	if (!c->ready_first && c->idle_threads >= IDLE_WORKERS)
		return NULL;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += IDLE_S;
	while (!c->ready_first && !c->lost && r == 0) {
		c->idle_threads++;
		r = pthread_cond_timedwait(&c->work, &c->lock, &until);
		c->idle_threads--;
	}
	call = c->ready_first;
	if (!call)
		return NULL;
	c->ready_first = call->ready_next;
	if (!c->ready_first)
		c->ready_last = NULL;
	c->n_ready--;
	return call;
}

/* The method has returned. Under the lock. */
static void finish(GrpcCall *call, int r, const Err *e)
{
	GrpcConnection *c = call->c;

	grpc_drop_received(call);
	call->discard = true;
	grpc_send_status(call, grpc_status_of(e, r), r < 0 ? err_msg(e, r) : NULL);
	close_fd(&call->alive_fd);
	close_fd(&call->alive_end);
	c->n_held--;
	grpc_call_unref(call);
	grpc_flush(c);
}

static void *worker(void *arg)
{
	GrpcConnection *c = arg;
	GrpcCall *call;

	pthread_mutex_lock(&c->lock);
	while ((call = next_ready(c))) {
		Err e = {0};
		int r;

		pthread_mutex_unlock(&c->lock);
		r = call->method->fn(call, c->user, &e);
		pthread_mutex_lock(&c->lock);
		finish(call, r, &e);
	}
	c->threads--;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void hand_over(GrpcCall *call)
{
	GrpcConnection *c = call->c;

	if (c->idle_threads <= c->n_ready) {
		if (grpc_thread(NULL, true, WORKER_STACK, worker, c) < 0) {
			grpc_send_status(call, 8, "no thread can be started for the call");
			return;
		}
		c->threads++;
	}
	call->refs++;
	call->held = true;
	c->n_held++;
	if (c->ready_last)
		c->ready_last->ready_next = call;
	else
		c->ready_first = call;
	c->ready_last = call;
	c->n_ready++;
	c->n_new++;
}

void grpc_wake_workers(GrpcConnection *c)
{
	for (; c->n_new > 0; c->n_new--)
		pthread_cond_signal(&c->work);
}

/* ---- dispatch; under the lock ---- */

void grpc_dispatch(GrpcCall *call)
{
	_cleanup_free_ char *why = NULL;

	for (const GrpcMethod *m = call->c->methods; m->path; m++) {
		if (streq(m->path, call->path)) {
			call->method = m;
			hand_over(call);
			return;
		}
	}
	if (streq(call->path, HEALTH_PATH)) {
		call->discard = true;
		return;
	}
	why = strf("unknown method %s", call->path);
	grpc_send_status(call, 12, why);
}

void grpc_answer_health(GrpcCall *call)
{
	static const uint8_t serving[] = {0, 0, 0, 0, 2, 0x08, 0x01}; /* prefix, and status: SERVING */

	if (call->held || !call->path || call->out_end || !streq(call->path, HEALTH_PATH))
		return;
	call->out = malloc(sizeof(serving));
	if (!call->out || grpc_send_head(call) < 0) {
		grpc_reset(call, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	memcpy(call->out, serving, sizeof(serving));
	call->out_len = call->out_cap = sizeof(serving);
	grpc_send_status(call, 0, NULL);
}

/* ---- the server ---- */

int grpc_serve(int fd, const void *prefix, size_t prefix_len, const GrpcMethod *methods, void *user,
	       const GrpcLimits *o, Err *e)
{
	GrpcConnection *c = grpc_connection_new(fd, true, o);
	int r = 0;

	if (!c)
		return err_oom(e);
	c->methods = methods;
	c->user = user;
	grpc_connection_run(c, prefix, prefix_len);
	pthread_mutex_lock(&c->lock);
	pthread_cond_broadcast(&c->work);
	while (c->threads > 0)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	if (c->wrong)
		r = err_new(e, ERR_INVALID, "gRPC: %s", c->why);
	grpc_connection_free(c);
	return r;
}

/* ---- what a method says beside messages ---- */

int grpc_set_header(GrpcCall *call, const char *name, const char *value, Err *e)
{
	int r;

	pthread_mutex_lock(&call->c->lock);
	if (call->head_sent)
		r = err_new(e, ERR_CONFLICT, "metadata %s: the head of the answer was sent already", name);
	else
		r = grpc_fields_out_add(&call->head, name, value, e);
	pthread_mutex_unlock(&call->c->lock);
	return r;
}

int grpc_set_trailer(GrpcCall *call, const char *name, const char *value, Err *e)
{
	int r;

	pthread_mutex_lock(&call->c->lock);
	r = grpc_fields_out_add(&call->trailers, name, value, e);
	pthread_mutex_unlock(&call->c->lock);
	return r;
}

int grpc_set_details(GrpcCall *call, const void *status, size_t len)
{
	uint8_t *copy;

	if (len > FIELD_MAX / 4 * 3)
		return -E2BIG;
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, status, len);
	pthread_mutex_lock(&call->c->lock);
	free(call->details);
	call->details = copy;
	call->details_len = len;
	pthread_mutex_unlock(&call->c->lock);
	return 0;
}
