/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces. One is made by a thread that leaves it again by ending, so the descriptor is all that
 * is left of it. Interfaces that come later have IPv6 off, as in Docker's containers on IPv4 networks (it also saves
 * the kernel duplicate address detection and multicast reports); ::1 on lo stays.
 */
#include "network/network-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define IPV6_DEFAULT "/proc/sys/net/ipv6/conf/default/disable_ipv6"

static int lo_up(Err *e)
{
	_cleanup_batch_ NetlinkBatch b = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC,
				   .ifi_index = 1,
				   .ifi_flags = IFF_UP,
				   .ifi_change = IFF_UP};
	Netlink nl;
	int r = netlink_open(&nl, NETLINK_ROUTE, e);

	if (r < 0)
		return r;
	netlink_msg_end(&b, netlink_msg(&b, RTM_SETLINK, 0, &header, sizeof(header)));
	r = netlink_run(&nl, &b, NULL, e);
	netlink_close(&nl);
	return err_ctx(e, r, "bring lo up");
}

/* No IPv6 in the kernel is as good; a read-only /proc/sys (a daemon in a container) leaves link-local
 * addresses in the containers, which harm nobody. */
static int ipv6_off(Err *e)
{
	int r = file_write_at(AT_FDCWD, IPV6_DEFAULT, "1");

	return r < 0 && r != -ENOENT && r != -EROFS && r != -EACCES ? err_sys(e, r, "write " IPV6_DEFAULT)
								    : 0;
}

/* Where nothing but lo will ever be, nothing is written: in one and the same mount of /proc, the kernel finds the file of one namespace by looking at
 * those of all others that have been used so. */
static int namespace_alone_job(void *arg, Err *e)
{
	int r = lo_up(e);

	if (r < 0)
		return r;

	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, errno, "open /proc/thread-self/ns/net");
	*(int *)arg = fd;
	return 0;
}

static int namespace_job(void *arg, Err *e)
{
	int r = ipv6_off(e);

	return r < 0 ? r : namespace_alone_job(arg, e);
}

struct NetworkNamespaceJob {
	NetnsJob call;
	int fd;
	Err err; /* the thread's own: the caller uses its meanwhile */
};

int network_namespace_begin(bool alone, NetworkNamespaceJob **ret, Err *e)
{
	NetworkNamespaceJob *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return err_oom(e);
	job->fd = -1;
	job->call = (NetnsJob){.netns_fd = -1,
			       .fn = alone ? namespace_alone_job : namespace_job,
			       .arg = &job->fd,
			       .e = &job->err};
	r = netns_begin(&job->call, e);
	if (r < 0) {
		free(job);
		return err_ctx(e, r, "network namespace");
	}
	*ret = job;
	return 0;
}

int network_namespace_end(NetworkNamespaceJob *job, int *ret_netns_fd, Err *e)
{
	int r = netns_end(&job->call);

	*ret_netns_fd = job->fd;
	if (r < 0 && e)
		*e = job->err;
	free(job);
	return r < 0 ? err_ctx(e, r, "network namespace") : 0;
}

int network_namespace_adopt(int netns_fd, Err *e)
{
	int fd = -1, r = netns_call(netns_fd, namespace_job, &fd, e);

	close_fd(&fd);
	return err_ctx(e, r, "network namespace");
}

typedef struct ConnectJob {
	uint16_t port;
	int fd;
} ConnectJob;

/* Loopback answers at once, or not at all: with a connection, a refusal, or (its queue full) silence. */
static int connect_to(const struct sockaddr *to, socklen_t len, int family)
{
	static const struct timeval patience = {.tv_sec = 5};
	_cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const struct timeval none;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, to, len) < 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	return take_fd(&fd);
}

static int connect_job(void *arg, Err *e)
{
	ConnectJob *job = arg;
	const struct sockaddr_in four = {.sin_family = AF_INET,
					 .sin_port = htons(job->port),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr_in6 six = {.sin6_family = AF_INET6,
					 .sin6_port = htons(job->port),
					 .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int first = connect_to((const struct sockaddr *)&four, sizeof(four), AF_INET);

	job->fd = first >= 0 ? first : connect_to((const struct sockaddr *)&six, sizeof(six), AF_INET6);
	return job->fd >= 0 ? 0
			    : err_new_no(e, ERR_UNAVAILABLE, -first, "connect to port %u of localhost: %s",
					 job->port, strerror(-first));
}

int network_connect_local(int netns_fd, uint16_t port, int *ret_fd, Err *e)
{
	ConnectJob job = {.port = port, .fd = -1};
	int r = netns_fd < 0 ? connect_job(&job, e) : netns_call(netns_fd, connect_job, &job, e);

	if (r >= 0)
		*ret_fd = job.fd;
	return r;
}
