/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of exec or attach: between the client's carrier and a socket pair whose other end is the shim's.
 *
 *    client <- carrier <- this thread  <- mux <- shim       output, until the command has ended and all of it was sent
 *    client -> carrier -> input thread -> mux -> shim       stdin and sizes, until the client has left or the output has ended
 *
 * A client that leaves takes nothing along: the shim sees the socket's end, which is that of stdin; the command goes on, and its output is dropped. So it is with containerd.
 */
#include "api/cri/stream-internal.h"
#include "engine/mux.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define PIECE   (32 * 1024)
#define REST_MS 500 /* for output after the end, if something in the background holds it open */
#define STACK   (256 * 1024)

typedef struct Session {
	CriDoor *door;
	const CriStreamRequest *rq;
	CriCarrier *carrier;
	bool tty; /* bytes without frames */
	char *exec_id;
	int mux,
	    end_fd; /* end_fd: eventfd, the command has ended; -1: of attach, where the output's end is all there is */
	int quit_fd, left_fd; /* eventfds: for the input thread; the client has left */
	MuxReader reader;
	Err *why; /* a write to the client failed */
} Session;

/* ---- what the client sends ---- */

/* True once all of it is with the shim. */
static bool write_stdin(const Session *s, const uint8_t *p, size_t len)
{
	while (len > 0) {
		struct pollfd f[] = {{s->mux, POLLOUT, 0},
				     {s->quit_fd, POLLIN, 0},
				     {s->carrier->gone_fd, POLLRDHUP, 0}};
		ssize_t n = send(s->mux, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return true; /* nobody takes input any more; output may still come */
		if (n < 0 && poll(f, ELEMENTSOF(f), -1) > 0 && (f[1].revents || f[2].revents))
			return false;
		p += MAX2(n, (ssize_t)0);
		len -= (size_t)MAX2(n, (ssize_t)0);
	}
	return true;
}

static void resize(const Session *s, const CriInput *in)
{
	Err e = {0};
	int r;

	if (!s->tty)
		return;
	r = s->exec_id ? engine_exec_resize(s->door->engine, s->exec_id, in->rows, in->cols, &e)
		       : engine_container_resize(s->door->engine, s->rq->id, in->rows, in->cols, &e);
	if (r < 0)
		log_debug("container %s: resize to %ux%u: %s", s->rq->id, in->cols, in->rows, e.msg);
}

static bool take_input(const Session *s, const CriInput *in)
{
	switch (in->kind) {
	case CRI_INPUT_DATA:
		return !s->rq->in || write_stdin(s, in->data, in->len);
	case CRI_INPUT_END:
		if (s->rq->in)
			(void)shutdown(s->mux, SHUT_WR);
		return true;
	case CRI_INPUT_RESIZE:
		resize(s, in);
		return true;
	}
	return false;
}

static void *input_thread(void *arg)
{
	Session *s = arg;
	CriInput in = {0};

	while (s->carrier->ops->next(s->carrier, s->quit_fd, &in) > 0 && take_input(s, &in))
		;
	(void)eventfd_write(s->left_fd, 1);
	return NULL;
}

/* ---- what it is sent ---- */

static int send_output(void *user, int stream, const void *data, size_t len)
{
	Session *s = user;

	return s->carrier->ops->send(s->carrier, stream == 1 ? CRI_STDOUT : CRI_STDERR, data, len, s->why);
}

/* 1, 0 at the end of the output, or an error: the client does not get it. */
static int pass_output(Session *s)
{
	uint8_t buf[PIECE];
	ssize_t n = recv(s->mux, buf, sizeof(buf), MSG_DONTWAIT);
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return 0;
	r = s->tty ? send_output(s, 1, buf, (size_t)n) : mux_read(&s->reader, buf, (size_t)n, send_output, s);
	return r < 0 ? r : 1;
}

/* 1 once the command has ended and its output was sent; 0: the client has left. What something in the background writes after the command's end is of no interest once it
 * pauses. */
static int pump(Session *s)
{
	bool open = true, ended = s->end_fd < 0;

	while (open || !ended) {
		struct pollfd p[] = {{open ? s->mux : -1, POLLIN, 0},
				     {ended ? -1 : s->end_fd, POLLIN, 0},
				     {s->left_fd, POLLIN, 0}};
		int r, n = poll(p, ELEMENTSOF(p), ended && s->end_fd >= 0 ? REST_MS : -1);

		if (n == 0)
			break;
		if (n < 0)
			continue;
		if (p[2].revents)
			return 0;
		if (p[0].revents) {
			r = pass_output(s);
			if (r < 0)
				return 0;
			open = r > 0;
		}
		if (p[1].revents)
			ended = true;
	}
	return 1;
}

/* ---- the end ---- */

static void say(const Session *s, char *document, const char *words)
{
	const char *text = s->carrier->documents ? document : words;

	if (text)
		(void)s->carrier->ops->send(s->carrier, CRI_ERROR, text, strlen(text), NULL);
	free(document);
}

static void say_exit(const Session *s, int code)
{
	char words[64];

	snprintf(words, sizeof(words), "the command has ended with exit code %d", code);
	if (code == 0)
		say(s, cri_status_success(), NULL);
	else
		say(s, cri_status_exit(code), words);
}

static void say_error(const Session *s, const Err *e, int r)
{
	say(s, cri_status_error(err_msg(e, r)), err_msg(e, r));
}

/* ---- exec and attach ---- */

static int start_exec(Session *s, int theirs, Err *e)
{
	const CriStreamRequest *q = s->rq;
	ExecConfig c = {
	    .cmd = q->cmd,
	    .tty = q->tty,
	    .attach_stdin = q->in,
	    .attach_stdout = q->out,
	    .attach_stderr = q->err,
	};
	EngineAttach a = {
	    .fd = theirs, .in = q->in, .out = q->out, .err = q->err, .stream = true, .no_detach_keys = true};
	int r = engine_exec_create(s->door->engine, q->id, &c, &s->exec_id, e);

	if (r < 0)
		return r;
	s->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->end_fd < 0)
		return err_sys(e, errno, "make an eventfd");
	r = engine_exec_watch(s->door->engine, s->exec_id, s->end_fd, e);
	return r < 0 ? r : engine_exec_start(s->door->engine, s->exec_id, &a, 0, 0, e);
}

static int start_attach(Session *s, int theirs, Err *e)
{
	const CriStreamRequest *q = s->rq;
	EngineAttach a = {
	    .fd = theirs, .in = q->in, .out = q->out, .err = q->err, .stream = true, .no_detach_keys = true};
	ContainerInfo i;
	int r = engine_container_inspect(s->door->engine, q->id, &i, e);

	if (r < 0)
		return r;
	s->tty = i.config.tty;
	if (i.status != CONTAINER_RUNNING)
		r = err_new(e, ERR_CONFLICT, "container %s is not running", q->id);
	container_info_done(&i);
	return r < 0 ? r : engine_container_attach(s->door->engine, q->id, &a, e);
}

static int start(Session *s, Err *e)
{
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, errno, "make a socket pair");
	s->mux = fds[0];
	r = s->rq->kind == CRI_STREAM_EXEC ? start_exec(s, fds[1], e) : start_attach(s, fds[1], e);
	close_fd(&fds[1]);
	return r;
}

/* Its exit code; one that goes on stays known, and has -1. */
static int leave_exec(const Session *s, bool ended)
{
	int code = -1;

	if (!s->exec_id)
		return -1;
	(void)engine_exec_watch(s->door->engine, s->exec_id, -1, NULL);
	if (ended)
		(void)engine_exec_forget(s->door->engine, s->exec_id, &code);
	return code;
}

static int run(Session *s, Err *e)
{
	pthread_t input;
	int code, done = 0, r = cri_thread_start(&input, false, STACK, input_thread, s);

	if (r >= 0)
		done = pump(s);
	code = leave_exec(s, done);
	if (r < 0)
		return err_sys(e, r, "start a thread for what the client sends");
	if (done)
		say_exit(s, s->exec_id ? code : 0);
	/* Of a client that has left the input ends here; of another it has ended with the command. */
	(void)shutdown(s->mux, SHUT_RDWR);
	(void)eventfd_write(s->quit_fd, 1);
	pthread_join(input, NULL);
	return 0;
}

static void session_done(Session *s)
{
	s->carrier->ops->close(s->carrier);
	close_fd(&s->mux);
	close_fd(&s->end_fd);
	close_fd(&s->quit_fd);
	close_fd(&s->left_fd);
	free(s->exec_id);
}

static int open_carrier(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, CriCarrier **ret, Err *e)
{
	return ws_wanted(rq) ? cri_websocket_carrier(s, rq, sr, ret, e) : cri_spdy_carrier(s, rq, sr, ret, e);
}

int cri_stream_session(CriStreams *streams, HttpRequest *rq, const CriStreamRequest *sr, Err *e)
{
	Err lost = {0};
	Session s = {.door = streams->door, .rq = sr, .tty = sr->tty, .mux = -1, .end_fd = -1, .why = &lost};
	int r = open_carrier(streams, rq, sr, &s.carrier, e);

	if (r <= 0)
		return r;
	s.quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s.left_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s.quit_fd < 0 || s.left_fd < 0 ? err_sys(e, errno, "make an eventfd") : start(&s, e);
	if (r >= 0)
		r = run(&s, e);
	else
		(void)leave_exec(&s, true);
	if (r < 0)
		say_error(&s, e, r);
	session_done(&s);
	return r;
}
