/* SPDX-License-Identifier: Apache-2.0 */
/* Every endpoint: a row here, a function in the file of its family. Longer literals stand before patterns that would take them. */
#include "api/docker/door-internal.h"

#define B HTTP_STREAM_BODY

static const HttpRoute routes[] = {
    {"GET", "/_ping", h_ping, 0},
    {"HEAD", "/_ping", h_ping, 0},
    {"GET", "/version", h_version, 0},
    {"GET", "/info", h_info, 0},
    {"GET", "/events", h_events, 0},
    {"GET", "/system/df", h_df, 0},
    {"POST", "/auth", h_auth_check, 0},

    {"GET", "/containers/json", h_containers_list, 0},
    {"POST", "/containers/create", h_container_create, 0, MEASURE_CONTAINER_CREATE},
    {"POST", "/containers/prune", h_containers_prune, 0},
    {"GET", "/containers/{id}/json", h_container_inspect, 0},
    {"GET", "/containers/{id}/logs", h_container_logs, 0},
    {"GET", "/containers/{id}/top", h_container_top, 0},
    {"GET", "/containers/{id}/stats", h_container_stats, 0},
    {"GET", "/containers/{id}/changes", h_container_changes, 0, MEASURE_CONTAINER_CHANGES},
    {"GET", "/containers/{id}/export", h_container_export, 0},
    {"HEAD", "/containers/{id}/archive", h_archive_head, 0},
    {"GET", "/containers/{id}/archive", h_archive_get, 0},
    {"PUT", "/containers/{id}/archive", h_archive_put, B},
    {"POST", "/containers/{id}/start", h_container_start, 0, MEASURE_CONTAINER_START},
    {"POST", "/containers/{id}/stop", h_container_stop, 0},
    {"POST", "/containers/{id}/restart", h_container_restart, 0},
    {"POST", "/containers/{id}/kill", h_container_kill, 0},
    {"POST", "/containers/{id}/pause", h_container_pause, 0},
    {"POST", "/containers/{id}/unpause", h_container_unpause, 0},
    {"POST", "/containers/{id}/rename", h_container_rename, 0},
    {"POST", "/containers/{id}/resize", h_container_resize, 0},
    {"POST", "/containers/{id}/update", h_container_update, 0},
    {"POST", "/containers/{id}/wait", h_container_wait, 0},
    {"POST", "/containers/{id}/attach", h_container_attach, 0},
    {"GET", "/containers/{id}/attach/ws", h_container_attach_ws, 0},
    {"POST", "/containers/{id}/exec", h_exec_create, 0},
    {"DELETE", "/containers/{id}", h_container_remove, 0, MEASURE_CONTAINER_DELETE},
    {"POST", "/exec/{id}/start", h_exec_start, 0},
    {"POST", "/exec/{id}/resize", h_exec_resize, 0},
    {"GET", "/exec/{id}/json", h_exec_inspect, 0},
    {"POST", "/commit", h_image_commit, 0, MEASURE_CONTAINER_COMMIT},

    {"GET", "/images/json", h_images_list, 0},
    {"GET", "/images/get", h_images_save, 0},
    {"GET", "/images/search", h_images_search, 0},
    {"POST", "/images/create", h_image_create, B, MEASURE_IMAGE_PULL},
    {"POST", "/images/load", h_images_load, B, MEASURE_IMAGE_LOAD},
    {"POST", "/images/prune", h_images_prune, 0},
    {"GET", "/images/{name:*}/json", h_image_inspect, 0},
    {"GET", "/images/{name:*}/history", h_image_history, 0},
    {"GET", "/images/{name:*}/get", h_image_save, 0},
    {"POST", "/images/{name:*}/tag", h_image_tag, 0},
    {"POST", "/images/{name:*}/push", h_image_push, 0, MEASURE_IMAGE_PUSH},
    {"DELETE", "/images/{name:*}", h_image_remove, 0, MEASURE_IMAGE_DELETE},
    {"POST", "/build", h_build, B, MEASURE_BUILD},
    {"POST", "/build/cancel", h_build_cancel, 0},
    {"POST", "/build/prune", h_build_prune, 0},
    {"POST", "/ireko/build", h_build_local, 0, MEASURE_BUILD},
    {"POST", "/ireko/bootstrap", h_bootstrap, 0},
    {"POST", "/ireko/squash", h_squash, 0},
    {"POST", "/ireko/networks/{id}/renumber", h_network_renumber, 0},
    {"GET", "/distribution/{name:*}/json", h_distribution, 0},
    {"GET", "/ireko/manifest", h_remote_manifest, 0},
    {"POST", "/ireko/manifest", h_remote_index_put, 0},
    {"GET", "/ireko/referrers", h_remote_referrers, 0},
    {"GET", "/ireko/tags", h_remote_tags, 0},
    {"GET", "/ireko/check", h_check, 0},
    {"POST", "/ireko/check", h_check, 0},
    {"POST", "/ireko/containers/{id}/ports", h_container_ports, 0},

    {"GET", "/networks", h_networks_list, 0},
    {"GET", "/networks/", h_networks_list, 0},
    {"POST", "/networks/create", h_network_create, 0, MEASURE_NETWORK_CREATE},
    {"POST", "/networks/prune", h_networks_prune, 0},
    {"GET", "/networks/{id}", h_network_inspect, 0},
    {"DELETE", "/networks/{id}", h_network_remove, 0, MEASURE_NETWORK_DELETE},
    {"POST", "/networks/{id}/connect", h_network_connect, 0},
    {"POST", "/networks/{id}/disconnect", h_network_disconnect, 0},

    {"GET", "/volumes", h_volumes_list, 0},
    {"POST", "/volumes/create", h_volume_create, 0},
    {"POST", "/volumes/prune", h_volumes_prune, 0},
    {"GET", "/volumes/{name}", h_volume_inspect, 0},
    {"PUT", "/volumes/{name}", h_swarm, 0}, /* only for volumes of a swarm */
    {"DELETE", "/volumes/{name}", h_volume_remove, 0},

    {"GET", "/containers/{id}/checkpoints", h_checkpoint, 0},
    {"POST", "/containers/{id}/checkpoints", h_checkpoint, 0},
    {"DELETE", "/containers/{id}/checkpoints/{checkpoint}", h_checkpoint, 0},

    {"DELETE", "/containers/{id}/{alias}", h_link_remove, 0},

    {"GET", "/plugins", h_plugins, 0},
    {"GET", "/plugins/privileges", h_plugin_new, 0},
    {"POST", "/plugins/pull", h_plugin_new, 0},
    {"POST", "/plugins/create", h_plugin_new, 0},
    {"GET", "/plugins/{name:*}/json", h_plugin, 0},
    {"DELETE", "/plugins/{name:*}", h_plugin, 0},
    {"POST", "/plugins/{name:*}/enable", h_plugin, 0},
    {"POST", "/plugins/{name:*}/disable", h_plugin, 0},
    {"POST", "/plugins/{name:*}/upgrade", h_plugin, 0},
    {"POST", "/plugins/{name:*}/push", h_plugin, 0},
    {"POST", "/plugins/{name:*}/set", h_plugin, 0},

    {"POST", "/swarm/init", h_swarm_join, 0},
    {"POST", "/swarm/join", h_swarm_join, 0},
    {"POST", "/swarm/leave", h_swarm_leave, 0},
    {"PUT", "/volumes/{name}", h_swarm, 0},
#define SWARM(path)                                                                                          \
	{"GET", path, h_swarm, 0}, {"GET", path "/{rest:*}", h_swarm, 0},                                    \
	    {"POST", path "/{rest:*}", h_swarm, 0},                                                          \
	{                                                                                                    \
		"DELETE", path "/{rest:*}", h_swarm, 0                                                       \
	}
    SWARM("/swarm"),
    SWARM("/nodes"),
    SWARM("/services"),
    SWARM("/tasks"),
    SWARM("/secrets"),
    SWARM("/configs"),
    {"OPTIONS", "/{path:*}", h_options, 0},
    {NULL, NULL, NULL, 0},
};

void docker_door_serve(DockerDoor *d, HttpOptions *o)
{
	o->routes = routes;
	o->user = d;
	o->admit = door_admit;
	o->decorate = door_decorate;
	o->measured = door_measured;
}

static void settings_done(Door *d)
{
	strv_free(d->insecure_registries);
	strv_free(d->registry_mirrors);
	strv_free(d->labels);
	strv_free(d->address_pools);
	free(d->seccomp_profile);
}

int docker_door_reload(DockerDoor *d, const DockerDoorOptions *o, Err *e)
{
	Door now = {.insecure_registries = strv_dup(o->insecure_registries),
		    .registry_mirrors = strv_dup(o->registry_mirrors),
		    .labels = strv_dup(o->labels),
		    .address_pools = strv_dup(o->address_pools),
		    .seccomp_profile = strdup(o->seccomp_profile ? o->seccomp_profile : "builtin")};

	if (!now.insecure_registries || !now.registry_mirrors || !now.labels || !now.address_pools ||
	    !now.seccomp_profile) {
		settings_done(&now);
		return err_oom(e);
	}
	pthread_mutex_lock(&d->settings);
	settings_done(d);
	d->insecure_registries = now.insecure_registries;
	d->registry_mirrors = now.registry_mirrors;
	d->labels = now.labels;
	d->address_pools = now.address_pools;
	d->seccomp_profile = now.seccomp_profile;
	d->no_new_privileges = o->no_new_privileges;
	d->debug = o->debug;
	d->live_restore = o->live_restore;
	d->classic_builder = o->classic_builder;
	pthread_mutex_unlock(&d->settings);
	return 0;
}

int docker_door_new(const DockerDoorOptions *o, DockerDoor **ret, Err *e)
{
	DockerDoor *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_oom(e);
	pthread_mutex_init(&d->settings, NULL);
	pthread_mutex_init(&d->builds_lock, NULL);
	for (size_t i = 0; i < PRUNE_KINDS; i++)
		pthread_mutex_init(&d->pruning[i], NULL);
	d->data_root = strdup(o->data_root);
	r = d->data_root ? docker_door_reload(d, o, e) : err_oom(e);
	if (r < 0) {
		docker_door_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void docker_door_set_engine(DockerDoor *d, Engine *en, Builder *builder)
{
	d->engine = en;
	d->builder = builder;
}

void docker_door_free(DockerDoor *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < PRUNE_KINDS; i++)
		pthread_mutex_destroy(&d->pruning[i]);
	pthread_mutex_destroy(&d->settings);
	pthread_mutex_destroy(&d->builds_lock);
	free(d->data_root);
	settings_done(d);
	free(d);
}
