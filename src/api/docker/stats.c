/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /containers/{id}/stats: one document a second, each with the CPU counters of the one before (precpu_stats), of which clients
 * make their percentages. Members differ between cgroup v1 and v2 as Docker's do.
 *
 * A container that does not run has a document of zeros. Without a stream and without one-shot, the answer comes
 * a second later, so that it can be compared too.
 */
#include "api/docker/door-internal.h"

#include <poll.h>

#define PERIOD_MS 1000

static json_t *at(const json_t *o, const char *a, const char *b)
{
	o = json_object_get(o, a);
	return b ? json_object_get(o, b) : (json_t *)o;
}

static json_t *cpu_doc(const EngineStats *s)
{
	const json_t *usage = at(s->usage, "cpu", "usage"), *throttling = at(s->usage, "cpu", "throttling");
	json_t *per_cpu = json_object_get(usage, "percpu"), *o;

	o = json_pack("{s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I}}", "cpu_usage", "total_usage",
		      (json_int_t)json_get_int(usage, "total", 0), "usage_in_kernelmode",
		      (json_int_t)json_get_int(usage, "kernel", 0), "usage_in_usermode",
		      (json_int_t)json_get_int(usage, "user", 0), "throttling_data", "periods",
		      (json_int_t)json_get_int(throttling, "periods", 0), "throttled_periods",
		      (json_int_t)json_get_int(throttling, "throttledPeriods", 0), "throttled_time",
		      (json_int_t)json_get_int(throttling, "throttledTime", 0));
	if (o && per_cpu)
		json_object_set(json_object_get(o, "cpu_usage"), "percpu_usage", per_cpu);
	if (o && s->system_cpu_ns) {
		json_object_set_new(o, "system_cpu_usage", json_integer(s->system_cpu_ns));
		json_object_set_new(o, "online_cpus", json_integer(s->online_cpus));
	}
	return o;
}

/* A cgroup without a limit may have what the machine has. */
static json_t *memory_doc(const EngineStats *s)
{
	const json_t *usage = at(s->usage, "memory", "usage");
	json_t *raw = at(s->usage, "memory", "raw"), *o = json_object();
	int64_t limit = json_get_int(usage, "limit", INT64_MAX);
	bool v1 = at(s->usage, "cpu", "usage") && json_object_get(at(s->usage, "cpu", "usage"), "percpu");

	if (!o || !usage)
		return o;
	json_object_set_new(o, "usage", json_integer(json_get_int(usage, "usage", 0)));
	if (v1) {
		json_object_set_new(o, "max_usage", json_integer(json_get_int(usage, "max", 0)));
		if (json_get_int(usage, "failcnt", 0))
			json_object_set_new(o, "failcnt", json_integer(json_get_int(usage, "failcnt", 0)));
	}
	if (raw)
		json_object_set(o, "stats", raw);
	json_object_set_new(o, "limit", json_integer(MIN2(limit, s->memory_total)));
	return o;
}

static json_t *blkio_doc(const EngineStats *s)
{
	static const char *const names[] = {"io_service_bytes_recursive", "io_serviced_recursive",
					    "io_queue_recursive",         "io_service_time_recursive",
					    "io_wait_time_recursive",     "io_merged_recursive",
					    "io_time_recursive",          "sectors_recursive"};
	static const char *const from[ELEMENTSOF(names)] = {"ioServiceBytesRecursive", "ioServicedRecursive"};
	json_t *o = json_object();

	for (size_t i = 0; o && i < ELEMENTSOF(names); i++) {
		json_t *list = from[i] ? at(s->usage, "blkio", from[i]) : NULL;

		json_object_set_new(o, names[i], list ? json_incref(list) : json_null());
	}
	return o;
}

static json_t *pids_doc(const EngineStats *s)
{
	const json_t *pids = at(s->usage, "pids", NULL);
	json_t *o = json_object();

	if (o && pids) {
		json_object_set_new(o, "current", json_integer(json_get_int(pids, "current", 0)));
		if (json_object_get(pids, "limit"))
			json_object_set_new(o, "limit", json_integer(json_get_int(pids, "limit", 0)));
	}
	return o;
}

static json_t *stats_doc(const EngineStats *now, const EngineStats *before)
{
	_cleanup_free_ char *name = strf("/%s", now->name);
	json_t *o = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:{}}", "id", now->id,
			      "name", doc_str(name), "os_type", "linux", "read", doc_time(now->read_ns),
			      "preread", doc_time(before->read_ns), "cpu_stats", cpu_doc(now), "precpu_stats",
			      cpu_doc(before), "memory_stats", memory_doc(now), "blkio_stats", blkio_doc(now),
			      "pids_stats", pids_doc(now), "num_procs", 0, "storage_stats");

	if (o && now->networks)
		json_object_set(o, "networks", now->networks);
	return o;
}

static int write_doc(HttpRequest *rq, const EngineStats *now, const EngineStats *before, Err *e)
{
	_cleanup_json_ json_t *doc = stats_doc(now, before);
	_cleanup_free_ char *text = doc ? json_text(doc) : NULL, *line = text ? strf("%s\n", text) : NULL;

	return line ? http_stream_write(rq, line, strlen(line)) : err_oom(e);
}

/* False when the client has gone away meanwhile. */
static bool wait_period(HttpRequest *rq, int64_t until_ns)
{
	struct pollfd p = {.fd = http_alive_fd(rq)};

	for (;;) {
		int64_t left = until_ns - clock_mono_ns();
		int n = left > 0 ? poll(&p, 1, (int)(left / 1000000 + 1)) : 0;

		if (n > 0 || (n < 0 && errno != EINTR))
			return false;
		if (n == 0)
			return true;
	}
}

/* Ends when the container is removed. The answer has begun: nothing can be told any more. */
static int follow(HttpRequest *rq, Door *d, const char *ref, Err *e)
{
	_cleanup_(engine_stats_done) EngineStats before = {0};
	int64_t next = clock_mono_ns();
	int r = http_stream_begin(rq, 200, "application/json");

	while (r >= 0) {
		EngineStats now = {0};

		if (engine_container_stats(d->engine, ref, &now, NULL) < 0)
			return 0;
		r = write_doc(rq, &now, &before, e);
		engine_stats_done(&before);
		before = now;
		next += PERIOD_MS * 1000000ll;
		if (r >= 0 && !wait_period(rq, next))
			return 0;
	}
	return r;
}

int h_container_stats(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(engine_stats_done) EngineStats before = {0}, now = {0};
	bool stream = http_query_bool(rq, "stream", true), one = http_query_bool(rq, "one-shot", false);
	const char *ref = http_param(rq, "id");
	int r;

	if (stream && one)
		return err_new(e, ERR_INVALID, "cannot have stream=true and one-shot=true");
	r = engine_container_stats(d->engine, ref, &now, e);
	if (r < 0)
		return r;
	/* The name may go to another container while this one is followed. */
	_cleanup_free_ char *id = strdup(now.id);
	if (!id)
		return err_oom(e);
	if (stream)
		return follow(rq, d, id, e);
	if (now.running && !one) {
		before = now;
		now = (EngineStats){0};
		if (!wait_period(rq, clock_mono_ns() + PERIOD_MS * 1000000ll))
			return err_new(e, ERR_CANCELLED, "the client has gone away");
		r = engine_container_stats(d->engine, id, &now, e);
		if (r < 0)
			return r;
	}
	return reply_doc(rq, 200, stats_doc(&now, &before), e);
}
