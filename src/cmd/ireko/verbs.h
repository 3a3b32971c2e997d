/* SPDX-License-Identifier: Apache-2.0 */
/* Every command there is. A new one is its row here, its Command in the file of its family, and one
 * function. */
#pragma once

#include "options.h"

typedef struct Verb {
	const char *name; /* NULL ends a table */
	const Command *command;
	bool alias; /* not shown in lists */
} Verb;

typedef struct VerbGroup {
	const char *name; /* NULL ends the table */
	const char *summary;
	const Verb *verbs;
	bool swarm; /* of swarms: listed apart */
} VerbGroup;

extern const Verb verbs[];
extern const VerbGroup verb_groups[];

const Command *verbs_find(const Verb *table, const char *name);
const VerbGroup *verbs_find_group(const char *name);

extern const Flag global_flags[]; /* cli.c */

/* run.c, container*.c, exec.c, attach.c */
extern const Command cmd_run, cmd_create, cmd_start, cmd_stop, cmd_restart, cmd_kill, cmd_pause, cmd_unpause,
    cmd_wait, cmd_rm, cmd_rename, cmd_port, cmd_diff, cmd_update, cmd_top, cmd_export, cmd_ps, cmd_logs,
    cmd_exec, cmd_attach, cmd_cp, cmd_commit, cmd_stats, cmd_container_inspect, cmd_container_prune;
/* image*.c, build.c */
extern const Command cmd_images, cmd_pull, cmd_push, cmd_load, cmd_save, cmd_import, cmd_tag, cmd_rmi,
    cmd_history, cmd_image_inspect, cmd_image_prune, cmd_image_bootstrap, cmd_image_squash, cmd_build,
    cmd_builder_prune, cmd_builder_shell;
/* login.c */
extern const Command cmd_login, cmd_logout;
/* remote.c */
extern const Command cmd_manifest_annotate, cmd_manifest_create, cmd_manifest_inspect, cmd_manifest_push,
    cmd_manifest_rm;
extern const Command cmd_search, cmd_image_tags, cmd_image_referrers;
/* network.c, volume.c */
extern const Command cmd_network_create, cmd_network_ls, cmd_network_rm, cmd_network_inspect,
    cmd_network_connect, cmd_network_disconnect, cmd_network_prune, cmd_network_renumber, cmd_volume_create,
    cmd_volume_ls, cmd_volume_rm, cmd_volume_update, cmd_volume_inspect, cmd_volume_prune;
/* docker-context.c, docker-context-archive.c, dial-stdio.c */
extern const Command cmd_context_create, cmd_context_update, cmd_context_ls, cmd_context_inspect,
    cmd_context_use, cmd_context_show, cmd_context_rm, cmd_context_export, cmd_context_import, cmd_dial_stdio;
/* complete.c, completion-script.c, man.c */
extern const Command cmd_complete, cmd_completion, cmd_man;
/* swarm.c */
extern const Verb config_verbs[], node_verbs[], secret_verbs[], service_verbs[], stack_verbs[], swarm_verbs[],
    plugin_verbs[], checkpoint_verbs[];
/* inspect.c, system.c, df.c, events.c */
extern const Command cmd_inspect, cmd_info, cmd_version, cmd_df, cmd_check, cmd_events, cmd_system_prune;
