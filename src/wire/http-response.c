/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an HTTP/1.x answer, to the letter of RFC 9112: strict line ends, no folding, one framing
 * only. */
#include "wire/http-client.h"

#include <ctype.h>
#include <strings.h>

void httpc_response_done(HttpcResponse *r)
{
	free(r->head);
	*r = (HttpcResponse){.length = -1};
}

/* The value of one header line if it is of that name: its start, and its length without blanks around. */
static const char *header_value(const char *line, size_t len, const char *name, size_t *ret_len)
{
	size_t n = strlen(name);

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return NULL;
	const char *v = line + n + 1, *end = line + len;
	while (v < end && (*v == ' ' || *v == '\t'))
		v++;
	while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*ret_len = (size_t)(end - v);
	return v;
}

char *httpc_response_header(const HttpcResponse *r, const char *name)
{
	const char *line = r->head ? strstr(r->head, "\r\n") : NULL;

	while (line && line[2]) {
		size_t n;

		line += 2;
		const char *end = strstr(line, "\r\n");
		size_t len = end ? (size_t)(end - line) : strlen(line);
		const char *v = header_value(line, len, name, &n);
		if (v)
			return strndup(v, n);
		line = end;
	}
	return NULL;
}

static bool value_has_token(const char *v, size_t n, const char *token)
{
	size_t len = strlen(token);

	for (size_t i = 0; i < n;) {
		size_t end = i;

		while (end < n && v[end] != ',')
			end++;
		size_t a = i, b = end;
		while (a < b && (v[a] == ' ' || v[a] == '\t'))
			a++;
		while (b > a && (v[b - 1] == ' ' || v[b - 1] == '\t'))
			b--;
		if (b - a == len && strncasecmp(v + a, token, len) == 0)
			return true;
		i = end + 1;
	}
	return false;
}

static int parse_length(const char *v, size_t n, int64_t *length)
{
	int64_t x = 0;

	if (n == 0 || n > 18)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)v[i]))
			return -EBADMSG;
		x = x * 10 + (v[i] - '0');
	}
	if (*length >= 0 && *length != x)
		return -EBADMSG;
	*length = x;
	return 0;
}

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* name ":" value, no folding, no control bytes. */
static int parse_header(const char *line, size_t len, HttpcResponse *r)
{
	size_t name = 0, n;
	const char *v;

	while (name < len && is_token_char(line[name]))
		name++;
	if (name == 0 || name == len || line[name] != ':')
		return -EBADMSG;
	for (size_t i = name; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return -EBADMSG;
	if ((v = header_value(line, len, "Content-Length", &n)))
		return parse_length(v, n, &r->length);
	if ((v = header_value(line, len, "Transfer-Encoding", &n))) {
		if (r->chunked || n != 7 || strncasecmp(v, "chunked", 7) != 0)
			return -EBADMSG;
		r->chunked = true;
	}
	if ((v = header_value(line, len, "Connection", &n)) && value_has_token(v, n, "close"))
		r->close = true;
	return 0;
}

/* HTTP/1.x SP 3DIGIT [SP reason] */
static int parse_status_line(const char *line, size_t len, HttpcResponse *r)
{
	if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
	    line[8] != ' ' || (len > 12 && line[12] != ' '))
		return -EBADMSG;
	for (size_t i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)line[i]))
			return -EBADMSG;
		r->status = r->status * 10 + (line[i] - '0');
	}
	for (size_t i = 12; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return -EBADMSG;
	r->close = line[7] == '0';
	return r->status >= 100 && r->status < 600 ? 0 : -EBADMSG;
}

ssize_t httpc_response_parse(const char *text, size_t len, HttpcResponse *ret)
{
	size_t window = MIN2(len, (size_t)HTTP_HEAD_MAX);
	const char *end = memmem(text, window, "\r\n\r\n", 4);
	HttpcResponse r = {.length = -1};

	/* Whatever does not even begin like HTTP is told at once rather than waited for. */
	if (memcmp(text, "HTTP/1.", MIN2(len, (size_t)7)) != 0)
		return -EBADMSG;
	if (!end)
		return len >= HTTP_HEAD_MAX ? -EMSGSIZE : 0;
	for (const char *line = text; line < end + 2;) {
		const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		size_t n = (size_t)(stop - line);
		int bad = line == text ? parse_status_line(line, n, &r) : parse_header(line, n, &r);

		if (bad < 0 || memchr(line, '\n', n) || memchr(line, '\0', n))
			return -EBADMSG;
		line = stop + 2;
	}
	if (r.chunked && r.length >= 0)
		return -EBADMSG;
	r.head = strndup(text, (size_t)(end - text));
	if (!r.head)
		return -ENOMEM;
	*ret = r;
	return end + 4 - text;
}
