/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of criu: the program is started on a socket of ours, gets its request, asks back, answers and ends.
 *
 * Every message is one packet of a seqpacket socket, a protobuf message of criu.proto. criu opens directories and descriptors that
 * the request names by number through our /proc/PID/fd; those that it inherits are its own.
 */
#include "runtime/criu-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <sys/prctl.h>

#define REPLY_MAX   65536
#define FDS_HIGH    200 /* out of the way of what criu is to find at fixed numbers */
#define FEATURE_SET "a kernel and a criu that can"

typedef struct Run {
	const CriuCall *call;
	pid_t pid;
	int sock;
} Run;

static int find_criu(char **ret, Err *e)
{
	if (command_find("criu", environ, ret, NULL) < 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "criu is not installed: checkpoint and restore need the program criu in $PATH "
			       "(package criu)");
	return 0;
}

/* Each first to a high number, then to its place, so that none overwrites another. */
static int place_fds(const CriuCall *c, int sock)
{
	const RuntimeStdio *io = c->stdio;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), from[CRIU_FIRST_FD + CRIU_FILES];
	int n = CRIU_FIRST_FD + (c->files ? (int)c->files->n : 0);
	const int first[CRIU_FIRST_FD] = {io && io->in >= 0 ? io->in : null,
					  io && io->out >= 0 ? io->out : null,
					  io && io->err >= 0 ? io->err : null, sock};

	for (int i = 0; i < n; i++) {
		from[i] = fcntl(i < CRIU_FIRST_FD ? first[i] : c->files->fds[i - CRIU_FIRST_FD],
				F_DUPFD_CLOEXEC, FDS_HIGH);
		if (from[i] < 0)
			return -errno;
	}
	for (int i = 0; i < n; i++)
		if (dup3(from[i], i, 0) < 0)
			return -errno;
	return process_close_from(n, true);
}

/* criu looks up the descriptors that a request names by number in the process that made the socket: that is to be criu itself, which
 * may be in a mount namespace of its own. So it is made here, and its other end is sent. */
static int make_socket(int boot, int *ret, Err *e)
{
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	r = init_send(boot, INIT_GO, NULL, 0, pair[0]);
	closep(&pair[0]);
	*ret = pair[1];
	return r < 0 ? err_sys(e, r, "send the socket") : 0;
}

/* `boot` tells of failures, and closes when criu is executed. */
_Noreturn static void become_criu(const CriuCall *c, const char *path, int boot)
{
	char *const args[] = {(char *)"criu", (char *)"swrk", (char *)"3", NULL};
	int high = fcntl(boot, F_DUPFD_CLOEXEC, FDS_HIGH + 64), sock = -1, r = 0;
	Err e = {0};

	init_reset_signals();
	if (high < 0)
		_exit(127);
	if (c->seat)
		r = cgroup_seat_take(c->seat, &e);
	if (r == 0 && c->prepare)
		r = c->prepare(c->data, &e);
	if (r == 0)
		r = make_socket(high, &sock, &e);
	if (r == 0) {
		r = place_fds(c, sock);
		if (r < 0)
			r = err_sys(&e, r, "place the descriptors of criu");
	}
	if (r == 0) {
		execve(path, args, environ);
		r = err_sys(&e, errno, "execute %s", path);
	}
	init_fail(high, &e, r);
}

/* Until criu is executed. */
static int accompany(Run *run, int boot, Err *e)
{
	for (;;) {
		char buf[sizeof(Err) + 1];
		size_t n_fds = 1;
		int fd = -1;
		ssize_t n = fd_recv_msg(boot, buf, sizeof(buf), &fd, &n_fds);

		if (n == sizeof(buf) && buf[0] == INIT_FAILED) {
			memcpy(e, buf + 1, sizeof(*e));
			return -MAX2(e->no, 1);
		}
		if (n > 0 && n_fds == 1) {
			run->sock = fd;
			continue;
		}
		if (run->sock >= 0 && n == 0)
			return 0;
		return err_new(e, ERR_INTERNAL, "criu's process ended before it was criu");
	}
}

static int start(Run *run, const char *path, Err *e)
{
	const CgroupSeat *seat = run->call->seat;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "socketpair");
	run->pid = namespace_fork(&(NamespaceFork){.cgroup_fd = seat ? seat->born_fd : -1});
	if (run->pid == 0)
		become_criu(run->call, path, pair[1]);
	closep(&pair[1]);
	r = run->pid < 0 ? err_sys(e, run->pid, "start criu") : accompany(run, pair[0], e);
	closep(&pair[0]);
	return r;
}

static int send_request(int sock, const CriuRequest *q, Err *e)
{
	size_t n = criu_request__get_packed_size(q);
	_cleanup_free_ uint8_t *buf = malloc(n + 1);
	ssize_t sent;

	if (!buf)
		return err_oom(e);
	criu_request__pack(q, buf);
	sent = fd_send_msg(sock, buf, n, NULL, 0);
	return sent < 0 ? err_sys(e, (int)sent, "send a request to criu") : 0;
}

static int failed(const CriuResponse *p, Err *e)
{
	static const char *const kinds[] = {[CRIU_KIND__DUMP] = "dump",
					    [CRIU_KIND__RESTORE] = "restore",
					    [CRIU_KIND__PRE_DUMP] = "pre-dump",
					    [CRIU_KIND__NOTIFY] = "notify",
					    [CRIU_KIND__FEATURE_CHECK] = "feature check",
					    [CRIU_KIND__VERSION] = "version"};
	const char *kind = (size_t)p->kind < ELEMENTSOF(kinds) ? kinds[p->kind] : NULL,
		   *text = p->error_text ? p->error_text : "";

	return err_new(e, ERR_INTERNAL, "criu failed: type %s errno %d%s%.*s", kind ? kind : "unknown",
		       p->has_error_number ? p->error_number : 0, *text ? ": " : "", (int)strcspn(text, "\n"),
		       text);
}

/* If we fail, criu is told so, and undoes what it has done. */
static int answer_notice(const Run *run, const CriuNotice *n, int fd, Err *e)
{
	const CriuCall *c = run->call;
	CriuRequest q = CRIU_REQUEST__INIT;
	Err ignored = {0};
	int sent, r = e->no == 0 && c->notify && n ? c->notify(c->data, n, fd, e) : -e->no;

	q.kind = CRIU_KIND__NOTIFY;
	q.has_notify_success = true;
	q.notify_success = r >= 0;
	sent = send_request(run->sock, &q, r < 0 ? &ignored : e);
	return r < 0 ? r : sent;
}

static int receive(const Run *run, CriuResponse **ret, int *ret_fd, Err *e)
{
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	size_t n_fds = 1;
	ssize_t n;

	if (!buf)
		return err_oom(e);
	n = fd_recv_msg(run->sock, buf, REPLY_MAX, ret_fd, &n_fds);
	if (n_fds == 0)
		*ret_fd = -1;
	if (n <= 0)
		return n == 0 || n == -ECONNRESET ? err_new(e, ERR_INTERNAL, "criu ended without an answer")
						  : err_sys(e, (int)n, "hear from criu");
	*ret = criu_response__unpack(NULL, (size_t)n, buf);
	if (!*ret) {
		close_fd(ret_fd);
		return err_new(e, ERR_INTERNAL, "criu sent something that is no answer");
	}
	return 0;
}

/* One message. 1 and *ret for the answer proper, 0 for a notice that was dealt with; a failure of ours is kept in `ours`, for criu to
 * be heard out while it undoes what it has done. */
static int hear(const Run *run, CriuResponse **ret, Err *ours, Err *e)
{
	CriuResponse *p = NULL;
	_cleanup_close_ int fd = -1;
	int r = receive(run, &p, &fd, e);

	if (r < 0)
		return r;
	if (!p->success)
		r = failed(p, e);
	else if (p->kind == CRIU_KIND__NOTIFY) {
		r = answer_notice(run, p->notice, fd, ours);
		if (r < 0 && ours->no == 0)
			ours->no = -r;
		r = 0;
	} else if (p->kind != run->call->request->kind)
		r = err_new(e, ERR_INTERNAL, "criu answered another request");
	else {
		*ret = p;
		return 1;
	}
	criu_response__free_unpacked(p, NULL);
	return r;
}

static int converse(const Run *run, CriuResponse **ret, Err *e)
{
	Err ours = {0};
	int r = send_request(run->sock, run->call->request, e);

	while (r == 0)
		r = hear(run, ret, &ours, e);
	if (ours.no == 0)
		return r < 0 ? r : 0;
	*e = ours;
	return -ours.no;
}

/* After a pre-dump criu would go on with the next one, and has only our end of the socket to go by. */
static int finish(Run *run, int r, Err *e)
{
	bool pre_dump = run->call->request->kind == CRIU_KIND__PRE_DUMP;
	int status;

	close_fd(&run->sock);
	if (run->pid <= 0)
		return r;
	status = process_reap(run->pid);
	if (r < 0 || pre_dump || status == 0)
		return r;
	if (status > 0 && WIFEXITED(status))
		return err_new(e, ERR_INTERNAL, "criu failed: exit status %d", WEXITSTATUS(status));
	return err_new(e, ERR_INTERNAL, "criu failed: wait status %d", status);
}

int criu_call(const CriuCall *c, CriuReply *ret, Err *e)
{
	_cleanup_(criu_reply_done) CriuReply reply = {0};
	_cleanup_free_ char *path = NULL, *cgroup2 = criu_cgroup_options();
	Run run = {.call = c, .sock = -1};
	Err ignored = {0};
	int restored, r = find_criu(&path, e);

	if (r == 0)
		r = start(&run, path, e);
	if (r == 0 && c->started)
		r = c->started(c->data, run.pid, e);
	if (r == 0)
		r = converse(&run, &reply.response, e);
	r = finish(&run, r, e);
	restored = criu_cgroup_restore_options(cgroup2, r < 0 ? &ignored : e);
	r = r < 0 ? r : restored;
	if (r == 0) {
		ret->response = take_ptr(reply.response);
		return 0;
	}
	return r;
}

void criu_reply_done(CriuReply *r)
{
	if (r->response)
		criu_response__free_unpacked(r->response, NULL);
	r->response = NULL;
}

int criu_version(int *ret, Err *e)
{
	_cleanup_(criu_reply_done) CriuReply reply = {0};
	CriuRequest q = CRIU_REQUEST__INIT;
	const CriuVersion *v;
	int r;

	q.kind = CRIU_KIND__VERSION;
	r = criu_call(&(CriuCall){.request = &q}, &reply, e);
	if (r < 0)
		return err_ctx(e, r, "ask criu for its version");
	v = reply.response->version;
	if (!v)
		return err_new(e, ERR_INTERNAL, "criu did not tell its version");
	*ret = v->major * 10000 + v->minor * 100 + (v->has_sublevel ? v->sublevel : 0);
	return *ret >= 30000 ? 0
			     : err_new(e, ERR_UNSUPPORTED, "criu %d.%d is too old: 3.0 or newer is needed",
				       v->major, v->minor);
}

int criu_need_features(bool mem_track, bool lazy_pages, Err *e)
{
	_cleanup_(criu_reply_done) CriuReply reply = {0};
	CriuFeatures want = CRIU_FEATURES__INIT;
	CriuRequest q = CRIU_REQUEST__INIT;
	const CriuFeatures *has;
	int r;

	want.has_mem_track = want.mem_track = mem_track;
	want.has_lazy_pages = want.lazy_pages = lazy_pages;
	q.kind = CRIU_KIND__FEATURE_CHECK;
	q.features = &want;
	r = criu_call(&(CriuCall){.request = &q}, &reply, e);
	if (r < 0)
		return err_ctx(e, r, "ask criu for its features");
	has = reply.response->features;
	if (mem_track && !(has && has->mem_track))
		return err_new(e, ERR_UNSUPPORTED,
			       "criu is missing features: a pre-dump takes " FEATURE_SET
			       " track memory (CONFIG_MEM_SOFT_DIRTY)");
	if (lazy_pages && !(has && has->lazy_pages))
		return err_new(e, ERR_UNSUPPORTED,
			       "criu is missing features: --lazy-pages takes " FEATURE_SET
			       " restore memory on demand (userfaultfd)");
	return 0;
}
