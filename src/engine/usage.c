/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Usage of containers and pods. See usage.h.
 *
 * How much CPU is used "lately" is told by two readings of the counter. The earlier one stays in memory until it is RATE_NS old, so that two who ask at once do
 * not spoil each other's answer.
 */
#include "engine/usage.h"

#include "engine/engine-internal.h"

#include <sys/resource.h>

#define NET_DEV_MAX    (256 * 1024)
#define INTERFACES_MAX 1024
#define RATE_NS        INT64_C(1000000000)

/* Container.state is held. */
static uint64_t rate_update(CpuRate *rate, uint64_t cpu_ns, int64_t now)
{
	int64_t passed = now - rate->at_ns;

	if (cpu_ns == CGROUP_UNKNOWN)
		return CGROUP_UNKNOWN;
	/* The counter of another run begins at zero. */
	if (rate->at_ns == 0 || cpu_ns < rate->cpu_ns) {
		*rate = (CpuRate){.at_ns = now, .cpu_ns = cpu_ns};
	} else if (passed >= RATE_NS) {
		rate->nano_cores = (uint64_t)((double)(cpu_ns - rate->cpu_ns) / (double)passed * 1e9);
		rate->known = true;
		rate->at_ns = now;
		rate->cpu_ns = cpu_ns;
	}
	return rate->known ? rate->nano_cores : CGROUP_UNKNOWN;
}

/* 0 for a cgroup that is gone: it has just ended. */
static int read_usage(Container *c, CpuRate *rate, const char *path, CgroupDetail detail, EngineUsage *ret,
		      Err *e)
{
	_cleanup_(cgroup_done) Cgroup cgroup = {0};
	EngineUsage u = {.at_ns = clock_now_ns(), .open_files_limit = CGROUP_UNKNOWN};
	int64_t now = clock_mono_ns();
	int r = cgroup_resolve(path, &cgroup, e);

	if (r < 0)
		return r;
	if (cgroup_usage(&cgroup, detail, &u.cgroup) < 0)
		return 0;
	pthread_mutex_lock(&c->state);
	u.nano_cores = rate_update(rate, u.cgroup.cpu_ns, now);
	pthread_mutex_unlock(&c->state);
	*ret = u;
	return 1;
}

static bool runs(Container *c)
{
	ContainerStatus s = container_status(c);

	return s == CONTAINER_RUNNING || s == CONTAINER_PAUSED;
}

static pid_t first_process(Container *c)
{
	pid_t pid;

	pthread_mutex_lock(&c->state);
	pid = c->pid;
	pthread_mutex_unlock(&c->state);
	return pid;
}

/* What has the process's number once it has ended is not asked about. */
static uint64_t open_files_limit(Container *c)
{
	pid_t pid = first_process(c);
	struct rlimit l;

	if (pid <= 0 || prlimit(pid, RLIMIT_NOFILE, NULL, &l) < 0 || !runs(c) || l.rlim_cur == RLIM_INFINITY)
		return CGROUP_UNKNOWN;
	return l.rlim_cur;
}

int engine_container_usage(Engine *en, const char *id, bool all, EngineUsage *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	int r = container_find(en, id, &c, e);

	if (r < 0 || !runs(c))
		return MIN2(r, 0);
	r = container_cgroup_dir(en, c, &path, e);
	if (r >= 0)
		r = read_usage(c, &c->rate, path, all ? CGROUP_WITH_FILES : CGROUP_USUAL, ret, e);
	if (r > 0 && all)
		ret->open_files_limit = open_files_limit(c);
	return err_ctx(e, r, "usage of container %s", id);
}

int engine_container_hugepages(Engine *en, const char *id, const char *page_size, EngineHugepages *ret)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	_cleanup_(cgroup_done) Cgroup cgroup = {0};

	if (container_find(en, id, &c, NULL) < 0 || !runs(c) ||
	    container_cgroup_dir(en, c, &path, NULL) < 0 || cgroup_resolve(path, &cgroup, NULL) < 0)
		return 0;
	cgroup_huge_usage(&cgroup, page_size, &ret->bytes, &ret->most);
	return 1;
}

int engine_pod_usage(Engine *en, const char *id, bool all, EngineUsage *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	char *cut;
	int r = container_find(en, id, &c, e);

	if (r < 0 || !runs(c) || !c->config.pod.sandbox || str_empty(c->config.host.cgroup_parent))
		return MIN2(r, 0);
	r = container_cgroup_dir(en, c, &path, e);
	cut = r >= 0 ? strrchr(path, '/') : NULL;
	if (!cut || cut == path)
		return r; /* the root of all is nobody's */
	*cut = '\0';
	return err_ctx(e, read_usage(c, &c->pod_rate, path, all ? CGROUP_MORE : CGROUP_USUAL, ret, e),
		       "usage of pod %s", id);
}

int engine_container_cgroup(Engine *en, const char *id, char **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, id, &c, e);

	if (r < 0)
		return r;
	return container_cgroup_dir(en, c, ret, e);
}

/* ---- interfaces ---- */

/* "  eth0: 1 2 ...": bytes, packets, errors, dropped, fifo, frame, compressed and multicast received, then as many sent. */
static bool parse_interface(char *line, EngineInterface *ret)
{
	char *name = line + strspn(line, " "), *p = strchr(name, ':');
	uint64_t v[16];

	if (!p || p == name || (size_t)(p - name) >= sizeof(ret->name))
		return false;
	*p++ = '\0';
	for (size_t i = 0; i < ELEMENTSOF(v); i++)
		v[i] = strtoull(p, &p, 10);
	*ret = (EngineInterface){
	    .rx_bytes = v[0],
	    .rx_packets = v[1],
	    .rx_errors = v[2],
	    .rx_dropped = v[3],
	    .tx_bytes = v[8],
	    .tx_packets = v[9],
	    .tx_errors = v[10],
	    .tx_dropped = v[11],
	};
	strcpy(ret->name, name);
	return true;
}

int engine_interfaces_parse(char *text, EngineInterface **ret, size_t *ret_n)
{
	_cleanup_free_ EngineInterface *all = NULL;
	char *save = NULL;
	size_t n = 0, line_number = 0;

	for (char *line = strtok_r(text, "\n", &save); line && n < INTERFACES_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		EngineInterface i, *more;

		if (line_number++ < 2 || !parse_interface(line, &i) || streq(i.name, "lo"))
			continue;
		more = reallocarray(all, n + 1, sizeof(*all));
		if (!more)
			return -ENOMEM;
		all = more;
		all[n++] = i;
	}
	*ret = take_ptr(all);
	*ret_n = n;
	return 0;
}

int engine_container_interfaces(Engine *en, const char *id, EngineInterface **ret, size_t *ret_n, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *text = NULL;
	char path[48];
	pid_t pid;
	int r = container_find(en, id, &c, e);

	*ret = NULL;
	*ret_n = 0;
	if (r < 0 || !runs(c) || streq0(c->config.host.network_mode, "host"))
		return MIN2(r, 0);
	pid = first_process(c);
	snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)pid);
	/* Without a process there is nothing to read; and what has its number by now is not asked about. */
	if (pid <= 0 || file_read_at(AT_FDCWD, path, NET_DEV_MAX, &text, NULL) < 0 || !runs(c))
		return 0;
	return engine_interfaces_parse(text, ret, ret_n) < 0 ? err_oom(e) : 0;
}
