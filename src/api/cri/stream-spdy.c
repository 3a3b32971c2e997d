/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPDY as a carrier: each channel is a stream that the client opens, with its name in a header.
 *
 * The protocols of Kubernetes that go over it: v4.channel.k8s.io tells the end as a document; v3 the same in words; v2 has no sizes of the terminal; the first one has no name.
 */
#include "api/cri/stream-internal.h"

#include <fcntl.h>
#include <poll.h>

#define OPEN_NS   (30 * 1000000000ll) /* for the client to open its streams */
#define PIECE     (32 * 1024)
#define PROTOCOL  "X-Stream-Protocol-Version"
#define ACCEPTED  "X-Accepted-Stream-Protocol-Versions"
#define N_STREAMS 5

static const char *const protocols[] = {"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io",
					"channel.k8s.io", NULL};

typedef struct SpdyCarrier {
	CriCarrier carrier;
	SpdyConnection *c;
	SpdyStream *streams[N_STREAMS]; /* by channel */
	bool in_end, resize_end;
	CriResizeReader resize;
	uint8_t buf[PIECE];
	size_t at, len; /* sizes that were read and not yet looked at */
} SpdyCarrier;

/* ---- the upgrade ---- */

static const char *known_protocol(const char *word, size_t len, const char *const *known)
{
	for (; *known; known++)
		if (strlen(*known) == len && strncmp(*known, word, len) == 0)
			return *known;
	return NULL;
}

/* The client's first that is known. NULL: none is. */
static const char *choose(const HttpRequest *rq, const char *const *known)
{
	const char *line, *found = NULL;
	size_t n = 0;

	for (; !found && (line = http_header_nth(rq, PROTOCOL, n)); n++)
		while (*line && !found) {
			size_t blanks = strspn(line, ", \t"), len = strcspn(line + blanks, ", \t");

			found = len ? known_protocol(line + blanks, len, known) : NULL;
			line += blanks + len;
		}
	return found || n > 0 ? found : "";
}

static int refuse_protocols(HttpRequest *rq, const char *const *known)
{
	_cleanup_free_ char *list = strv_join((char *const *)(uintptr_t)known, ", "), *text = NULL;

	if (!list)
		return -ENOMEM;
	http_set_header(rq, ACCEPTED, list);
	text = strf("none of the protocols in " PROTOCOL " is spoken here: expected one of %s\n", list);
	return text ? http_reply(rq, 403, "text/plain", text, strlen(text)) : -ENOMEM;
}

static int take_connection(CriStreams *s, const HttpHijack *h, SpdyConnection **ret, Err *e)
{
	SpdyLimits limits = {.idle_timeout_ms = s->idle_timeout_ms};
	int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return err_sys(e, errno, "keep the client's connection");
	return spdy_serve(fd, h->prefix, h->prefix_len, &limits, ret, e);
}

int cri_spdy_upgrade(CriStreams *s, HttpRequest *rq, const char *const *known, SpdyConnection **ret,
		     const char **ret_protocol, Err *e)
{
	const char *protocol;
	HttpHijack h;
	int r;

	if (!http_wants_upgrade(rq) || strcasecmp(http_header(rq, "Upgrade"), "SPDY/3.1") != 0)
		return err_new(e, ERR_INVALID,
			       "expected an upgrade of the connection to SPDY/3.1 or to WebSocket");
	protocol = choose(rq, known);
	if (!protocol)
		return refuse_protocols(rq, known) < 0 ? err_oom(e) : 0;
	if (*protocol)
		http_set_header(rq, PROTOCOL, protocol);
	r = http_switch_protocols(rq, &h, e);
	if (r >= 0)
		r = take_connection(s, &h, ret, e);
	if (r < 0)
		return r;
	*ret_protocol = protocol;
	return 1;
}

/* ---- streams ---- */

static int channel_of(const SpdyStream *s)
{
	static const char *const names[N_STREAMS] = {
	    [CRI_STDIN] = "stdin", [CRI_STDOUT] = "stdout", [CRI_STDERR] = "stderr",
	    [CRI_ERROR] = "error", [CRI_RESIZE] = "resize",
	};
	const char *type = spdy_header(s, "streamtype");

	for (int i = 0; type && i < N_STREAMS; i++)
		if (streq(type, names[i]))
			return i;
	return -1;
}

static unsigned count_expected(const CriStreamRequest *r, const char *protocol)
{
	bool sizes = streq(protocol, protocols[0]) || streq(protocol, protocols[1]);

	return 1u + r->in + r->out + r->err + (r->tty && sizes);
}

/* 1: one more of those that are waited for. */
static int accept_one(SpdyCarrier *k, int64_t deadline, Err *e)
{
	int64_t left = (deadline - clock_mono_ns()) / 1000000;
	SpdyStream *s = NULL;
	int channel, r = spdy_accept(k->c, (int)MAX2(left, (int64_t)0), &s, e);

	if (r == 0)
		return err_new(e, ERR_CANCELLED, "the client left before it had opened its streams");
	if (r == -ETIMEDOUT)
		return err_new(e, ERR_CANCELLED, "the client has not opened its streams within 30 s");
	if (r < 0)
		return r;
	channel = channel_of(s);
	if (channel < 0 || k->streams[channel]) {
		spdy_stream_close(s);
		return 0;
	}
	k->streams[channel] = s;
	r = spdy_reply(s, e);
	return r < 0 ? r : 1;
}

static int accept_all(SpdyCarrier *k, unsigned expected, Err *e)
{
	int64_t deadline = clock_mono_ns() + OPEN_NS;

	while (expected > 0) {
		int r = accept_one(k, deadline, e);

		if (r < 0)
			return r;
		expected -= (unsigned)r;
	}
	/* A stream in place of another that was asked for cannot be waited for any longer. */
	return k->streams[CRI_ERROR] ? 0
				     : err_new(e, ERR_INVALID, "the client has opened no stream for errors");
}

/* ---- the carrier ---- */

static bool next_size(SpdyCarrier *k, CriInput *ret)
{
	bool got = false;

	while (k->at < k->len && !got)
		k->at +=
		    cri_resize_feed(&k->resize, k->buf + k->at, k->len - k->at, &got, &ret->rows, &ret->cols);
	if (got)
		ret->kind = CRI_INPUT_RESIZE;
	return got;
}

static bool read_sizes(SpdyCarrier *k, CriInput *ret)
{
	ssize_t n = spdy_read(k->streams[CRI_RESIZE], k->buf, sizeof(k->buf), NULL);

	k->resize_end = n <= 0;
	k->at = 0;
	k->len = (size_t)MAX2(n, (ssize_t)0);
	return next_size(k, ret);
}

static void read_stdin(SpdyCarrier *k, CriInput *ret)
{
	ssize_t n = spdy_read(k->streams[CRI_STDIN], k->buf, sizeof(k->buf), NULL);

	k->at = k->len = 0;
	k->in_end = n <= 0;
	*ret = (CriInput){
	    .kind = n > 0 ? CRI_INPUT_DATA : CRI_INPUT_END,
	    .data = k->buf,
	    .len = (size_t)MAX2(n, (ssize_t)0),
	};
}

static int spdy_next(CriCarrier *c, int quit_fd, CriInput *ret)
{
	SpdyCarrier *k = (SpdyCarrier *)c;

	for (;;) {
		struct pollfd p[] = {{quit_fd, POLLIN, 0},
				     {spdy_dead_fd(k->c), 0, 0},
				     {-1, POLLIN, 0},
				     {-1, POLLIN, 0}};

		if (next_size(k, ret))
			return 1;
		if (k->streams[CRI_STDIN] && !k->in_end)
			p[2].fd = spdy_readable_fd(k->streams[CRI_STDIN]);
		if (k->streams[CRI_RESIZE] && !k->resize_end)
			p[3].fd = spdy_readable_fd(k->streams[CRI_RESIZE]);
		if (poll(p, ELEMENTSOF(p), -1) < 0)
			continue;
		if (p[0].revents || p[1].revents)
			return 0;
		if (p[3].revents && read_sizes(k, ret))
			return 1;
		if (p[2].revents) {
			read_stdin(k, ret);
			return 1;
		}
	}
}

static int spdy_send(CriCarrier *c, CriChannel channel, const void *data, size_t len, Err *e)
{
	SpdyCarrier *k = (SpdyCarrier *)c;

	return k->streams[channel] ? spdy_write(k->streams[channel], data, len, e) : 0;
}

static void spdy_close(CriCarrier *c)
{
	SpdyCarrier *k = (SpdyCarrier *)c;
	static const CriChannel ours[] = {CRI_STDOUT, CRI_STDERR, CRI_ERROR};

	for (size_t i = 0; i < ELEMENTSOF(ours); i++)
		if (k->streams[ours[i]])
			(void)spdy_write_end(k->streams[ours[i]], NULL);
	spdy_connection_close(k->c);
	free(k);
}

static const CriCarrierOps spdy_ops = {.next = spdy_next, .send = spdy_send, .close = spdy_close};

int cri_spdy_carrier(CriStreams *s, HttpRequest *rq, const CriStreamRequest *sr, CriCarrier **ret, Err *e)
{
	SpdyCarrier *k = calloc(1, sizeof(*k));
	const char *protocol;
	int r;

	if (!k)
		return err_oom(e);
	k->carrier.ops = &spdy_ops;
	r = cri_spdy_upgrade(s, rq, protocols, &k->c, &protocol, e);
	if (r <= 0) {
		free(k);
		return r;
	}
	k->carrier.documents = streq(protocol, protocols[0]);
	k->carrier.gone_fd = spdy_dead_fd(k->c);
	r = accept_all(k, count_expected(sr, protocol), e);
	if (r < 0) {
		spdy_close(&k->carrier);
		return r;
	}
	*ret = &k->carrier;
	return 1;
}
