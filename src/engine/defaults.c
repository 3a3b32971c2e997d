/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers get that do not ask for it, as the engine's settings have it; and settings that change while it runs.
 *
 * Defaults are written into the container when it is made, so that inspect shows what it has and a change concerns new containers only.
 * Lists that are replaced by a reload stay until the engine ends (Engine.retired): who reads one takes the pointer once.
 */
#include "engine/engine-internal.h"

void defaults_done(EngineDefaults *d)
{
	strv_free((char **)d->ulimits);
	strv_free((char **)d->dns);
	strv_free((char **)d->dns_options);
	strv_free((char **)d->dns_search);
	free((char *)d->cgroup_parent);
	free((char *)d->cgroupns_mode);
	free((char *)d->ipc_mode);
	free((char *)d->seccomp);
	*d = (EngineDefaults){0};
}

static bool copy_text(const char *from, const char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return *ret || !from;
}

int defaults_copy(const EngineDefaults *from, EngineDefaults *ret)
{
	*ret = (EngineDefaults){.shm_size = from->shm_size,
				.ulimits = strv_dup(from->ulimits),
				.dns = strv_dup(from->dns),
				.dns_options = strv_dup(from->dns_options),
				.dns_search = strv_dup(from->dns_search),
				.init = from->init,
				.no_new_privileges = from->no_new_privileges};
	return copy_text(from->cgroup_parent, &ret->cgroup_parent) &&
		       copy_text(from->cgroupns_mode, &ret->cgroupns_mode) &&
		       copy_text(from->ipc_mode, &ret->ipc_mode) && copy_text(from->seccomp, &ret->seccomp) &&
		       ret->ulimits && ret->dns && ret->dns_options && ret->dns_search
		   ? 0
		   : -ENOMEM;
}

static int set_text(char **field, const char *value)
{
	if (!str_empty(*field) || !value)
		return 0;
	free(*field);
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

static int set_list(char ***field, char *const *value)
{
	if ((*field && **field) || !value || !*value)
		return 0;
	strv_free(*field);
	*field = strv_dup(value);
	return *field ? 0 : -ENOMEM;
}

/* "nofile=1024:4096" */
static int parse_ulimit(const char *text, ContainerUlimit *ret)
{
	const char *eq = strchr(text, '=');
	long long soft, hard;
	int n = eq ? sscanf(eq + 1, "%lld:%lld", &soft, &hard) : 0;

	if (n < 1)
		return -EINVAL;
	*ret = (ContainerUlimit){strndup(text, (size_t)(eq - text)), soft, n > 1 ? hard : soft};
	return ret->name ? 0 : -ENOMEM;
}

static bool has_ulimit(const ContainerHost *h, const char *text)
{
	size_t n = strcspn(text, "=");

	for (size_t i = 0; i < h->n_ulimits; i++)
		if (h->ulimits[i].name && strlen(h->ulimits[i].name) == n &&
		    strncmp(h->ulimits[i].name, text, n) == 0)
			return true;
	return false;
}

static int set_ulimits(ContainerHost *h, char *const *defaults)
{
	for (char *const *d = defaults; d && *d; d++) {
		ContainerUlimit *grown;

		if (has_ulimit(h, *d))
			continue;
		grown = realloc(h->ulimits, (h->n_ulimits + 1) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		h->ulimits = grown;
		int r = parse_ulimit(*d, &grown[h->n_ulimits]);
		if (r < 0)
			return r;
		h->n_ulimits++;
	}
	return 0;
}

/* Nobody may take rights away from a privileged container but who makes it. */
static int set_security(const EngineDefaults *d, ContainerHost *h)
{
	bool seccomp = false, privileges = false;

	if (h->privileged)
		return 0;
	for (char *const *o = h->security_opt; o && *o; o++) {
		seccomp = seccomp || str_starts(*o, "seccomp");
		privileges = privileges || str_starts(*o, "no-new-privileges");
	}
	if (d->no_new_privileges && !privileges && strv_add(&h->security_opt, "no-new-privileges") < 0)
		return -ENOMEM;
	if (d->seccomp && !seccomp && strv_take(&h->security_opt, strf("seccomp=%s", d->seccomp)) < 0)
		return -ENOMEM;
	return 0;
}

int defaults_apply(Engine *en, ContainerConfig *c, Err *e)
{
	const EngineDefaults *d = &en->options.defaults;
	ContainerHost *h = &c->host;
	int r = set_text(&h->cgroup_parent, d->cgroup_parent);

	if (r >= 0 && !h->privileged)
		r = set_text(&h->cgroupns_mode, d->cgroupns_mode);
	if (r >= 0)
		r = set_text(&h->ipc_mode, d->ipc_mode);
	if (r >= 0)
		r = set_list(&h->dns, d->dns);
	if (r >= 0)
		r = set_list(&h->dns_options, d->dns_options);
	if (r >= 0)
		r = set_list(&h->dns_search, d->dns_search);
	if (r >= 0)
		r = set_ulimits(h, __atomic_load_n(&d->ulimits, __ATOMIC_ACQUIRE));
	if (r >= 0)
		r = set_security(d, h);
	if (!h->has_init && d->init)
		h->has_init = h->init = true;
	if (h->shm_size == 0)
		h->shm_size = __atomic_load_n(&d->shm_size, __ATOMIC_RELAXED);
	return r < 0 ? err_sys(e, r, "set the defaults of containers") : 0;
}

/* Of every list a fresh copy, before anything is replaced. */
static int retire(Engine *en, void *list, void *with)
{
	char ***grown = realloc(en->retired, (en->n_retired + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	en->retired = grown;
	en->retired[en->n_retired++] = *(char ***)list;
	__atomic_store_n((char ***)list, with, __ATOMIC_RELEASE);
	return 0;
}

static int check_default_runtime(const EngineReload *l, Err *e)
{
	static const char *const own[] = {ENGINE_OWN_RUNTIME, "runc", "io.containerd.runc.v2"};

	for (size_t i = 0; i < ELEMENTSOF(own); i++)
		if (!l->default_runtime || streq(l->default_runtime, own[i]))
			return 0;
	return strv_env_get(l->runtimes, l->default_runtime)
		   ? 0
		   : err_new(e, ERR_INVALID, "default-runtime %s: no runtime has that name",
			     l->default_runtime);
}

int engine_reload(Engine *en, const EngineReload *l, Err *e)
{
	_cleanup_strv_ char **runtimes = strv_dup(l->runtimes), **ulimits = strv_dup(l->ulimits),
			    **name = NULL;
	int r = check_default_runtime(l, e);

	if (r < 0)
		return r;
	if (!runtimes || !ulimits ||
	    strv_add(&name, l->default_runtime ? l->default_runtime : ENGINE_OWN_RUNTIME) < 0)
		return err_oom(e);
	r = registry_set_rules(en->registry, l->insecure_registries, l->registry_mirrors, e);
	if (r < 0)
		return r;
	registry_set_limits(en->registry, &(RegistryLimits){l->transfers.downloads, l->transfers.uploads,
							    l->transfers.attempts});
	pthread_mutex_lock(&en->lock);
	if (retire(en, &en->options.runtimes, runtimes) >= 0)
		take_ptr(runtimes);
	if (retire(en, &en->options.defaults.ulimits, ulimits) >= 0)
		take_ptr(ulimits);
	if (!streq(en->options.default_runtime, *name)) {
		/* As a list of one: who has read the old name may still use it. */
		char **before = NULL;

		if (strv_take(&before, (char *)en->options.default_runtime) >= 0 &&
		    retire(en, &before, NULL) >= 0) {
			__atomic_store_n(&en->options.default_runtime, take_ptr(*name), __ATOMIC_RELEASE);
		}
	}
	__atomic_store_n(&en->options.defaults.shm_size, l->shm_size, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&en->lock);
	return 0;
}
