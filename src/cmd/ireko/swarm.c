/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of swarms, managed plugins and checkpoints. Our engine is in no swarm and has no plugin, and so answers; another
 * engine may be behind a context, but what these verbs would need there is docker's own client. Each asks the engine the question
 * that docker's verb begins with, and says the engine's words. Their flags are not looked at.
 */
#include "client.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

typedef struct Question {
	const char *path; /* "node" for all verbs of the group, "swarm init" for one */
	const char *method, *target;
} Question;

static const Question questions[] = {
    {"swarm init", "POST", "/swarm/init"},
    {"swarm join", "POST", "/swarm/join"},
    {"swarm leave", "POST", "/swarm/leave"},
    {"swarm unlock", "POST", "/swarm/unlock"},
    {"swarm", "GET", "/swarm"},
    {"config", "GET", "/configs"},
    {"node", "GET", "/nodes"},
    {"secret", "GET", "/secrets"},
    {"service", "GET", "/services"},
    {"stack", "GET", "/services"},
};

static const Question *find_question(const char *path)
{
	for (size_t i = 0; i < ELEMENTSOF(questions); i++) {
		const char *rest = str_after(path, questions[i].path);

		if (rest && (*rest == '\0' || *rest == ' '))
			return &questions[i];
	}
	return NULL;
}

static int run_swarm(Call *call, Err *e)
{
	const Question *q = find_question(call->path);
	_cleanup_json_ json_t *body = json_object();
	bool post = q && streq(q->method, "POST");

	if (!q || !body)
		return err_oom(e);
	int r = api_call(call->cli, q->method, q->target, post ? body : NULL, NULL, e);
	if (r < 0)
		return r;
	return err_new(
	    e, ERR_UNSUPPORTED,
	    "%s is not offered: the engine at %s is in a swarm, for which docker's own client is needed",
	    call->path, call->cli->address.text);
}

#define SWARM_VERB(name, args, text)                                                                         \
	{                                                                                                    \
		name,                                                                                        \
		    &(const Command){                                                                        \
			.usage = args, .summary = text, .raw = true, .max = -1, .run = run_swarm},           \
		    false                                                                                    \
	}
#define VERBS_END                                                                                            \
	{                                                                                                    \
		NULL, NULL, false                                                                            \
	}

const Verb config_verbs[] = {
    SWARM_VERB("create", "[OPTIONS] CONFIG FILE|-", "Create a config from a file or STDIN"),
    SWARM_VERB("inspect", "[OPTIONS] CONFIG [CONFIG...]",
	       "Display detailed information on one or more configs"),
    SWARM_VERB("ls", "[OPTIONS]", "List configs"),
    SWARM_VERB("rm", "CONFIG [CONFIG...]", "Remove one or more configs"),
    VERBS_END,
};
const Verb node_verbs[] = {
    SWARM_VERB("demote", "NODE [NODE...]", "Demote one or more nodes from manager in the swarm"),
    SWARM_VERB("inspect", "[OPTIONS] self|NODE [NODE...]",
	       "Display detailed information on one or more nodes"),
    SWARM_VERB("ls", "[OPTIONS]", "List nodes in the swarm"),
    SWARM_VERB("promote", "NODE [NODE...]", "Promote one or more nodes to manager in the swarm"),
    SWARM_VERB("ps", "[OPTIONS] [NODE...]",
	       "List tasks running on one or more nodes, defaults to current node"),
    SWARM_VERB("rm", "[OPTIONS] NODE [NODE...]", "Remove one or more nodes from the swarm"),
    SWARM_VERB("update", "[OPTIONS] NODE", "Update a node"),
    VERBS_END,
};
const Verb secret_verbs[] = {
    SWARM_VERB("create", "[OPTIONS] SECRET [FILE|-]", "Create a secret from a file or STDIN as content"),
    SWARM_VERB("inspect", "[OPTIONS] SECRET [SECRET...]",
	       "Display detailed information on one or more secrets"),
    SWARM_VERB("ls", "[OPTIONS]", "List secrets"),
    SWARM_VERB("rm", "SECRET [SECRET...]", "Remove one or more secrets"),
    VERBS_END,
};
const Verb service_verbs[] = {
    SWARM_VERB("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Create a new service"),
    SWARM_VERB("inspect", "[OPTIONS] SERVICE [SERVICE...]",
	       "Display detailed information on one or more services"),
    SWARM_VERB("logs", "[OPTIONS] SERVICE|TASK", "Fetch the logs of a service or task"),
    SWARM_VERB("ls", "[OPTIONS]", "List services"),
    SWARM_VERB("ps", "[OPTIONS] SERVICE [SERVICE...]", "List the tasks of one or more services"),
    SWARM_VERB("rm", "SERVICE [SERVICE...]", "Remove one or more services"),
    SWARM_VERB("rollback", "[OPTIONS] SERVICE", "Revert changes to a service's configuration"),
    SWARM_VERB("scale", "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
	       "Scale one or multiple replicated services"),
    SWARM_VERB("update", "[OPTIONS] SERVICE", "Update a service"),
    VERBS_END,
};
const Verb stack_verbs[] = {
    SWARM_VERB("deploy", "[OPTIONS] STACK", "Deploy a new stack or update an existing stack"),
    SWARM_VERB("ls", "[OPTIONS]", "List stacks"),
    SWARM_VERB("ps", "[OPTIONS] STACK", "List the tasks in the stack"),
    SWARM_VERB("rm", "[OPTIONS] STACK [STACK...]", "Remove one or more stacks"),
    SWARM_VERB("services", "[OPTIONS] STACK", "List the services in the stack"),
    VERBS_END,
};
const Verb swarm_verbs[] = {
    SWARM_VERB("ca", "[OPTIONS]", "Display and rotate the root CA"),
    SWARM_VERB("init", "[OPTIONS]", "Initialize a swarm"),
    SWARM_VERB("join", "[OPTIONS] HOST:PORT", "Join a swarm as a node and/or manager"),
    SWARM_VERB("join-token", "[OPTIONS] (worker|manager)", "Manage join tokens"),
    SWARM_VERB("leave", "[OPTIONS]", "Leave the swarm"),
    SWARM_VERB("unlock", "", "Unlock swarm"),
    SWARM_VERB("unlock-key", "[OPTIONS]", "Manage the unlock key"),
    SWARM_VERB("update", "[OPTIONS]", "Update the swarm"),
    VERBS_END,
};

/* ---- plugins */

typedef struct PluginLsOptions {
	List filters;
	const char *format;
	bool no_trunc, quiet;
} PluginLsOptions;

#define O(field) offsetof(PluginLsOptions, field)
static const Flag plugin_ls_flags[] = {
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "table, table TEMPLATE, json, or a Go template", NULL},
    {"no-trunc", 0, FLAG_BOOL, O(no_trunc), "Show everything in full length", NULL},
    {"quiet", 'q', FLAG_BOOL, O(quiet), "Show ids only", NULL},
    {0},
};
#undef O

static const Column plugin_columns[] = {
    {"ID", "ID"}, {"Name", "NAME"}, {"Description", "DESCRIPTION"}, {"Enabled", "ENABLED"}, {NULL, NULL},
};

static int add_plugin_row(json_t *rows, const json_t *p, bool full)
{
	const char *id = json_get_str(p, "Id"),
		   *about = json_get_str(json_object_get(p, "Config"), "Description");
	json_t *row = json_object();
	int r = json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;

	if (r == 0)
		r = row_take(row, "ID", full ? strdup(id ? id : "") : text_short_id(id ? id : ""));
	if (r == 0)
		r = row_add(row, "Name", json_get_str(p, "Name"));
	if (r == 0)
		r = row_take(row, "Description",
			     full ? strdup(about ? about : "") : text_ellipsis(about ? about : "", 45));
	return r == 0 && json_object_set_new(row, "Enabled",
					     json_boolean(json_get_bool(p, "Enabled", false))) < 0
		   ? -ENOMEM
		   : r;
}

static int run_plugin_ls(Call *call, Err *e)
{
	const PluginLsOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *list = NULL, *rows = json_array();
	int r;

	strbuf_add(&target, "/plugins");
	r = api_add_filters(&target, o->filters.v, e);
	if (r == 0)
		r = target.oom ? err_oom(e) : api_get(call->cli, target.s, &list, e);
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		if (add_plugin_row(rows, json_array_get(list, i), o->no_trunc) < 0)
			r = err_oom(e);
	if (r < 0)
		return r;
	ListFormat lf = {plugin_columns, "{{.ID}}\t{{.Name}}\t{{.Description}}\t{{.Enabled}}"};
	return format_list(call->cli, &lf, o->quiet && !o->format ? "{{.ID}}" : o->format, rows, e);
}

static const Command cmd_plugin_ls = {.usage = "[OPTIONS]",
				      .summary = "List plugins",
				      .flags = plugin_ls_flags,
				      .opts_size = sizeof(PluginLsOptions),
				      .run = run_plugin_ls};

/* What the verb does to the plugin that it names first. */
static const Question plugin_questions[] = {
    {"plugin enable", "POST", "/enable"}, {"plugin disable", "POST", "/disable"},
    {"plugin rm", "DELETE", ""},          {"plugin set", "POST", "/set"},
    {"plugin push", "POST", "/push"},     {"plugin inspect", "GET", "/json"},
    {"plugin upgrade", "GET", "/json"},
};

/* The first word that is no flag: the flags of these verbs have no values, or values behind "=". */
static const char *first_word(char *const *args)
{
	while (*args && **args == '-')
		args++;
	return *args;
}

static int run_plugin(Call *call, Err *e)
{
	const char *name = first_word(call->args);
	_cleanup_free_ char *target = NULL;
	const Question *q = NULL;

	if (!name)
		return err_new(e, ERR_INVALID, "'%s %s' requires at least 1 argument", call->cli->program,
			       call->path);
	for (size_t i = 0; !q && i < ELEMENTSOF(plugin_questions); i++)
		if (streq(call->path, plugin_questions[i].path))
			q = &plugin_questions[i];
	target = q ? api_path("plugins", name, q->target, e) : strdup("/plugins");
	if (!target)
		return -EINVAL;
	int r = api_call(call->cli, q ? q->method : "GET", target, NULL, NULL, e);
	if (r < 0)
		return r;
	return err_new(e, ERR_UNSUPPORTED, "%s is not offered: ireko has no managed plugins", call->path);
}

#define PLUGIN_VERB(name, args, text)                                                                        \
	{                                                                                                    \
		name,                                                                                        \
		    &(const Command){                                                                        \
			.usage = args, .summary = text, .raw = true, .max = -1, .run = run_plugin},          \
		    false                                                                                    \
	}

const Verb plugin_verbs[] = {
    PLUGIN_VERB("create", "[OPTIONS] PLUGIN PLUGIN-DATA-DIR",
		"Create a plugin from a rootfs and configuration"),
    PLUGIN_VERB("disable", "[OPTIONS] PLUGIN", "Disable a plugin"),
    PLUGIN_VERB("enable", "[OPTIONS] PLUGIN", "Enable a plugin"),
    PLUGIN_VERB("inspect", "[OPTIONS] PLUGIN [PLUGIN...]",
		"Display detailed information on one or more plugins"),
    PLUGIN_VERB("install", "[OPTIONS] PLUGIN [KEY=VALUE...]", "Install a plugin"),
    {"ls", &cmd_plugin_ls, false},
    {"list", &cmd_plugin_ls, true},
    PLUGIN_VERB("push", "[OPTIONS] PLUGIN[:TAG]", "Push a plugin to a registry"),
    PLUGIN_VERB("rm", "[OPTIONS] PLUGIN [PLUGIN...]", "Remove one or more plugins"),
    PLUGIN_VERB("set", "PLUGIN KEY=VALUE [KEY=VALUE...]", "Change settings for a plugin"),
    PLUGIN_VERB("upgrade", "[OPTIONS] PLUGIN [REMOTE]", "Upgrade an existing plugin"),
    VERBS_END,
};

/* ---- checkpoints: docker has them behind a daemon's "experimental" */

static int run_checkpoint(Call *call, Err *e)
{
	int r = api_settle(call->cli, e);

	return r < 0
		   ? r
		   : err_new(e, ERR_UNSUPPORTED,
			     "%s %s is only supported on a Docker daemon with experimental features enabled",
			     call->cli->program, call->path);
}

#define CHECKPOINT_VERB(name, args, text)                                                                    \
	{                                                                                                    \
		name,                                                                                        \
		    &(const Command){                                                                        \
			.usage = args, .summary = text, .raw = true, .max = -1, .run = run_checkpoint},      \
		    false                                                                                    \
	}

const Verb checkpoint_verbs[] = {
    CHECKPOINT_VERB("create", "[OPTIONS] CONTAINER CHECKPOINT",
		    "Create a checkpoint from a running container"),
    CHECKPOINT_VERB("ls", "[OPTIONS] CONTAINER", "List checkpoints for a container"),
    CHECKPOINT_VERB("rm", "[OPTIONS] CONTAINER CHECKPOINT", "Remove a checkpoint"),
    VERBS_END,
};
