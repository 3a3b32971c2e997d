/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irekod: takes its locks, opens its sockets, makes an engine and a door, and serves until SIGTERM or SIGINT.
 *
 * Start order: locks on both roots (two daemons on one root would corrupt it), listening sockets (clients queue from then on), engine,
 * readiness. It ends in the reverse order, and leaves containers running: they belong to their shims.
 *
 * Signals have handlers, not a mask or SIG_IGN: what we start (shims, unpackers, ps) must not inherit them.
 */
#include "config.h"

#include "api/docker/door.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/secret.h"
#include "base/str.h"

#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/un.h>

#define SOCKET_GROUP "ireko"
#define DRAIN_MS     5000

typedef struct Daemon {
	DaemonConfig config;
	int data_lock, exec_lock;
	char **sockets; /* paths we made, removed at the end */
	HttpServer *server;
	Engine *engine;
	DockerDoor *door;
	bool wrote_pidfile;
} Daemon;

static int stop_fd = -1;

static void on_stop(int sig)
{
	int saved = errno;

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

/* Read from the file itself: name services would load libraries for one line. */
static int give_to_group(const char *path, Err *e)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/group", "re");
	const struct group *g;

	while (f && (g = fgetgrent(f)))
		if (streq(g->gr_name, SOCKET_GROUP))
			return chown(path, 0, g->gr_gid) < 0
				   ? err_sys(e, errno, "give %s to group " SOCKET_GROUP, path)
				   : 0;
	return 0;
}

static int listen_unix(Daemon *d, const char *path, Err *e)
{
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int fd = -1;
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int r;

	if (!slash || *path != '/')
		return err_new(e, ERR_INVALID, "-H unix://%s: expected an absolute path", path);
	*slash = '\0';
	r = *dir ? mkdir_parents_at(AT_FDCWD, dir, 0755) : 0;
	if (r < 0)
		return err_sys(e, r, "make %s", dir);
	fd = unix_listen(path, SOCK_STREAM, 0660);
	if (fd == -EADDRINUSE)
		return err_new(e, ERR_CONFLICT,
			       "%s: another program serves this socket; stop it or choose another -H", path);
	if (fd < 0)
		return err_sys(e, fd, "listen on %s", path);
	if (strv_add(&d->sockets, path) < 0)
		return err_oom(e);
	r = give_to_group(path, e);
	return r < 0 ? r : http_server_add(d->server, take_fd(&fd), HTTP_UNIX, e);
}

/* Sockets passed by systemd (sd_listen_fds(3)): descriptors from 3 on. Returns how many. */
static int listen_inherited(Daemon *d, Err *e)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int n = 0;

	if (!pid || !count || atoi(pid) != (int)getpid() || str_to_int(count, 0, 16, &n) < 0)
		return 0;
	for (int fd = 3; fd < 3 + n; fd++) {
		struct sockaddr_storage a;
		socklen_t len = sizeof(a);
		int r;

		if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
			return err_sys(e, errno, "LISTEN_FDS: descriptor %d", fd);
		if (a.ss_family != AF_UNIX)
			return err_new(e, ERR_DENIED,
				       "LISTEN_FDS: only unix sockets are served, as there is no TLS yet");
		r = fd_set_cloexec(fd, true);
		if (r >= 0)
			r = http_server_add(d->server, fd, HTTP_UNIX, e);
		if (r < 0)
			return r;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n;
}

static int listen_all(Daemon *d, Err *e)
{
	int inherited = listen_inherited(d, e);

	if (inherited < 0)
		return inherited;
	for (char **h = d->config.hosts; *h; h++) {
		const char *path = str_after(*h, "unix://"), *tcp = str_after(*h, "tcp://");
		int r;

		if (path) {
			r = listen_unix(d, path, e);
		} else if (tcp) {
			r = http_tcp_listen(tcp, e);
			if (r >= 0)
				r = http_server_add(d->server, r, HTTP_TCP, e);
		} else if (str_starts(*h, "fd://")) {
			r = inherited
				? 0
				: err_new(e, ERR_INVALID, "-H %s: no sockets were passed (LISTEN_FDS)", *h);
		} else {
			r = err_new(e, ERR_INVALID, "-H %s: expected unix://PATH or tcp://HOST:PORT", *h);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int find_helpers(Daemon *d, Err *e)
{
	_cleanup_free_ char *own = NULL, *probe = NULL;

	if (d->config.helper_dir)
		return 0;
	if (path_of_own_dir(&own) >= 0) {
		probe = strf("%s/ireko-shim", own);
		if (probe && access(probe, X_OK) == 0) {
			d->config.helper_dir = take_ptr(own);
			return 0;
		}
	}
	if (access(IREKO_HELPER_DIR "/ireko-shim", X_OK) < 0)
		return err_new(e, ERR_NOT_FOUND,
			       "ireko-shim is neither beside irekod (%s) nor in " IREKO_HELPER_DIR
			       "; say where with --helper-dir",
			       own ? own : "?");
	d->config.helper_dir = strdup(IREKO_HELPER_DIR);
	return d->config.helper_dir ? 0 : err_oom(e);
}

/* sd_notify(3) is one datagram; linking libsystemd for it would cost more memory than the rest of this file. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	_cleanup_close_ int fd = -1;

	if (n < 2 || n >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, n);
	if (*path == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("tell the service manager: %s", strerror(errno));
}

static int write_pidfile(Daemon *d, Err *e)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid()), r;

	if (!d->config.pidfile)
		return 0;
	r = file_replace_at(AT_FDCWD, d->config.pidfile, text, (size_t)n, 0644, false);
	if (r < 0)
		return err_sys(e, r, "write %s", d->config.pidfile);
	d->wrote_pidfile = true;
	return 0;
}

static const char *first_socket(const Daemon *d)
{
	return d->sockets ? d->sockets[0] : NULL;
}

static int make_engine(Daemon *d, Err *e)
{
	char *certs_dirs[] = {d->config.certs_dir, NULL};
	EngineOptions o = {
	    .data_root = d->config.data_root,
	    .exec_root = d->config.exec_root,
	    .helper_dir = d->config.helper_dir,
	    .bridge_subnet = d->config.bridge_subnet,
	    .api_socket = first_socket(d),
	    .insecure_registries = d->config.insecure,
	    .registry_mirrors = d->config.mirrors,
	    .registry_token_servers = d->config.token_servers,
	    .certs_dirs = d->config.certs_dir ? certs_dirs : NULL,
	    .http_proxy = d->config.http_proxy,
	    .https_proxy = d->config.https_proxy,
	    .no_proxy = d->config.no_proxy,
	    .max_downloads = d->config.max_downloads,
	    .runtimes = d->config.runtimes,
	    .default_runtime = d->config.default_runtime,
	    .snapshotter = d->config.snapshotter,
	    .log_driver = d->config.log_driver,
	    .log_opts = d->config.log_opts,
	    .gc =
		{
		    .max_size = d->config.gc.max_size,
		    .min_free = d->config.gc.min_free,
		    .max_age_ns = d->config.gc.max_age_ns,
		    .unused = d->config.gc.unused,
		    .keep = d->config.gc.keep,
		    .cache_max = d->config.gc.cache_max,
		    .cache_min_free = d->config.gc.cache_min_free,
		    .cache_reserved = d->config.gc.cache_reserved,
		    .leftover_age_ns = d->config.gc.leftover_age_ns,
		    .interval_ns = d->config.gc.interval_ns,
		},
	};
	int r = engine_new(&o, &d->engine, e);

	return r < 0 ? err_ctx(e, r, "start the engine") : 0;
}

/* The routes are in the server before it serves; the door that they are handed is made afterwards, with the engine. */
static int start(Daemon *d, Err *e)
{
	DockerDoorOptions door = {.data_root = d->config.data_root,
				  .insecure_registries = d->config.insecure,
				  .registry_mirrors = d->config.mirrors};
	HttpOptions http = {0};
	int r = lock_root(d->config.data_root, "--data-root", &d->data_lock, e);

	if (r >= 0)
		r = lock_root(d->config.exec_root, "--exec-root", &d->exec_lock, e);
	if (r >= 0)
		r = find_helpers(d, e);
	if (r >= 0)
		r = docker_door_new(&door, &d->door, e);
	if (r < 0)
		return r;
	docker_door_serve(d->door, &http);
	r = http_server_new(&http, &d->server, e);
	if (r >= 0)
		r = listen_all(d, e);
	if (r >= 0)
		r = make_engine(d, e);
	if (r < 0)
		return r;
	docker_door_set_engine(d->door, d->engine);
	return write_pidfile(d, e);
}

static void remove_traces(Daemon *d)
{
	for (char **p = d->sockets; p && *p; p++)
		(void)unlink(*p);
	if (d->wrote_pidfile)
		(void)unlink(d->config.pidfile);
}

/* With a request still running (a client's, stuck in a device say), the engine is left as it is: the state on disk is sound at any
 * moment, freeing memory under a thread would not be. */
static void finish(Daemon *d)
{
	bool drained = !d->server || http_server_drain(d->server, DRAIN_MS);

	remove_traces(d);
	if (!drained) {
		log_warn("some requests did not end in time");
		_exit(0);
	}
	http_server_free(d->server);
	docker_door_free(d->door);
	engine_free(d->engine);
	close_fd(&d->exec_lock);
	close_fd(&d->data_lock);
	strv_free(d->sockets);
	config_done(&d->config);
}

static int serve(Daemon *d, Err *e)
{
	malloc_trim(0);
	notify("READY=1");
	for (char **h = d->config.hosts; *h; h++)
		log_info("irekod %s serves %s", IREKO_VERSION, *h);
	return http_server_run(d->server, stop_fd, e);
}

int main(int argc, char **argv)
{
	Daemon d = {.data_lock = -1, .exec_lock = -1};
	ConfigAction action;
	Err e;
	int r;

	secret_wipe_json(); /* clients' documents hold credentials */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_TRIM_THRESHOLD, 256 * 1024);
	log_init(LOG_INFO);
	r = config_load(argc, argv, &d.config, &action, &e);
	if (r >= 0 && action != CONFIG_RUN) {
		if (action == CONFIG_HELP)
			fputs(config_usage, stdout);
		else
			puts("irekod version " IREKO_VERSION);
		config_done(&d.config);
		return 0;
	}
	if (r >= 0) {
		log_init(d.config.level);
		r = prepare_process(&e);
	}
	if (r >= 0)
		r = start(&d, &e);
	if (r >= 0)
		r = serve(&d, &e);
	notify("STOPPING=1");
	if (r < 0)
		log_error("%s", err_msg(&e, r));
	finish(&d);
	return r < 0 ? 1 : 0;
}
