/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where descriptors meet HTTP: an answer written through a pipe, the client's departure as something to poll, and the socket
 * itself handed over.
 *
 * On a unix socket, and behind TLS, the connection is its own alive fd: poll(2) says POLLHUP once the peer has closed it, and not when it merely
 * half-closed. TCP cannot tell these apart before something is sent, so there a thread takes end of input for departure, as
 * Go's server does, and closes the other end of a pipe.
 */
#include "wire/httpd/httpd-internal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

static void *stream_pump(void *arg)
{
	HttpRequest *rq = arg;
	char *buf = malloc(65536);
	ssize_t n = buf ? 1 : -1;

	while (buf && n > 0) {
		n = read(rq->stream_pipe[0], buf, 65536);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0 && http_stream_write(rq, buf, (size_t)n) < 0)
			break;
	}
	if (n < 0)
		rq->stream_failed = true;
	free(buf);
	close_fd(&rq->stream_pipe[0]); /* the writer learns that the client is gone: EPIPE */
	return NULL;
}

int http_stream_fd(HttpRequest *rq, Err *e)
{
	int r;

	if (rq->stream_pumping)
		return rq->stream_pipe[1];
	if (pipe2(rq->stream_pipe, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe for the answer");
	r = pthread_create(&rq->stream_thread, NULL, stream_pump, rq);
	if (r) {
		close_fd(&rq->stream_pipe[0]);
		close_fd(&rq->stream_pipe[1]);
		return err_sys(e, r, "start a thread for the answer");
	}
	rq->stream_pumping = true;
	return rq->stream_pipe[1];
}

/* ok: the answer is complete. Without the last chunk the client knows that it is not. */
void http_stream_finish(HttpRequest *rq, bool ok)
{
	if (rq->stream_pumping) {
		close_fd(&rq->stream_pipe[1]);
		pthread_join(rq->stream_thread, NULL);
		rq->stream_pumping = false;
	}
	if (!rq->stream || rq->stream_failed || !ok) {
		rq->close_after |= rq->stream;
		return;
	}
	if (rq->minor == 1 && !rq->head_only &&
	    http_send_all(rq->conn->fd, "0\r\n\r\n", 5, NULL, 0, NULL, 0) < 0)
		rq->close_after = true;
}

static void *watch_client(void *arg)
{
	HttpRequest *rq = arg;
	struct pollfd p[2] = {
	    {.fd = rq->conn->fd, .events = POLLRDHUP},
	    {.fd = rq->alive_pipe[1],
	     .events = 0}, /* POLLHUP once the other end is shut down: told to stop */
	};

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	close_fd(&rq->alive_pipe[1]);
	return NULL;
}

/* The pair works both ways: the watcher closes its end when the client goes, http_request_done shuts the other down. */
int http_alive_fd(HttpRequest *rq)
{
	if (rq->conn->transport != HTTP_TCP)
		return rq->conn->fd;
	if (rq->watching)
		return rq->alive_pipe[0];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rq->alive_pipe) < 0)
		return -1;
	if (pthread_create(&rq->watch_thread, NULL, watch_client, rq) != 0) {
		close_fd(&rq->alive_pipe[0]);
		close_fd(&rq->alive_pipe[1]);
		return -1;
	}
	rq->watching = true;
	return rq->alive_pipe[0];
}

/* A client that reads the head through a buffer and goes on with the bare descriptor (docker-py) would lose what the buffer has caught of
 * the stream. A read of a unix socket ends behind a message that carries a descriptor, so the head carries one; a plain read drops it. */
static int send_head_apart(HttpConnection *c, const StrBuf *head)
{
	_cleanup_close_ int mark = c->transport == HTTP_UNIX ? open("/dev/null", O_PATH | O_CLOEXEC) : -1;
	ssize_t n;

	if (mark < 0)
		return http_send_all(c->fd, head->s, head->len, NULL, 0, NULL, 0);
	n = fd_send_msg(c->fd, head->s, head->len, &mark, 1);
	return n < 0 ? (int)n : 0;
}

int http_take_over(HttpRequest *rq, const char *head, bool streaming, HttpHijack *ret, Err *e)
{
	HttpConnection *c = rq->conn;
	_cleanup_strbuf_ StrBuf b = {0};
	int r;

	if (rq->answered)
		return err_new(e, ERR_INTERNAL, "the request was already answered");
	if (!rq->body_done)
		return err_new(e, ERR_INVALID,
			       "the request body was not read before the connection was taken over");
	if (streaming && !http_may_stay(c)) {
		rq->close_after = true;
		return err_new(e, ERR_UNAVAILABLE, HTTP_TOO_MANY);
	}
	strbuf_add(&b, head);
	for (size_t i = 0; i < rq->n_out; i++)
		strbuf_addf(&b, "%s: %s\r\n", rq->out[i].name, rq->out[i].value);
	strbuf_add(&b, "\r\n");
	if (b.oom)
		return err_oom(e);
	rq->answered = rq->hijacked = rq->close_after = true;
	http_conn_state(c, false, streaming, !streaming);
	r = send_head_apart(c, &b);
	if (r < 0)
		return err_new_no(e, ERR_CANCELLED, -r, "the client went away: %s", strerror(-r));
	*ret = (HttpHijack){c->fd, c->in + c->pos, c->len - c->pos};
	return 0;
}

static int hijack(HttpRequest *rq, const char *content_type, bool streaming, HttpHijack *ret, Err *e)
{
	bool upgrade = http_wants_upgrade(rq);
	/* Docker's clients ask for "tcp"; older ones say something else and take that for it. HTTP/2 is another protocol. */
	const char *to = upgrade && streq(http_header(rq, "Upgrade"), "h2c") ? "h2c" : "tcp";
	_cleanup_free_ char *head =
	    upgrade
		? strf("HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n",
		       content_type, to)
		: strf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", content_type);

	return head ? http_take_over(rq, head, streaming, ret, e) : err_oom(e);
}

int http_hijack(HttpRequest *rq, const char *content_type, HttpHijack *ret, Err *e)
{
	return hijack(rq, content_type, false, ret, e);
}

int http_hijack_and_stay(HttpRequest *rq, const char *content_type, HttpHijack *ret, Err *e)
{
	return hijack(rq, content_type, true, ret, e);
}

int http_switch_protocols(HttpRequest *rq, HttpHijack *ret, Err *e)
{
	_cleanup_free_ char *head =
	    strf("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n",
		 http_header(rq, "Upgrade"));

	return head ? http_take_over(rq, head, true, ret, e) : err_oom(e);
}
