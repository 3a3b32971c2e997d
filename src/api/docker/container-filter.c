/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of `docker ps` and of container prune (api map 1.7). */
#include "api/docker/door-internal.h"

#include <strings.h>

static const char *const keys[] = {"ancestor", "before",    "exited", "expose", "health",  "id",
				   "is-task",  "isolation", "label",  "name",   "network", "publish",
				   "since",    "status",    "volume", NULL};

static const char *const statuses[] = {"created", "restarting", "running", "removing",
				       "paused",  "exited",     "dead",    NULL};

/* "80", "80-90", "80-90/udp" */
static bool is_port_range(const char *s)
{
	unsigned from, to;
	int n = 0;

	if (sscanf(s, "%5u-%5u%n", &from, &to, &n) < 2 || n == 0) {
		n = 0;
		if (sscanf(s, "%5u%n", &from, &n) != 1)
			return false;
		to = from;
	}
	return from <= to && to <= 65535 &&
	       (!s[n] || streq(s + n, "/tcp") || streq(s + n, "/udp") || streq(s + n, "/sctp"));
}

int container_filters_check(Door *d, const Filters *f, Err *e)
{
	const char *v;
	int r = filters_allow(f, keys, e);

	for (size_t i = 0; r >= 0 && (v = filters_get(f, "status", i)); i++)
		if (!strv_has((char *const *)statuses, v))
			return err_new(e, ERR_INVALID, "invalid filter 'status=%.60s'", v);
	for (size_t i = 0; r >= 0 && (v = filters_get(f, "exited", i)); i++) {
		int64_t code;

		if (str_to_i64(v, &code) < 0)
			return err_new(e, ERR_INVALID, "invalid filter 'exited=%.60s'", v);
	}
	for (size_t i = 0; r >= 0 && (v = filters_get(f, "health", i)); i++)
		if (!streq(v, "none") && !streq(v, "starting") && !streq(v, "healthy") &&
		    !streq(v, "unhealthy"))
			return err_new(e, ERR_INVALID, "Unrecognised filter value for health: %.60s", v);
	for (size_t k = 0; r >= 0 && k < 2; k++)
		for (size_t i = 0; r >= 0 && (v = filters_get(f, k ? "expose" : "publish", i)); i++)
			if (!is_port_range(v))
				r = err_new(e, ERR_INVALID,
					    "invalid filter '%s=%.60s': expected PORT[-PORT][/PROTOCOL]",
					    k ? "expose" : "publish", v);
	return r >= 0 ? filters_bool(f, "is-task", &(bool){false}, e) : r;
}

static bool match_status(const Filters *f, const ContainerInfo *i)
{
	const char *v;

	if (!filters_exact(f, "status", container_status_name(i->status)))
		return false;
	if (!filters_has(f, "exited"))
		return true;
	for (size_t k = 0; (v = filters_get(f, "exited", k)); k++)
		if (atoi(v) == i->exit_code && i->status == CONTAINER_EXITED)
			return true;
	return false;
}

static int match_name(const Filters *f, const ContainerInfo *i, Err *e)
{
	_cleanup_free_ char *slashed = strf("/%s", i->name ? i->name : "");
	int r = filters_regex(f, "name", i->name ? i->name : "", e);

	if (r != 0 || !slashed)
		return r;
	return filters_regex(f, "name", slashed, e);
}

static bool match_network(const Filters *f, const ContainerInfo *i)
{
	const char *v;

	for (size_t k = 0; (v = filters_get(f, "network", k)); k++)
		for (size_t m = 0; m < i->n_endpoints; m++)
			if (streq0(i->endpoints[m].network, v) ||
			    (i->endpoints[m].network_id && name_matches(i->endpoints[m].network_id, v)))
				return true;
	return !filters_has(f, "network");
}

static bool match_volume(const Filters *f, const ContainerInfo *i)
{
	const char *v;

	for (size_t k = 0; (v = filters_get(f, "volume", k)); k++)
		for (size_t m = 0; m < i->n_mounts; m++)
			if (streq0(i->mounts[m].name, v) || streq0(i->mounts[m].destination, v) ||
			    streq0(i->mounts[m].source, v))
				return true;
	return !filters_has(f, "volume");
}

/* "80", "80-90/udp" against "85/udp". */
static bool port_in(const char *want, const char *have)
{
	char *end;
	long low = strtol(want, &end, 10), high = low, port = atoi(have);
	const char *have_proto = strchr(have, '/');

	if (*end == '-')
		high = strtol(end + 1, &end, 10);
	if (port < low || port > high)
		return false;
	return streq(*end == '/' ? end + 1 : "tcp", have_proto ? have_proto + 1 : "tcp");
}

static bool match_publish(const Filters *f, const ContainerInfo *i)
{
	const char *v;

	for (size_t k = 0; (v = filters_get(f, "publish", k)); k++)
		for (size_t m = 0; m < i->n_published; m++) {
			const char *proto = strchr(i->published[m].port, '/');
			_cleanup_free_ char *host =
			    strf("%s%s", i->published[m].host_port, proto ? proto : "");

			if (host && port_in(v, host))
				return true;
		}
	return !filters_has(f, "publish");
}

static bool match_expose(const Filters *f, const ContainerInfo *i)
{
	const char *v;

	for (size_t k = 0; (v = filters_get(f, "expose", k)); k++)
		for (char **p = i->config.exposed_ports; p && *p; p++)
			if (port_in(v, *p))
				return true;
	return !filters_has(f, "expose");
}

/* The image or one that it was built from. */
static bool match_ancestor(Door *d, const Filters *f, const ContainerInfo *i)
{
	const char *v;

	for (size_t k = 0; (v = filters_get(f, "ancestor", k)); k++) {
		Store *s = engine_store(d->engine);
		StoreImage want = {0};
		_cleanup_free_ char *at = i->image_id ? strdup(i->image_id) : NULL;
		bool found = false;

		if (store_image_find(s, v, &want, NULL) >= 0) {
			/* Parents form a chain; the bound is against a damaged database. */
			for (int depth = 0; at && !found && depth < 512; depth++) {
				StoreImage one = {0};

				found = streq0(at, want.id);
				if (found || store_image_get(s, at, &one, NULL) < 0)
					break;
				free(at);
				at = take_ptr(one.parent);
				store_image_done(&one);
			}
		}
		store_image_done(&want);
		if (found)
			return true;
	}
	return !filters_has(f, "ancestor");
}

static int match_time(Door *d, const Filters *f, const ContainerInfo *i, Err *e)
{
	for (int before = 0; before < 2; before++) {
		const char *ref = filters_get(f, before ? "before" : "since", 0);
		ContainerInfo other = {0};
		bool ok;
		int r;

		if (!ref)
			continue;
		r = engine_container_inspect(d->engine, ref, &other, e);
		if (r < 0)
			return r;
		ok = before ? i->created_ns < other.created_ns : i->created_ns > other.created_ns;
		container_info_done(&other);
		if (!ok)
			return 0;
	}
	return 1;
}

int container_filters_match(Door *d, const Filters *f, const ContainerInfo *i, Err *e)
{
	int r;

	if (f->n == 0)
		return 1;
	if (!filters_prefix(f, "id", i->id) || !match_status(f, i) || !filters_labels(f, i->config.labels) ||
	    !match_network(f, i) || !match_volume(f, i) || !match_publish(f, i) || !match_expose(f, i))
		return 0;
	/* No swarm here, and no isolation technologies. */
	if (filters_has(f, "is-task") && filters_exact(f, "is-task", "true"))
		return 0;
	if (!filters_exact(f, "health", i->health.status ?: "none"))
		return 0;
	r = match_name(f, i, e);
	if (r <= 0)
		return r;
	if (!match_ancestor(d, f, i))
		return 0;
	return match_time(d, f, i, e);
}
