/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output of containers on the wire: logs as chunks, attach on the client's own socket.
 *
 * Without a terminal each piece has a header: stream (1 stdout, 2 stderr), three zero bytes, 32-bit big-endian length. Attach hands the
 * socket to the shim, which frames in the same way; the door is out of the path from then on.
 */
#include "api/docker/door-internal.h"
#include "wire/httpd/websocket.h"

#include <ctype.h>
#include <sys/socket.h>

void mux_header(unsigned char h[MUX_HEADER], int stream, uint32_t len)
{
	memset(h, 0, MUX_HEADER);
	h[0] = (unsigned char)stream;
	h[4] = (unsigned char)(len >> 24);
	h[5] = (unsigned char)(len >> 16);
	h[6] = (unsigned char)(len >> 8);
	h[7] = (unsigned char)len;
}

const char *stream_content_type(const HttpRequest *rq, bool tty)
{
	return tty || http_tag(rq) < 142 ? "application/vnd.docker.raw-stream"
					 : "application/vnd.docker.multiplexed-stream";
}

void stream_text(int fd, bool tty, const char *text)
{
	unsigned char h[MUX_HEADER];

	/* The client may be gone; there is nobody else to tell. */
	mux_header(h, 2, (uint32_t)strlen(text));
	if (!tty && fd_write_all(fd, h, sizeof(h)) < 0)
		return;
	(void)fd_write_all(fd, text, strlen(text));
}

#define LOG_BATCH 32768

typedef struct LogWriter {
	HttpRequest *rq;
	bool tty, timestamps, details;
	StrBuf batch;
	StrBuf attrs;  /* of the last record, ... */
	StrBuf prefix; /* ... and what `details` shows of them */
} LogWriter;

/* Records are sent in large pieces; a follower gets what there is before it waits. */
static int log_flush(void *user)
{
	LogWriter *w = user;
	int r = w->batch.len > 0 ? http_stream_write(w->rq, w->batch.s, w->batch.len) : 0;

	w->batch.len = 0;
	return r;
}

/* As Go's url.QueryEscape. */
static void add_escaped(StrBuf *b, const char *s)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr("-_.~", *s))
			strbuf_add_c(b, *s);
		else if (*s == ' ')
			strbuf_add_c(b, '+');
		else
			strbuf_addf(b, "%%%02X", (unsigned char)*s);
	}
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "k=v,k=v ", sorted. */
static void render_attrs(StrBuf *b, const json_t *attrs)
{
	size_t n = json_object_size(attrs), i = 0;
	_cleanup_free_ const char **keys = calloc(n + 1, sizeof(*keys));
	const char *key;
	json_t *value;

	b->oom = b->oom || !keys;
	if (b->oom)
		return;
	json_object_foreach ((json_t *)(uintptr_t)attrs, key, value)
		keys[i++] = key;
	qsort(keys, n, sizeof(*keys), compare_keys);
	for (i = 0; i < n; i++) {
		const char *text = json_get_str(attrs, keys[i]);

		if (i > 0)
			strbuf_add_c(b, ',');
		add_escaped(b, keys[i]);
		strbuf_add_c(b, '=');
		add_escaped(b, text ? text : "");
	}
	strbuf_add_c(b, ' ');
}

/* All records of a run have the same ones, so the last are kept. */
static void choose_prefix(LogWriter *w, const EngineLogRecord *r)
{
	_cleanup_json_ json_t *attrs = NULL;

	if (!w->details || (w->prefix.len > 0 && w->attrs.len == r->n_attrs &&
			    (r->n_attrs == 0 || memcmp(w->attrs.s, r->attrs, r->n_attrs) == 0)))
		return;
	w->attrs.len = w->prefix.len = 0;
	strbuf_add_n(&w->attrs, r->attrs ? r->attrs : "", r->n_attrs);
	attrs = r->n_attrs ? json_loadb(r->attrs, r->n_attrs, 0, NULL) : NULL;
	render_attrs(&w->prefix, attrs);
}

static int log_sink(void *user, const EngineLogRecord *r)
{
	LogWriter *w = user;
	TimeText t = clock_rfc3339_fixed(r->time_ns);
	size_t extra = w->timestamps ? strlen(t.s) + 1 : 0;
	unsigned char h[MUX_HEADER];

	choose_prefix(w, r);
	if (!w->tty) {
		mux_header(h, r->stream, (uint32_t)(r->len + w->prefix.len + extra));
		strbuf_add_n(&w->batch, h, sizeof(h));
	}
	if (w->timestamps) {
		strbuf_add(&w->batch, t.s);
		strbuf_add_c(&w->batch, ' ');
	}
	if (w->prefix.len > 0)
		strbuf_add_n(&w->batch, w->prefix.s, w->prefix.len);
	strbuf_add_n(&w->batch, r->text, r->len);
	if (w->batch.oom || w->prefix.oom || w->attrs.oom)
		return -ENOMEM;
	return w->batch.len >= LOG_BATCH ? log_flush(w) : 0;
}

static void log_writer_done(LogWriter *w)
{
	strbuf_done(&w->batch);
	strbuf_done(&w->attrs);
	strbuf_done(&w->prefix);
}

static int log_time(HttpRequest *rq, const char *name, int64_t *ret, Err *e)
{
	const char *v = http_query(rq, name);

	if (str_empty(v) || streq(v, "0"))
		return 0;
	if (clock_parse(v, ret) < 0)
		return err_new(e, ERR_INVALID, "invalid value for \"%s\": \"%.60s\" is not a time", name, v);
	return 0;
}

static int log_options(HttpRequest *rq, EngineLogs *l, Err *e)
{
	const char *tail = http_query(rq, "tail");
	int r;

	*l = (EngineLogs){
	    .out = http_query_bool(rq, "stdout", false),
	    .err = http_query_bool(rq, "stderr", false),
	    .follow = http_query_bool(rq, "follow", false),
	    .tail = -1,
	    .details = http_query_bool(rq, "details", false),
	    .caught_up = log_flush,
	};
	if (!l->out && !l->err)
		return err_new(e, ERR_INVALID, "must specify at least one of 'stdout' or 'stderr'");
	/* Docker takes what is no number for "all". */
	if (!str_empty(tail) && (str_to_i64(tail, &l->tail) < 0 || l->tail < 0))
		l->tail = -1;
	r = log_time(rq, "since", &l->since_ns, e);
	return r < 0 ? r : log_time(rq, "until", &l->until_ns, e);
}

int h_container_logs(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	_cleanup_(log_writer_done)
	    LogWriter w = {.rq = rq, .timestamps = http_query_bool(rq, "timestamps", false)};
	EngineLogs l;
	int r = log_options(rq, &l, e);

	if (r >= 0)
		r = engine_container_inspect(d->engine, http_param(rq, "id"), &i, e);
	if (r >= 0)
		r = engine_container_logs_check(d->engine, i.id, e);
	if (r < 0)
		return r;
	w.tty = i.config.tty;
	w.details = l.details;
	(void)http_stream_begin(rq, 200, stream_content_type(rq, w.tty));
	r = engine_container_logs(d->engine, i.id, &l, log_sink, &w, http_alive_fd(rq), e);
	if (log_flush(&w) < 0 || r > 0)
		r = 0; /* the client left, that is all */
	return r;
}

/* Said while a status can still say it. */
static int check_attachable(const ContainerInfo *i, const char *ref, Err *e)
{
	if (i->status == CONTAINER_PAUSED)
		return err_new(e, ERR_CONFLICT, "container %s is paused, unpause the container before attach",
			       ref);
	if (i->status == CONTAINER_RESTARTING)
		return err_new(e, ERR_CONFLICT,
			       "container %s is restarting, wait until the container is running", ref);
	return 0;
}

static EngineAttach attach_options(const HttpRequest *rq, const ContainerInfo *i)
{
	const char *keys = http_query(rq, "detachKeys");

	return (EngineAttach){
	    .fd = -1,
	    .in = http_query_bool(rq, "stdin", false) && i->config.open_stdin,
	    .out = http_query_bool(rq, "stdout", false),
	    .err = http_query_bool(rq, "stderr", false),
	    .logs = http_query_bool(rq, "logs", false),
	    .stream = http_query_bool(rq, "stream", false),
	    .detach_keys = str_empty(keys) ? NULL : keys,
	};
}

int h_container_attach(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	HttpHijack h;
	EngineAttach a;
	int r = engine_container_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r >= 0)
		r = check_attachable(&i, http_param(rq, "id"), e);
	if (r >= 0)
		r = http_hijack(rq, stream_content_type(rq, i.config.tty), &h, e);
	if (r < 0)
		return r;
	a = attach_options(rq, &i);
	a.fd = h.fd;
	a.prefix = h.prefix;
	a.prefix_len = h.prefix_len;
	r = engine_container_attach(d->engine, i.id, &a, e);
	if (r < 0) {
		_cleanup_free_ char *text = strf("Error attaching: %s\r\n", err_msg(e, r));

		stream_text(h.fd, i.config.tty, text ? text : "Error attaching\r\n");
	}
	return 0;
}

/* Attaching is done by a thread: with logs=1 it writes before anybody reads the other end. */
typedef struct WsAttach {
	Engine *engine;
	const char *id;
	EngineAttach a;
} WsAttach;

static void *ws_attach(void *arg)
{
	WsAttach *w = arg;
	Err e = {0};
	int r = engine_container_attach(w->engine, w->id, &w->a, &e);

	if (r < 0) {
		_cleanup_free_ char *text = strf("Error attaching: %s\r\n", err_msg(&e, r));

		stream_text(w->a.fd, true, text ? text : "Error attaching\r\n");
	}
	close_fd(&w->a.fd);
	return NULL;
}

/* The bytes pass through us, because the shim does not speak WebSocket: it has one end of a socket pair. */
int h_container_attach_ws(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(container_info_done) ContainerInfo i = {0};
	_cleanup_close_ int inner = -1;
	WsAttach w = {.engine = d->engine};
	pthread_t thread;
	HttpHijack h;
	int pair[2], r = engine_container_inspect(d->engine, http_param(rq, "id"), &i, e);

	if (r >= 0)
		r = check_attachable(&i, http_param(rq, "id"), e);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "attach");
	inner = pair[0];
	w.id = i.id;
	w.a = attach_options(rq, &i);
	w.a.fd = pair[1];
	w.a.raw = true;
	r = ws_begin(rq, &h, e);
	if (r >= 0 && pthread_create(&thread, NULL, ws_attach, &w) != 0)
		r = err_new(e, ERR_EXHAUSTED, "attach: no more threads");
	if (r < 0) {
		close_fd(&w.a.fd);
		return r;
	}
	/* Docker has sent binary frames since 1.28. */
	ws_serve(&h, inner, http_tag(rq) < 128 ? WS_TEXT : WS_BINARY);
	(void)shutdown(inner, SHUT_RDWR); /* a replay that nobody reads any more ends too */
	pthread_join(thread, NULL);
	return 0;
}
