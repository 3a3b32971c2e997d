/* SPDX-License-Identifier: Apache-2.0 */
/* The door itself: its routes, the methods that it answers on /grpc, and its end. */
#include "api/buildkit/door-internal.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#define CALLS_MAX 1024 /* on one connection: four for a build that is at work */

static const GrpcMethod methods[] = {
    {"/moby.buildkit.v1.Control/Solve", rpc_control_solve},
    {"/moby.buildkit.v1.Control/Status", rpc_status},
    {"/moby.buildkit.v1.Control/Session", rpc_session},
    {"/moby.buildkit.v1.Control/Info", rpc_info},
    {"/moby.buildkit.v1.Control/ListWorkers", rpc_list_workers},
    {"/moby.buildkit.v1.Control/DiskUsage", rpc_disk_usage},
    {"/moby.buildkit.v1.Control/Prune", rpc_prune},
    {"/moby.buildkit.v1.frontend.LLBBridge/Ping", rpc_ping},
    {"/moby.buildkit.v1.frontend.LLBBridge/Solve", rpc_bridge_solve},
    {"/moby.buildkit.v1.frontend.LLBBridge/Return", rpc_return},
    {"/moby.buildkit.v1.frontend.LLBBridge/Evaluate", rpc_evaluate},
    {"/moby.buildkit.v1.frontend.LLBBridge/StatFile", rpc_stat_file},
    {"/moby.buildkit.v1.frontend.LLBBridge/ReadFile", rpc_read_file},
    {"/moby.buildkit.v1.frontend.LLBBridge/ReadDir", rpc_read_dir},
    {"/moby.buildkit.v1.frontend.LLBBridge/Inputs", rpc_inputs},
    {"/moby.buildkit.v1.frontend.LLBBridge/Warn", rpc_warn},
    {NULL, NULL},
};

static int h_grpc(HttpRequest *rq, void *user, Err *e)
{
	BuildkitDoor *d = user;
	const GrpcLimits limits = {.calls_max = CALLS_MAX, .stop_fd = d->stop_fd};
	HttpHijack h;
	Err lost = {0};
	int r;

	if (!http_wants_upgrade(rq) || !streq0(http_header(rq, "Upgrade"), "h2c"))
		return err_new(e, ERR_INVALID, "no upgrade to h2c was asked for");
	r = http_hijack(rq, "application/vnd.docker.raw-stream", &h, e);
	if (r < 0)
		return r;
	r = grpc_serve(h.fd, h.prefix, h.prefix_len, methods, d, &limits, &lost);
	(void)r; /* a client that ends its connection out of order is its own affair */
	return 0;
}

static const HttpRoute routes[] = {
    {"POST", "/grpc", h_grpc, 0},
    {"POST", "/session", h_session, 0},
    {"POST", "/build", h_classic_build, HTTP_STREAM_BODY, .wanted = is_classic_build},
    {"POST", "/build/cancel", h_classic_cancel, .wanted = is_classic_cancel},
    {NULL, NULL, NULL, 0},
};

void buildkit_door_serve(BuildkitDoor *d, HttpOptions *o)
{
	o->more = (HttpTable){routes, d};
}

bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

bool door_wait(BuildkitDoor *d, int64_t deadline_ns)
{
	struct timespec t = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};

	return pthread_cond_timedwait(&d->changed, &d->lock, &t) != ETIMEDOUT;
}

const char *pairs_get(Llb__Pair *const *pairs, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (streq(pairs[i]->key, key))
			return pairs[i]->value;
	return NULL;
}

char *cache_text(const char *type, Llb__Pair *const *attrs, size_t n)
{
	StrBuf b = {0};

	strbuf_addf(&b, "type=%s", type);
	for (size_t i = 0; i < n; i++)
		strbuf_addf(&b, ",%s=%s", attrs[i]->key, attrs[i]->value);
	return strbuf_steal(&b);
}

void message_freep(void *message)
{
	ProtobufCMessage *m = *(ProtobufCMessage **)message;

	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

int buildkit_door_new(const char *data_root, BuildkitDoor **ret, Err *e)
{
	BuildkitDoor *d = calloc(1, sizeof(*d));
	pthread_condattr_t attr;

	if (!d)
		return err_oom(e);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&d->lock, NULL);
	d->stop_fd = eventfd(0, EFD_CLOEXEC);
	d->data_root = strdup(data_root);
	if (d->stop_fd < 0 || !d->data_root) {
		int r = err_sys(e, d->data_root ? errno : ENOMEM, "make the BuildKit door");

		buildkit_door_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void buildkit_door_set_engine(BuildkitDoor *d, Engine *en, Builder *builder)
{
	d->engine = en;
	d->builder = builder;
	trees_clean(d);
}

void buildkit_door_stop(BuildkitDoor *d)
{
	if (!d)
		return;
	(void)eventfd_write(d->stop_fd, 1);
	jobs_stop(d);
	sessions_stop(d);
}

void buildkit_door_free(BuildkitDoor *d)
{
	if (!d)
		return;
	jobs_free(d);
	trees_free(d);
	close_fd(&d->stop_fd);
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->changed);
	free(d->data_root);
	free(d);
}
