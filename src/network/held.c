/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that a shim holds for us, found again by what they are bound to (pidfd_getfd(2)): its numbers for them are its own business. */
#include "network/network-internal.h"

#include <dirent.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

int held_sockets(pid_t pid, HeldFn fn, void *arg, Err *e)
{
	_cleanup_close_ int process = pidfd_open(pid, 0);
	char path[64], link[32];
	struct dirent *entry;
	bool more = true;
	DIR *dir;

	if (process < 0)
		return err_sys(e, errno, "open process %d", (int)pid);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return err_sys(e, errno, "open %s", path);
	while (more && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link));
		int fd;

		if (n < 7 || strncmp(link, "socket:", 7) != 0)
			continue;
		fd = pidfd_getfd(process, atoi(entry->d_name), 0);
		if (fd >= 0)
			more = fn(fd, arg);
	}
	closedir(dir);
	return 0;
}

typedef struct PortsJob {
	const NetworkPort *ports;
	size_t n, found;
	int *fds;
} PortsJob;

/* What a socket is bound to, asked once. */
typedef struct Bound {
	struct sockaddr_storage at;
	socklen_t len;
	int protocol;
} Bound;

static bool bound_of(int fd, Bound *ret)
{
	socklen_t protocol_len = sizeof(ret->protocol);

	*ret = (Bound){.len = sizeof(ret->at)};
	return getsockname(fd, (struct sockaddr *)&ret->at, &ret->len) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &ret->protocol, &protocol_len) == 0;
}

static bool is_bound_to(const Bound *has, const NetworkPort *p)
{
	struct sockaddr_storage want = {0};

	return has->protocol == p->protocol &&
	       has->len == ip_to_sockaddr(p->host_address, p->host_port, &want) &&
	       memcmp(&has->at, &want, has->len) == 0;
}

static bool keep_if_wanted(int fd, void *arg)
{
	PortsJob *job = arg;
	Bound has;

	if (bound_of(fd, &has))
		for (size_t i = 0; fd >= 0 && i < job->n; i++)
			if (job->fds[i] < 0 && is_bound_to(&has, &job->ports[i])) {
				job->fds[i] = take_fd(&fd);
				job->found++;
			}
	close_fd(&fd);
	return job->found < job->n;
}

int network_ports_take(pid_t pid, const NetworkPort *ports, size_t n, int *ret_fds, Err *e)
{
	PortsJob job = {ports, n, 0, ret_fds};

	for (size_t i = 0; i < n; i++)
		ret_fds[i] = -1;
	return n > 0 ? held_sockets(pid, keep_if_wanted, &job, e) : 0;
}
