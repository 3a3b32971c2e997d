/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between containers of the default network (--link), as they were before networks had names: the one that asks gets lines in its
 * /etc/hosts and variables in its environment that tell where the other one is. On networks of the user's, the resolver knows links
 * (endpoint-names.c).
 */
#include "engine/engine-internal.h"

#include <ctype.h>

int link_parse(const char *text, char **ret_name, char **ret_alias)
{
	const char *name = text + (*text == '/'), *colon = strchr(name, ':'), *alias, *slash;
	size_t n = colon ? (size_t)(colon - name) : strlen(name);

	/* What inspect shows, "/db:/web/alias", means the same. */
	alias = colon ? colon + 1 : name;
	slash = strrchr(alias, '/');
	if (slash)
		alias = slash + 1;
	if (n == 0 || !*alias)
		return -EINVAL;
	*ret_name = strndup(name, n);
	*ret_alias = strdup(alias);
	if (*ret_name && *ret_alias)
		return 0;
	free(take_ptr(*ret_name));
	free(take_ptr(*ret_alias));
	return -ENOMEM;
}

/* One link, resolved: the other container runs, and its state is copied. */
typedef struct Link {
	char *name, *alias;
	ContainerInfo other;
	const char *address;
} Link;

static void link_done(Link *l)
{
	free(l->name);
	free(l->alias);
	container_info_done(&l->other);
}

static int link_resolve(Engine *en, const Container *c, const char *text, Link *ret, Err *e)
{
	int r = link_parse(text, &ret->name, &ret->alias);

	if (r < 0)
		return r == -ENOMEM ? err_oom(e) : err_new(e, ERR_INVALID, "bad format for links: %s", text);
	r = engine_container_inspect(en, ret->name, &ret->other, e);
	if (r < 0)
		return err_ctx(e, r, "could not get container for %s", ret->name);
	for (size_t i = 0; i < ret->other.n_endpoints; i++)
		if (streq0(ret->other.endpoints[i].network, "bridge") &&
		    !str_empty(ret->other.endpoints[i].address))
			ret->address = ret->other.endpoints[i].address;
	if (ret->other.pid <= 0)
		return err_new(e, ERR_CONFLICT, "Cannot link to a non running container: /%s AS /%s/%s",
			       ret->other.name, c->name, ret->alias);
	if (!ret->address)
		return err_new(e, ERR_CONFLICT,
			       "Cannot link to %s, which is not on the default network: use a network of "
			       "your own for both",
			       ret->other.name);
	return 0;
}

typedef int (*LinkFn)(const Container *c, const Link *l, char ***ret);

static int each_link(Engine *en, Container *c, LinkFn fn, char ***ret, Err *e)
{
	const char *arg;
	char *const *links = c->config.host.links;
	int r = 0;

	if (net_mode(c, &arg) != NET_BRIDGE || !streq(arg, "bridge"))
		return 0;
	for (size_t i = 0; r >= 0 && links && links[i]; i++) {
		_cleanup_(link_done) Link l = {0};

		r = link_resolve(en, c, links[i], &l, e);
		if (r >= 0 && fn(c, &l, ret) < 0)
			r = err_oom(e);
	}
	return r;
}

int links_check(char *const *links, Err *e)
{
	for (size_t i = 0; links && links[i]; i++) {
		_cleanup_free_ char *name = NULL, *alias = NULL;
		int r = link_parse(links[i], &name, &alias);

		if (r < 0)
			return r == -ENOMEM ? err_oom(e)
					    : err_new(e, ERR_INVALID, "bad format for links: %s", links[i]);
	}
	return 0;
}

/* ---- hosts ---- */

static int add_host(const Container *c _unused_, const Link *l, char ***ret)
{
	const char *const names[] = {l->alias, l->other.config.hostname, l->other.name};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(names); i++)
		if (!str_empty(names[i]) && (i == 0 || !streq(names[i], names[0])))
			r = strv_take(ret, strf("%s:%s", names[i], l->address));
	return r;
}

int links_hosts(Engine *en, Container *c, char ***ret, Err *e)
{
	return each_link(en, c, add_host, ret, e);
}

/* ---- environment ---- */

static char *variable(const char *alias)
{
	char *s = strdup(alias);

	for (char *p = s; p && *p; p++)
		*p = *p == '-' || *p == '.' ? '_' : (char)toupper((unsigned char)*p);
	return s;
}

static int add_port(const char *prefix, const Link *l, const char *port, bool first, char ***ret)
{
	_cleanup_free_ char *number = strndup(port, strcspn(port, "/"));
	const char *proto = strchr(port, '/') ? strchr(port, '/') + 1 : "tcp";
	_cleanup_free_ char *upper = variable(proto);
	_cleanup_free_ char *var = number && upper ? strf("%s_PORT_%s_%s", prefix, number, upper) : NULL;
	int r = var ? 0 : -ENOMEM;

	if (r >= 0 && first)
		r = strv_take(ret, strf("%s_PORT=%s://%s:%s", prefix, proto, l->address, number));
	if (r >= 0)
		r = strv_take(ret, strf("%s=%s://%s:%s", var, proto, l->address, number));
	if (r >= 0)
		r = strv_take(ret, strf("%s_ADDR=%s", var, l->address));
	if (r >= 0)
		r = strv_take(ret, strf("%s_PORT=%s", var, number));
	return r < 0 ? r : strv_take(ret, strf("%s_PROTO=%s", var, proto));
}

static int by_number(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	int d = atoi(x) - atoi(y);

	return d ? d : strcmp(x, y);
}

static int add_variables(const Container *c, const Link *l, char ***ret)
{
	_cleanup_free_ char *prefix = variable(l->alias);
	_cleanup_strv_ char **ports = strv_dup(l->other.config.exposed_ports);
	char *const *env = l->other.config.env;
	int r = prefix && ports ? strv_take(ret, strf("%s_NAME=/%s/%s", prefix, c->name, l->alias)) : -ENOMEM;

	if (r >= 0)
		qsort(ports, strv_len(ports), sizeof(*ports), by_number);
	for (size_t i = 0; r >= 0 && ports[i]; i++)
		r = add_port(prefix, l, ports[i], i == 0, ret);
	for (size_t i = 0; r >= 0 && env && env[i]; i++)
		if (strchr(env[i], '=') && !str_starts(env[i], "HOME=") && !str_starts(env[i], "PATH="))
			r = strv_take(ret, strf("%s_ENV_%s", prefix, env[i]));
	return r;
}

int links_environment(Engine *en, Container *c, char ***ret, Err *e)
{
	return each_link(en, c, add_variables, ret, e);
}

/* ---- a link is taken back ---- */

/* Index of the link that is called so, or -1. */
static ssize_t link_index(const Container *c, const char *alias)
{
	char *const *links = c->config.host.links;

	for (size_t i = 0; links && links[i]; i++) {
		_cleanup_free_ char *name = NULL, *called = NULL;

		if (link_parse(links[i], &name, &called) >= 0 && streq(called, alias))
			return (ssize_t)i;
	}
	return -1;
}

static char *link_take(Container *c, size_t i)
{
	char **links = c->config.host.links;

	pthread_mutex_lock(&c->state);
	char *text = links[i];
	memmove(links + i, links + i + 1, strv_len(links + i) * sizeof(*links));
	pthread_mutex_unlock(&c->state);
	return text;
}

static int unlink_locked(Engine *en, Container *c, const char *alias, Err *e)
{
	_cleanup_(link_done) Link l = {0};
	_cleanup_free_ char *text = NULL;
	ssize_t i = link_index(c, alias);
	int r;

	if (i < 0)
		return err_new(e, ERR_NOT_FOUND, "No such container: %s/%s", c->name, alias);
	text = link_take(c, (size_t)i);
	r = container_save(en, c, e);
	/* Of one that does not run, or runs no more, there are no lines that lead anywhere. */
	if (r >= 0 && container_status(c) == CONTAINER_RUNNING && link_resolve(en, c, text, &l, NULL) >= 0)
		r = net_files_forget(en, c, l.address, e);
	return r;
}

int engine_container_unlink(Engine *en, const char *name, Err *e)
{
	const char *own = name + (*name == '/'), *slash = strrchr(own, '/');
	_cleanup_free_ char *parent = slash ? strndup(own, (size_t)(slash - own)) : strdup(own);
	_cleanup_container_ Container *c = NULL;
	int r = parent ? container_find(en, parent, &c, e) : err_oom(e);

	if (r < 0)
		return r;
	if (!slash)
		return err_new(e, ERR_CONFLICT,
			       "Conflict, cannot remove the default link name of the container");
	container_lock(c);
	r = c->removed ? err_new(e, ERR_NOT_FOUND, "No such container: %s", parent)
		       : unlink_locked(en, c, slash + 1, e);
	pthread_mutex_unlock(&c->life);
	return r;
}
