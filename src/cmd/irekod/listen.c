/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets that irekod serves: unix ones that it makes, TCP with and without TLS, and those that systemd has made (sd_listen_fds(3)).
 *
 * Whoever reaches one is root on this machine. So a unix socket is for root and one group, and TCP is for loopback addresses, unless TLS says who
 * comes in or the administrator says in so many words (tls: false) that everybody may.
 */
#include "daemon.h"

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>

#define SOCKET_GROUP     "ireko"
#define SOCKET_GROUP_TOO "docker"

/* Read from the file itself: name services would load libraries for one line. */
static bool group_find(const char *name, gid_t *ret)
{
	_cleanup_fclose_ FILE *f = fopen("/etc/group", "re");
	const struct group *g;
	int number;

	while (f && (g = fgetgrent(f)))
		if (streq(g->gr_name, name)) {
			*ret = g->gr_gid;
			return true;
		}
	if (str_to_int(name, 0, INT32_MAX, &number) < 0)
		return false;
	*ret = (gid_t)number;
	return true;
}

static int give_to_group(const Daemon *d, const char *path, Err *e)
{
	const char *asked = config_text(&d->config, "group");
	gid_t gid = 0;

	if (asked && !*asked)
		return 0;
	if (asked && !group_find(asked, &gid))
		return err_new(
		    e, ERR_NOT_FOUND,
		    "group %s not found: make it (groupadd --system %s), or choose another --group", asked,
		    asked);
	if (!asked && !group_find(SOCKET_GROUP, &gid) && !group_find(SOCKET_GROUP_TOO, &gid))
		return 0;
	return chown(path, 0, gid) < 0 ? err_sys(e, errno, "give %s to its group", path) : 0;
}

/* option: that it was given with, for errors. */
static int open_unix(Daemon *d, const char *option, const char *path, int *ret, Err *e)
{
	_cleanup_free_ char *dir = strdup(path);
	_cleanup_close_ int fd = -1;
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int r;

	if (!slash || *path != '/')
		return err_new(e, ERR_INVALID, "%s unix://%s: expected an absolute path", option, path);
	*slash = '\0';
	r = *dir ? mkdir_parents_at(AT_FDCWD, dir, 0755) : 0;
	if (r < 0)
		return err_sys(e, r, "make %s", dir);
	fd = unix_listen(path, SOCK_STREAM, 0660);
	if (fd == -EADDRINUSE)
		return err_new(e, ERR_CONFLICT,
			       "%s: another program serves this socket; stop it or choose another %s", path,
			       option);
	if (fd < 0)
		return err_sys(e, fd, "listen on %s", path);
	if (strv_add(&d->sockets, path) < 0)
		return err_oom(e);
	r = give_to_group(d, path, e);
	if (r >= 0)
		*ret = take_fd(&fd);
	return r;
}

static int listen_unix(Daemon *d, const char *path, Err *e)
{
	int fd, r = open_unix(d, "-H", path, &fd, e);

	return r < 0 ? r : http_server_add(d->server, fd, HTTP_UNIX, e);
}

/* Whoever reaches it is root here as well. */
static int listen_cri(Daemon *d, const char *address, Err *e)
{
	int fd, r = open_unix(d, "--cri", address + strlen("unix://"), &fd, e);

	return r < 0 ? r : cri_door_add(d->cri, fd, e);
}

static bool wants_tls(const DaemonConfig *c)
{
	return config_bool(c, "tls", false) || config_bool(c, "tlsverify", false);
}

static bool open_to_all(const DaemonConfig *c)
{
	return config_given(c, "tls") && !wants_tls(c);
}

/* For all TCP sockets, when there is the first. */
static int need_tls(Daemon *d, Err *e)
{
	bool verify = config_bool(&d->config, "tlsverify", false);
	HttpTlsOptions o = {.cert = config_text(&d->config, "tlscert"),
			    .key = config_text(&d->config, "tlskey"),
			    .ca = config_text(&d->config, "tlscacert"),
			    .verify = verify};
	int r;

	if (d->tls)
		return 0;
	r = http_tls_new(&o, &d->tls, e);
	if (r >= 0 && !verify)
		log_warn("TLS without --tlsverify: whoever reaches a TCP address of this engine is root on "
			 "this machine");
	return r;
}

static int add_tcp(Daemon *d, int fd, Err *e)
{
	int r;

	if (!wants_tls(&d->config))
		return http_server_add(d->server, fd, HTTP_TCP, e);
	r = need_tls(d, e);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	return http_server_add_tls(d->server, fd, d->tls, e);
}

/* "HOST:PORT", ":PORT", "HOST", "": docker's ports, and this machine, are what is left out. */
static int listen_tcp(Daemon *d, const char *said, Err *e)
{
	const char *bracket = strrchr(said, ']'), *colon = strrchr(bracket ? bracket : said, ':');
	_cleanup_free_ char *host = colon ? strndup(said, (size_t)(colon - said)) : strdup(said),
			    *address = NULL;
	int r;

	if (!host)
		return err_oom(e);
	address = strf("%s:%s", *host ? host : "127.0.0.1",
		       colon && colon[1] ? colon + 1 : (wants_tls(&d->config) ? "2376" : "2375"));
	if (!address)
		return err_oom(e);
	r = http_tcp_listen(address, !wants_tls(&d->config) && !open_to_all(&d->config), e);
	if (r < 0)
		return r;
	if (open_to_all(&d->config))
		log_warn("tcp://%s is served without TLS, as tls is false: whoever reaches it is root on "
			 "this machine",
			 address);
	return add_tcp(d, r, e);
}

static int take_inherited(Daemon *d, int fd, Err *e)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int r, listens = 0;
	socklen_t listens_len = sizeof(listens);

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_len) < 0)
		return err_sys(e, errno, "LISTEN_FDS: descriptor %d", fd);
	if (!listens)
		return err_new(e, ERR_INVALID, "LISTEN_FDS: descriptor %d is not a listening stream socket",
			       fd);
	r = fd_set_cloexec(fd, true);
	if (r < 0)
		return err_sys(e, r, "LISTEN_FDS: descriptor %d", fd);
	if (a.ss_family == AF_UNIX)
		return http_server_add(d->server, fd, HTTP_UNIX, e);
	if (!wants_tls(&d->config) && !open_to_all(&d->config))
		return err_new(
		    e, ERR_DENIED,
		    "LISTEN_FDS: a TCP socket is not served without --tlsverify, unless --tls=false says so");
	return add_tcp(d, fd, e);
}

/* Returns how many. */
static int listen_inherited(Daemon *d, Err *e)
{
	int n = config_sockets_passed(), r = 0;

	for (int fd = 3; r >= 0 && fd < 3 + n; fd++)
		r = take_inherited(d, fd, e);
	return r < 0 ? r : n;
}

static int listen_on(Daemon *d, const char *host, int inherited, Err *e)
{
	const char *path = str_after(host, "unix://"), *tcp = str_after(host, "tcp://");

	if (path)
		return listen_unix(d, path, e);
	if (tcp)
		return listen_tcp(d, tcp, e);
	if (!str_starts(host, "fd://"))
		return err_new(e, ERR_INVALID, "-H %s: expected unix://PATH, tcp://HOST:PORT or fd://", host);
	return inherited
		   ? 0
		   : err_new(
			 e, ERR_INVALID,
			 "-H %s: no sockets were passed (LISTEN_FDS): start it by its systemd socket unit",
			 host);
}

int listen_all(Daemon *d, Err *e)
{
	int inherited = listen_inherited(d, e), r = MIN2(inherited, 0);

	for (char *const *h = config_list(&d->config, "hosts"); r >= 0 && h && *h; h++)
		r = listen_on(d, *h, inherited, e);
	for (char *const *a = config_list(&d->config, "cri"); r >= 0 && a && *a; a++)
		r = listen_cri(d, *a, e);
	return r;
}
