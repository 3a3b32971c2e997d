/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container uses: counters of its cgroup and of the interfaces in its network namespace, and those of the machine that they
 * are compared with. They are read here, so that a thousand containers that are watched cost their shims nothing.
 */
#include "engine/engine-internal.h"
#include "engine/usage.h"

#include <sys/sysinfo.h>

void engine_stats_done(EngineStats *s)
{
	free(s->name);
	json_decref(s->usage);
	json_decref(s->networks);
	*s = (EngineStats){0};
}

/* The first line of /proc/stat sums all CPUs: user, nice, system, idle, iowait, irq, softirq. Then there is a line for each. */
static int read_system(EngineStats *s, Err *e)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	int64_t ticks = 0;
	int r = file_read_at(AT_FDCWD, "/proc/stat", 4 << 20, &text, NULL);
	char *p;

	if (r < 0)
		return err_sys(e, r, "read /proc/stat");
	p = text + strcspn(text, " ");
	for (int i = 0; i < 7; i++)
		ticks += strtoll(p, &p, 10);
	s->system_cpu_ns = ticks * (1000000000 / sysconf(_SC_CLK_TCK));
	for (line = strchr(text, '\n'); line && str_starts(line + 1, "cpu"); line = strchr(line + 1, '\n'))
		s->online_cpus++;
	return 0;
}

static void read_memory_total(EngineStats *s)
{
	struct sysinfo info;

	if (sysinfo(&info) == 0)
		s->memory_total = (int64_t)info.totalram * info.mem_unit;
}

static json_t *interface_document(const EngineInterface *i)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rx_bytes", (json_int_t)i->rx_bytes,
			 "rx_packets", (json_int_t)i->rx_packets, "rx_errors", (json_int_t)i->rx_errors,
			 "rx_dropped", (json_int_t)i->rx_dropped, "tx_bytes", (json_int_t)i->tx_bytes,
			 "tx_packets", (json_int_t)i->tx_packets, "tx_errors", (json_int_t)i->tx_errors,
			 "tx_dropped", (json_int_t)i->tx_dropped);
}

static int read_networks(Engine *en, EngineStats *s, Err *e)
{
	_cleanup_free_ EngineInterface *v = NULL;
	size_t n;
	int r = engine_container_interfaces(en, s->id, &v, &n, e);

	s->networks = r >= 0 ? json_object() : NULL;
	for (size_t i = 0; r >= 0 && i < n; i++)
		if (json_object_set_new(s->networks, v[i].name, interface_document(&v[i])) < 0)
			r = err_oom(e);
	return r;
}

int engine_container_stats(Engine *en, const char *ref, EngineStats *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(engine_stats_done) EngineStats s = {0};
	int r = container_find(en, ref, &c, e);
	bool own_network;

	if (r < 0)
		return r;
	memcpy(s.id, c->id, sizeof(s.id));
	pthread_mutex_lock(&c->state);
	s.name = strdup(c->name);
	s.running = c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED;
	pthread_mutex_unlock(&c->state);
	if (!s.name)
		return err_oom(e);
	own_network = !streq0(c->config.host.network_mode, "host") && !c->config.network_disabled;
	if (s.running) {
		s.read_ns = clock_now_ns();
		read_memory_total(&s);
		r = read_system(&s, e);
		if (r >= 0)
			r = container_usage(en, c, &s.usage, e);
		if (r >= 0 && own_network)
			r = read_networks(en, &s, e);
	}
	if (r < 0)
		return err_ctx(e, r, "statistics of container %s", ref);
	*ret = s;
	s = (EngineStats){0};
	return 0;
}
