/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as a whole: opening, closing, and what it knows about itself.
 */
#include "engine/pod-internal.h"

#include "proxy/proxy.h"
#include "engine/log-options.h"
#include "kernel/cgroup.h"
#include "kernel/mount.h"
#include "registry/proxy.h"

#include <sys/statfs.h>
#include <linux/magic.h>
#include <linux/mount.h>

static char *dup_or_null(const char *s, bool *oom)
{
	char *copy = s ? strdup(s) : NULL;

	*oom |= s && !copy;
	return copy;
}

static int pods_options_copy(const EnginePods *from, EnginePods *ret)
{
	bool oom = false;

	*ret = (EnginePods){.cni_conf_dir = dup_or_null(from->cni_conf_dir, &oom),
			    .cni_plugin_dirs = strv_dup(from->cni_plugin_dirs),
			    .cni_cache_dir = dup_or_null(from->cni_cache_dir, &oom),
			    .netns_dir = dup_or_null(from->netns_dir, &oom),
			    .sandbox_image = dup_or_null(from->sandbox_image, &oom)};
	return oom || !ret->cni_plugin_dirs ? -ENOMEM : 0;
}

static void pods_options_done(EnginePods *o)
{
	free((char *)o->cni_conf_dir);
	strv_free((char **)o->cni_plugin_dirs);
	free((char *)o->cni_cache_dir);
	free((char *)o->netns_dir);
	free((char *)o->sandbox_image);
}

static int options_copy(Engine *en, const EngineOptions *o)
{
	en->options = (EngineOptions){
	    .data_root = strdup(o->data_root),
	    .exec_root = strdup(o->exec_root),
	    .helper_dir = strdup(o->helper_dir),
	    .bridge_subnet = o->bridge_subnet ? strdup(o->bridge_subnet) : NULL,
	    .bridge_subnet6 = o->bridge_subnet6 ? strdup(o->bridge_subnet6) : NULL,
	    .bridge_ipv6 = o->bridge_ipv6,
	    .api_socket = o->api_socket ? strdup(o->api_socket) : NULL,
	    .insecure_registries = strv_dup(o->insecure_registries),
	    .registry_mirrors = strv_dup(o->registry_mirrors),
	    .registry_token_servers = strv_dup(o->registry_token_servers),
	    .certs_dirs = o->certs_dirs ? strv_dup(o->certs_dirs) : NULL,
	    .http_proxy = o->http_proxy ? strdup(o->http_proxy) : NULL,
	    .https_proxy = o->https_proxy ? strdup(o->https_proxy) : NULL,
	    .no_proxy = o->no_proxy ? strdup(o->no_proxy) : NULL,
	    .no_userland_proxy = o->no_userland_proxy,
	    .transfers = o->transfers,
	    .runtimes = strv_dup(o->runtimes),
	    .default_runtime = strdup(o->default_runtime ? o->default_runtime : ENGINE_OWN_RUNTIME),
	    .snapshotter = strdup(o->snapshotter ? o->snapshotter : "auto"),
	    .userns_remap = o->userns_remap ? strdup(o->userns_remap) : NULL,
	    .systemd_cgroup = o->systemd_cgroup,
	    .cdi_dirs = o->cdi_dirs ? strv_dup(o->cdi_dirs) : NULL,
	    .log_driver = strdup(o->log_driver ? o->log_driver : "json-file"),
	    .log_opts = strv_dup(o->log_opts),
	    .published_ports_open = o->published_ports_open,
	    .gc = o->gc,
	    .pods = o->pods,
	};
	en->options.gc.keep = strv_dup(o->gc.keep);
	en->options.bridge_options = o->bridge_options ? strv_dup(o->bridge_options) : NULL;
	en->options.address_pools = o->address_pools ? strv_dup(o->address_pools) : NULL;
	if (pods_options_copy(&o->pods, &en->options.pods) < 0)
		return -ENOMEM;
	if (defaults_copy(&o->defaults, &en->options.defaults) < 0)
		return -ENOMEM;
	return en->options.data_root && en->options.exec_root && en->options.helper_dir &&
		       en->options.default_runtime && en->options.snapshotter && en->options.log_driver
		   ? 0
		   : -ENOMEM;
}

static void options_done(EngineOptions *o)
{
	free((char *)o->data_root);
	free((char *)o->exec_root);
	free((char *)o->helper_dir);
	free((char *)o->bridge_subnet);
	free((char *)o->bridge_subnet6);
	free((char *)o->api_socket);
	strv_free((char **)o->insecure_registries);
	strv_free((char **)o->registry_mirrors);
	strv_free((char **)o->registry_token_servers);
	strv_free((char **)o->certs_dirs);
	free((char *)o->http_proxy);
	free((char *)o->https_proxy);
	free((char *)o->no_proxy);
	strv_free((char **)o->runtimes);
	free((char *)o->default_runtime);
	free((char *)o->snapshotter);
	free((char *)o->userns_remap);
	strv_free((char **)o->cdi_dirs);
	free((char *)o->log_driver);
	strv_free((char **)o->log_opts);
	strv_free((char **)o->gc.keep);
	strv_free((char **)o->bridge_options);
	strv_free((char **)o->address_pools);
	defaults_done(&o->defaults);
	pods_options_done(&o->pods);
}

/* Interfaces, tables and cgroups of several engines on one machine must not meet: all but the one with the default root
 * carry a piece of the hash of their data root in their names. */
static int names_choose(Engine *en, char table[32], Err *e)
{
	char digest[DIGEST_LEN + 1];

	if (streq(en->options.data_root, "/var/lib/ireko")) {
		snprintf(table, 32, "ireko");
		en->bridge_name = strdup("ireko0");
	} else {
		digest_of(en->options.data_root, strlen(en->options.data_root), digest);
		snprintf(table, 32, "ireko_%.8s", digest_hex(digest));
		en->bridge_name = strf("irk-%.8s", digest_hex(digest));
	}
	en->cgroup_parent = strf("/%s", table);
	return en->bridge_name && en->cgroup_parent ? 0 : err_oom(e);
}

static int dirs_make(Engine *en, Err *e)
{
	en->runtime_root = strf("%s/runtime", en->options.exec_root);
	en->seccomp_dir = strf("%s/seccomp", en->options.exec_root);
	en->containers_run = strf("%s/containers", en->options.exec_root);
	if (!en->runtime_root || !en->seccomp_dir || !en->containers_run)
		return err_oom(e);
	const char *const dirs[] = {en->options.exec_root, en->runtime_root, en->seccomp_dir,
				    en->containers_run};
	for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
		int r = mkdir_parents_at(AT_FDCWD, dirs[i], i == 0 ? 0711 : 0700);

		if (r < 0)
			return err_sys(e, r, "make %s", dirs[i]);
	}
	return 0;
}

/* An id that stays the same for this data root. */
static int own_id(Engine *en, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = store_doc_get(en->store, "engine", "id", &doc, NULL);
	const char *known = r >= 0 ? json_get_str(doc, "id") : NULL;

	if (known) {
		snprintf(en->id, sizeof(en->id), "%s", known);
		return 0;
	}
	json_decref(doc);
	id_random_hex(en->id, ID_LEN);
	doc = json_pack("{s:s}", "id", en->id);
	return doc ? store_doc_put(en->store, "engine", "id", doc, e) : err_oom(e);
}

static int store_start(Engine *en, Err *e)
{
	_cleanup_free_ char *unpack = strf("%s/ireko-unpack", en->options.helper_dir);

	if (!unpack)
		return err_oom(e);
	StoreOptions o = {.data_root = en->options.data_root,
			  .unpack_program = unpack,
			  .snapshotter = en->options.snapshotter};
	return store_open(&o, &en->store, e);
}

/* The shim is started from a private read-only copy of the mount that it lies on: what a container finds behind
 * /proc/<pid>/exe cannot be opened for writing then (CVE-2019-5736). Where that is not possible the plain path is used, and the shim
 * protects itself at the cost of a second exec. */
static int shim_program(Engine *en, Err *e)
{
	_cleanup_free_ char *path = strf("%s/ireko-shim", en->options.helper_dir);
	MountChange read_only = {.set = MOUNT_ATTR_RDONLY, .userns_fd = -1};

	if (!path)
		return err_oom(e);
	if (access(path, X_OK) < 0)
		return err_sys(e, errno, "%s is needed beside irekod", path);
	en->shim_fd = mount_clone(AT_FDCWD, path, false);
	if (en->shim_fd >= 0 && mount_change(en->shim_fd, "", &read_only) >= 0) {
		en->shim_program = strdup(path_of_fd(en->shim_fd).s);
	} else {
		close_fd(&en->shim_fd);
		en->shim_program = take_ptr(path);
	}
	return en->shim_program ? 0 : err_oom(e);
}

/* They are used when the first container starts; a typing error should be told now. */
static int subnets_check(const EngineOptions *o, Err *e)
{
	NetworkSubnet s;
	int r = o->bridge_subnet ? network_gateway_parse(o->bridge_subnet, &s, e) : 0;

	if (r >= 0 && o->bridge_subnet && !ip_is_v4(s.address))
		r = err_new(e, ERR_INVALID, "expected a subnet of IPv4");
	if (r < 0)
		return err_ctx(e, r, "--bip %s", o->bridge_subnet);
	r = o->bridge_subnet6 ? network_gateway_parse(o->bridge_subnet6, &s, e) : 0;
	if (r >= 0 && o->bridge_subnet6 && ip_is_v4(s.address))
		r = err_new(e, ERR_INVALID, "expected a subnet of IPv6");
	return r < 0 ? err_ctx(e, r, "--bip6 %s", o->bridge_subnet6) : 0;
}

static int cgroup_version(void)
{
	struct statfs fs;

	return statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC ? 2 : 1;
}

int engine_new(const EngineOptions *o, Engine **ret, Err *e)
{
	Engine *en = calloc(1, sizeof(*en));
	char table[32] = "";
	int r;

	if (!en)
		return err_oom(e);
	en->epoll_fd = en->stop_fd = en->shim_fd = en->routes_fd = -1;
	pthread_mutex_init(&en->lock, NULL);
	pthread_cond_init(&en->execs_changed, NULL);
	pthread_mutex_init(&en->volumes_lock, NULL);
	pthread_mutex_init(&en->mounted_lock, NULL);
	pthread_mutex_init(&en->subnets_lock, NULL);
	pthread_mutex_init(&en->firewall.lock, NULL);
	pthread_mutex_init(&en->apparmor.lock, NULL);
	pthread_mutex_init(&en->gc_lock, NULL);
	pthread_mutex_init(&en->pods.lock, NULL);
	pthread_rwlock_init(&en->pods.attaching, NULL);
	pthread_rwlock_init(&en->images_gate, NULL);
	en->cgroup_version = cgroup_version();
	r = options_copy(en, o) < 0 ? err_oom(e) : subnets_check(o, e);
	if (r >= 0)
		r = runtimes_check(en, e);
	if (r >= 0)
		r = err_ctx(e, log_options_check(en->options.log_driver, en->options.log_opts, e),
			    "failed to set log opts");
	if (r >= 0)
		r = names_choose(en, table, e);
	if (r >= 0)
		r = dirs_make(en, e);
	if (r >= 0)
		r = shim_program(en, e);
	if (r >= 0)
		r = store_start(en, e);
	if (r >= 0)
		r = remap_load(en, e);
	if (r >= 0)
		r = cgroup_driver_check(en, e);
	if (r >= 0)
		r = own_id(en, e);
	if (r >= 0)
		r = network_host_new(table, &en->nethost, e);
	if (r >= 0)
		r = pools_set(en, e);
	if (r >= 0) {
		RegistryOptions ro = {.insecure = o->insecure_registries,
				      .mirrors = o->registry_mirrors,
				      .token_servers = o->registry_token_servers,
				      .certs_dirs = o->certs_dirs,
				      .http_proxy = o->http_proxy,
				      .https_proxy = o->https_proxy,
				      .no_proxy = o->no_proxy,
				      .limits = {o->transfers.downloads, o->transfers.uploads,
						 o->transfers.attempts},
				      .user_agent = "ireko/" IREKO_VERSION};
		r = registry_new(&ro, &en->registry, e);
	}
	if (r >= 0)
		r = events_new(&en->events, e);
	if (r >= 0)
		r = background_new(en, &en->background, e);
	if (r >= 0)
		r = sizes_new(&en->sizes, e);
	if (r >= 0)
		r = networks_load(en, e);
	if (r >= 0)
		r = container_load_all(en, e);
	if (r >= 0)
		r = leftovers_remove(en, e);
	if (r >= 0)
		r = watch_start(en, e);
	if (r >= 0)
		r = proxied_open(en, e);
	if (r >= 0)
		r = pod_ranges_load(en, e);
	if (r >= 0)
		r = pods_open(en, e);
	if (r >= 0)
		r = adopt_all(en, e);
	if (r >= 0)
		leftovers_steps_remove(en);
	if (r >= 0)
		pods_recover(en);
	if (r >= 0)
		apparmor_open(en);
	if (r >= 0)
		r = gc_start(en, e);
	if (r >= 0)
		network_overlaps_watch(en);
	if (r < 0) {
		engine_free(en);
		return r;
	}
	*ret = en;
	return 0;
}

/* Goes with the last container: rmdir refuses while there are children. */
static void cgroup_parent_remove(const char *path)
{
	Cgroup c = {0};

	if (!path || cgroup_resolve(path, &c, NULL) < 0)
		return;
	for (size_t i = 0; i < c.n; i++)
		(void)rmdir(c.dirs[i].path);
	cgroup_done(&c);
}

void engine_free(Engine *en)
{
	Container *c, *tmp;
	Exec *x, *xtmp;

	if (!en)
		return;
	gc_stop(en);
	adopt_stop(en);
	watch_stop(en);
	background_free(en->background);
	proxy_free(en->proxy);
	pods_close(en);
	close_fd(&en->routes_fd);
	HASH_ITER (hh, en->execs, x, xtmp) {
		HASH_DEL(en->execs, x);
		exec_config_done(&x->config);
		free(x);
	}
	HASH_CLEAR(hh_name, en->by_name);
	HASH_ITER (hh, en->by_id, c, tmp) {
		HASH_DEL(en->by_id, c);
		container_unref(c);
	}
	resolver_free(en->resolver);
	if (en->nethost)
		networks_free(en);
	network_host_free(en->nethost);
	registry_free(en->registry);
	events_free(en->events);
	sizes_free(en->sizes);
	store_close(en->store);
	free(en->runtime_root);
	free(en->seccomp_dir);
	free(en->containers_run);
	free(en->bridge_name);
	free(en->shim_program);
	close_fd(&en->shim_fd);
	cgroup_parent_remove(en->cgroup_parent);
	free(en->cgroup_parent);
	remap_done(en);
	options_done(&en->options);
	for (size_t i = 0; i < en->n_retired; i++)
		strv_free(en->retired[i]);
	free(en->retired);
	pthread_cond_destroy(&en->execs_changed);
	pthread_mutex_destroy(&en->lock);
	pthread_mutex_destroy(&en->volumes_lock);
	pthread_mutex_destroy(&en->mounted_lock);
	pthread_mutex_destroy(&en->subnets_lock);
	pthread_mutex_destroy(&en->firewall.lock);
	pthread_mutex_destroy(&en->apparmor.lock);
	strv_free(en->firewall.told);
	pthread_mutex_destroy(&en->gc_lock);
	pthread_mutex_destroy(&en->pods.lock);
	strv_free(en->pods.ranges);
	pthread_rwlock_destroy(&en->pods.attaching);
	pthread_rwlock_destroy(&en->images_gate);
	free(en);
}

Store *engine_store(Engine *en)
{
	return en->store;
}

int engine_cgroup_version(Engine *en)
{
	return en->cgroup_version;
}

int engine_summary(Engine *en, EngineSummary *ret, Err *e)
{
	StoreImage *images = NULL;
	size_t n = 0;
	Container *c, *tmp;
	int r = store_image_list(en->store, &images, &n, e);

	if (r < 0)
		return r;
	store_images_free(images, n);
	*ret = (EngineSummary){.images = (int)n,
			       .cgroup_driver = en->options.systemd_cgroup ? "systemd" : "cgroupfs",
			       .cgroup_version = en->cgroup_version};
	memcpy(ret->id, en->id, sizeof(ret->id));
	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp)
		switch (container_status(c)) {
		case CONTAINER_RUNNING:
		case CONTAINER_RESTARTING:
			ret->running++;
			break;
		case CONTAINER_PAUSED:
			ret->paused++;
			break;
		default:
			ret->stopped++;
		}
	pthread_mutex_unlock(&en->lock);
	return 0;
}

char *engine_proxy_shown(Engine *en, EngineProxy which)
{
	const EngineOptions *o = &en->options;
	const char *value = which == ENGINE_HTTP_PROXY    ? o->http_proxy
			    : which == ENGINE_HTTPS_PROXY ? o->https_proxy
							  : o->no_proxy;

	if (!value)
		return strdup("");
	return which == ENGINE_NO_PROXY ? strdup(value) : proxy_shown(value);
}
