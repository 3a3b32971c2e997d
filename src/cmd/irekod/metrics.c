/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prometheus' text of what the engine does (--metrics-addr), under dockerd's names where it has them: GET /metrics.
 *
 * A server of its own, on a thread of its own, which is there only when it was asked for. Nothing is counted for it alone on the way of a request but
 * what docker_door_metrics adds up.
 */
#include "daemon.h"

#include "base/clock.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <dirent.h>
#include <fcntl.h>

struct Metrics {
	HttpServer *server;
	int stop_fd;
	pthread_t thread;
	bool running;
};

static void one(StrBuf *b, const char *name, const char *type, const char *help, double value)
{
	strbuf_addf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static unsigned count_entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n > 3 ? n - 3 : 0; /* without ., .. and the directory itself */
}

static void add_process(StrBuf *b, const Daemon *d)
{
	_cleanup_free_ char *text = NULL;
	struct rusage u = {0};
	struct rlimit files = {0};
	long pages = 0, resident = 0;

	(void)getrusage(RUSAGE_SELF, &u);
	(void)getrlimit(RLIMIT_NOFILE, &files);
	if (file_read_at(AT_FDCWD, "/proc/self/statm", 256, &text, NULL) >= 0)
		(void)sscanf(text, "%ld %ld", &pages, &resident);
	one(b, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
	    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	one(b, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
	    (double)files.rlim_cur);
	one(b, "process_open_fds", "gauge", "Number of open file descriptors.",
	    count_entries("/proc/self/fd"));
	one(b, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
	    (double)resident * (double)sysconf(_SC_PAGESIZE));
	one(b, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
	    (double)pages * (double)sysconf(_SC_PAGESIZE));
	one(b, "process_start_time_seconds", "gauge",
	    "Start time of the process since unix epoch in seconds.",
	    (double)(clock_now_ns() - (clock_mono_ns() - d->started_ns)) / 1e9);
	one(b, "process_threads", "gauge", "Number of threads.", count_entries("/proc/self/task") + 1);
}

static void add_server(StrBuf *b, Daemon *d)
{
	HttpCounts n;

	http_server_counts(d->server, &n);
	one(b, "engine_daemon_api_connections", "gauge", "Connections of clients of the API", n.connections);
	one(b, "engine_daemon_api_connections_accepted_total", "counter", "Connections that were accepted",
	    (double)n.accepted);
	one(b, "engine_daemon_api_connections_refused_total", "counter",
	    "Connections and requests that were turned away", (double)n.turned_away);
	one(b, "engine_daemon_api_requests_total", "counter", "Requests that were handled",
	    (double)n.requests);
}

static void add_names(StrBuf *b, const EngineCounts *n)
{
	one(b, "engine_daemon_network_dns_clients", "gauge", "Containers that the resolver answers",
	    n->dns_clients);
	one(b, "engine_daemon_network_dns_waiting", "gauge", "Questions that wait for other servers",
	    n->dns_waiting);
	one(b, "engine_daemon_network_dns_questions_total", "counter", "Questions of containers",
	    (double)n->dns_questions);
	one(b, "engine_daemon_network_dns_answered_total", "counter",
	    "Questions answered with what is known here", (double)n->dns_answered);
	one(b, "engine_daemon_network_dns_kept_total", "counter",
	    "Questions answered with what a server said before", (double)n->dns_kept);
	one(b, "engine_daemon_network_dns_forwarded_total", "counter", "Answers of other servers",
	    (double)n->dns_forwarded);
	one(b, "engine_daemon_network_dns_failed_total", "counter", "Questions that no server answered",
	    (double)n->dns_failed);
}

static int h_metrics(HttpRequest *rq, void *user, Err *e)
{
	Daemon *d = user;
	_cleanup_strbuf_ StrBuf b = {0};
	struct sysinfo si = {0};
	EngineCounts n;
	int r = docker_door_metrics(d->door, &b, e);

	if (r < 0)
		return r;
	(void)sysinfo(&si);
	engine_counts(d->engine, &n);
	one(&b, "engine_daemon_engine_cpus_cpus", "gauge",
	    "The number of cpus that the host system of the engine has",
	    (double)sysconf(_SC_NPROCESSORS_ONLN));
	one(&b, "engine_daemon_engine_memory_bytes", "gauge",
	    "The number of bytes of memory that the host system of the engine has",
	    (double)si.totalram * si.mem_unit);
	one(&b, "engine_daemon_events_total", "counter", "The number of events logged", (double)n.events);
	one(&b, "engine_daemon_events_subscribers_total", "gauge",
	    "The number of current subscribers to events", n.followers);
	one(&b, "engine_daemon_health_checks_total", "counter", "The total number of health checks",
	    (double)n.health_checks);
	one(&b, "engine_daemon_health_checks_failed_total", "counter",
	    "The total number of failed health checks", (double)n.health_checks_failed);
	add_names(&b, &n);
	add_server(&b, d);
	add_process(&b, d);
	if (b.oom)
		return err_oom(e);
	return http_reply(rq, 200, "text/plain; version=0.0.4; charset=utf-8", b.s, b.len);
}

static const HttpRoute routes[] = {{"GET", "/metrics", h_metrics, 0}, {NULL, NULL, NULL, 0}};

static void *metrics_thread(void *arg)
{
	Metrics *m = arg;
	Err e = {0};
	int r = http_server_run(m->server, m->stop_fd, &e);

	pthread_setname_np(pthread_self(), "irekod-metrics");
	if (r < 0)
		log_error("metrics: %s", err_msg(&e, r));
	return NULL;
}

int metrics_start(Daemon *d, Err *e)
{
	const char *address = config_text(&d->config, "metrics-addr");
	HttpOptions o = {
	    .routes = routes, .user = d, .connections_max = 64, .requests_max = 16, .idle_timeout_ms = 60000};
	Metrics *m;
	int fd, r;

	if (str_empty(address))
		return 0;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_oom(e);
	d->metrics = m;
	m->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = http_tcp_listen(str_starts(address, "tcp://") ? address + 6 : address, false, e);
	if (fd < 0)
		return err_ctx(e, fd, "metrics-addr");
	r = http_server_new(&o, &m->server, e);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	r = http_server_add(m->server, fd, HTTP_TCP, e);
	if (r < 0)
		return r;
	r = pthread_create(&m->thread, NULL, metrics_thread, m);
	if (r != 0)
		return err_sys(e, r, "start a thread for metrics");
	m->running = true;
	return 0;
}

void metrics_stop(Daemon *d)
{
	Metrics *m = take_ptr(d->metrics);

	if (!m)
		return;
	if (m->running) {
		(void)eventfd_write(m->stop_fd, 1);
		pthread_join(m->thread, NULL);
	}
	if (!m->server || http_server_drain(m->server, 500)) {
		http_server_free(m->server);
		close_fd(&m->stop_fd);
		free(m);
	}
}
