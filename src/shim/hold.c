/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that the shim does nothing with but keep: sockets that are bound to published ports, and those of the resolver of names, which
 * belong to the container's network namespace.
 *
 * What is held changes while the container runs: SHIM_MSG_PORTS brings descriptors more, and its `release` names sockets to let go of, by
 * protocol, address and port, as the engine's record has them. Only sockets of our own network namespace are meant. The request is
 * looked at whole before anything is done; a name that fits nothing is as good as done.
 */
#include "shim/server.h"

#include <arpa/inet.h>
#include <sys/socket.h>

int hold_add(int **fds, size_t *n, ShimMsg *m, Err *e)
{
	int *p = reallocarray(*fds, *n + m->n_fds + 1, sizeof(*p));

	if (!p)
		return err_oom(e);
	*fds = p;
	for (size_t i = 0; i < m->n_fds; i++)
		p[(*n)++] = shim_msg_take_fd(m, i);
	return 0;
}

void hold_close(int **fds, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		close_fd(&(*fds)[i]);
	free(*fds);
	*fds = NULL;
	*n = 0;
}

/* What a socket is bound to. */
typedef struct Bound {
	int protocol, family;
	unsigned char address[16];
	uint16_t port;
} Bound;

static int bound_decode(const json_t *j, Bound *ret, Err *e)
{
	const char *address = json_get_str(j, "address") ?: "";
	int64_t protocol = json_get_int(j, "protocol", 0), port = json_get_int(j, "port", 0);

	*ret = (Bound){.family = strchr(address, ':') ? AF_INET6 : AF_INET};
	if (protocol < 1 || protocol > UINT8_MAX || port < 1 || port > UINT16_MAX ||
	    inet_pton(ret->family, address, ret->address) != 1)
		return err_new(e, ERR_INVALID, "ports: a socket to release has no valid address");
	ret->protocol = (int)protocol;
	ret->port = (uint16_t)port;
	return 0;
}

static int release_decode(const json_t *list, Bound **ret, size_t *ret_n, Err *e)
{
	size_t n = json_array_size(list);
	_cleanup_free_ Bound *v = NULL;
	int r = 0;

	if (n > SHIM_RELEASE_MAX)
		return err_new(e, ERR_INVALID, "ports: more than %d sockets to release at once",
			       SHIM_RELEASE_MAX);
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = bound_decode(json_array_get(list, i), &v[i], e);
	if (r < 0)
		return r;
	*ret = take_ptr(v);
	*ret_n = n;
	return 0;
}

/* 0 where the kernel does not tell, then of all sockets. */
static uint64_t namespace_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

static bool bound_of(int fd, Bound *ret)
{
	struct sockaddr_storage at = {0};
	socklen_t len = sizeof(at), protocol_len = sizeof(ret->protocol);

	*ret = (Bound){0};
	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &ret->protocol, &protocol_len) < 0)
		return false;
	ret->family = at.ss_family;
	if (at.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&at;

		memcpy(ret->address, &in->sin_addr, sizeof(in->sin_addr));
		ret->port = ntohs(in->sin_port);
	} else if (at.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&at;

		memcpy(ret->address, &in6->sin6_addr, sizeof(in6->sin6_addr));
		ret->port = ntohs(in6->sin6_port);
	}
	return ret->port != 0;
}

static bool is_named(int fd, const Bound *names, size_t n, uint64_t own)
{
	Bound has;

	if (!bound_of(fd, &has) || namespace_of(fd) != own)
		return false;
	for (size_t i = 0; i < n; i++)
		if (names[i].protocol == has.protocol && names[i].family == has.family &&
		    names[i].port == has.port &&
		    memcmp(names[i].address, has.address, sizeof(has.address)) == 0)
			return true;
	return false;
}

static int release(Server *s, const Bound *names, size_t n, Err *e)
{
	_cleanup_close_ int here = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t own;
	size_t kept = 0;

	if (here < 0)
		return err_sys(e, errno, "find out the network namespace");
	own = namespace_of(here);
	for (size_t i = 0; i < s->n_hold; i++) {
		if (is_named(s->hold[i], names, n, own))
			close_fd(&s->hold[i]);
		else
			s->hold[kept++] = s->hold[i];
	}
	s->n_hold = kept;
	return 0;
}

int hold_change(Server *s, ShimMsg *m, Err *e)
{
	_cleanup_free_ Bound *names = NULL;
	size_t n = 0;
	int r = release_decode(json_object_get(m->doc, "release"), &names, &n, e);

	if (r < 0)
		return r;
	if (n > 0)
		r = release(s, names, n, e);
	return r < 0 ? r : hold_add(&s->hold, &s->n_hold, m, e);
}
