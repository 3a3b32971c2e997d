/* SPDX-License-Identifier: Apache-2.0 */
/* TCP listeners: numeric addresses and names, IPv4 and IPv6. */
#include "wire/httpd/httpd-internal.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int listen_on(const struct addrinfo *ai, const char *address, Err *e)
{
	_cleanup_close_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return err_sys(e, errno, "make a socket for tcp://%s", address);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6) /* [::] beside 0.0.0.0 */
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
		return err_sys(e, errno, "bind tcp://%s", address);
	if (listen(fd, SOMAXCONN) < 0)
		return err_sys(e, errno, "listen on tcp://%s", address);
	return take_fd(&fd);
}

int http_tcp_listen(const char *address, bool loopback_only, Err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *ai = NULL;
	_cleanup_free_ char *host = NULL;
	const char *colon = strrchr(address, ':');
	int r;

	host = colon ? *address == '['
			   ? strndup(address + 1, (size_t)(colon - address) - 2 * (colon > address + 1))
			   : strndup(address, (size_t)(colon - address))
		     : NULL;
	if (!colon || str_empty(host) || !colon[1])
		return err_new(e, ERR_INVALID, "tcp://%s: expected tcp://HOST:PORT", address);
	r = getaddrinfo(host, colon + 1, &hints, &ai);
	if (r != 0)
		return err_new(e, ERR_INVALID, "tcp://%s: %s", address, gai_strerror(r));
	if (loopback_only && !is_loopback(ai->ai_addr))
		r = err_new(
		    e, ERR_DENIED,
		    "tcp://%s: refused, as anybody who reaches this port would be root here: use "
		    "--tlsverify with --tlscacert, --tlscert and --tlskey, or ssh -L; or say --tls=false "
		    "to have it nevertheless",
		    address);
	else
		r = listen_on(ai, address, e);
	freeaddrinfo(ai);
	return r;
}
