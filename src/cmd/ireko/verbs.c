/* SPDX-License-Identifier: Apache-2.0 */
/* See verbs.h. */
#include "verbs.h"

const Verb verbs[] = {
    {"__complete", &cmd_complete, true},
    {"__man", &cmd_man, true},
    {"attach", &cmd_attach, false},
    {"build", &cmd_build, false},
    {"commit", &cmd_commit, false},
    {"completion", &cmd_completion, false},
    {"cp", &cmd_cp, false},
    {"create", &cmd_create, false},
    {"diff", &cmd_diff, false},
    {"events", &cmd_events, false},
    {"exec", &cmd_exec, false},
    {"export", &cmd_export, false},
    {"history", &cmd_history, false},
    {"images", &cmd_images, false},
    {"import", &cmd_import, false},
    {"info", &cmd_info, false},
    {"inspect", &cmd_inspect, false},
    {"kill", &cmd_kill, false},
    {"load", &cmd_load, false},
    {"login", &cmd_login, false},
    {"logout", &cmd_logout, false},
    {"logs", &cmd_logs, false},
    {"pause", &cmd_pause, false},
    {"port", &cmd_port, false},
    {"ps", &cmd_ps, false},
    {"pull", &cmd_pull, false},
    {"push", &cmd_push, false},
    {"rename", &cmd_rename, false},
    {"restart", &cmd_restart, false},
    {"rm", &cmd_rm, false},
    {"rmi", &cmd_rmi, false},
    {"run", &cmd_run, false},
    {"save", &cmd_save, false},
    {"search", &cmd_search, false},
    {"start", &cmd_start, false},
    {"stats", &cmd_stats, false},
    {"stop", &cmd_stop, false},
    {"tag", &cmd_tag, false},
    {"top", &cmd_top, false},
    {"unpause", &cmd_unpause, false},
    {"update", &cmd_update, false},
    {"version", &cmd_version, false},
    {"wait", &cmd_wait, false},
    {NULL, NULL, false},
};

static const Verb container_verbs[] = {
    {"attach", &cmd_attach, false},
    {"commit", &cmd_commit, false},
    {"cp", &cmd_cp, false},
    {"create", &cmd_create, false},
    {"diff", &cmd_diff, false},
    {"exec", &cmd_exec, false},
    {"export", &cmd_export, false},
    {"inspect", &cmd_container_inspect, false},
    {"kill", &cmd_kill, false},
    {"logs", &cmd_logs, false},
    {"ls", &cmd_ps, false},
    {"list", &cmd_ps, true},
    {"ps", &cmd_ps, true},
    {"pause", &cmd_pause, false},
    {"port", &cmd_port, false},
    {"prune", &cmd_container_prune, false},
    {"rename", &cmd_rename, false},
    {"restart", &cmd_restart, false},
    {"rm", &cmd_rm, false},
    {"remove", &cmd_rm, true},
    {"run", &cmd_run, false},
    {"start", &cmd_start, false},
    {"stats", &cmd_stats, false},
    {"stop", &cmd_stop, false},
    {"top", &cmd_top, false},
    {"unpause", &cmd_unpause, false},
    {"update", &cmd_update, false},
    {"wait", &cmd_wait, false},
    {NULL, NULL, false},
};

static const Verb image_verbs[] = {
    {"bootstrap", &cmd_image_bootstrap, false},
    {"build", &cmd_build, false},
    {"history", &cmd_history, false},
    {"import", &cmd_import, false},
    {"inspect", &cmd_image_inspect, false},
    {"load", &cmd_load, false},
    {"ls", &cmd_images, false},
    {"list", &cmd_images, true},
    {"prune", &cmd_image_prune, false},
    {"pull", &cmd_pull, false},
    {"push", &cmd_push, false},
    {"referrers", &cmd_image_referrers, false},
    {"rm", &cmd_rmi, false},
    {"remove", &cmd_rmi, true},
    {"save", &cmd_save, false},
    {"squash", &cmd_image_squash, false},
    {"tag", &cmd_tag, false},
    {"tags", &cmd_image_tags, false},
    {NULL, NULL, false},
};

static const Verb manifest_verbs[] = {
    {"annotate", &cmd_manifest_annotate, false},
    {"create", &cmd_manifest_create, false},
    {"inspect", &cmd_manifest_inspect, false},
    {"push", &cmd_manifest_push, false},
    {"rm", &cmd_manifest_rm, false},
    {NULL, NULL, false},
};

static const Verb network_verbs[] = {
    {"connect", &cmd_network_connect, false},
    {"create", &cmd_network_create, false},
    {"disconnect", &cmd_network_disconnect, false},
    {"inspect", &cmd_network_inspect, false},
    {"ls", &cmd_network_ls, false},
    {"list", &cmd_network_ls, true},
    {"prune", &cmd_network_prune, false},
    {"renumber", &cmd_network_renumber, false},
    {"rm", &cmd_network_rm, false},
    {"remove", &cmd_network_rm, true},
    {NULL, NULL, false},
};

static const Verb volume_verbs[] = {
    {"create", &cmd_volume_create, false},
    {"inspect", &cmd_volume_inspect, false},
    {"ls", &cmd_volume_ls, false},
    {"list", &cmd_volume_ls, true},
    {"prune", &cmd_volume_prune, false},
    {"rm", &cmd_volume_rm, false},
    {"remove", &cmd_volume_rm, true},
    {"update", &cmd_volume_update, false},
    {NULL, NULL, false},
};

static const Verb context_verbs[] = {
    {"create", &cmd_context_create, false}, {"export", &cmd_context_export, false},
    {"import", &cmd_context_import, false}, {"inspect", &cmd_context_inspect, false},
    {"ls", &cmd_context_ls, false},         {"list", &cmd_context_ls, true},
    {"rm", &cmd_context_rm, false},         {"remove", &cmd_context_rm, true},
    {"show", &cmd_context_show, false},     {"update", &cmd_context_update, false},
    {"use", &cmd_context_use, false},       {NULL, NULL, false},
};

static const Verb system_verbs[] = {
    {"check", &cmd_check, false},
    {"df", &cmd_df, false},
    {"dial-stdio", &cmd_dial_stdio, true},
    {"events", &cmd_events, false},
    {"info", &cmd_info, false},
    {"prune", &cmd_system_prune, false},
    {NULL, NULL, false},
};

static const Verb buildx_verbs[] = {
    {"build", &cmd_build, false},
    {"b", &cmd_build, true},
    {"prune", &cmd_builder_prune, false},
    {NULL, NULL, false},
};

static const Verb builder_verbs[] = {
    {"build", &cmd_build, false},
    {"prune", &cmd_builder_prune, false},
    {"shell", &cmd_builder_shell, false},
    {NULL, NULL, false},
};

const VerbGroup verb_groups[] = {
    {"builder", "Build images, and manage the build cache", builder_verbs, false},
    {"buildx", "Build images; what else docker's plugin of this name does is left to it", buildx_verbs,
     false},
    {"checkpoint", "Manage checkpoints", checkpoint_verbs, false},
    {"container", "Manage containers", container_verbs, false},
    {"context", "Manage contexts: names for engines", context_verbs, false},
    {"image", "Manage images", image_verbs, false},
    {"manifest", "Look at manifests in registries, and make lists of them", manifest_verbs, false},
    {"network", "Manage networks", network_verbs, false},
    {"plugin", "Manage plugins of the engine", plugin_verbs, false},
    {"system", "Manage the engine", system_verbs, false},
    {"volume", "Manage volumes", volume_verbs, false},
    {"config", "Manage Swarm configs", config_verbs, true},
    {"node", "Manage Swarm nodes", node_verbs, true},
    {"secret", "Manage Swarm secrets", secret_verbs, true},
    {"service", "Manage Swarm services", service_verbs, true},
    {"stack", "Manage Swarm stacks", stack_verbs, true},
    {"swarm", "Manage Swarm", swarm_verbs, true},
    {NULL, NULL, NULL, false},
};

const Command *verbs_find(const Verb *table, const char *name)
{
	for (const Verb *v = table; v->name; v++)
		if (streq(v->name, name))
			return v->command;
	return NULL;
}

const VerbGroup *verbs_find_group(const char *name)
{
	for (const VerbGroup *g = verb_groups; g->name; g++)
		if (streq(g->name, name))
			return g;
	return NULL;
}
