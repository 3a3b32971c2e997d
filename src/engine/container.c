/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of containers: finding, naming, saving and describing them.
 *
 * A container's row in the store is its configuration and what outlives a run (exit code, times, last
 * endpoints); whether it runs is known by its shim alone, so after a crash of irekod the row is only the starting point for adoption.
 */
#include "engine/pod-internal.h"

#include <stdarg.h>
#include <sys/eventfd.h>

static const char *const status_names[] = {
    [CONTAINER_CREATED] = "created",   [CONTAINER_RUNNING] = "running",
    [CONTAINER_PAUSED] = "paused",     [CONTAINER_RESTARTING] = "restarting",
    [CONTAINER_REMOVING] = "removing", [CONTAINER_EXITED] = "exited",
    [CONTAINER_DEAD] = "dead",
};

const char *container_status_name(ContainerStatus s)
{
	return s < ELEMENTSOF(status_names) ? status_names[s] : "dead";
}

Container *container_new(void)
{
	Container *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->events_fd = -1;
	pthread_mutex_init(&c->life, NULL);
	pthread_mutex_init(&c->state, NULL);
	return c;
}

Container *container_ref(Container *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

static void endpoints_free(ContainerEndpoint *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].network);
		free(v[i].network_id);
		free(v[i].endpoint_id);
		free(v[i].address);
		free(v[i].gateway);
		free(v[i].address6);
		free(v[i].gateway6);
		free(v[i].mac);
		free(v[i].interface);
	}
	free(v);
}

static void published_free(ContainerPublished *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].port);
		free(v[i].host_ip);
		free(v[i].host_port);
	}
	free(v);
}

void mount_points_free(ContainerMountPoint *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].type);
		free(v[i].name);
		free(v[i].source);
		free(v[i].destination);
		free(v[i].driver);
		free(v[i].mode);
		free(v[i].propagation);
		free(v[i].subpath);
		free(v[i].snapshot);
		free(v[i].image_id);
		free(v[i].idmap);
		free(v[i].options);
		if (v[i].given)
			close_fd(&v[i].given_fd);
	}
	free(v);
}

void container_lock(Container *c)
{
	if (pthread_mutex_trylock(&c->life) == 0)
		return;
	__atomic_add_fetch(&c->life_wanted, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&c->life);
	__atomic_sub_fetch(&c->life_wanted, 1, __ATOMIC_RELAXED);
}

void container_unref(Container *c)
{
	if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	shim_unref(c->shim);
	close_fd(&c->events_fd);
	engine_spare_drop(c->spare);
	free(c->image_id);
	free(c->chain_id);
	free(c->path);
	strv_free(c->args);
	if (c->secret_env)
		for (char **v = c->secret_env; *v; v++)
			explicit_bzero(*v, strlen(*v));
	strv_free(c->secret_env);
	strv_free(c->pod_ips);
	strv_free(c->ran_as);
	container_config_done(&c->config);
	mount_points_free(c->mounts, c->n_mounts);
	free(c->name);
	free(c->error);
	endpoints_free(c->endpoints, c->n_endpoints);
	published_free(c->published, c->n_published);
	published_free(c->unsettled, c->n_unsettled);
	free(c->ports);
	health_state_done(&c->health);
	pthread_mutex_destroy(&c->life);
	pthread_mutex_destroy(&c->state);
	free(c);
}

bool container_is_step(const Container *c)
{
	return str_empty(c->image_id) && !c->config.pod.id;
}

bool container_is_kept_step(const Container *c)
{
	return container_is_step(c) && strv_env_get(c->config.labels, ENGINE_STEP_KEPT);
}

char *container_run_dir(Engine *en, const Container *c)
{
	return strf("%s/%s", en->containers_run, c->id);
}

int container_shim_pid(Engine *en, const Container *c, pid_t *ret, Err *e)
{
	_cleanup_free_ char *dir = container_run_dir(en, c);
	Shim *shim = NULL;
	int r = dir ? shim_connect(dir, &shim, ret, NULL, e) : err_oom(e);

	shim_unref(shim);
	return r;
}

char *container_data_dir(Engine *en, const Container *c)
{
	return strf("%s/containers/%s", store_root(en->store), c->id);
}

/* By name, id or unique id prefix, in that order (docker-api-map 1.6). Engine.lock is held. */
static int lookup(Engine *en, const char *ref, Container **ret, Err *e)
{
	Container *c = NULL, *found = NULL, *tmp;
	const char *name = *ref == '/' ? ref + 1 : ref;

	HASH_FIND_STR(en->by_id, ref, found);
	if (!found)
		HASH_FIND(hh_name, en->by_name, name, strlen(name), found);
	if (!found && id_is_hex(ref)) {
		HASH_ITER (hh, en->by_id, c, tmp) {
			if (!str_starts(c->id, ref))
				continue;
			if (found)
				return err_new(
				    e, ERR_INVALID,
				    "Multiple IDs found with provided prefix: %s: give more digits of the id",
				    ref);
			found = c;
		}
	}
	if (!found)
		return err_new(e, ERR_NOT_FOUND, "No such container: %s", ref);
	*ret = found;
	return 0;
}

int container_find(Engine *en, const char *ref, Container **ret, Err *e)
{
	Container *c;
	int r;

	if (str_empty(ref))
		return err_new(e, ERR_INVALID, "container name cannot be empty");
	pthread_mutex_lock(&en->lock);
	r = lookup(en, ref, &c, e);
	if (r >= 0)
		*ret = container_ref(c);
	pthread_mutex_unlock(&en->lock);
	return r;
}

int container_add(Engine *en, Container *c, Err *e)
{
	Container *other;
	int r = 0;

	pthread_mutex_lock(&en->lock);
	HASH_FIND(hh_name, en->by_name, c->name, strlen(c->name), other);
	if (other) {
		r = err_new(
		    e, ERR_CONFLICT,
		    "Conflict. The container name \"/%s\" is already in use by container \"%s\". You have to "
		    "remove (or rename) that container to be able to reuse that name.",
		    c->name, other->id);
	} else {
		container_ref(c);
		HASH_ADD_STR(en->by_id, id, c);
		HASH_ADD_KEYPTR(hh_name, en->by_name, c->name, strlen(c->name), c);
	}
	pthread_mutex_unlock(&en->lock);
	return r;
}

void container_forget(Engine *en, Container *c)
{
	Container *there;

	pthread_mutex_lock(&en->lock);
	HASH_FIND_STR(en->by_id, c->id, there);
	if (there == c) {
		HASH_DEL(en->by_id, c);
		HASH_DELETE(hh_name, en->by_name, c);
	}
	pthread_mutex_unlock(&en->lock);
	if (there == c)
		container_unref(c);
}

int engine_container_rename(Engine *en, const char *ref, const char *name, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *fresh = NULL, *old = NULL;
	Container *other;
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = pod_guard(c, "rename", e);
	if (r < 0)
		return r;
	if (*name == '/')
		name++;
	if (str_empty(name))
		return err_new(e, ERR_INVALID, "Neither old nor new names may be empty");
	r = container_name_check(name, e);
	if (r < 0)
		return err_ctx(e, r, "Error when allocating new name");
	fresh = strdup(name);
	if (!fresh)
		return err_oom(e);

	container_lock(c);
	pthread_mutex_lock(&en->lock);
	HASH_FIND(hh_name, en->by_name, fresh, strlen(fresh), other);
	if (c->removed)
		r = err_new(e, ERR_NOT_FOUND, "No such container: %s", ref);
	else if (other == c)
		r = err_new(e, ERR_INVALID, "Renaming a container with the same name as its current name");
	else if (other)
		r = err_new(
		    e, ERR_CONFLICT,
		    "Error when allocating new name: Conflict. The container name \"/%s\" is already in "
		    "use by container \"%s\". You have to remove (or rename) that container to be able to "
		    "reuse that name.",
		    name, other->id);
	else {
		HASH_DELETE(hh_name, en->by_name, c);
		pthread_mutex_lock(&c->state);
		old = c->name;
		c->name = take_ptr(fresh);
		pthread_mutex_unlock(&c->state);
		HASH_ADD_KEYPTR(hh_name, en->by_name, c->name, strlen(c->name), c);
	}
	pthread_mutex_unlock(&en->lock);
	if (r >= 0)
		r = container_save(en, c, e);
	if (r >= 0)
		names_rename(en, c);
	pthread_mutex_unlock(&c->life);
	if (r >= 0) {
		_cleanup_free_ char *was = strf("/%s", old);
		container_event(en, c, "rename", "oldName", was, NULL);
	}
	return r;
}

/* ---- the row ---- */

#define POINT(m, t)                                                                                          \
	{                                                                                                    \
		.name = #m, .type = t, .offset = offsetof(ContainerMountPoint, m)                            \
	}
static const JsonField mount_point_table[] = {
    {.name = "type", .type = JSON_T_STR, .offset = offsetof(ContainerMountPoint, type)},
    {.name = "name", .type = JSON_T_STR, .offset = offsetof(ContainerMountPoint, name)},
    {.name = "source",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerMountPoint, source),
     .keep_empty = true},
    {.name = "destination", .type = JSON_T_STR, .offset = offsetof(ContainerMountPoint, destination)},
    {.name = "driver", .type = JSON_T_STR, .offset = offsetof(ContainerMountPoint, driver)},
    {.name = "mode", .type = JSON_T_STR, .offset = offsetof(ContainerMountPoint, mode), .keep_empty = true},
    {.name = "propagation",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerMountPoint, propagation),
     .keep_empty = true},
    {.name = "rw", .type = JSON_T_BOOL, .offset = offsetof(ContainerMountPoint, rw)},
    POINT(subpath, JSON_T_STR),
    POINT(snapshot, JSON_T_STR),
    POINT(image_id, JSON_T_STR),
    POINT(idmap, JSON_T_STR),
    POINT(options, JSON_T_STR),
    POINT(own_fs, JSON_T_BOOL),
    POINT(by_flag, JSON_T_BOOL),
    POINT(no_copy, JSON_T_BOOL),
    POINT(non_recursive, JSON_T_BOOL),
    POINT(ro_non_recursive, JSON_T_BOOL),
    POINT(ro_force_recursive, JSON_T_BOOL),
    {0},
};

static const JsonField endpoint_table[] = {
    {.name = "network", .type = JSON_T_STR, .offset = offsetof(ContainerEndpoint, network)},
    {.name = "network_id", .type = JSON_T_STR, .offset = offsetof(ContainerEndpoint, network_id)},
    {.name = "endpoint_id",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerEndpoint, endpoint_id),
     .keep_empty = true},
    {.name = "address",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerEndpoint, address),
     .keep_empty = true},
    {.name = "gateway",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerEndpoint, gateway),
     .keep_empty = true},
    {.name = "mac", .type = JSON_T_STR, .offset = offsetof(ContainerEndpoint, mac), .keep_empty = true},
    {.name = "prefix", .type = JSON_T_INT, .offset = offsetof(ContainerEndpoint, prefix)},
    {.name = "address6", .type = JSON_T_STR, .offset = offsetof(ContainerEndpoint, address6)},
    {.name = "gateway6", .type = JSON_T_STR, .offset = offsetof(ContainerEndpoint, gateway6)},
    {.name = "prefix6", .type = JSON_T_INT, .offset = offsetof(ContainerEndpoint, prefix6)},
    {.name = "interface",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerEndpoint, interface),
     .keep_empty = true},
    {0},
};

static const JsonField published_table[] = {
    {.name = "port", .type = JSON_T_STR, .offset = offsetof(ContainerPublished, port)},
    {.name = "host_ip",
     .type = JSON_T_STR,
     .offset = offsetof(ContainerPublished, host_ip),
     .keep_empty = true},
    {.name = "host_port", .type = JSON_T_STR, .offset = offsetof(ContainerPublished, host_port)},
    {0},
};

/* What of a Container is kept beside its config; `running` and the pids are for adoption. */
typedef struct Row {
	char *name, *image_id, *chain_id, *path, *error, *boot;
	char **args, **pod_ips, **ran_as;
	ContainerMountPoint *mounts;
	size_t n_mounts;
	ContainerEndpoint *endpoints;
	size_t n_endpoints;
	ContainerPublished *published;
	size_t n_published;
	ContainerPublished *unsettled;
	size_t n_unsettled;
	int64_t created_ns, started_ns, finished_ns, exit_code, restart_count, backoff_ms, pid;
	ContainerHealthState health;
	bool running, paused, restarting, oom_killed, stop_requested, dead, pod_attached;
} Row;

#define ROW(m, t)                                                                                            \
	{                                                                                                    \
		.name = #m, .type = t, .offset = offsetof(Row, m)                                            \
	}
#define ROW_ARRAY(m, tab, item)                                                                              \
	{                                                                                                    \
		.name = #m, .type = JSON_T_ARRAY, .offset = offsetof(Row, m), .table = tab,                  \
		.size = sizeof(item), .count = offsetof(Row, n_##m)                                          \
	}
static const JsonField row_table[] = {
    ROW(name, JSON_T_STR),
    ROW(image_id, JSON_T_STR),
    ROW(chain_id, JSON_T_STR),
    ROW(path, JSON_T_STR),
    ROW(error, JSON_T_STR),
    ROW(boot, JSON_T_STR),
    ROW(args, JSON_T_STRV),
    ROW(created_ns, JSON_T_INT),
    ROW(started_ns, JSON_T_INT),
    ROW(finished_ns, JSON_T_INT),
    ROW(exit_code, JSON_T_INT),
    ROW(restart_count, JSON_T_INT),
    ROW(backoff_ms, JSON_T_INT),
    ROW(pid, JSON_T_INT),
    {.name = "health", .type = JSON_T_OBJECT, .offset = offsetof(Row, health), .table = health_state_table},
    ROW(running, JSON_T_BOOL),
    ROW(paused, JSON_T_BOOL),
    ROW(restarting, JSON_T_BOOL),
    ROW(oom_killed, JSON_T_BOOL),
    ROW(stop_requested, JSON_T_BOOL),
    ROW(dead, JSON_T_BOOL),
    ROW(pod_attached, JSON_T_BOOL),
    ROW(pod_ips, JSON_T_STRV),
    ROW(ran_as, JSON_T_STRV),
    ROW_ARRAY(mounts, mount_point_table, ContainerMountPoint),
    ROW_ARRAY(endpoints, endpoint_table, ContainerEndpoint),
    ROW_ARRAY(published, published_table, ContainerPublished),
    ROW_ARRAY(unsettled, published_table, ContainerPublished),
    {0},
};

/* A Row that borrows everything from c. `state` is held. */
static Row row_of(const Container *c)
{
	return (Row){
	    .name = c->name,
	    .image_id = c->image_id,
	    .chain_id = c->chain_id,
	    .path = c->path,
	    .error = c->error,
	    .boot = (char *)c->boot,
	    .args = c->args,
	    .mounts = c->mounts,
	    .n_mounts = c->n_mounts,
	    .endpoints = c->endpoints,
	    .n_endpoints = c->n_endpoints,
	    .published = c->published,
	    .n_published = c->n_published,
	    .unsettled = c->unsettled,
	    .n_unsettled = c->n_unsettled,
	    .created_ns = c->created_ns,
	    .started_ns = c->started_ns,
	    .finished_ns = c->finished_ns,
	    .exit_code = c->exit_code,
	    .restart_count = c->restart_count,
	    .backoff_ms = c->backoff_ms,
	    .pid = c->pid,
	    .health = c->health,
	    .running = c->status == CONTAINER_RUNNING || c->status == CONTAINER_PAUSED,
	    .paused = c->status == CONTAINER_PAUSED,
	    .restarting = c->status == CONTAINER_RESTARTING,
	    .oom_killed = c->oom_killed,
	    .stop_requested = c->stop_requested,
	    .dead = c->dead,
	    .pod_attached = c->pod_attached,
	    .pod_ips = c->pod_ips,
	    .ran_as = c->ran_as,
	};
}

int container_save(Engine *en, Container *c, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r;

	pthread_mutex_lock(&c->state);
	Row row = row_of(c);
	doc = json_encode_sparse(row_table, &row);
	if (doc)
		json_object_set_new(doc, "config", container_config_encode(&c->config));
	if (doc && c->config.pod.id)
		json_object_set_new(doc, "pod", container_pod_encode(&c->config.pod));
	pthread_mutex_unlock(&c->state);
	if (!doc)
		return err_oom(e);
	r = store_doc_put(en->store, COLLECTION_CONTAINER, c->id, doc, e);
	return err_ctx(e, r, "record container %.12s", c->id);
}

/* Moves a decoded row into a fresh container. */
static void row_into(Row *row, Container *c)
{
	c->name = row->name;
	c->image_id = row->image_id;
	c->chain_id = row->chain_id;
	c->path = row->path;
	c->error = row->error;
	c->args = row->args;
	c->mounts = row->mounts;
	c->n_mounts = row->n_mounts;
	c->endpoints = row->endpoints;
	c->n_endpoints = row->n_endpoints;
	c->published = row->published;
	c->n_published = row->n_published;
	c->unsettled = row->unsettled;
	c->n_unsettled = row->n_unsettled;
	c->created_ns = row->created_ns;
	c->started_ns = row->started_ns;
	c->finished_ns = row->finished_ns;
	c->exit_code = (int)row->exit_code;
	c->restart_count = (int)row->restart_count;
	c->backoff_ms = (int)row->backoff_ms;
	c->pid = (pid_t)row->pid;
	c->health = row->health;
	c->oom_killed = row->oom_killed;
	c->stop_requested = row->stop_requested;
	c->dead = row->dead;
	c->pod_attached = row->pod_attached;
	c->pod_ips = row->pod_ips;
	c->ran_as = row->ran_as;
	snprintf(c->boot, sizeof(c->boot), "%s", row->boot ?: "");
	c->status = row->dead         ? CONTAINER_DEAD
		    : row->paused     ? CONTAINER_PAUSED /* until adoption has looked */
		    : row->running    ? CONTAINER_RUNNING
		    : row->restarting ? CONTAINER_RESTARTING
		    : row->started_ns ? CONTAINER_EXITED
				      : CONTAINER_CREATED;
	free(row->boot);
}

/* By several threads. */
static int load_one(void *user, const char *key, json_t *doc)
{
	Engine *en = user;
	_cleanup_container_ Container *c = container_new();
	Row row = {0};
	Err err = {0};
	int r;

	if (!c)
		return -ENOMEM;
	snprintf(c->id, sizeof(c->id), "%s", key);
	r = json_decode(doc, row_table, &row, &err);
	if (r >= 0 && json_fields_fill(row_table, &row) < 0)
		r = err_oom(&err);
	row_into(&row, c);
	if (r >= 0)
		r = container_config_decode(json_object_get(doc, "config"), &c->config, &err);
	if (r >= 0)
		r = container_pod_decode(json_object_get(doc, "pod"), &c->config.pod, &err);
	if (r >= 0 && !c->name)
		r = err_new(&err, ERR_INVALID, "no name");
	if (r >= 0)
		r = container_add(en, c, &err);
	if (r < 0)
		log_error("container %.12s: its record cannot be read and is left alone: %s", key,
			  err_msg(&err, r));
	return 0;
}

int container_load_all(Engine *en, Err *e)
{
	int r = store_doc_each_at_once(en->store, COLLECTION_CONTAINER, load_one, en, e);

	return err_ctx(e, r, "read the recorded containers");
}

/* ---- what others see ---- */

ContainerStatus container_status(Container *c)
{
	pthread_mutex_lock(&c->state);
	ContainerStatus s = c->status;
	pthread_mutex_unlock(&c->state);
	return s;
}

static int info_paths(Engine *en, Container *c, ContainerInfo *i)
{
	const char *root = store_root(en->store);

	/* Docker shows the path of what other programs can read. */
	if (streq0(c->config.host.log.type, "json-file"))
		i->log_path = strf("%s/containers/%s/%s-json.log", root, c->id, c->id);
	else
		i->log_path = strdup(c->config.pod.log_path ?: "");
	i->resolv_path = strf("%s/containers/%s/resolv.conf", root, c->id);
	i->hostname_path = strf("%s/containers/%s/hostname", root, c->id);
	i->hosts_path = strf("%s/containers/%s/hosts", root, c->id);
	i->upper_dir = store_snapshot_upper(en->store, c->id);
	return i->log_path && i->resolv_path && i->hostname_path && i->hosts_path && i->upper_dir ? 0
												  : -ENOMEM;
}

static char *dup_text(const char *s, bool *oom)
{
	char *copy = s ? strdup(s) : NULL;

	*oom |= s && !copy;
	return copy;
}

static char **dup_strv(char *const *v, bool *oom)
{
	char **copy = v ? strv_dup(v) : NULL;

	*oom |= v && !copy;
	return copy;
}

/* What lists show and filters look at. */
static int config_brief(const ContainerConfig *from, ContainerConfig *ret, Err *e)
{
	bool oom = false;

	ret->image = dup_text(from->image, &oom);
	ret->hostname = dup_text(from->hostname, &oom);
	ret->labels = dup_strv(from->labels, &oom);
	ret->exposed_ports = dup_strv(from->exposed_ports, &oom);
	ret->host.network_mode = dup_text(from->host.network_mode, &oom);
	return oom || container_endpoints_copy(from, ret) < 0 || container_pod_copy(&from->pod, &ret->pod) < 0
		   ? err_oom(e)
		   : 0;
}

/* `state` is held. */
static void info_from_state(const Container *c, ContainerInfo *i)
{
	memcpy(i->id, c->id, sizeof(i->id));
	i->status = c->removed ? CONTAINER_REMOVING : c->status;
	i->pid = c->pid;
}

/* But for boot and chain_id, which nobody is shown, all of the row goes over. */
static void info_from_row(const Row *row, ContainerInfo *i)
{
	i->name = row->name;
	i->image_id = row->image_id;
	i->path = row->path;
	i->args = row->args;
	i->error = row->error;
	i->mounts = row->mounts;
	i->n_mounts = row->n_mounts;
	i->endpoints = row->endpoints;
	i->n_endpoints = row->n_endpoints;
	i->published = row->published;
	i->n_published = row->n_published;
	i->created_ns = row->created_ns;
	i->started_ns = row->started_ns;
	i->finished_ns = row->finished_ns;
	i->exit_code = (int)row->exit_code;
	i->oom_killed = row->oom_killed;
	i->restart_count = (int)row->restart_count;
	i->health = row->health;
	i->pod_ips = row->pod_ips;
	i->ran_as = row->ran_as;
}

static int info_fill(Engine *en, Container *c, bool brief, ContainerInfo *i, Err *e)
{
	Row row = {0};
	int r;

	pthread_mutex_lock(&c->state);
	info_from_state(c, i);
	Row from = row_of(c);
	r = json_fields_copy(row_table, &from, &row) < 0 ? err_oom(e) : 0;
	if (r >= 0)
		r = brief ? config_brief(&c->config, &i->config, e)
			  : container_config_copy(&c->config, &i->config, e);
	pthread_mutex_unlock(&c->state);
	if (r >= 0)
		i->apparmor = brief ? "" : apparmor_name(en, &i->config.host);

	info_from_row(&row, i);
	free(row.boot);
	free(row.chain_id);
	if (r >= 0 && !brief)
		r = info_paths(en, c, i);
	return r < 0 ? err_ctx(e, r, "describe container %.12s", c->id) : 0;
}

int container_info(Engine *en, Container *c, ContainerInfo *i, Err *e)
{
	return info_fill(en, c, false, i, e);
}

void container_info_done(ContainerInfo *i)
{
	free(i->name);
	free(i->error);
	free(i->image_id);
	free(i->path);
	strv_free(i->args);
	container_config_done(&i->config);
	mount_points_free(i->mounts, i->n_mounts);
	endpoints_free(i->endpoints, i->n_endpoints);
	published_free(i->published, i->n_published);
	strv_free(i->exec_ids);
	strv_free(i->pod_ips);
	strv_free(i->ran_as);
	health_state_done(&i->health);
	free(i->log_path);
	free(i->resolv_path);
	free(i->hostname_path);
	free(i->hosts_path);
	free(i->upper_dir);
	*i = (ContainerInfo){0};
}

void container_infos_free(ContainerInfo *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		container_info_done(&v[i]);
	free(v);
}

static void info_exec_ids(Engine *en, Container *c, ContainerInfo *i)
{
	Exec *x, *tmp;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->execs, x, tmp)
		if (x->running && streq(x->container_id, c->id) && strv_add(&i->exec_ids, x->id) < 0)
			break;
	pthread_mutex_unlock(&en->lock);
}

int engine_container_inspect(Engine *en, const char *ref, ContainerInfo *ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	ContainerInfo i = {0};
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	r = container_info(en, c, &i, e);
	if (r < 0) {
		container_info_done(&i);
		return r;
	}
	info_exec_ids(en, c, &i);
	*ret = i;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const Container *x = *(Container *const *)a, *y = *(Container *const *)b;

	return x->created_ns < y->created_ns ? 1 : x->created_ns > y->created_ns ? -1 : 0;
}

static bool is_wanted(const Container *c, const EngineEach *each)
{
	return !each->pod || streq0(c->config.pod.id, each->pod);
}

/* References to those that are wanted, the newest first. */
static int all_containers(Engine *en, const EngineEach *each, Container ***ret, size_t *ret_n, Err *e)
{
	Container **all, *c, *tmp;
	size_t n = 0;

	pthread_mutex_lock(&en->lock);
	all = calloc(HASH_COUNT(en->by_id) + 1, sizeof(*all));
	if (all)
		HASH_ITER (hh, en->by_id, c, tmp)
			if (is_wanted(c, each))
				all[n++] = container_ref(c);
	pthread_mutex_unlock(&en->lock);
	if (!all)
		return err_oom(e);
	qsort(all, n, sizeof(*all), newest_first);
	*ret = all;
	*ret_n = n;
	return 0;
}

/* Without a copy of anything: of a thousand containers, copies take longer than what is made of them. */
static ContainerGlance glance_at(Container *c, const EngineEach *each)
{
	const ContainerConfig *k = &c->config;
	ContainerInfo i = {0};
	ContainerGlance g;

	pthread_mutex_lock(&c->state);
	const Row row = row_of(c);
	info_from_state(c, &i);
	info_from_row(&row, &i);
	i.config = (ContainerConfig){.image = k->image,
				     .hostname = k->hostname,
				     .labels = k->labels,
				     .exposed_ports = k->exposed_ports,
				     .host = {.network_mode = k->host.network_mode,
					      .cpu_shares = k->host.cpu_shares,
					      .cpu_quota = k->host.cpu_quota,
					      .cpu_period = k->host.cpu_period,
					      .memory_reservation = k->host.memory_reservation},
				     .pod = k->pod,
				     .endpoints = k->endpoints,
				     .n_endpoints = k->n_endpoints};
	g = each->glance(each->user, &i);
	pthread_mutex_unlock(&c->state);
	return g;
}

static int look_at(Engine *en, Container *c, const EngineEach *each, Err *e)
{
	ContainerGlance g = each->glance ? glance_at(c, each) : GLANCE_COPY;
	ContainerInfo info = {0};
	int r;

	if (g != GLANCE_COPY)
		return g == GLANCE_END;
	r = info_fill(en, c, true, &info, e);
	if (r == 0)
		r = each->fn(each->user, &info, e);
	container_info_done(&info);
	return r;
}

int engine_container_each(Engine *en, const EngineEach *each, Err *e)
{
	_cleanup_free_ Container **all = NULL;
	size_t n = 0;
	int r = all_containers(en, each, &all, &n, e);

	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = look_at(en, all[i], each, e);
		container_unref(all[i]);
	}
	return MIN2(r, 0);
}

typedef struct Infos {
	ContainerInfo *v;
	size_t n, room;
} Infos;

static int infos_add(void *user, ContainerInfo *i, Err *e)
{
	Infos *all = user;

	if (all->n == all->room) {
		size_t room = all->room ? all->room * 2 : 16;
		ContainerInfo *v = reallocarray(all->v, room, sizeof(*v));

		if (!v)
			return err_oom(e);
		all->v = v;
		all->room = room;
	}
	all->v[all->n++] = *i;
	*i = (ContainerInfo){0};
	return 0;
}

int engine_container_list(Engine *en, ContainerInfo **ret, size_t *ret_n, Err *e)
{
	Infos all = {0};
	int r = engine_container_each(en, &(EngineEach){.fn = infos_add, .user = &all}, e);

	if (r < 0) {
		container_infos_free(all.v, all.n);
		return r;
	}
	*ret = all.v;
	*ret_n = all.n;
	return 0;
}

void container_wake(Container *c)
{
	/* `state` is held; an eventfd write can only fail when its counter is full, which is woken enough. */
	for (Waiter *w = c->waiters; w; w = w->next)
		(void)eventfd_write(w->efd, 1);
}

/* Image and name, then the labels, of which none hides these two. NULL without memory; `state` is held. */
static char **event_attributes(const Container *c)
{
	char *const *labels = c->config.labels;
	_cleanup_strv_ char **v = calloc(strv_len(labels) + 3, sizeof(*v));
	size_t n = 2;

	if (!v || !(v[0] = strf("image=%s", c->config.image ?: "")) || !(v[1] = strf("name=%s", c->name)))
		return NULL;
	for (; labels && *labels; labels++)
		if (!str_starts(*labels, "image=") && !str_starts(*labels, "name=") &&
		    !(v[n++] = strdup(*labels)))
			return NULL;
	return take_ptr(v);
}

void container_event(Engine *en, Container *c, const char *action, ...)
{
	_cleanup_strv_ char **attributes = NULL;
	va_list ap;
	int r;

	pthread_mutex_lock(&c->state);
	attributes = event_attributes(c);
	pthread_mutex_unlock(&c->state);
	r = attributes ? 0 : -ENOMEM;

	va_start(ap, action);
	for (const char *key; r >= 0 && (key = va_arg(ap, const char *));)
		r = strv_take(&attributes, strf("%s=%s", key, va_arg(ap, const char *)));
	va_end(ap);
	if (r >= 0)
		engine_event(en, "container", action, c->id, attributes);
}
