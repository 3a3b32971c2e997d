/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an engine listens: parsing the address and connecting to it. Names are resolved without NSS, which
 * would forbid static linking: numeric addresses, "localhost", /etc/hosts, then the resolver's DNS query.
 */
#include "wire/http-client-internal.h"
#include "base/fd.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <resolv.h>
#include <strings.h>
#include <sys/time.h>

#define CONNECT_TIMEOUT_S 10

void httpc_address_done(HttpcAddress *a)
{
	free(a->text);
	free(a->path);
	free(a->host);
	free(a->port);
	*a = (HttpcAddress){0};
}

/* host, host:port, [v6], [v6]:port */
static int split_host_port(const char *s, HttpcAddress *a)
{
	const char *end = *s == '[' ? strchr(s, ']') : strchrnul(s, ':');
	int port;

	if (!end)
		return -EINVAL;
	a->host = *s == '[' ? strndup(s + 1, (size_t)(end - s - 1)) : strndup(s, (size_t)(end - s));
	if (*end == ']')
		end++;
	if (*end && *end != ':')
		return -EINVAL;
	a->port = strdup(*end ? end + 1 : "2375");
	if (!a->host || !a->port)
		return -ENOMEM;
	if (a->host[0] == '\0')
		return -EINVAL;
	return str_to_int(a->port, 1, 65535, &port);
}

int httpc_address_parse(const char *s, HttpcAddress *ret, Err *e)
{
	HttpcAddress a = {.text = strdup(s)};
	const char *rest;
	int r = a.text ? 0 : -ENOMEM;

	rest = *s == '/' ? s : str_after(s, "unix://");
	if (r == 0 && rest) {
		a.path = strdup(rest);
		r = !a.path ? -ENOMEM : *rest ? 0 : -EINVAL;
	} else if (r == 0) {
		_cleanup_free_ char *authority = NULL;

		rest = str_after(s, "tcp://");
		if (!rest)
			rest = str_after(s, "http://");
		if (!rest && !strstr(s, "://"))
			rest = s;
		authority = rest ? strndup(rest, strcspn(rest, "/")) : NULL;
		r = authority ? split_host_port(authority, &a) : rest ? -ENOMEM : -EINVAL;
	}
	if (r < 0) {
		httpc_address_done(&a);
		if (r == -ENOMEM)
			return err_oom(e);
		return err_new(e, ERR_INVALID,
			       "invalid address \"%s\": expected unix:///path/to/socket or tcp://host:port",
			       s);
	}
	*ret = a;
	return 0;
}

/* ---- connecting */

typedef struct Target {
	struct sockaddr_storage addr;
	socklen_t len;
} Target;

static bool target_numeric(const char *host, int port, Target *t)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&t->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&t->addr;

	*t = (Target){0};
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		t->len = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		t->len = sizeof(*v6);
		return true;
	}
	return false;
}

static bool target_from_hosts(const char *host, int port, Target *t)
{
	_cleanup_free_ char *text = NULL;
	char *save_line = NULL;

	if (file_read_at(AT_FDCWD, "/etc/hosts", 1 << 20, &text, NULL) < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save_line); line; line = strtok_r(NULL, "\n", &save_line)) {
		char *save = NULL;

		line[strcspn(line, "#")] = '\0';
		const char *address = strtok_r(line, " \t\r", &save);
		for (const char *name; address && (name = strtok_r(NULL, " \t\r", &save));)
			if (strcasecmp(name, host) == 0 && target_numeric(address, port, t))
				return true;
	}
	return false;
}

static bool target_from_dns(const char *host, int port, ns_type type, Target *t)
{
	unsigned char answer[4096];
	ns_msg msg;
	ns_rr rr;
	int n = res_search(host, ns_c_in, type, answer, sizeof(answer));

	if (n < 0 || n > (int)sizeof(answer) || ns_initparse(answer, n, &msg) < 0)
		return false;
	for (int i = 0; i < ns_msg_count(msg, ns_s_an); i++) {
		char text[INET6_ADDRSTRLEN];

		if (ns_parserr(&msg, ns_s_an, i, &rr) < 0)
			return false;
		if (ns_rr_type(rr) != type || ns_rr_rdlen(rr) != (type == ns_t_a ? 4 : 16))
			continue;
		if (inet_ntop(type == ns_t_a ? AF_INET : AF_INET6, ns_rr_rdata(rr), text, sizeof(text)))
			return target_numeric(text, port, t);
	}
	return false;
}

static int connect_tcp(const HttpcAddress *a, Err *e)
{
	int port = 0, one = 1;
	Target t;

	if (str_to_int(a->port, 1, 65535, &port) < 0)
		return err_new(e, ERR_INVALID, "%s: invalid port", a->text);
	if (!target_numeric(streq(a->host, "localhost") ? "127.0.0.1" : a->host, port, &t) &&
	    !target_from_hosts(a->host, port, &t) && !target_from_dns(a->host, port, ns_t_a, &t) &&
	    !target_from_dns(a->host, port, ns_t_aaaa, &t))
		return err_new_no(e, ERR_UNAVAILABLE, EHOSTUNREACH,
				  "%s: host %s is neither in /etc/hosts nor in the DNS", a->text, a->host);

	_cleanup_close_ int fd = socket(t.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");

	/* Linux applies the send timeout to connect(2) as well; afterwards an upload may take its time. */
	struct timeval limit = {.tv_sec = CONNECT_TIMEOUT_S}, none = {0};
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&t.addr, t.len) < 0) {
		int no = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;

		return err_sys(e, no, "connect to %s", a->text);
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	return take_fd(&fd);
}

int httpc_address_connect(const HttpcAddress *a, Err *e)
{
	if (!a->path)
		return connect_tcp(a, e);
	int fd = unix_connect(a->path, SOCK_STREAM);
	return fd < 0 ? err_sys(e, fd, "connect to %s", a->text) : fd;
}
