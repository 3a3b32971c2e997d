/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to ireko-scope, which talks to systemd: one message a request over a socket pair, which is the program's standard
 * input, and one answer ("K" and text, or "E" and an Err). It ends when the socket does. See cgroup-systemd.h.
 */
#include "kernel/cgroup-systemd.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PROGRAM     "ireko-scope"
#define WAIT_MS     45000 /* longer than ireko-scope waits for systemd */
#define MESSAGE_MAX 65536

bool cgroup_scope_is_users(void)
{
	_cleanup_free_ char *map = NULL;
	unsigned inside, outside, count;

	if (geteuid() != 0)
		return true;
	if (file_read_at(AT_FDCWD, "/proc/self/uid_map", 4096, &map, NULL) < 0 ||
	    sscanf(map, "%u %u %u", &inside, &outside, &count) != 3 || count == UINT32_MAX)
		return false;
	/* Root of a user namespace: a user's, unless a whole system with a systemd of its own runs in there. */
	return getenv("XDG_RUNTIME_DIR") || getenv("DBUS_SESSION_BUS_ADDRESS");
}

static int find_program(const char *helper_dir, char **ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/" PROGRAM, helper_dir ? helper_dir : "");

	if (!path)
		return err_oom(e);
	if (!helper_dir || access(path, X_OK) < 0)
		return err_new(e, ERR_NOT_FOUND,
			       "the systemd cgroup manager needs the program " PROGRAM
			       ", which is neither beside the runtime nor in %s: install it, or leave out "
			       "--systemd-cgroup",
			       helper_dir ? helper_dir : "any folder");
	*ret = take_ptr(path);
	return 0;
}

/* Nothing of ours goes along: a program that hangs must not keep anybody's pipe open. */
_Noreturn static void execute(const char *path, int sock)
{
	char *const args[] = {(char *)PROGRAM, NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0 && dup2(sock, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2 &&
	    process_close_from(3, false) == 0)
		execv(path, args);
	_exit(127);
}

static int call(const CgroupScope *s, json_t *request, char **ret, Err *e)
{
	_cleanup_free_ char *text = request ? json_text(request) : NULL, *buf = malloc(MESSAGE_MAX);
	struct pollfd p = {.fd = s->sock, .events = POLLIN};
	ssize_t n;
	int r;

	json_decref(request);
	if (!text || !buf)
		return err_oom(e);
	n = fd_send_msg(s->sock, text, strlen(text), NULL, 0);
	if (n < 0)
		return err_sys(e, (int)n, "talk to " PROGRAM);
	do
		r = poll(&p, 1, WAIT_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return err_new(e, ERR_UNAVAILABLE, PROGRAM " does not answer");
	n = fd_recv_msg(s->sock, buf, MESSAGE_MAX - 1, NULL, NULL);
	if (n == (ssize_t)sizeof(Err) + 1 && buf[0] == 'E') {
		Err got;

		memcpy(&got, buf + 1, sizeof(got));
		if (e)
			*e = got;
		return -MAX2(got.no, 1);
	}
	if (n < 1 || buf[0] != 'K')
		return err_new(e, ERR_INTERNAL, PROGRAM " has ended without an answer");
	buf[n] = '\0';
	if (ret)
		*ret = strdup(buf + 1);
	return ret && !*ret ? err_oom(e) : 0;
}

static int start_program(const char *path, CgroupScope *s, Err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	s->pid = fork();
	if (s->pid == 0)
		execute(path, pair[1]);
	closep(&pair[1]);
	s->sock = pair[0];
	return s->pid < 0 ? err_sys(e, errno, "start %s", path) : 0;
}

int cgroup_scope_open(const char *helper_dir, bool user, CgroupScope *ret, char **ret_root, Err *e)
{
	CgroupScope s = CGROUP_SCOPE_INIT;
	_cleanup_free_ char *path = NULL;
	struct stat st;
	int r;

	if (lstat("/run/systemd/system", &st) < 0 || !S_ISDIR(st.st_mode))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "the systemd cgroup manager needs systemd as init, and there is no "
		    "/run/systemd/system: leave out --systemd-cgroup (for podman: --cgroup-manager "
		    "cgroupfs)");
	r = find_program(helper_dir, &path, e);
	if (r == 0)
		r = start_program(path, &s, e);
	if (r == 0)
		r = call(&s, json_pack("{s:s, s:b}", "do", "connect", "user", user), ret_root, e);
	if (r < 0)
		cgroup_scope_close(&s);
	else
		*ret = s;
	return r;
}

int cgroup_scope_start(const CgroupScope *s, const CgroupUnit *u, const char *description,
		       const json_t *properties, Err *e)
{
	return call(s,
		    json_pack("{s:s, s:s, s:s, s:b, s:s, s:O}", "do", "start", "unit", u->name, "slice",
			      u->slice, "isSlice", u->is_slice, "description", description, "properties",
			      properties),
		    NULL, e);
}

int cgroup_scope_set(const CgroupScope *s, const char *unit, const json_t *properties, Err *e)
{
	return call(s, json_pack("{s:s, s:s, s:O}", "do", "set", "unit", unit, "properties", properties),
		    NULL, e);
}

int cgroup_scope_stop(const CgroupScope *s, const char *unit, Err *e)
{
	return call(s, json_pack("{s:s, s:s}", "do", "stop", "unit", unit), NULL, e);
}

int cgroup_scope_attach(const CgroupScope *s, const char *unit, pid_t pid, Err *e)
{
	return call(s, json_pack("{s:s, s:s, s:i}", "do", "attach", "unit", unit, "pid", (int)pid), NULL, e);
}

void cgroup_scope_close(CgroupScope *s)
{
	/* A container's process that is just being born has a copy of the descriptor. */
	if (s->sock >= 0)
		(void)shutdown(s->sock, SHUT_RDWR);
	close_fd(&s->sock);
	if (s->pid > 0)
		(void)process_reap(s->pid);
	s->pid = 0;
}
