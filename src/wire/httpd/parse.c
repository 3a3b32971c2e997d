/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a request (RFC 9112): request line and header fields, cut up in place.
 *
 * The rule is to refuse whatever a second parser could read differently; see httpd.h for the list. Everything here works on one
 * bounded buffer and allocates only the table of query parameters.
 */
#include "wire/httpd/httpd-internal.h"

#include <arpa/inet.h>
#include <strings.h>

static bool is_token_char(unsigned char c)
{
	if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_token(const char *s)
{
	if (!*s)
		return false;
	for (; *s; s++)
		if (!is_token_char((unsigned char)*s))
			return false;
	return true;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int http_percent_decode(char *s, bool plus)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '%') {
			int hi = hex_value(s[1]), lo = hi < 0 ? -1 : hex_value(s[2]);

			if (lo < 0 || (hi == 0 && lo == 0))
				return -EINVAL;
			*to++ = (char)(hi << 4 | lo);
			s += 2;
		} else {
			*to++ = plus && *s == '+' ? ' ' : *s;
		}
	}
	*to = '\0';
	return 0;
}

/* Cuts off the line at *pos; NULL at the end. A line end is CRLF and nothing else. */
static char *next_line(char **pos, const char *end, bool *bad)
{
	char *line = *pos, *cr;

	if (line >= end)
		return NULL;
	cr = memchr(line, '\r', (size_t)(end - line));
	if (!cr)
		cr = (char *)end;
	else if (cr + 1 >= end || cr[1] != '\n')
		*bad = true;
	for (const char *p = line; p < cr; p++)
		if ((unsigned char)*p < 0x20 && *p != '\t')
			*bad = true;
	if (memchr(line, 0x7f, (size_t)(cr - line)))
		*bad = true;
	*pos = cr + 2 < end ? cr + 2 : (char *)end;
	*cr = '\0';
	return line;
}

static int parse_query(HttpRequest *rq, char *query, Err *e)
{
	size_t n = 1;

	for (const char *p = query; *p; p++)
		n += *p == '&';
	if (n > HTTP_QUERY_MAX)
		return err_new(e, ERR_INVALID, "the request has more than %d query parameters",
			       HTTP_QUERY_MAX);
	rq->query = calloc(n, sizeof(*rq->query));
	if (!rq->query)
		return err_oom(e);
	for (char *save, *part = strtok_r(query, "&", &save); part; part = strtok_r(NULL, "&", &save)) {
		char *value = strchr(part, '=');

		if (value)
			*value++ = '\0';
		else
			value = part + strlen(part);
		if (http_percent_decode(part, true) < 0 || http_percent_decode(value, true) < 0)
			return err_new(e, ERR_INVALID, "the query has a malformed percent escape");
		rq->query[rq->n_query++] = (HttpPair){part, value};
	}
	return 0;
}

static int parse_request_line(HttpRequest *rq, char *line, int *ret_status, Err *e)
{
	char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL, *query;

	if (!version || strchr(version + 1, ' '))
		return err_new(e, ERR_INVALID, "malformed request line");
	*target++ = '\0';
	*version++ = '\0';
	if (!is_token(line))
		return err_new(e, ERR_INVALID, "malformed request method");
	if (streq(version, "HTTP/1.1") || streq(version, "HTTP/1.0")) {
		rq->minor = version[7] - '0';
	} else {
		*ret_status = str_starts(version, "HTTP/") ? 505 : 400;
		return err_new(e, ERR_INVALID, "unsupported protocol version, this server speaks HTTP/1.1");
	}
	if (*target != '/')
		return err_new(e, ERR_INVALID, "the request target must be a path");
	for (const char *p = target; *p; p++)
		if ((unsigned char)*p <= 0x20 || *p == '#' || *p == '\\')
			return err_new(e, ERR_INVALID, "forbidden character in the request target");
	query = strchr(target, '?');
	if (query)
		*query++ = '\0';
	rq->method = line;
	rq->path = target;
	return query ? parse_query(rq, query, e) : 0;
}

static int parse_header(HttpRequest *rq, char *line, int *ret_status, Err *e)
{
	char *value = strchr(line, ':'), *end;

	if (*line == ' ' || *line == '\t')
		return err_new(e, ERR_INVALID, "folded header lines are not supported");
	if (!value)
		return err_new(e, ERR_INVALID, "malformed header line");
	*value++ = '\0';
	if (!is_token(line))
		return err_new(e, ERR_INVALID, "malformed header name");
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (rq->n_headers == HTTP_HEADERS_MAX) {
		*ret_status = 431;
		return err_new(e, ERR_INVALID, "the request has more than %d header lines", HTTP_HEADERS_MAX);
	}
	rq->headers[rq->n_headers++] = (HttpPair){line, value};
	return 0;
}

static size_t header_count(const HttpRequest *rq, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < rq->n_headers; i++)
		n += strcasecmp(rq->headers[i].name, name) == 0;
	return n;
}

/* True if a comma-separated header value has the token `want`. */
static bool list_has(const char *list, const char *want)
{
	size_t n = strlen(want);

	while (list && *list) {
		list += strspn(list, ", \t");
		if (strncasecmp(list, want, n) == 0 && (!list[n] || strchr(", \t", list[n])))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

static int parse_framing(HttpRequest *rq, int *ret_status, Err *e)
{
	const char *length = http_header(rq, "Content-Length"),
		   *coding = http_header(rq, "Transfer-Encoding");

	if (header_count(rq, "Content-Length") > 1 || header_count(rq, "Transfer-Encoding") > 1 ||
	    (length && coding))
		return err_new(e, ERR_INVALID, "the request states its length more than once");
	if (coding) {
		if (strcasecmp(coding, "chunked") != 0 || rq->minor == 0) {
			*ret_status = 501;
			return err_new(e, ERR_INVALID, "unsupported transfer coding, only chunked is");
		}
		rq->body_kind = BODY_CHUNKED;
	} else if (length) {
		if (strlen(length) > 18 || !*length || strspn(length, "0123456789") != strlen(length))
			return err_new(e, ERR_INVALID, "malformed Content-Length");
		rq->body_left = strtoull(length, NULL, 10);
		rq->body_kind = rq->body_left ? BODY_LENGTH : BODY_NONE;
	}
	rq->body_done = rq->body_kind == BODY_NONE;
	return 0;
}

static int parse_connection(HttpRequest *rq, int *ret_status, Err *e)
{
	const char *connection = http_header(rq, "Connection"), *expect = http_header(rq, "Expect");
	size_t hosts = header_count(rq, "Host");

	if (hosts > 1 || (hosts == 0 && rq->minor == 1))
		return err_new(e, ERR_INVALID, "the request must have exactly one Host header");
	rq->keep_alive = rq->minor == 1 && !list_has(connection, "close");
	if (expect && strcasecmp(expect, "100-continue") != 0) {
		*ret_status = 417;
		return err_new(e, ERR_INVALID, "unsupported expectation");
	}
	rq->expect_continue = expect && rq->minor == 1 && !rq->body_done;
	return 0;
}

int http_parse_head(HttpRequest *rq, char *head, size_t len, int *ret_status, Err *e)
{
	char *pos = head, *line;
	bool bad = false;
	int r;

	*ret_status = 400;
	if (memchr(head, '\0', len))
		return err_new(e, ERR_INVALID, "NUL byte in the request head");
	line = next_line(&pos, head + len, &bad);
	if (!line || bad)
		return err_new(e, ERR_INVALID, "malformed request line");
	r = parse_request_line(rq, line, ret_status, e);
	while (r >= 0 && (line = next_line(&pos, head + len, &bad))) {
		if (bad)
			return err_new(e, ERR_INVALID,
				       "control character or bare line end in the request head");
		r = parse_header(rq, line, ret_status, e);
	}
	if (r >= 0)
		r = parse_framing(rq, ret_status, e);
	if (r >= 0)
		r = parse_connection(rq, ret_status, e);
	return r;
}

bool http_wants_upgrade(const HttpRequest *rq)
{
	return http_header(rq, "Upgrade") && list_has(http_header(rq, "Connection"), "upgrade");
}

/* "localhost:2375", "192.0.2.1", "[fe80::1]:2375": a name that only this machine can mean, or an address, which no name server can have
 * turned into another. */
static bool host_is_local(const char *host)
{
	struct in6_addr six;
	struct in_addr four;
	char name[256];
	size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

	if (n >= sizeof(name) || n > strlen(host))
		return false;
	memcpy(name, host, n);
	name[n] = '\0';
	host += n;
	if (*host && (*host != ':' || strspn(host + 1, "0123456789") != strlen(host + 1)))
		return false;
	if (strcasecmp(name, "localhost") == 0 || str_ends(name, ".localhost") || streq(name, "docker"))
		return true;
	if (*name == '[' && str_ends(name, "]")) {
		name[n - 1] = '\0';
		return inet_pton(AF_INET6, name + 1, &six) == 1;
	}
	return inet_pton(AF_INET, name, &four) == 1;
}

/* Programs that speak WebSocket name the engine itself as their origin; a page has that one only if we had served it. */
static bool same_origin_websocket(const HttpRequest *rq)
{
	const char *upgrade = http_header(rq, "Upgrade"), *origin = http_header(rq, "Origin"),
		   *host = http_header(rq, "Host"), *rest = str_after(origin, "http://");

	if (!rest)
		rest = str_after(origin, "https://");
	return upgrade && strcasecmp(upgrade, "websocket") == 0 && rest && host && streq(rest, host);
}

/* Nothing that runs in a browser has business here: no page may drive the engine of the machine it is looked at on. */
int http_check_browser(const HttpRequest *rq, HttpTransport transport, Err *e)
{
	const char *site = http_header(rq, "Sec-Fetch-Site"), *host = http_header(rq, "Host");

	if ((http_header(rq, "Origin") && !same_origin_websocket(rq)) ||
	    (site && strcasecmp(site, "none") != 0))
		return err_new(e, ERR_DENIED,
			       "requests from web pages are refused (the request has an Origin or "
			       "Sec-Fetch-Site header)");
	if (transport == HTTP_TCP && (!host || !host_is_local(host)))
		return err_new(e, ERR_DENIED, "Host \"%.100s\" is refused: use localhost or an address",
			       host ? host : "");
	return 0;
}
