/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP over libcurl; the rules are in http.h.
 *
 * One Exchange is one hop: it collects headers and body through libcurl's callbacks. A callback that
 * finds a reason to stop puts it into Exchange.err and makes libcurl give up; what libcurl then says itself
 * is of no interest. The stall rule does not count the time spent in the sink, because a slow disk is not a slow server.
 */
#include "registry/http.h"
#include "registry/address.h"
#include "registry/certs.h"
#include "registry/proxy.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <strings.h>

#define CONNECT_TIMEOUT_S 20
#define TOTAL_TIMEOUT_S   120 /* of an exchange whose body is kept in memory */
#define STALL_WINDOW_NS   (60 * 1000000000LL)
#define STALL_LEAST_BYTES 1024
#define STALL_AFTER_BODY  5 /* windows: a registry may have much to do with what it was sent */
#define HEADERS_MAX       (256u << 10)
#define ERROR_DRAIN_MAX   (4u << 20)
#define BUFFER_SIZE       (512L << 10)

struct HttpClient {
	CURL *curl;
	HttpWay way;
	bool was_local; /* it may hold a connection to an address that deny_local forbids */
};

typedef struct Exchange {
	const HttpRequest *q;
	HttpReply *reply;
	CURL *curl;
	const HttpWay *way;
	bool proxied;
	StrBuf body;
	size_t drained, header_bytes;
	char *location;
	int64_t content_range; /* -1: none */
	int64_t offset;        /* of the next body byte in the whole */
	bool begun, deny_local, denied_local;
	int64_t window_start, window_bytes;
	int64_t uploaded; /* of the body, as libcurl counts */
	int64_t given;    /* by the source */
	bool given_all, cut;
	int r; /* a callback's failure */
	Err err;
} Exchange;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void curl_start(void)
{
	/* libcurl copies Authorization headers; what it frees is wiped. */
	curl_ready =
	    curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, secret_free, secret_realloc, strdup, calloc);
}

int http_client_new(const char *user_agent, HttpClient **ret, Err *e)
{
	pthread_once(&curl_once, curl_start);
	if (curl_ready != CURLE_OK)
		return err_new(e, ERR_INTERNAL, "libcurl: %s", curl_easy_strerror(curl_ready));

	_cleanup_(http_client_freep) HttpClient *c = calloc(1, sizeof(*c));
	if (!c)
		return err_oom(e);
	c->curl = curl_easy_init();
	if (!c->curl)
		return err_oom(e);
	curl_easy_setopt(c->curl, CURLOPT_USERAGENT, user_agent ? user_agent : "ireko/" IREKO_VERSION);
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c->curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(c->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(c->curl, CURLOPT_NOPROXY, ""); /* who goes through a proxy is decided in proxy.c */
	curl_easy_setopt(c->curl, CURLOPT_BUFFERSIZE, BUFFER_SIZE);
	curl_easy_setopt(c->curl, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_SIZE);
	curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c->curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	http_client_set_way(c, &(HttpWay){0});
	*ret = take_ptr(c);
	return 0;
}

void http_client_set_way(HttpClient *c, const HttpWay *way)
{
	c->way = *way;
	if (!c->way.certs_dirs)
		c->way.certs_dirs = certs_dirs_default;
	if (c->way.stall_ns <= 0)
		c->way.stall_ns = STALL_WINDOW_NS;
}

void http_client_free(HttpClient *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->curl);
	free(c);
}

void http_reply_done(HttpReply *r)
{
	free(r->content_type);
	free(r->digest);
	free(r->link);
	strv_free(r->challenges);
	free(r->url);
	free(r->location);
	free(r->etag);
	free(r->last_modified);
	free(r->disposition);
	free(r->range);
	free(r->body);
	*r = (HttpReply){0};
}

static bool is_local_v4(uint32_t a)
{
	return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xA9FE; /* 169.254/16 */
}

static bool is_local_v6(const struct in6_addr *a)
{
	if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a)) /* :: and ::1 are "compatible" too */
		return is_local_v4((uint32_t)a->s6_addr[12] << 24 | (uint32_t)a->s6_addr[13] << 16 |
				   (uint32_t)a->s6_addr[14] << 8 | a->s6_addr[15]);
	return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_LINKLOCAL(a) || IN6_IS_ADDR_UNSPECIFIED(a);
}

bool http_address_is_local(const char *ip)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, ip, &v4) == 1)
		return is_local_v4(ntohl(v4.s_addr));
	return inet_pton(AF_INET6, ip, &v6) == 1 && is_local_v6(&v6);
}

static char *url_part(CURLU *u, CURLUPart part)
{
	char *s = NULL;

	if (curl_url_get(u, part, &s, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) != CURLUE_OK)
		return NULL;
	char *copy = strdup(s);
	curl_free(s);
	return copy;
}

static void url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static CURLU *url_parse(const char *url)
{
	_cleanup_(url_freep) CURLU *u = curl_url();

	if (!u || curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		return NULL;
	_cleanup_free_ char *scheme = url_part(u, CURLUPART_SCHEME);
	_cleanup_free_ char *user = url_part(u, CURLUPART_USER);
	_cleanup_free_ char *password = url_part(u, CURLUPART_PASSWORD);
	if (!scheme || (!streq(scheme, "http") && !streq(scheme, "https")) || user || password)
		return NULL;
	return take_ptr(u);
}

static char *lowered(char *s)
{
	for (char *p = s; p && *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return s;
}

char *http_url_host(const char *url, bool with_port)
{
	_cleanup_(url_freep) CURLU *u = url_parse(url);

	if (!u)
		return NULL;
	_cleanup_free_ char *host = lowered(url_part(u, CURLUPART_HOST));
	_cleanup_free_ char *port = url_part(u, CURLUPART_PORT);
	if (!host || !port)
		return NULL;
	return with_port ? strf("%s:%s", host, port) : take_ptr(host);
}

/* "https://host:port", what two URLs must share to be of one origin. */
static char *url_origin(const char *url)
{
	_cleanup_free_ char *host = http_url_host(url, true);

	return host ? strf("%s://%s",
			   str_starts(url, "https:") || str_starts(url, "HTTPS:") ? "https" : "http", host)
		    : NULL;
}

/* ---- callbacks ---- */

static size_t stop(Exchange *x, int r)
{
	x->r = r;
	return 0; /* anything but the length makes libcurl give up */
}

static void header_is(const char *line, size_t len, const char *name, char **ret)
{
	size_t n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return;
	_cleanup_free_ char *raw = strndup(line + n + 1, len - n - 1);
	free(*ret);
	*ret = raw ? str_trim_dup(raw) : NULL;
}

static size_t on_header(char *line, size_t size _unused_, size_t len, void *user)
{
	Exchange *x = user;
	HttpReply *r = x->reply;
	_cleanup_free_ char *challenge = NULL, *range = NULL, *chunk = NULL;

	x->header_bytes += len;
	if (x->header_bytes > HEADERS_MAX)
		return stop(x, err_new(&x->err, ERR_INVALID, "the reply has more than %u bytes of headers",
				       HEADERS_MAX));
	header_is(line, len, "Content-Type", &r->content_type);
	header_is(line, len, "Docker-Content-Digest", &r->digest);
	header_is(line, len, "Location", &x->location);
	header_is(line, len, "Link", &r->link);
	header_is(line, len, "ETag", &r->etag);
	header_is(line, len, "Last-Modified", &r->last_modified);
	header_is(line, len, "Content-Disposition", &r->disposition);
	header_is(line, len, "WWW-Authenticate", &challenge);
	header_is(line, len, "Content-Range", &range);
	header_is(line, len, "Range", &r->range);
	header_is(line, len, "OCI-Chunk-Min-Length", &chunk);
	if (chunk && (str_to_i64(chunk, &r->chunk_min) < 0 || r->chunk_min < 0))
		r->chunk_min = 0;
	if (challenge && strv_take(&r->challenges, take_ptr(challenge)) < 0)
		return stop(x, err_oom(&x->err));
	if (range) {
		char *end = NULL;
		const char *from = strncasecmp(range, "bytes ", 6) == 0 ? range + 6 : "";

		errno = 0;
		x->content_range = isdigit((unsigned char)*from) ? strtoll(from, &end, 10) : -1;
		if (errno || (end && *end != '-'))
			x->content_range = -1;
	}
	return len;
}

/* Only the bytes from range_from on are wanted: 206 starts there, 200 starts at 0 and is skipped up to it. */
static int begin_body(Exchange *x)
{
	long status = 0;

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
	x->reply->status = (int)status;
	x->begun = true;
	if (status != 206)
		return 0;
	if (x->q->range_from <= 0 || x->content_range != x->q->range_from)
		return err_new(&x->err, ERR_INVALID,
			       "asked for the bytes from %lld on, the server sent those from %lld on",
			       (long long)x->q->range_from, (long long)x->content_range);
	x->offset = x->content_range;
	return 0;
}

static size_t keep_body(Exchange *x, const char *data, size_t len, size_t max, bool success)
{
	if (success && len > max - x->body.len)
		return stop(x, err_new(&x->err, ERR_INVALID,
				       "the reply is larger than the limit of %zu bytes", max));
	x->drained += len;
	if (x->drained > MAX2((size_t)ERROR_DRAIN_MAX, max))
		return stop(x, err_new(&x->err, ERR_INVALID, "the reply (status %d) does not end",
				       x->reply->status));
	strbuf_add_n(&x->body, data, MIN2(len, max - x->body.len));
	return x->body.oom ? stop(x, err_oom(&x->err)) : len;
}

static size_t on_body(char *data, size_t size _unused_, size_t len, void *user)
{
	Exchange *x = user;

	if (!x->begun && begin_body(x) < 0)
		return stop(x, -EINVAL);
	x->window_bytes += (int64_t)len;

	bool success = x->reply->status == 200 || x->reply->status == 206;
	if (!success || !x->q->sink)
		return keep_body(x, data, len, success ? x->q->max_body : HTTP_ERROR_BODY_MAX, success);

	size_t skip = 0;
	if (x->offset < x->q->range_from)
		skip = (size_t)MIN2((int64_t)len, x->q->range_from - x->offset);
	x->offset += (int64_t)skip;

	int64_t before = clock_mono_ns();
	int r = len > skip ? x->q->sink(x->q->sink_user, x->offset, data + skip, len - skip, &x->err) : 0;
	x->window_start += clock_mono_ns() - before;
	x->offset += (int64_t)(len - skip);
	return r < 0 ? stop(x, r) : len;
}

/* The time that the source takes is its own. */
static size_t on_send(char *buf, size_t size _unused_, size_t cap, void *user)
{
	Exchange *x = user;
	int64_t before = clock_mono_ns();
	ssize_t n = x->q->source(x->q->source_user, x->given, buf, cap, &x->err);

	x->window_start += clock_mono_ns() - before;
	if (n < 0) {
		x->r = (int)n;
		return CURL_READFUNC_ABORT;
	}
	x->given += n;
	x->given_all = n == 0 || x->given == x->q->source_len;
	return (size_t)n;
}

static int on_seek(void *user, curl_off_t offset, int origin)
{
	Exchange *x = user;

	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	x->given = offset;
	x->given_all = false;
	return CURL_SEEKFUNC_OK;
}

static int on_tick(void *user, curl_off_t dt _unused_, curl_off_t dn _unused_, curl_off_t ut _unused_,
		   curl_off_t un)
{
	Exchange *x = user;
	int64_t now = clock_mono_ns();
	int windows = x->given_all && !x->begun ? STALL_AFTER_BODY : 1;

	x->window_bytes += un - x->uploaded;
	x->uploaded = un;

	if (x->q->cancelled && x->q->cancelled(x->q->cancel_user)) {
		x->r = err_new(&x->err, ERR_CANCELLED, "cancelled");
		return 1;
	}
	if (now - x->window_start < x->way->stall_ns * windows)
		return 0;
	if (x->window_bytes < STALL_LEAST_BYTES) {
		x->reply->trouble = HTTP_BROKEN;
		x->r = err_new(&x->err, ERR_UNAVAILABLE, "no data for %lld s",
			       (long long)(x->way->stall_ns * windows / 1000000000));
		return 1;
	}
	x->window_start = now;
	x->window_bytes = 0;
	return 0;
}

static curl_socket_t on_socket(void *user, curlsocktype purpose _unused_, struct curl_sockaddr *a)
{
	Exchange *x = user;
	bool local = false;

	if (a->family == AF_INET)
		local = is_local_v4(ntohl(((struct sockaddr_in *)(void *)&a->addr)->sin_addr.s_addr));
	else if (a->family == AF_INET6)
		local = is_local_v6(&((struct sockaddr_in6 *)(void *)&a->addr)->sin6_addr);
	/* libcurl tries again by itself when a kept connection turns out to be dead. Not with half of a body gone: what has become of
	 * that, only the caller can find out. */
	if (x->given > 0) {
		x->cut = true;
		return CURL_SOCKET_BAD;
	}
	if (local && x->deny_local && !x->proxied) { /* a proxy is where the user has it */
		x->denied_local = true;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* ---- one hop ---- */

static int add_header(struct curl_slist **list, const char *name, const char *value)
{
	_cleanup_secret_ char *line = value ? strf("%s: %s", name, value) : NULL;

	if (!value)
		return 0;
	/* A line break in a value (a token, for one) would be another header. */
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7F)
			return -EINVAL;
	struct curl_slist *grown = line ? curl_slist_append(*list, line) : NULL;
	if (!grown)
		return -ENOMEM;
	*list = grown;
	return 0;
}

static int add_body_headers(struct curl_slist **list, const HttpRequest *q)
{
	struct curl_slist *grown;
	int r;

	if (q->form || streq(q->method, "GET") || streq(q->method, "HEAD") || streq(q->method, "DELETE"))
		return 0;
	r = add_header(list, "Content-Type", q->content_type ? q->content_type : "application/octet-stream");
	if (r == 0)
		r = add_header(list, "Content-Range", q->content_range);
	if (r < 0)
		return r;
	/* A body is not held back until the server asks for it: it has been asked in words before. */
	grown = curl_slist_append(*list, "Expect:");
	if (!grown)
		return -ENOMEM;
	*list = grown;
	return 0;
}

static void set_source(Exchange *x)
{
	curl_easy_setopt(x->curl, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, x->q->method);
	curl_easy_setopt(x->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->q->source_len);
	curl_easy_setopt(x->curl, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(x->curl, CURLOPT_READDATA, x);
	curl_easy_setopt(x->curl, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(x->curl, CURLOPT_SEEKDATA, x);
}

static void set_data(CURL *curl, const HttpRequest *q)
{
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)(q->form ? strlen(q->form) : q->data_len));
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, q->form ? q->form : q->data ? q->data : "");
}

static void set_method(Exchange *x)
{
	const HttpRequest *q = x->q;

	/* Takes back what a request before this one has set. */
	curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(x->curl, CURLOPT_NOBODY, 0L);
	curl_easy_setopt(x->curl, CURLOPT_HTTPGET, 1L);
	if (streq(q->method, "HEAD"))
		curl_easy_setopt(x->curl, CURLOPT_NOBODY, 1L);
	else if (streq(q->method, "DELETE"))
		curl_easy_setopt(x->curl, CURLOPT_CUSTOMREQUEST, q->method);
	else if (q->source)
		set_source(x);
	else if (!streq(q->method, "GET"))
		set_data(x->curl, q);
}

/* What the host's folder in certs.d says; without it what the system trusts. libcurl keeps a copy of all. */
static int set_certificates(CURL *curl, const HttpWay *way, const char *url, Err *e)
{
	_cleanup_(host_files_done) HostFiles f = {0};
	_cleanup_free_ char *host = http_url_host(url, true);
	int r = host ? host_files_read(way->certs_dirs, host, &f, e) : err_oom(e);

	if (r < 0)
		return r;
	if (f.authorities) {
		struct curl_blob blob = {f.authorities, strlen(f.authorities), CURL_BLOB_COPY};

		/* The system's stay trusted: they are in libcurl's CAPATH. */
		curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
	} else {
		curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, NULL);
	}
	curl_easy_setopt(curl, CURLOPT_SSLCERT, f.cert);
	curl_easy_setopt(curl, CURLOPT_SSLKEY, f.key);
	return 0;
}

static int set_options(Exchange *x, const char *url, char *error_text, Err *e)
{
	CURL *curl = x->curl;
	long verify = x->q->unverified_tls ? 0 : 1;
	const char *proxy = x->way->proxies ? proxy_for(x->way->proxies, url) : NULL;
	int r = str_starts(url, "https:") ? set_certificates(curl, x->way, url, e) : 0;

	if (r < 0)
		return r;
	set_method(x);
	x->proxied = proxy != NULL;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, proxy ? proxy : ""); /* "" keeps libcurl off the environment */
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT,
			 (long)(x->q->connect_timeout_s > 0 ? x->q->connect_timeout_s : CONNECT_TIMEOUT_S));
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, verify);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, verify * 2);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, x->q->sink || x->q->source ? 0L : (long)TOTAL_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, x);
	curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)0);
	return 0;
}

/* True if we never got as far as a connection to the server itself. */
static bool never_connected(CURL *curl, CURLcode c)
{
	curl_off_t connected = 0;
	long by_proxy = 0, begun = 0;

	curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &by_proxy);
	curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &connected);
	curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &begun);
	return by_proxy >= 300 || (c == CURLE_OPERATION_TIMEDOUT && begun > 0 && connected == 0);
}

static HttpTrouble trouble_of(CURL *curl, CURLcode c)
{
	if (never_connected(curl, c))
		return HTTP_NO_CONNECTION;
	switch (c) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_PROXY:
		return HTTP_NO_CONNECTION;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CERTPROBLEM:
		return HTTP_NO_TLS;
	default:
		return HTTP_BROKEN;
	}
}

static int describe(Exchange *x, CURLcode c, const char *url, const char *text, Err *e)
{
	const char *why = *text ? text : curl_easy_strerror(c);
	const char *peer = x->q->peer ? x->q->peer : "registry";
	char check[128];
	const char *remedy = "";

	if (x->r < 0) { /* a callback's word */
		if (e)
			*e = x->err;
		if (x->reply->trouble == HTTP_FINE)
			x->reply->trouble = HTTP_REFUSED;
		return err_ctx(e, x->r, "%s \"%.300s\"", x->q->method, url);
	}
	if (x->denied_local) {
		x->reply->trouble = HTTP_REFUSED;
		return err_new(e, ERR_DENIED,
			       "%s \"%.300s\": refused: a %s may not send this machine to its own or "
			       "link-local addresses",
			       x->q->method, url, peer);
	}
	if (x->cut) {
		x->reply->trouble = HTTP_BROKEN;
		return err_new(e, ERR_UNAVAILABLE, "%s \"%.300s\": the connection was closed in the middle",
			       x->q->method, url);
	}
	snprintf(check, sizeof(check), "; check that the %s runs and that no firewall or proxy is in the way",
		 peer);
	x->reply->trouble = trouble_of(x->curl, c);
	if (x->reply->trouble == HTTP_NO_CONNECTION && x->proxied)
		remedy = "; the way leads through a proxy: check http-proxy, https-proxy and no-proxy of the "
			 "engine";
	else if (c == CURLE_COULDNT_RESOLVE_HOST)
		remedy = "; check the name and the DNS servers of this machine";
	else if (x->reply->trouble == HTTP_NO_CONNECTION)
		remedy = check;
	else if (x->reply->trouble == HTTP_NO_TLS)
		remedy = "; install its CA in /etc/ireko/certs.d/<host>/ca.crt, or name it with "
			 "--insecure-registry";
	return err_new(e, ERR_UNAVAILABLE, "%s \"%.300s\": %s%s", x->q->method, url, why, remedy);
}

static int do_hop(Exchange *x, const char *url, const char *authorization, Err *e)
{
	char text[CURL_ERROR_SIZE] = "", range[64];
	struct curl_slist *headers = NULL;
	char *ip = NULL;
	curl_off_t retry_after = 0;
	long status = 0;

	snprintf(range, sizeof(range), "bytes=%lld-", (long long)x->q->range_from);
	int r = add_header(&headers, "Accept", x->q->accept);
	if (r == 0)
		r = add_header(&headers, "Authorization", authorization);
	if (r == 0 && x->q->range_from > 0)
		r = add_header(&headers, "Range", range);
	if (r == 0)
		r = add_body_headers(&headers, x->q);
	if (r < 0) {
		curl_slist_free_all(headers);
		x->reply->trouble = HTTP_REFUSED;
		return r == -EINVAL ? err_new(e, ERR_INVALID, "a token or password with control characters")
				    : err_oom(e);
	}
	r = set_options(x, url, text, e);
	if (r < 0) {
		curl_slist_free_all(headers);
		x->reply->trouble = HTTP_REFUSED;
		return r;
	}
	curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, headers);
	x->window_start = clock_mono_ns();
	CURLcode c = curl_easy_perform(x->curl);
	curl_easy_setopt(x->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, NULL);
	curl_slist_free_all(headers);

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(x->curl, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(x->curl, CURLINFO_PRIMARY_IP, &ip);
	x->reply->status = (int)status;
	x->reply->retry_after = (int64_t)retry_after;
	if (!x->deny_local && ip && !x->proxied)
		x->reply->local |= http_address_is_local(ip);
	return c == CURLE_OK ? 0 : describe(x, c, url, text, e);
}

/* ---- redirects ---- */

static bool is_redirect(const Exchange *x)
{
	int s = x->reply->status;

	return (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) && x->location;
}

int http_url_join(const char *from, const char *location, char **ret, Err *e)
{
	_cleanup_(url_freep) CURLU *u = url_parse(from);
	char *full = NULL;

	if (!u || curl_url_set(u, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_URL, &full, 0) != CURLUE_OK)
		return err_new(e, ERR_INVALID, "\"%.300s\" leads to \"%.300s\", which is no URL", from,
			       location);
	_cleanup_free_ char *next = strdup(full);
	curl_free(full);
	if (!next)
		return err_oom(e);

	_cleanup_(url_freep) CURLU *n = url_parse(next);
	if (!n)
		return err_new(
		    e, ERR_DENIED,
		    "\"%.300s\" leads to \"%.300s\": refused: only http and https without a password", from,
		    location);
	if (str_starts(from, "https:") && !str_starts(next, "https:"))
		return err_new(e, ERR_DENIED,
			       "\"%.300s\" leads to \"%.300s\": refused: from https to plain http", from,
			       location);
	*ret = take_ptr(next);
	return 0;
}

bool http_same_origin(const char *a, const char *b)
{
	_cleanup_free_ char *x = url_origin(a);
	_cleanup_free_ char *y = url_origin(b);

	return streq0(x, y);
}

static int follow(HttpClient *c, const HttpRequest *q, HttpReply *ret, Err *e)
{
	_cleanup_free_ char *url = strdup(q->url);
	bool first_local = q->local_allowed;

	for (int hop = 0; url; hop++) {
		Exchange x = {.q = q, .reply = ret, .curl = c->curl, .way = &c->way, .content_range = -1};
		x.given_all = q->source && q->source_len == 0;

		x.deny_local = (q->named_by_server || hop > 0) && !first_local;
		curl_easy_setopt(c->curl, CURLOPT_FRESH_CONNECT, x.deny_local && c->was_local ? 1L : 0L);
		int r = do_hop(&x, url, http_same_origin(url, q->url) ? q->authorization : NULL, e);
		_cleanup_free_ char *location = x.location;
		c->was_local |= ret->local;
		ret->len = x.body.len;
		ret->body = strbuf_steal(&x.body);
		if (r < 0 || !is_redirect(&x)) {
			ret->url = take_ptr(url);
			ret->location = take_ptr(location);
			return r;
		}

		_cleanup_free_ char *next = NULL;
		first_local |= hop == 0 && !q->named_by_server && ret->local;
		r = http_url_join(url, location, &next, e);
		if (r == 0 && hop == HTTP_HOPS_MAX)
			r = err_new(e, ERR_INVALID, "\"%.300s\": more than %d redirects", q->url,
				    HTTP_HOPS_MAX);
		if (r == 0 && !streq(q->method, "GET") && !streq(q->method, "HEAD"))
			r = err_new(e, ERR_DENIED, "%s \"%.300s\": refused: a redirect of a request that %s",
				    q->method, url, q->form ? "carries a secret" : "changes something");
		bool local = ret->local;
		http_reply_done(ret);
		ret->local = local;
		if (r < 0) {
			ret->trouble = HTTP_REFUSED;
			return r;
		}
		free(url);
		url = take_ptr(next);
	}
	return err_oom(e);
}

int http_do(HttpClient *c, const HttpRequest *q, HttpReply *ret, Err *e)
{
	*ret = (HttpReply){0};
	_cleanup_(url_freep) CURLU *u = url_parse(q->url);
	if (!u) {
		ret->trouble = HTTP_REFUSED;
		return err_new(e, ERR_INVALID, "\"%.300s\" is no http or https URL", q->url);
	}
	return follow(c, q, ret, e);
}
