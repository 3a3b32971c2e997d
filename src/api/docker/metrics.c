/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the door adds to the metrics: how long actions took, under dockerd's names, and what the engine is and has.
 *
 * Handlers are measured by their routes (HttpRoute.measure). An action is a few additions without a lock.
 */
#include "api/docker/door-internal.h"

#include <sys/utsname.h>

static const double bounds[MEASURE_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

static const struct {
	const char *family, *action;
} names[MEASURES] = {
    [MEASURE_CONTAINER_CHANGES] = {"container", "changes"},
    [MEASURE_CONTAINER_COMMIT] = {"container", "commit"},
    [MEASURE_CONTAINER_CREATE] = {"container", "create"},
    [MEASURE_CONTAINER_DELETE] = {"container", "delete"},
    [MEASURE_CONTAINER_START] = {"container", "start"},
    [MEASURE_IMAGE_DELETE] = {"image", "delete"},
    [MEASURE_IMAGE_PULL] = {"image", "pull"},
    [MEASURE_IMAGE_PUSH] = {"image", "push"},
    [MEASURE_IMAGE_LOAD] = {"image", "load"},
    [MEASURE_NETWORK_CREATE] = {"network", "create"},
    [MEASURE_NETWORK_DELETE] = {"network", "delete"},
    [MEASURE_BUILD] = {"builder", "build"},
};

void door_measured(void *user, int measure, bool failed, int64_t ns)
{
	Door *d = user;
	Measured *m = &d->measured[measure];
	size_t i = 0;

	while (i < MEASURE_BUCKETS && (double)ns > bounds[i] * 1e9)
		i++;
	__atomic_add_fetch(&m->buckets[i], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&m->failed, failed, __ATOMIC_RELAXED);
	__atomic_add_fetch(&m->sum_ns, (uint64_t)ns, __ATOMIC_RELAXED);
}

static uint64_t add_histogram(StrBuf *b, const Measured *m, const char *family, const char *action)
{
	uint64_t total = 0;

	for (size_t i = 0; i <= MEASURE_BUCKETS; i++) {
		total += __atomic_load_n(&m->buckets[i], __ATOMIC_RELAXED);
		strbuf_addf(b, "engine_daemon_%s_actions_seconds_bucket{action=\"%s\",le=\"", family, action);
		if (i < MEASURE_BUCKETS)
			strbuf_addf(b, "%g\"} %llu\n", bounds[i], (unsigned long long)total);
		else
			strbuf_addf(b, "+Inf\"} %llu\n", (unsigned long long)total);
	}
	strbuf_addf(b, "engine_daemon_%s_actions_seconds_sum{action=\"%s\"} %.9f\n", family, action,
		    (double)__atomic_load_n(&m->sum_ns, __ATOMIC_RELAXED) / 1e9);
	strbuf_addf(b, "engine_daemon_%s_actions_seconds_count{action=\"%s\"} %llu\n", family, action,
		    (unsigned long long)total);
	return total;
}

static void add_actions(StrBuf *b, const Door *d)
{
	const char *before = "";

	for (size_t i = 1; i < MEASURES; i++) {
		const char *family = names[i].family;

		if (!streq(family, before))
			strbuf_addf(
			    b,
			    "# HELP engine_daemon_%s_actions_seconds The number of seconds it takes to "
			    "process each %s action\n# TYPE engine_daemon_%s_actions_seconds histogram\n",
			    family, family, family);
		before = family;
		uint64_t total = add_histogram(b, &d->measured[i], family, names[i].action);

		if (i == MEASURE_BUILD)
			strbuf_addf(b,
				    "# HELP builder_builds_triggered_total Number of triggered image builds\n"
				    "# TYPE builder_builds_triggered_total counter\n"
				    "builder_builds_triggered_total %llu\n"
				    "# HELP builder_builds_failed_total Number of failed image builds\n"
				    "# TYPE builder_builds_failed_total counter\n"
				    "builder_builds_failed_total %llu\n",
				    (unsigned long long)total,
				    (unsigned long long)__atomic_load_n(&d->measured[i].failed,
									__ATOMIC_RELAXED));
	}
}

/* A value between quotes: nothing in it may end them. */
static void add_label(StrBuf *b, const char *name, const char *value)
{
	strbuf_addf(b, "%s=\"", name);
	for (const char *p = value; *p; p++) {
		if (*p == '"' || *p == '\\')
			strbuf_add_c(b, '\\');
		strbuf_add_c(b, *p == '\n' ? ' ' : *p);
	}
	strbuf_add(b, "\"");
}

static void add_info(StrBuf *b, const Door *d, const EngineSummary *s)
{
	_cleanup_json_ json_t *os = info_os_value("PRETTY_NAME"), *version = info_os_value("VERSION_ID");
	struct utsname u = {0};
	const struct {
		const char *name, *value;
	} labels[] = {
	    {"architecture", u.machine}, {"commit", ""},
	    {"daemon_id", s->id},        {"graphdriver", store_snapshotter(engine_store(d->engine))},
	    {"kernel", u.release},       {"os", json_string_value(os)},
	    {"os_type", "linux"},        {"os_version", json_string_value(version)},
	    {"version", IREKO_VERSION}};

	(void)uname(&u);
	strbuf_add(
	    b,
	    "# HELP engine_daemon_engine_info The information related to the engine and the OS it is running "
	    "on\n# TYPE engine_daemon_engine_info gauge\nengine_daemon_engine_info{");
	for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
		strbuf_add(b, i ? "," : "");
		add_label(b, labels[i].name, labels[i].value ? labels[i].value : "");
	}
	strbuf_add(b, "} 1\n");
}

int docker_door_metrics(DockerDoor *d, StrBuf *b, Err *e)
{
	EngineSummary s = {0};
	int r = engine_summary(d->engine, &s, e);

	if (r < 0)
		return r;
	add_actions(b, d);
	strbuf_addf(
	    b,
	    "# HELP engine_daemon_container_states_containers The count of containers in various states\n"
	    "# TYPE engine_daemon_container_states_containers gauge\n"
	    "engine_daemon_container_states_containers{state=\"paused\"} %d\n"
	    "engine_daemon_container_states_containers{state=\"running\"} %d\n"
	    "engine_daemon_container_states_containers{state=\"stopped\"} %d\n",
	    s.paused, s.running, s.stopped);
	add_info(b, d, &s);
	return b->oom ? err_oom(e) : 0;
}
