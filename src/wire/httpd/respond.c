/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to a request: head, body, error documents. One place (begin_answer) builds heads.
 *
 * Invariant: `answered` is set before the first byte goes out, so a request never gets two answers. A send that fails means
 * that the client is gone: the connection is closed afterwards, and the handler may ignore it.
 */
#include "wire/httpd/httpd-internal.h"
#include "base/secret.h"

#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* Up to three pieces as one write where the kernel takes it. */
int http_send_all(int fd, const void *a, size_t an, const void *b, size_t bn, const void *c, size_t cn)
{
	struct iovec iov[3] = {{(void *)a, an}, {(void *)b, bn}, {(void *)c, cn}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};

	while (iov[0].iov_len + iov[1].iov_len + iov[2].iov_len > 0) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int i = 0; i < 3; i++) {
			size_t k = MIN2((size_t)n, iov[i].iov_len);

			iov[i].iov_base = (char *)iov[i].iov_base + k;
			iov[i].iov_len -= k;
			n -= (ssize_t)k;
		}
	}
	return 0;
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} table[] = {
	    {200, "OK"},
	    {201, "Created"},
	    {202, "Accepted"},
	    {204, "No Content"},
	    {304, "Not Modified"},
	    {400, "Bad Request"},
	    {401, "Unauthorized"},
	    {403, "Forbidden"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {408, "Request Timeout"},
	    {409, "Conflict"},
	    {413, "Content Too Large"},
	    {417, "Expectation Failed"},
	    {431, "Request Header Fields Too Large"},
	    {500, "Internal Server Error"},
	    {501, "Not Implemented"},
	    {503, "Service Unavailable"},
	    {505, "HTTP Version Not Supported"},
	    {507, "Insufficient Storage"},
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (table[i].status == status)
			return table[i].text;
	return "Status";
}

void http_set_header(HttpRequest *rq, const char *name, const char *value)
{
	HttpOutHeader *grown, h = {strdup(name), strdup(value)};

	for (char *p = h.value; p && *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	for (size_t i = 0; h.name && h.value && i < rq->n_out; i++) {
		if (strcasecmp(rq->out[i].name, name) == 0) {
			free(rq->out[i].value);
			rq->out[i].value = h.value;
			free(h.name);
			return;
		}
	}
	grown = h.name && h.value ? realloc(rq->out, (rq->n_out + 1) * sizeof(h)) : NULL;
	if (!grown) {
		/* An answer that lacks a header is worse than none: it is cut off. */
		rq->stream_failed = true;
		free(h.name);
		free(h.value);
		return;
	}
	rq->out = grown;
	rq->out[rq->n_out++] = h;
}

static void add_common(HttpRequest *rq, StrBuf *b, int status, const char *content_type)
{
	char date[64];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	strbuf_addf(b, "HTTP/1.1 %d %s\r\n", status, reason(status));
	for (size_t i = 0; i < rq->n_out; i++)
		strbuf_addf(b, "%s: %s\r\n", rq->out[i].name, rq->out[i].value);
	if (content_type)
		strbuf_addf(b, "Content-Type: %s\r\n", content_type);
	strbuf_addf(b, "Date: %s\r\n", date);
}

/* length < 0: unknown, chunked where the client can read that. */
static char *build_head(HttpRequest *rq, int status, const char *content_type, ssize_t length,
			size_t *ret_len)
{
	StrBuf b = {0};
	bool bare = status == 204 || status == 304;

	if (length < 0 && rq->minor == 0)
		rq->close_after = true;
	add_common(rq, &b, status, content_type);
	if (length >= 0 && !bare)
		strbuf_addf(&b, "Content-Length: %zd\r\n", length);
	else if (length < 0 && rq->minor == 1)
		strbuf_add(&b, "Transfer-Encoding: chunked\r\n");
	if (!rq->keep_alive || rq->close_after)
		strbuf_add(&b, "Connection: close\r\n");
	strbuf_add(&b, "\r\n");
	*ret_len = b.len;
	return strbuf_steal(&b);
}

static int client_gone(HttpRequest *rq, int r)
{
	if (r < 0) {
		rq->stream_failed = true;
		rq->close_after = true;
	}
	return r;
}

int http_reply(HttpRequest *rq, int status, const char *content_type, const void *body, size_t len)
{
	_cleanup_free_ char *head = NULL;
	size_t head_len;

	if (rq->answered)
		return -EALREADY;
	rq->answered = true;
	if (rq->expect_continue && !rq->body_done)
		rq->close_after = true; /* it may send the body or not: only closing is unambiguous */
	head = build_head(rq, status, content_type, (ssize_t)len, &head_len);
	if (!head || rq->stream_failed)
		return client_gone(rq, -ENOMEM);
	if (rq->head_only)
		len = 0;
	return client_gone(rq, http_send_all(rq->conn->fd, head, head_len, body, len, NULL, 0));
}

int http_reply_json(HttpRequest *rq, int status, json_t *doc)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *owned = doc;
	size_t len;
	int r;

	text = doc ? json_dumps(doc, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL: the length says where it ends */
	r = http_reply(rq, status, "application/json", text, len + 1);
	return r;
}

int http_reply_empty(HttpRequest *rq, int status)
{
	return http_reply(rq, status, NULL, "", 0);
}

char *http_plain_text(const char *message)
{
	char *plain = strdup(message);

	for (unsigned char *p = (unsigned char *)plain; p && *p; p++) {
		if ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7F)
			*p = '?';
		else if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) /* U+0080 to U+009F */
			p[0] = p[1] = '?';
	}
	return plain;
}

int http_reply_error(HttpRequest *rq, int status, const char *message)
{
	_cleanup_free_ char *plain = NULL;
	json_t *doc;

	if (status == 304)
		return http_reply_empty(rq, status);
	plain = http_plain_text(message);
	doc = plain ? json_pack("{s:s}", "message", plain) : NULL;
	if (!doc) /* not UTF-8: names in it came from a stranger */
		doc = json_pack("{s:s}", "message", "the error message contains bytes that are not UTF-8");
	return http_reply_json(rq, status, doc);
}

bool http_answered(const HttpRequest *rq)
{
	return rq->answered;
}

/* To the handler the client has gone, so that it ends whatever it waits for. */
static int turn_away(HttpRequest *rq)
{
	rq->close_after = true;
	(void)http_reply_error(rq, 503, HTTP_TOO_MANY);
	(void)shutdown(rq->conn->fd, SHUT_RDWR);
	return client_gone(rq, -EPIPE);
}

int http_stream_begin(HttpRequest *rq, int status, const char *content_type)
{
	_cleanup_free_ char *head = NULL;
	size_t len;

	if (rq->answered)
		return -EALREADY;
	if (!http_may_stay(rq->conn))
		return turn_away(rq);
	rq->answered = true;
	rq->stream = true;
	if (rq->expect_continue && !rq->body_done)
		rq->close_after = true;
	head = build_head(rq, status, content_type, -1, &len);
	if (!head || rq->stream_failed)
		return client_gone(rq, -ENOMEM);
	http_conn_state(rq->conn, false, true, false);
	return client_gone(rq, http_send_all(rq->conn->fd, head, len, NULL, 0, NULL, 0));
}

int http_stream_write(HttpRequest *rq, const void *buf, size_t len)
{
	char size[24];
	int r;

	if (len == 0 || rq->head_only)
		return rq->stream_failed ? -EPIPE : 0;
	pthread_mutex_lock(&rq->write_lock);
	if (rq->stream_failed)
		r = -EPIPE;
	else if (rq->minor == 0)
		r = client_gone(rq, http_send_all(rq->conn->fd, buf, len, NULL, 0, NULL, 0));
	else
		r = client_gone(rq, http_send_all(rq->conn->fd, size,
						  (size_t)snprintf(size, sizeof(size), "%zx\r\n", len), buf,
						  len, "\r\n", 2));
	pthread_mutex_unlock(&rq->write_lock);
	return r;
}

static void request_threads_done(HttpRequest *rq)
{
	(void)http_body_end(rq, NULL); /* the handler had its chance to ask how the body ended */
	if (rq->watching) {
		(void)shutdown(rq->alive_pipe[0], SHUT_RDWR);
		pthread_join(rq->watch_thread, NULL);
		rq->watching = false;
	}
	close_fd(&rq->alive_pipe[0]);
	close_fd(&rq->alive_pipe[1]);
}

void http_request_done(HttpRequest *rq)
{
	request_threads_done(rq);
	http_params_free(rq);
	for (size_t i = 0; i < rq->n_out; i++) {
		free(rq->out[i].name);
		free(rq->out[i].value);
	}
	free(rq->out);
	free(rq->query);
	/* Credentials come in headers (X-Registry-Auth) and in bodies (POST /auth). */
	secret_free(rq->body);
	free(rq->own_path);
	secret_free(rq->head);
	pthread_mutex_destroy(&rq->write_lock);
	free(rq);
}
