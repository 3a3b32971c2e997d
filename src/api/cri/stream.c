/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The streaming server: /exec/TOKEN, /attach/TOKEN and /portforward/TOKEN, on an address of its own.
 *
 * Whoever has the token is whom the kubelet gave it to, so nothing else is asked: not who connects, and neither the Host nor the Origin of the request, which are those of whoever
 * has asked the Kubernetes API, kept by its proxies. A page in a browser on this machine can come here, too, and has no token.
 */
#include "api/cri/stream-internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define IDLE_NS         (4 * 3600 * 1000000000ll)
#define HEAD_TIMEOUT_MS 10000
#define SEND_TIMEOUT_MS 10000
#define IDLE_MS         30000 /* of a connection that asks for nothing: a kubelet makes a new one for each */
#define CONNECTIONS_MAX 1024
#define SESSIONS_MAX    1024
#define STACK           (256 * 1024)

typedef int (*Serve)(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, Err *e);

static int serve(HttpRequest *rq, CriStreams *s, CriStreamKind kind, Serve fn, Err *e)
{
	_cleanup_(cri_stream_request_done) CriStreamRequest sr = {0};
	int r;

	if (!cri_token_take(s->tokens, kind, http_param(rq, "token"), clock_mono_ns(), &sr))
		return err_new(
		    e, ERR_NOT_FOUND,
		    "no such token: it was never given, was used before, or is older than a minute");
	r = fn(s, rq, &sr, e);
	if (r >= 0 || !http_answered(rq))
		return r;
	log_debug("streaming: %s: %s", sr.id, err_msg(e, r)); /* its client was told */
	return 0;
}

static int h_exec(HttpRequest *rq, void *user, Err *e)
{
	return serve(rq, user, CRI_STREAM_EXEC, cri_stream_session, e);
}

static int h_attach(HttpRequest *rq, void *user, Err *e)
{
	return serve(rq, user, CRI_STREAM_ATTACH, cri_stream_session, e);
}

static int h_forward(HttpRequest *rq, void *user, Err *e)
{
	return serve(rq, user, CRI_STREAM_FORWARD, cri_stream_forward, e);
}

static const HttpRoute routes[] = {
    {.method = "GET", .pattern = "/exec/{token}", .handler = h_exec},
    {.method = "POST", .pattern = "/exec/{token}", .handler = h_exec},
    {.method = "GET", .pattern = "/attach/{token}", .handler = h_attach},
    {.method = "POST", .pattern = "/attach/{token}", .handler = h_attach},
    {.method = "GET", .pattern = "/portforward/{token}", .handler = h_forward},
    {.method = "POST", .pattern = "/portforward/{token}", .handler = h_forward},
    {0},
};

/* ---- where it listens ---- */

/* What a client on this machine connects to; malloc'ed. */
static char *url_of(int fd, bool tls)
{
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	} a;
	socklen_t len = sizeof(a);
	const char *scheme = tls ? "https" : "http";
	char text[INET6_ADDRSTRLEN];

	if (getsockname(fd, &a.any, &len) < 0)
		return NULL;
	if (a.any.sa_family == AF_INET6) {
		if (IN6_IS_ADDR_UNSPECIFIED(&a.six.sin6_addr))
			a.six.sin6_addr = in6addr_loopback;
		inet_ntop(AF_INET6, &a.six.sin6_addr, text, sizeof(text));
		return strf("%s://[%s]:%u", scheme, text, ntohs(a.six.sin6_port));
	}
	if (a.four.sin_addr.s_addr == htonl(INADDR_ANY))
		a.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	inet_ntop(AF_INET, &a.four.sin_addr, text, sizeof(text));
	return strf("%s://%s:%u", scheme, text, ntohs(a.four.sin_port));
}

static int listen_at(const CriStreamOptions *o, Err *e)
{
	const char *host = str_empty(o->address) ? "127.0.0.1" : o->address;
	bool six = strchr(host, ':') && *host != '[';
	_cleanup_free_ char *address = strf(six ? "[%s]:%d" : "%s:%d", host, o->port);
	int r;

	if (!address)
		return err_oom(e);
	r = http_tcp_listen(address, !o->cert, e);
	if (r < 0 && e && e->kind == ERR_DENIED)
		return err_new(e, ERR_DENIED,
			       "cri-stream-address %s: what passes there can be read by others: it needs "
			       "cri-stream-cert and cri-stream-key",
			       host);
	return r < 0 ? err_ctx(e, r, "cri-stream-address") : r;
}

static int add_listener(CriStreams *s, const CriStreamOptions *o, Err *e)
{
	HttpTlsOptions tls = {.cert = o->cert, .key = o->key};
	int r = o->cert ? http_tls_new(&tls, &s->tls, e) : 0, fd;

	if (r < 0)
		return err_ctx(e, r, "cri-stream-cert");
	fd = listen_at(o, e);
	if (fd < 0)
		return fd;
	s->url = url_of(fd, s->tls);
	if (!s->url) {
		(void)close(fd);
		return err_oom(e);
	}
	return s->tls ? http_server_add_tls(s->http, fd, s->tls, e)
		      : http_server_add(s->http, fd, HTTP_TCP, e);
}

/* ---- its life ---- */

static int make(CriStreams *s, const CriStreamOptions *o, Err *e)
{
	HttpOptions http = {
	    .routes = routes,
	    .user = s,
	    .head_timeout_ms = HEAD_TIMEOUT_MS,
	    .idle_timeout_ms = IDLE_MS,
	    .send_timeout_ms = SEND_TIMEOUT_MS,
	    .connections_max = CONNECTIONS_MAX,
	    .requests_max = SESSIONS_MAX,
	    .body_max = 4096,
	    .behind_proxies = true,
	    .arriving_give_way = true,
	};
	int r;

	if (!o->cert != !o->key)
		return err_new(e, ERR_INVALID, "cri-stream-cert and cri-stream-key go together");
	r = cri_tokens_new(&s->tokens, e);
	if (r >= 0)
		r = http_server_new(&http, &s->http, e);
	return r < 0 ? r : add_listener(s, o, e);
}

int cri_streams_new(CriDoor *d, const CriStreamOptions *o, CriStreams **ret, Err *e)
{
	CriStreams *s = calloc(1, sizeof(*s));
	int64_t idle = o->idle_timeout_ns > 0 ? o->idle_timeout_ns : IDLE_NS;
	Err own = {0};
	int r;

	if (!s)
		return err_oom(e);
	s->door = d;
	s->idle_timeout_ms = (int)MIN2(idle / 1000000 + 1, (int64_t)INT32_MAX);
	r = make(s, o, e ? e : &own);
	if (r < 0)
		cri_streams_free(s);
	else
		*ret = s;
	return r;
}

static void *run(void *arg)
{
	CriStreams *s = arg;
	Err e = {0};
	int r = http_server_run(s->http, s->door->stop_fd, &e);

	if (r < 0)
		log_error("the streaming server has ended: %s", err_msg(&e, r));
	return NULL;
}

int cri_streams_start(CriStreams *s, Err *e)
{
	int r = cri_thread_start(&s->thread, false, STACK, run, s);

	s->running = r >= 0;
	return r < 0 ? err_sys(e, r, "start the streaming server") : 0;
}

bool cri_streams_stop(CriStreams *s, int grace_ms)
{
	if (!s || !s->running)
		return true;
	pthread_join(s->thread, NULL);
	s->running = false;
	return http_server_drain(s->http, grace_ms);
}

void cri_streams_free(CriStreams *s)
{
	if (!s)
		return;
	if (s->http)
		http_server_free(s->http);
	http_tls_free(s->tls);
	cri_tokens_free(s->tokens);
	free(s->url);
	free(s);
}
