/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irekod: takes its locks, opens its sockets, makes an engine and a door, and serves until SIGTERM or SIGINT.
 *
 * Start order: locks on both roots (two daemons on one root would corrupt it), listening sockets (clients queue from then on), engine,
 * readiness. It ends in the reverse order, within bounds whatever clients and the disk do, and leaves containers running: they belong to their
 * shims. With live-restore false, and when the machine goes down, they are stopped first. A second signal ends it at once.
 *
 * Signals have handlers, not a mask or SIG_IGN: what we start (shims, unpackers, ps) must not inherit them.
 */
#include "daemon.h"

#include "base/clock.h"
#include "base/pages.h"
#include "base/path.h"
#include "base/secret.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define DRAIN_MS        3000
#define CLOSE_S         5
#define SHUTDOWN_S      15
#define END_S           (4 * DRAIN_MS / 1000 + CLOSE_S + 9) /* of all that follows, on a busy machine */
#define CONNECTIONS_MAX 16384
#define PROGRAM_RANGES  256 /* of some 35 libraries, three each */

static int stop_fd = -1;
static volatile sig_atomic_t stop_signals;

/* The state on disk is sound at any moment: who insists is obeyed. */
static void on_stop(int sig)
{
	int saved = errno;

	if (++stop_signals > 1)
		_exit(1);
	(void)eventfd_write(stop_fd, 1);
	errno = saved;
}

/* Makes writes to a closed pipe fail with EPIPE, and is back to the default in every program we execute. */
static void on_pipe(int sig)
{
}

static int prepare_process(Err *e)
{
	struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART},
			 broken = {.sa_handler = on_pipe, .sa_flags = SA_RESTART};
	struct rlimit files;

	if (geteuid() != 0)
		return err_new(e, ERR_DENIED,
			       "irekod must run as root: start it with sudo or as a system service");
	umask(0022);
	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop_fd < 0)
		return err_sys(e, errno, "make an eventfd");
	if (sigaction(SIGTERM, &stop, NULL) < 0 || sigaction(SIGINT, &stop, NULL) < 0 ||
	    sigaction(SIGPIPE, &broken, NULL) < 0)
		return err_sys(e, errno, "set up signals");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) < 0)
			return err_sys(e, errno, "raise the limit of open files");
	}
	return 0;
}

/* The kernel drops the lock when we die, however that happens; the number in it is for the message only. */
static int lock_root(const char *dir, const char *option, int *ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/irekod.lock", dir), *holder = NULL;
	_cleanup_close_ int fd = -1;
	int r = mkdir_parents_at(AT_FDCWD, dir, 0711);

	if (!path)
		return err_oom(e);
	if (r < 0)
		return err_sys(e, r, "make %s", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	r = fd_lock_as_owner(fd, &holder);
	if (r == -EWOULDBLOCK)
		return err_new(e, ERR_CONFLICT,
			       "another irekod (pid %s) uses %s: stop it, or choose another %s",
			       holder ? holder : "?", dir, option);
	if (r < 0)
		return err_sys(e, r, "lock %s", path);
	*ret = take_fd(&fd);
	return 0;
}

static int find_helpers(Daemon *d, Err *e)
{
	_cleanup_free_ char *own = NULL, *probe = NULL;

	if (config_text(&d->config, "helper-dir")) {
		d->helper_dir = strdup(config_text(&d->config, "helper-dir"));
		return d->helper_dir ? 0 : err_oom(e);
	}
	if (path_of_own_dir(&own) >= 0) {
		probe = strf("%s/ireko-shim", own);
		if (probe && access(probe, X_OK) == 0) {
			d->helper_dir = take_ptr(own);
			return 0;
		}
	}
	if (access(IREKO_HELPER_DIR "/ireko-shim", X_OK) < 0)
		return err_new(e, ERR_NOT_FOUND,
			       "ireko-shim is neither beside irekod (%s) nor in " IREKO_HELPER_DIR
			       "; say where with --helper-dir",
			       own ? own : "?");
	d->helper_dir = strdup(IREKO_HELPER_DIR);
	return d->helper_dir ? 0 : err_oom(e);
}

/* Settings of the default network, as network_create would take them. */
static int bridge_options(const DaemonConfig *c, char ***ret)
{
	static const struct {
		const char *key, *option;
	} rows[] = {{"icc", "com.docker.network.bridge.enable_icc"},
		    {"ip", "com.docker.network.bridge.host_binding_ipv4"},
		    {"mtu", "com.docker.network.driver.mtu"}};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(rows); i++)
		if (config_text(c, rows[i].key))
			r = strv_take(ret, strf("%s=%s", rows[i].option, config_text(c, rows[i].key)));
	return r;
}

static const char *text_or(const DaemonConfig *c, const char *key, const char *otherwise)
{
	return config_text(c, key) ?: otherwise;
}

/* Without a door for a kubelet there is nobody to ask for pods, and nothing is read or watched for them. */
static EnginePods pods_options(const DaemonConfig *c)
{
	static const char *const plugins[] = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni", NULL};

	if (!config_list(c, "cri"))
		return (EnginePods){0};
	return (EnginePods){
	    .cni_conf_dir = text_or(c, "cni-conf-dir", "/etc/cni/net.d"),
	    .cni_plugin_dirs = config_list(c, "cni-bin-dirs") ?: (char *const *)(uintptr_t)plugins,
	    .cni_cache_dir = text_or(c, "cni-cache-dir", "/var/lib/cni"),
	    .netns_dir = text_or(c, "netns-dir", "/run/netns"),
	    .sandbox_image = config_text(c, "sandbox-image"),
	};
}

static int make_engine(Daemon *d, Err *e)
{
	const DaemonConfig *c = &d->config;
	char *certs_dirs[] = {(char *)config_text(c, "certs-dir"), NULL};
	_cleanup_strv_ char **bridge = NULL;
	_cleanup_free_ char *profile = NULL;
	EngineOptions o = {
	    .data_root = config_text(c, "data-root"),
	    .exec_root = config_text(c, "exec-root"),
	    .helper_dir = d->helper_dir,
	    .bridge_subnet = config_text(c, "bip"),
	    .bridge_subnet6 = config_text(c, "bip6") ?: config_text(c, "fixed-cidr-v6"),
	    .bridge_ipv6 = config_bool(c, "ipv6", false),
	    .api_socket = d->sockets ? d->sockets[0] : NULL,
	    .insecure_registries = config_list(c, "insecure-registries"),
	    .registry_mirrors = config_list(c, "registry-mirrors"),
	    .registry_token_servers = config_list(c, "registry-token-servers"),
	    .certs_dirs = certs_dirs[0] ? certs_dirs : NULL,
	    .http_proxy = config_text(c, "http-proxy"),
	    .https_proxy = config_text(c, "https-proxy"),
	    .no_proxy = config_text(c, "no-proxy"),
	    .no_userland_proxy = !config_bool(c, "userland-proxy", true),
	    .transfers = daemon_transfers(c),
	    .runtimes = config_list(c, "runtimes"),
	    .default_runtime = config_text(c, "default-runtime"),
	    .snapshotter = config_text(c, "snapshotter"),
	    .log_driver = config_text(c, "log-driver"),
	    .log_opts = config_list(c, "log-opts"),
	    .cdi_dirs = config_list(c, "cdi-spec-dirs"),
	    .userns_remap = config_text(c, "userns-remap"),
	    .systemd_cgroup = streq(daemon_cgroup_driver(c), "systemd"),
	    .published_ports_open = streq0(config_text(c, "published-ports"), "open"),
	    .address_pools = config_list(c, "default-address-pools"),
	    .pods = pods_options(c),
	    .gc =
		{
		    .max_size = c->gc.max_size,
		    .min_free = c->gc.min_free,
		    .max_age_ns = c->gc.max_age_ns,
		    .unused = c->gc.unused,
		    .keep = config_list(c, "gc-keep"),
		    .cache_max = c->gc.cache_max,
		    .cache_min_free = c->gc.cache_min_free,
		    .cache_reserved = c->gc.cache_reserved,
		    .leftover_age_ns = c->gc.leftover_age_ns,
		    .interval_ns = c->gc.interval_ns,
		},
	};
	int r = bridge_options(c, &bridge);

	o.bridge_options = bridge;
	r = r < 0 ? err_oom(e) : daemon_defaults(c, &o.defaults, &profile, e);
	if (r >= 0)
		r = engine_new(&o, &d->engine, e);
	return r < 0 ? err_ctx(e, r, "start the engine") : 0;
}

/* A share of the descriptors there are; containers and pulls need theirs. */
static unsigned connections_max(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return 0;
	return (unsigned)MIN2(files.rlim_cur / 5 * 3, (rlim_t)CONNECTIONS_MAX);
}

/* Nobody asks for anything: what the last requests needed goes back to the kernel, and so do the pages of libraries that only they used. */
static void rest(void *user _unused_)
{
	PageRange pages[PROGRAM_RANGES];
	size_t n = pages_of_program(pages, PROGRAM_RANGES);

	(void)malloc_trim(0);
	pages_drop(pages, n);
}

static int make_cri_door(Daemon *d, Err *e)
{
	const DaemonConfig *c = &d->config;
	const CriDoorOptions o = {
	    .cgroup_driver = daemon_cgroup_driver(c),
	    .stream = {.address = config_text(c, "cri-stream-address"),
		       .port = (int)config_int(c, "cri-stream-port", 0),
		       .cert = config_text(c, "cri-stream-cert"),
		       .key = config_text(c, "cri-stream-key"),
		       .idle_timeout_ns = config_duration(c, "cri-stream-idle-timeout")},
	};

	return config_list(&d->config, "cri") ? cri_door_new(&o, &d->cri, e) : 0;
}

/* The routes are in the server before it serves; the door that they are handed is made afterwards, with the engine. */
static int start(Daemon *d, Err *e)
{
	DockerDoorOptions door;
	HttpOptions http = {.connections_max = connections_max(), .rest = rest};
	int r = lock_root(config_text(&d->config, "data-root"), "--data-root", &d->data_lock, e);

	if (r >= 0)
		r = lock_root(config_text(&d->config, "exec-root"), "--exec-root", &d->exec_lock, e);
	if (r >= 0)
		r = find_helpers(d, e);
	if (r < 0)
		return r;
	daemon_door_options(&d->config, &door);
	r = docker_door_new(&door, &d->door, e);
	if (r < 0)
		return r;
	r = buildkit_door_new(config_text(&d->config, "data-root"), &d->buildkit, e);
	if (r < 0)
		return r;
	r = make_cri_door(d, e);
	if (r < 0)
		return r;
	docker_door_serve(d->door, &http);
	buildkit_door_serve(d->buildkit, &http);
	r = http_server_new(&http, &d->server, e);
	if (r >= 0)
		r = pidfile_write(d, e);
	if (r >= 0)
		r = listen_all(d, e);
	if (r >= 0)
		r = make_engine(d, e);
	if (r < 0)
		return r;
	r = builder_new(d->engine, &d->builder, e);
	if (r < 0)
		return r;
	docker_door_set_engine(d->door, d->engine, d->builder);
	buildkit_door_set_engine(d->buildkit, d->engine, d->builder);
	r = metrics_start(d, e);
	if (r >= 0)
		r = control_start(d, e);
	if (r < 0 || !d->cri)
		return r;
	cri_door_set_engine(d->cri, d->engine);
	return cri_door_start(d->cri, e);
}

static void remove_traces(Daemon *d)
{
	for (char **p = d->sockets; p && *p; p++)
		(void)unlink(*p);
	if (d->wrote_pidfile)
		(void)unlink(config_text(&d->config, "pidfile"));
}

/* A disk that is busy, a device that does not answer: what is left of the end is not worth waiting for. */
static void *end_in_time(void *arg)
{
	(void)sleep(CLOSE_S);
	log_warn("closing the engine takes more than %d s: it is left as it is", CLOSE_S);
	_exit(0);
}

static void watch_the_end(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, end_in_time, NULL) != 0)
		log_warn("start a thread that watches over the end");
	pthread_attr_destroy(&attr);
}

/* While the machine stays up, containers need nobody to stop them. */
static void stop_containers(Daemon *d)
{
	int seconds = (int)config_int(&d->config, "shutdown-timeout", SHUTDOWN_S);
	char state[128];

	if (!d->engine || (config_bool(&d->config, "live-restore", true) && !service_machine_ends()))
		return;
	/* The service manager would not wait longer than its unit says. */
	snprintf(state, sizeof(state),
		 "EXTEND_TIMEOUT_USEC=%lld\nSTATUS=Stopping containers, for at most %d s",
		 (seconds + END_S) * 1000000LL, seconds);
	service_notify(state);
	engine_stop_all(d->engine, seconds);
}

/* With a request still running (a client's, stuck in a device say), the engine is left as it is: the state on disk is sound at any
 * moment, freeing memory under a thread would not be. */
static void finish(Daemon *d)
{
	bool drained;

	control_stop(d);
	drained = cri_door_stop(d->cri, DRAIN_MS);
	stop_containers(d);
	metrics_stop(d);
	buildkit_door_stop(d->buildkit);
	drained = (!d->server || http_server_drain(d->server, DRAIN_MS)) && drained;
	remove_traces(d);
	if (!drained) {
		log_warn("some requests did not end in time");
		_exit(0);
	}
	watch_the_end();
	http_server_free(d->server);
	http_tls_free(d->tls);
	docker_door_free(d->door);
	buildkit_door_free(d->buildkit);
	cri_door_free(d->cri);
	builder_free(d->builder);
	engine_free(d->engine);
	close_fd(&d->exec_lock);
	close_fd(&d->data_lock);
	close_fd(&d->control_fd);
	strv_free(d->sockets);
	free(d->helper_dir);
	config_done(&d->config);
}

static int serve(Daemon *d, Err *e)
{
	malloc_trim(0);
	service_notify("READY=1");
	for (char *const *h = config_list(&d->config, "hosts"); h && *h; h++)
		log_info("irekod %s serves %s", IREKO_VERSION, *h);
	for (char *const *a = config_list(&d->config, "cri"); a && *a; a++)
		log_info("irekod %s serves CRI v1 at %s", IREKO_VERSION, *a);
	return http_server_run(d->server, stop_fd, e);
}

/* What is done without becoming a daemon. */
static int only(DaemonConfig *c, ConfigAction action)
{
	if (action == CONFIG_HELP)
		config_print_usage();
	else if (action == CONFIG_VALIDATE)
		puts("configuration OK");
	else
		puts("irekod version " IREKO_VERSION);
	config_done(c);
	return 0;
}

int main(int argc, char **argv)
{
	Daemon d = {.argc = argc, .argv = argv, .data_lock = -1, .exec_lock = -1, .control_fd = -1};
	ConfigAction action;
	Err e;
	int r;

	secret_wipe_json(); /* clients' documents hold credentials */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 256 * 1024);
	log_init(LOG_INFO);
	d.started_ns = clock_mono_ns();
	r = config_load(argc, argv, &d.config, &action, &e);
	if (r >= 0 && action != CONFIG_RUN)
		return only(&d.config, action);
	if (r >= 0) {
		log_init(d.config.level);
		log_set_json(streq0(config_text(&d.config, "log-format"), "json"));
		r = prepare_process(&e);
	}
	if (r >= 0)
		r = start(&d, &e);
	if (r >= 0)
		r = serve(&d, &e);
	service_notify("STOPPING=1");
	if (r < 0)
		log_error("%s", err_msg(&e, r));
	finish(&d);
	return r < 0 ? 1 : 0;
}
