/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's side: starts shims, finds them again, asks and waits for the answer.
 *
 * A handle's lock is held from a request to its reply. A reply that does not come in time breaks the
 * handle: what would arrive later could no longer be told apart from the next answer by the caller.
 */
#include "shim/protocol.h"

#include "base/clock.h"
#include "base/str.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define REPLY_TIMEOUT_NS (120 * INT64_C(1000000000))
#define UNDO_TIMEOUT_MS  5000 /* for a shim that is not needed any more */

extern char **environ;

struct Shim {
	unsigned refs; /* atomic */
	int sock;      /* -1 once broken, or not connected yet */
	char *dir;     /* to connect to at the first call, or NULL */
	bool member;   /* of a pod whose shim is not ours to end: shim_join() */
	uint32_t seq;
	pthread_mutex_t lock;
};

static int shim_new(int sock, Shim **ret, Err *e)
{
	Shim *s = calloc(1, sizeof(*s));

	if (!s)
		return err_oom(e);
	s->refs = 1;
	s->sock = sock;
	(void)pthread_mutex_init(&s->lock, NULL); /* cannot fail with default attributes on Linux */
	*ret = s;
	return 0;
}

Shim *shim_ref(Shim *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void shim_unref(Shim *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	close_fd(&s->sock);
	free(s->dir);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- calls ---- */

static int shim_gone(Err *e)
{
	return err_new_no(e, ERR_CONFLICT, ESRCH, "the container is not running: its shim has ended");
}

static bool means_gone(int r)
{
	return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN;
}

static int wait_readable(int fd, int64_t deadline, Err *e)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline - clock_mono_ns();
		int n = left > 0 ? poll(&p, 1, (int)(left / 1000000 + 1)) : 0;

		if (n > 0)
			return 0;
		if (n == 0)
			return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT, "the shim did not answer in time");
		if (errno != EINTR)
			return err_sys(e, errno, "poll the shim socket");
	}
}

/* The reply with this number. What is older was asked by a request that failed half way. */
static int receive_reply(int sock, uint32_t seq, int64_t timeout_ns, ShimMsg *ret, Err *e)
{
	int64_t deadline = clock_mono_ns() + timeout_ns;
	char buf[SHIM_INLINE_MAX];

	for (;;) {
		_cleanup_shim_msg_ ShimMsg m = {0};
		int r = wait_readable(sock, deadline, e);

		if (r >= 0)
			r = shim_msg_recv(sock, buf, &m, e);
		if (r == 0 || means_gone(r))
			return shim_gone(e);
		if (r < 0)
			return r;
		if (m.seq != seq || (m.type != SHIM_MSG_OK && m.type != SHIM_MSG_ERROR))
			continue;
		*ret = m;
		m = (ShimMsg){0};
		return 0;
	}
}

static int connect_dir(const char *dir, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, SHIM_SOCKET_NAME);
	int fd;

	if (!path)
		return err_oom(e);
	fd = unix_connect(path, SOCK_SEQPACKET);
	if (fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTDIR)
		return err_new_no(e, ERR_NOT_FOUND, -fd, "no shim at %s: %s", path, strerror(-fd));
	return fd < 0 ? err_sys(e, fd, "connect to %s", path) : fd;
}

static void connect_late(Shim *s)
{
	_cleanup_free_ char *dir = take_ptr(s->dir);

	s->sock = connect_dir(dir, NULL);
}

static int send_locked(Shim *s, ShimMsg *m, Err *e)
{
	int r;

	if (s->dir)
		connect_late(s);
	if (s->sock < 0)
		return shim_gone(e);
	m->seq = ++s->seq;
	r = shim_msg_send(s->sock, m, e);
	if (!means_gone(r))
		return r; /* sent; or nothing was, and the connection is as good as before */
	close_fd(&s->sock);
	return shim_gone(e);
}

/* To the request that was sent last. */
static int reply_locked(Shim *s, int64_t timeout_ns, ShimMsg *reply, Err *e)
{
	int r = receive_reply(s->sock, s->seq, timeout_ns, reply, e);

	if (r < 0)
		close_fd(&s->sock);
	return r;
}

static int call_locked(Shim *s, ShimMsg *m, int64_t timeout_ns, ShimMsg *reply, Err *e)
{
	int r = send_locked(s, m, e);

	return r < 0 ? r : reply_locked(s, timeout_ns, reply, e);
}

/* Sends m (whose document it takes over) and waits; reply may be NULL. */
static int shim_call_within(Shim *s, ShimMsg *m, int64_t timeout_ns, ShimMsg *ret_reply, Err *e)
{
	_cleanup_json_ json_t *doc = m->doc;
	_cleanup_shim_msg_ ShimMsg reply = {0};
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = call_locked(s, m, timeout_ns, &reply, e);
	(void)pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	if (reply.type == SHIM_MSG_ERROR)
		return shim_error_decode(&reply, e);
	if (ret_reply) {
		*ret_reply = reply;
		reply = (ShimMsg){0};
	}
	return 0;
}

static int shim_call(Shim *s, ShimMsg *m, ShimMsg *ret_reply, Err *e)
{
	return shim_call_within(s, m, REPLY_TIMEOUT_NS, ret_reply, e);
}

/* A request whose document was built by json_pack, which gives NULL without memory, and also for text that is no UTF-8. */
static int shim_ask(Shim *s, ShimMsgType type, json_t *doc, Err *e)
{
	ShimMsg m = {.type = type, .doc = doc};

	return doc ? shim_call(s, &m, NULL, e) : err_oom(e);
}

static int read_pids(const ShimMsg *m, pid_t *ret_shim_pid, pid_t *ret_init_pid, Err *e)
{
	int64_t shim = json_get_int(m->doc, "shim_pid", 0), init = json_get_int(m->doc, "pid", 0);

	if (shim <= 0 || init <= 0)
		return err_new_no(e, ERR_INTERNAL, EPROTO, "the shim did not tell its pids");
	if (ret_shim_pid)
		*ret_shim_pid = (pid_t)shim;
	if (ret_init_pid)
		*ret_init_pid = (pid_t)init;
	return 0;
}

/* ---- create ---- */

typedef struct Spawn {
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
} Spawn;

static void spawn_done(Spawn *s)
{
	(void)posix_spawn_file_actions_destroy(&s->actions);
	(void)posix_spawnattr_destroy(&s->attr);
}

static int spawn_init(Spawn *s, int sock, const char *log)
{
	sigset_t none, all;
	int r = posix_spawn_file_actions_init(&s->actions);

	if (r == 0)
		r = posix_spawnattr_init(&s->attr);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&s->actions, 0, "/dev/null", O_RDWR, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&s->actions, 0, 1);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&s->actions, 2, log, O_WRONLY | O_CREAT | O_APPEND,
						     0600);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&s->actions, sock, SHIM_CONTROL_FD);
	/* The shim must not keep the working directory of whoever started irekod busy. */
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(&s->actions, "/");
	/* Threads of irekod block signals; what they block and ignore is not the shim's. */
	if (r == 0)
		r = posix_spawnattr_setsigmask(&s->attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&s->attr, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(&s->attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							   POSIX_SPAWN_SETSIGDEF);
	return r;
}

static int spawn_program(const char *program, const char *dir, const char *id, int sock, pid_t *ret, Err *e)
{
	_cleanup_free_ char *log = strf("%s/shim.log", dir);
	char *const argv[] = {(char *)(uintptr_t) "ireko-shim", (char *)(uintptr_t)id, NULL};
	_cleanup_close_ int high = -1;
	Spawn s;
	int r;

	if (!log)
		return err_oom(e);
	/* Above the numbers that the file actions fill, whatever irekod has open. */
	high = fcntl(sock, F_DUPFD_CLOEXEC, SHIM_CONTROL_FD + 1);
	if (high < 0)
		return err_sys(e, errno, "duplicate the shim socket");
	r = spawn_init(&s, high, log);
	if (r == 0)
		r = posix_spawn(ret, program, &s.actions, &s.attr, argv, environ);
	spawn_done(&s);
	return r ? err_sys(e, r, "start %s", program) : 0;
}

/* Both ends are the caller's. */
static int shim_pair(int ret[2], Err *e)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0
		   ? err_sys(e, errno, "socketpair for the shim")
		   : 0;
}

int shim_spawn(const char *program, const char *dir, const char *id, Shim **ret, pid_t *ret_pid, Err *e)
{
	_cleanup_(shim_unrefp) Shim *s = NULL;
	_cleanup_close_ int theirs = -1;
	int fds[2], r;

	if (dir[0] != '/')
		return err_new(e, ERR_INVALID, "shim directory %s is not absolute", dir);
	r = shim_pair(fds, e);
	if (r < 0)
		return r;
	theirs = fds[1];
	r = shim_new(fds[0], &s, e);
	if (r < 0) {
		close_fd(&fds[0]);
		return r;
	}
	r = spawn_program(program, dir, id, theirs, ret_pid, e);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

static int ask_join(const char *pod_dir, int theirs, pid_t *ret_pid, Err *e)
{
	_cleanup_close_ int fd = connect_dir(pod_dir, e);
	_cleanup_(shim_unrefp) Shim *pod = NULL;
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_JOIN, .fds = {theirs}, .n_fds = 1};
	int r = fd < 0 ? fd : shim_new(fd, &pod, e);

	if (r < 0)
		return r;
	(void)take_fd(&fd);
	r = shim_call(pod, &m, &reply, e);
	if (r < 0)
		return r;
	*ret_pid = (pid_t)json_get_int(reply.doc, "shim_pid", 0);
	return *ret_pid > 0 ? 0 : err_new_no(e, ERR_INTERNAL, EPROTO, "the shim did not tell its pid");
}

int shim_join(const char *pod_dir, const char *dir, const char *id, Shim **ret, pid_t *ret_pid, Err *e)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int fds[2], r;
	pid_t pid = 0;

	if (dir[0] != '/')
		return err_new(e, ERR_INVALID, "shim directory %s is not absolute", dir);
	r = shim_pair(fds, e);
	if (r < 0)
		return r;
	ours = fds[0];
	theirs = fds[1];
	r = ask_join(pod_dir, theirs, &pid, e);
	if (r >= 0)
		r = shim_new(ours, ret, e);
	if (r < 0)
		return err_ctx(e, r, "container %s: join the shim of its pod", id);
	(void)take_fd(&ours);
	(*ret)->member = true;
	*ret_pid = pid;
	return 0;
}

static void reap(pid_t pid, int *ret_status)
{
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
}

char *shim_netns_path(pid_t shim_pid)
{
	return strf("/proc/%d/fd/%d", (int)shim_pid, SHIM_NETNS_FD);
}

void shim_abandon(Shim *s, pid_t pid)
{
	close_fd(&s->sock); /* which ends a member that is still to be created */
	if (s->member)
		return;
	(void)kill(pid, SIGKILL);
	reap(pid, NULL);
}

/* The shim closes all connections of a container that is over. */
static bool wait_over(Shim *s)
{
	int64_t deadline = clock_mono_ns() + UNDO_TIMEOUT_MS * INT64_C(1000000);
	char buf[SHIM_INLINE_MAX];
	int r = 1;

	while (r > 0) {
		_cleanup_shim_msg_ ShimMsg m = {0};

		r = wait_readable(s->sock, deadline, NULL);
		if (r == 0)
			r = shim_msg_recv(s->sock, buf, &m, NULL);
	}
	return r == 0 || means_gone(r);
}

static int kill_all(Shim *s)
{
	ShimMsg m = {.type = SHIM_MSG_KILL, .doc = json_pack("{s:i, s:b}", "signal", SIGKILL, "all", true)};

	return m.doc ? shim_call_within(s, &m, UNDO_TIMEOUT_MS * INT64_C(1000000), NULL, NULL) : -ENOMEM;
}

bool shim_end(Shim *s)
{
	int r = kill_all(s);

	/* Without a connection it is gone, or does not answer. */
	return s->sock < 0 ? r == -ESRCH : wait_over(s);
}

bool shim_undo(Shim *s, pid_t pid)
{
	_cleanup_close_ int pidfd = -1;
	int status;

	if (s->member)
		return shim_end(s);
	pidfd = process_pidfd(pid);
	(void)kill_all(s);
	status = process_reap_within(pid, pidfd, UNDO_TIMEOUT_MS);
	if (status == -ETIMEDOUT) {
		(void)kill(pid, SIGKILL);
		reap(pid, NULL);
	}
	return status == 0; /* it has ended as it should */
}

static int send_fds(int sock, ShimMsgType type, const int *fds, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i += FDS_MAX) {
		ShimMsg m = {.type = type, .n_fds = MIN2(n - i, (size_t)FDS_MAX)};
		int r;

		memcpy(m.fds, fds + i, m.n_fds * sizeof(int));
		r = shim_msg_send(sock, &m, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *log_document(const ShimLog *l)
{
	return json_pack("{s:s?, s:s?, s:I, s:i, s:b, s:s?, s:O?}", "driver", l->driver, "path", l->path,
			 "max_size", (json_int_t)l->max_size, "max_files", l->max_files, "compress",
			 (int)l->compress, "attrs", l->attrs, "remote", l->remote);
}

static json_t *create_document(const ShimCreate *c)
{
	return json_pack("{s:s, s:s, s:s?, s:s, s:s?, s:s?, s:b, s:b, s:b, s:o, s:b, s:b, s:i, s:i, s:b}",
			 "dir", c->dir, "id", c->id, "runtime", c->runtime, "runtime_root", c->runtime_root,
			 "seccomp_cache", c->seccomp_cache, "scope_dir", c->scope_dir, "terminal",
			 (int)c->terminal, "open_stdin", (int)c->open_stdin, "stdin_once", (int)c->stdin_once,
			 "log", log_document(&c->log), "rootfs", (int)(c->rootfs_fd >= 0), "netns",
			 (int)(c->netns_fd >= 0), "rows", (int)c->rows, "cols", (int)c->cols, "watch_oom",
			 (int)c->watch_oom);
}

static int send_create(Shim *s, const ShimCreate *c, Err *e)
{
	_cleanup_json_ json_t *doc = create_document(c);
	ShimMsg m = {.type = SHIM_MSG_CREATE, .doc = doc};
	int r;

	if (!doc)
		return err_new(e, ERR_INVALID, "container %s: a path that is not UTF-8, or no memory", c->id);
	if (c->rootfs_fd >= 0)
		m.fds[m.n_fds++] = c->rootfs_fd;
	if (c->netns_fd >= 0)
		m.fds[m.n_fds++] = c->netns_fd;
	r = send_fds(s->sock, SHIM_MSG_HOLD, c->hold_fds, c->n_hold_fds, e);
	if (r >= 0)
		r = send_fds(s->sock, SHIM_MSG_MOUNTS, c->mount_fds, c->n_mount_fds, e);
	if (r >= 0)
		return send_locked(s, &m, e);
	return means_gone(r) ? shim_gone(e) : r;
}

static int created_pid(Shim *s, pid_t shim_pid, pid_t *ret_init_pid, Err *e)
{
	_cleanup_shim_msg_ ShimMsg reply = {0};
	pid_t pid;
	int r = reply_locked(s, REPLY_TIMEOUT_NS, &reply, e);

	if (r >= 0 && reply.type == SHIM_MSG_ERROR)
		r = shim_error_decode(&reply, e);
	if (r >= 0)
		r = read_pids(&reply, &pid, ret_init_pid, e);
	if (r >= 0 && pid != shim_pid)
		return err_new_no(e, ERR_INTERNAL, EPROTO, "another process answered for the shim");
	return r;
}

/* Without an answer, how the shim ended is the best that can be told. */
static int explain_death(const ShimCreate *c, int status, Err *e)
{
	if (WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL,
			       "ireko-shim was killed by signal %d while creating the container",
			       WTERMSIG(status));
	return err_new(e, ERR_INTERNAL,
		       "ireko-shim ended with status %d while creating the container; see %s/shim.log",
		       WEXITSTATUS(status), c->dir);
}

static int create_failed(Shim *s, const ShimCreate *c, pid_t pid, int r, Err *e)
{
	int status = 0;

	close_fd(&s->sock); /* a shim, or the part of it, that still waits for a request ends by this */
	if (s->member)
		return r == -ESRCH ? err_new(e, ERR_INTERNAL,
					     "the pod's ireko-shim %d ended, or gave the container up, while "
					     "creating it; see shim.log of the pod",
					     (int)pid)
				   : r;
	/* It has ended or is about to; only one that hangs is still there to be killed. Its runtime state, if any,
	 * is then cleaned up by the caller's shim_remove_orphan. */
	if (r == -ETIMEDOUT)
		(void)kill(pid, SIGKILL);
	reap(pid, &status);
	return r == -ESRCH ? explain_death(c, status, e) : r;
}

int shim_create_begin(Shim *s, pid_t shim_pid, const ShimCreate *c, Err *e)
{
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = send_create(s, c, e);
	(void)pthread_mutex_unlock(&s->lock);
	return r < 0 ? create_failed(s, c, shim_pid, r, e) : 0;
}

int shim_create_end(Shim *s, pid_t shim_pid, const ShimCreate *c, pid_t *ret_init_pid, Err *e)
{
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = created_pid(s, shim_pid, ret_init_pid, e);
	(void)pthread_mutex_unlock(&s->lock);
	return r < 0 ? create_failed(s, c, shim_pid, r, e) : 0;
}

int shim_create(Shim *s, pid_t shim_pid, const ShimCreate *c, pid_t *ret_init_pid, Err *e)
{
	int r = shim_create_begin(s, shim_pid, c, e);

	return r < 0 ? r : shim_create_end(s, shim_pid, c, ret_init_pid, e);
}

/* ---- connect ---- */

bool shim_lives(const char *dir)
{
	_cleanup_free_ char *path = strf("%s/" SHIM_EXIT_RESERVED, dir);
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int shim_later(const char *dir, Shim **ret, Err *e)
{
	_cleanup_free_ char *copy = strdup(dir);
	int r = copy ? shim_new(-1, ret, e) : err_oom(e);

	if (r >= 0)
		(*ret)->dir = take_ptr(copy);
	return r;
}

int shim_connect(const char *dir, Shim **ret, pid_t *ret_shim_pid, pid_t *ret_init_pid, Err *e)
{
	_cleanup_(shim_unrefp) Shim *s = NULL;
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_INFO};
	int r, fd = connect_dir(dir, e);

	if (fd < 0)
		return fd;
	r = shim_new(fd, &s, e);
	if (r < 0) {
		close_fd(&fd);
		return r;
	}
	r = shim_call(s, &m, &reply, e);
	if (r == -ESRCH) /* it ended between the connect and the answer */
		return err_new_no(e, ERR_NOT_FOUND, ECONNREFUSED, "no shim at %s: it has just ended", dir);
	if (r >= 0)
		r = read_pids(&reply, ret_shim_pid, ret_init_pid, e);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

/* ---- requests ---- */

int shim_start(Shim *s, Err *e)
{
	ShimMsg m = {.type = SHIM_MSG_START};

	return shim_call(s, &m, NULL, e);
}

static int add_attach(ShimMsg *m, json_t *doc, const ShimAttach *a, Err *e)
{
	char hex[2 * FDS_MAX + 1] = "";

	if (a->n_detach_keys > (sizeof(hex) - 1) / 2)
		return err_new(e, ERR_INVALID, "detach keys: the sequence is too long");
	for (size_t i = 0; i < a->n_detach_keys; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", (unsigned char)a->detach_keys[i]);
	if (json_object_set_new(doc, "mux", json_boolean(a->framing == SHIM_MUX)) < 0 ||
	    json_object_set_new(doc, "stdin", json_boolean(a->want_stdin)) < 0 ||
	    json_object_set_new(doc, "stdout", json_boolean(a->want_stdout)) < 0 ||
	    json_object_set_new(doc, "stderr", json_boolean(a->want_stderr)) < 0 ||
	    json_object_set_new(doc, "detach_keys", json_string(hex)) < 0)
		return err_oom(e);
	m->blob = (char *)(uintptr_t)a->prefix;
	m->blob_len = a->prefix_len;
	m->fds[m->n_fds++] = a->fd;
	return 0;
}

int shim_attach(Shim *s, const ShimAttach *a, Err *e)
{
	ShimMsg m = {.type = SHIM_MSG_ATTACH, .doc = json_object()};
	int r = m.doc ? add_attach(&m, m.doc, a, e) : err_oom(e);

	if (r < 0) {
		json_decref(m.doc);
		return r;
	}
	return shim_call(s, &m, NULL, e);
}

static int exec_message(const ShimExec *x, ShimMsg *m, Err *e)
{
	json_t *attach;

	/* "O" takes a reference of its own; json_pack wants it not const. */
	m->doc = json_pack("{s:s, s:O, s:b, s:i, s:i}", "exec_id", x->exec_id, "process",
			   (json_t *)(uintptr_t)x->process, "terminal", (int)x->terminal, "rows",
			   (int)x->rows, "cols", (int)x->cols);
	if (!m->doc)
		return err_oom(e);
	if (!x->attach)
		return 0;
	attach = json_object();
	if (json_object_set_new(m->doc, "attach", attach) < 0)
		return err_oom(e);
	return add_attach(m, attach, x->attach, e);
}

int shim_exec(Shim *s, const ShimExec *x, pid_t *ret_pid, Err *e)
{
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_EXEC};
	int r = exec_message(x, &m, e);

	if (r < 0) {
		json_decref(m.doc);
		return r;
	}
	r = shim_call(s, &m, &reply, e);
	if (r >= 0 && ret_pid)
		*ret_pid = (pid_t)json_get_int(reply.doc, "pid", 0);
	return r;
}

int shim_exec_exit(Shim *s, const char *exec_id, ShimExit *ret, Err *e)
{
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_EXEC_EXIT, .doc = json_pack("{s:s}", "exec_id", exec_id)};
	const json_t *exit;
	int r = m.doc ? shim_call(s, &m, &reply, e) : err_oom(e);

	if (r < 0)
		return r;
	exit = json_object_get(reply.doc, "exit");
	if (!exit)
		return 0;
	r = shim_exit_decode(exit, ret, e);
	return r < 0 ? r : 1;
}

int shim_resize(Shim *s, const char *exec_id, uint16_t rows, uint16_t cols, Err *e)
{
	return shim_ask(s, SHIM_MSG_RESIZE,
			json_pack("{s:s?, s:i, s:i}", "exec_id", exec_id, "rows", (int)rows, "cols",
				  (int)cols),
			e);
}

int shim_kill(Shim *s, const char *exec_id, int signal, bool all, Err *e)
{
	return shim_ask(s, SHIM_MSG_KILL,
			json_pack("{s:s?, s:i, s:b}", "exec_id", exec_id, "signal", signal, "all", (int)all),
			e);
}

int shim_pause(Shim *s, bool pause, Err *e)
{
	return shim_ask(s, SHIM_MSG_PAUSE, json_pack("{s:b}", "pause", (int)pause), e);
}

int shim_update(Shim *s, const json_t *resources, Err *e)
{
	return shim_ask(s, SHIM_MSG_UPDATE, json_pack("{s:O}", "resources", (json_t *)(uintptr_t)resources),
			e);
}

int shim_log_reopen(Shim *s, Err *e)
{
	return shim_ask(s, SHIM_MSG_REOPEN, json_object(), e);
}

int shim_checkpoint(const char *dir, const char *images, int timeout_ms, Err *e)
{
	_cleanup_(shim_unrefp) Shim *s = NULL;
	ShimMsg m = {.type = SHIM_MSG_CHECKPOINT};
	int r = shim_connect(dir, &s, NULL, NULL, e);

	if (r < 0)
		return r;
	m.doc = json_pack("{s:s, s:i}", "dir", images, "timeout_ms", timeout_ms);
	return m.doc ? shim_call_within(s, &m, timeout_ms * INT64_C(1000000) + REPLY_TIMEOUT_NS, NULL, e)
		     : err_oom(e);
}

/* ---- ports of a container that runs ---- */

static json_t *release_document(const ShimPort *v, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_pack("{s:i, s:s, s:i}", "protocol", v[i].protocol,
							  "address", v[i].address, "port", (int)v[i].port)) <
		    0) {
			json_decref(list);
			return NULL;
		}
	return json_pack("{s:o}", "release", list);
}

static int ask_ports(Shim *s, const int *fds, size_t n_fds, const ShimPort *release, size_t n_release, Err *e)
{
	ShimMsg m = {.type = SHIM_MSG_PORTS, .doc = release_document(release, n_release), .n_fds = n_fds};

	if (!m.doc)
		return err_oom(e);
	if (n_fds > 0)
		memcpy(m.fds, fds, n_fds * sizeof(int));
	return shim_call(s, &m, NULL, e);
}

/* Nothing is asked for, but that the request is known. */
static int knows_ports(Shim *s, const char *dir, Err *e)
{
	Err why = {0};
	int r = ask_ports(s, NULL, 0, NULL, 0, &why);

	if (r == -ESRCH && shim_lives(dir))
		return err_new(e, ERR_CONFLICT,
			       "its shim is of an older version, which cannot change the ports of a running "
			       "container: restart the container first");
	return r < 0 ? err_new_no(e, why.kind, -r, "%s", err_msg(&why, r)) : 0;
}

static int hold_more(Shim *s, const char *dir, const int *fds, size_t n, Err *e)
{
	Err why = {0};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i += FDS_MAX)
		r = ask_ports(s, fds + i, MIN2(n - i, (size_t)FDS_MAX), NULL, 0, &why);
	/* The message arrives without what exceeds its limit, and is refused. */
	if (r == -ESRCH && shim_lives(dir))
		return err_new(e, ERR_EXHAUSTED,
			       "its shim has no room for %zu sockets more: the limit of open files of irekod "
			       "is too low",
			       n);
	return r < 0 ? err_new_no(e, why.kind, -r, "%s", err_msg(&why, r)) : 0;
}

int shim_ports(const char *dir, const int *fds, size_t n_fds, const ShimPort *release, size_t n_release,
	       Err *e)
{
	_cleanup_(shim_unrefp) Shim *s = NULL;
	int r = shim_connect(dir, &s, NULL, NULL, e);

	if (r >= 0)
		r = knows_ports(s, dir, e);
	for (size_t i = 0; r >= 0 && i < n_release; i += SHIM_RELEASE_MAX)
		r = ask_ports(s, NULL, 0, release + i, MIN2(n_release - i, (size_t)SHIM_RELEASE_MAX), e);
	return r < 0 ? r : hold_more(s, dir, fds, n_fds, e);
}

static int read_pid_list(const json_t *list, pid_t **ret, size_t *ret_n, Err *e)
{
	size_t n = json_array_size(list), i;
	pid_t *pids = calloc(n + 1, sizeof(*pids));
	const json_t *one;

	if (!pids)
		return err_oom(e);
	json_array_foreach (list, i, one)
		pids[i] = (pid_t)json_integer_value(one);
	*ret = pids;
	*ret_n = n;
	return 0;
}

int shim_pids(Shim *s, pid_t **ret, size_t *ret_n, Err *e)
{
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_PIDS};
	int r = shim_call(s, &m, &reply, e);

	return r < 0 ? r : read_pid_list(json_object_get(reply.doc, "pids"), ret, ret_n, e);
}

int shim_first_pid(Shim *s, pid_t *ret, Err *e)
{
	_cleanup_shim_msg_ ShimMsg reply = {0};
	ShimMsg m = {.type = SHIM_MSG_INFO};
	int r = shim_call(s, &m, &reply, e);

	if (r >= 0)
		r = read_pids(&reply, NULL, ret, e);
	if (r >= 0 && !json_get_bool(reply.doc, "running", true))
		return shim_gone(e);
	return r;
}

/* ---- events and the record ---- */

int shim_events_open(const char *dir, bool start, int *ret_fd, pid_t *ret_shim_pid, Err *e)
{
	_cleanup_close_ int fd = connect_dir(dir, e);
	_cleanup_json_ json_t *doc = start ? json_pack("{s:b}", "start", 1) : NULL;
	ShimMsg m = {.type = SHIM_MSG_SUBSCRIBE, .doc = doc};
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int r;

	if (fd < 0)
		return fd;
	if (start && !doc)
		return err_oom(e);
	r = shim_msg_send(fd, &m, e);
	if (means_gone(r))
		return err_new_no(e, ERR_NOT_FOUND, ECONNREFUSED, "no shim at %s: it has just ended", dir);
	if (r < 0)
		return r;
	r = fd_set_nonblock(fd, true);
	if (r < 0)
		return err_sys(e, r, "make the event socket nonblocking");
	/* Of the process that has called listen(2): unix(7). */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return err_sys(e, errno, "find out who the shim is");
	if (ret_shim_pid)
		*ret_shim_pid = peer.pid;
	*ret_fd = take_fd(&fd);
	return 0;
}

int shim_event_read(int fd, ShimEvent *ret, Err *e)
{
	_cleanup_shim_msg_ ShimMsg m = {0};
	char buf[SHIM_INLINE_MAX];
	int r = shim_msg_recv(fd, buf, &m, e);

	if (r == 0 || means_gone(r))
		return 0;
	if (r < 0)
		return r;
	if (m.type != SHIM_MSG_EVENT)
		return err_new_no(e, ERR_INTERNAL, EPROTO, "the shim sent something else than an event");
	r = shim_event_decode(m.doc, ret, e);
	return r < 0 ? r : 1;
}

int shim_read_exit(const char *dir, ShimExit *ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, SHIM_EXIT_NAME);
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	size_t len;
	int r;

	if (!path)
		return err_oom(e);
	r = file_read_at(AT_FDCWD, path, 4096, &text, &len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	r = json_parse(text, len, path, &doc, e);
	if (r >= 0)
		r = shim_exit_decode(doc, ret, e);
	if (r < 0)
		return err_ctx(e, r, "%s", path);
	return 1;
}
