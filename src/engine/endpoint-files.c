/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of the network that every container gets: /etc/hosts, /etc/resolv.conf and /etc/hostname.
 *
 * They lie in the container's directory and are mounted one by one. A start replaces them; while the container runs, they are changed in
 * place, as another file of that name would not be the one that is mounted. The path is ours: the container can change what is
 * in them, not what they are.
 */
#include "engine/engine-internal.h"

#define FILE_MAX_BYTES (1 << 20)

static int replace_file(const char *path, const char *text, Err *e)
{
	int r = file_replace_at(AT_FDCWD, path, text, strlen(text), 0644, false);

	return r < 0 ? err_sys(e, r, "write %s", path) : 0;
}

/* The host, as seen from the container's networks: the first that is a way out, or the first. */
static char *host_gateway(Engine *en, Container *c)
{
	int four = endpoint_gateway(en, c, IP_V4), six = endpoint_gateway(en, c, IP_V6),
	    i = four >= 0 ? four : six;
	_cleanup_network_ Network *n = NULL;
	const char *text;

	if (c->n_endpoints == 0 || network_find(en, c->endpoints[MAX2(i, 0)].network, &n, NULL) < 0)
		return strdup("127.0.0.1");
	text = network_has(n, IP_V4) ? n->info.gateway : n->info.gateway6;
	return strdup(str_empty(text) ? "127.0.0.1" : text);
}

/* "name:host-gateway" gets the gateway's address. */
static int extra_hosts(Engine *en, Container *c, char ***ret, Err *e)
{
	_cleanup_free_ char *gateway = host_gateway(en, c);
	char *const *given = c->config.host.extra_hosts;
	int r = gateway ? 0 : -ENOMEM;

	for (size_t i = 0; r >= 0 && given && given[i]; i++) {
		const char *h = given[i], *sep = strpbrk(h, ":=");

		if (sep && streq(sep + 1, "host-gateway"))
			r = strv_take(ret, strf("%.*s:%s", (int)(sep - h), h, gateway));
		else if (sep)
			r = strv_take(ret, strf("%.*s:%s", (int)(sep - h), h, sep + 1));
		else
			r = strv_add(ret, h);
	}
	return r < 0 ? err_oom(e) : 0;
}

static int own_addresses(Container *c, char ***ret, Err *e)
{
	for (size_t i = 0; i < c->n_endpoints; i++) {
		const char *const both[IP_FAMILIES] = {c->endpoints[i].address, c->endpoints[i].address6};

		for (int f = 0; f < IP_FAMILIES; f++)
			if (!str_empty(both[f]) && strv_add(ret, both[f]) < 0)
				return err_oom(e);
	}
	return 0;
}

static int hosts_text(Engine *en, Container *c, const NetSetup *s, char **ret, Err *e)
{
	_cleanup_strv_ char **extra = NULL, **own = NULL;
	int r = extra_hosts(en, c, &extra, e);

	if (r >= 0)
		r = links_hosts(en, c, &extra, e);
	/* The host's network has the host's names. */
	if (r >= 0 && s->host && strv_len(extra) == 0 &&
	    file_read_at(AT_FDCWD, "/etc/hosts", FILE_MAX_BYTES, ret, NULL) >= 0)
		return 0;
	if (r >= 0)
		r = own_addresses(c, &own, e);
	return r < 0 ? r : network_hosts_file(own, s->hostname, c->config.domainname, extra, ret, e);
}

static int resolv_text(Container *c, bool host_mode, bool resolver, char **ret, Err *e)
{
	const ContainerHost *h = &c->config.host;
	char *const *dns = strv_len(h->dns) ? h->dns : NULL,
		    *const *search = strv_len(h->dns_search) ? h->dns_search : NULL,
		    *const *options = strv_len(h->dns_options) ? h->dns_options : NULL;

	if (resolver)
		return network_resolv_conf_internal(dns, search, options, ret, e);
	return network_resolv_conf(dns, search, options, host_mode, ret, e);
}

int net_files_name(Engine *en, const Container *c, NetSetup *s, Err *e)
{
	_cleanup_free_ char *dir = container_data_dir(en, c);

	if (!dir)
		return err_oom(e);
	s->hostname_file = strf("%s/hostname", dir);
	s->hosts_file = strf("%s/hosts", dir);
	s->resolv_file = strf("%s/resolv.conf", dir);
	return s->hostname_file && s->hosts_file && s->resolv_file ? 0 : err_oom(e);
}

int net_files_write(Engine *en, Container *c, const NetSetup *s, Err *e)
{
	_cleanup_free_ char *line = strf("%s\n", s->hostname), *resolv = NULL, *hosts = NULL;
	int r = line ? resolv_text(c, s->host, s->resolver, &resolv, e) : err_oom(e);

	if (r >= 0)
		r = hosts_text(en, c, s, &hosts, e);
	if (r >= 0)
		r = replace_file(s->resolv_file, resolv, e);
	if (r >= 0)
		r = replace_file(s->hosts_file, hosts, e);
	if (r >= 0)
		r = replace_file(s->hostname_file, line, e);
	return r;
}

/* ---- while it runs ---- */

static int rewrite(const char *path, const char *text, Err *e)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	size_t len = strlen(text);
	int r = fd < 0 ? -errno : fd_pwrite_all(fd, text, len, 0);

	if (r >= 0 && ftruncate(fd, (off_t)len) < 0)
		r = -errno;
	return r < 0 ? err_sys(e, r, "write %s", path) : 0;
}

int net_files_addresses(Engine *en, Container *c, const NetSetup *s, Err *e)
{
	_cleanup_free_ char *hosts = NULL;
	int r = hosts_text(en, c, s, &hosts, e);

	return r < 0 ? r : rewrite(s->hosts_file, hosts, e);
}

static int update_hosts(const Container *c, const char *dir, const char *remove, const char *add, Err *e)
{
	_cleanup_free_ char *path = strf("%s/hosts", dir), *text = NULL, *fresh = NULL;
	int r;

	if (!path)
		return err_oom(e);
	r = file_read_at(AT_FDCWD, path, FILE_MAX_BYTES, &text, NULL);
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	r = network_hosts_change(text, remove, add, c->config.hostname, c->config.domainname, &fresh, e);
	return r < 0 ? r : rewrite(path, fresh, e);
}

int net_files_forget(Engine *en, Container *c, const char *address, Err *e)
{
	_cleanup_free_ char *dir = container_data_dir(en, c);

	return dir ? update_hosts(c, dir, address, NULL, e) : err_oom(e);
}

int net_files_update(Engine *en, Container *c, const ContainerEndpoint *remove, const ContainerEndpoint *add,
		     Err *e)
{
	const char *const away[IP_FAMILIES] = {remove ? remove->address : NULL,
					       remove ? remove->address6 : NULL},
			  *const fresh[IP_FAMILIES] = {add ? add->address : NULL, add ? add->address6 : NULL};
	_cleanup_free_ char *dir = container_data_dir(en, c);
	int r = dir ? 0 : err_oom(e);

	for (int f = 0; r >= 0 && f < IP_FAMILIES; f++)
		if (!str_empty(away[f]) || !str_empty(fresh[f]))
			r = update_hosts(c, dir, str_empty(away[f]) ? NULL : away[f],
					 str_empty(fresh[f]) ? NULL : fresh[f], e);
	return r;
}

int net_files_resolver(Engine *en, Container *c, bool resolver, Err *e)
{
	_cleanup_free_ char *dir = container_data_dir(en, c),
			    *path = dir ? strf("%s/resolv.conf", dir) : NULL;
	_cleanup_free_ char *text = NULL;
	int r = path ? resolv_text(c, false, resolver, &text, e) : err_oom(e);

	return r < 0 ? r : rewrite(path, text, e);
}
