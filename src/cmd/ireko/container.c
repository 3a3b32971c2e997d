/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that do one thing to each of some containers: stop, restart, kill, pause, unpause, wait,
 * rm, update. */
#include "base/str.h"
#include "many.h"
#include "options.h"
#include "resources.h"
#include "spec.h"
#include "text.h"
#include "verbs.h"

static int make_post(const char *arg, const char *action, ManyRequest *rq, Err *e)
{
	rq->method = "POST";
	rq->target = api_path("containers", arg, action, e);
	return rq->target ? 0 : -EINVAL;
}

/* ---- stop, restart, kill */

typedef struct StopOptions {
	Num timeout;
	const char *signal;
} StopOptions;

#define O(field) offsetof(StopOptions, field)
static const Flag stop_flags[] = {
    {"signal", 's', FLAG_STRING, O(signal), "Signal to send", NULL},
    {"timeout", 't', FLAG_INT, O(timeout), "Seconds to wait before killing; -1 waits for ever", NULL},
    {"time", 0, FLAG_INT, O(timeout), NULL, NULL},
    {0},
};

static const Flag kill_flags[] = {
    {"signal", 's', FLAG_STRING, O(signal), "Signal to send (default KILL)", NULL},
    {0},
};
#undef O

static int make_signal_request(Call *call, const char *arg, const char *action, ManyRequest *rq, Err *e)
{
	const StopOptions *o = call->opts;
	_cleanup_strbuf_ StrBuf b = {0};
	int r = make_post(arg, action, rq, e);

	if (r < 0)
		return r;
	strbuf_add(&b, rq->target);
	if (!str_empty(o->signal))
		text_query(&b, "signal", o->signal);
	if (o->timeout.set) {
		char n[24];

		snprintf(n, sizeof(n), "%lld", (long long)o->timeout.v);
		text_query(&b, "t", n);
	}
	free(rq->target);
	rq->target = strbuf_steal(&b);
	return rq->target ? 0 : err_oom(e);
}

static int make_stop(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_signal_request(call, arg, "/stop", rq, e);
}

static int make_restart(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_signal_request(call, arg, "/restart", rq, e);
}

static int make_kill(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_signal_request(call, arg, "/kill", rq, e);
}

static int run_stop(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_stop}, e);
}

static int run_restart(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_restart}, e);
}

static int run_kill(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_kill}, e);
}

/* ---- pause, unpause, wait */

static int make_pause(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_post(arg, "/pause", rq, e);
}

static int make_unpause(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_post(arg, "/unpause", rq, e);
}

static int make_wait(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	return make_post(arg, "/wait", rq, e);
}

static int show_wait(Call *call, const char *arg, int status, const json_t *answer, Err *e)
{
	const char *error = json_get_str(json_object_get(answer, "Error"), "Message");

	if (!str_empty(error))
		return err_new(e, ERR_INTERNAL, "%s", error);
	if (!json_is_integer(json_object_get(answer, "StatusCode")))
		return err_new(e, ERR_INTERNAL, "container %s: the engine's answer has no StatusCode", arg);
	(void)printf("%lld\n", (long long)json_get_int(answer, "StatusCode", 0));
	return 0;
}

static int run_pause(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_pause}, e);
}

static int run_unpause(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_unpause}, e);
}

static int run_wait(Call *call, Err *e)
{
	return many_run(call, &(Many){.make = make_wait, .show = show_wait}, e);
}

/* ---- rm */

typedef struct RmOptions {
	bool force, link, volumes;
} RmOptions;

#define O(field) offsetof(RmOptions, field)
static const Flag rm_flags[] = {
    {"force", 'f', FLAG_BOOL, O(force), "Remove even a running container, killing it", NULL},
    {"link", 'l', FLAG_BOOL, O(link), "Remove only the link of this name", NULL},
    {"volumes", 'v', FLAG_BOOL, O(volumes), "Remove its anonymous volumes too", NULL},
    {0},
};
#undef O

static int make_rm(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	const RmOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("containers", arg, "", e);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return -EINVAL;
	strbuf_add(&b, path);
	if (o->force)
		text_query(&b, "force", "1");
	if (o->link)
		text_query(&b, "link", "1");
	if (o->volumes)
		text_query(&b, "v", "1");
	rq->method = "DELETE";
	rq->target = strbuf_steal(&b);
	return rq->target ? 0 : err_oom(e);
}

static int run_rm(Call *call, Err *e)
{
	const RmOptions *o = call->opts;

	return many_run(call, &(Many){.make = make_rm, .missing_is_fine = o->force}, e);
}

/* ---- update */

typedef struct UpdateOptions {
	ResourceOptions resources;
	const char *restart;
	List publish, unpublish;
} UpdateOptions;

static const Flag update_flags[] = {
    RESOURCE_FLAGS(UpdateOptions, resources),
    {"publish", 'p', FLAG_LIST, offsetof(UpdateOptions, publish),
     "Publish a port more: [[IP:]HOST:]CONTAINER[/PROTO]", NULL},
    {"unpublish", 0, FLAG_LIST, offsetof(UpdateOptions, unpublish),
     "No longer publish a port of the container: PORT[-PORT][/PROTO]", NULL},
    {"restart", 0, FLAG_STRING, offsetof(UpdateOptions, restart),
     "no, always, unless-stopped or on-failure[:MAX]", NULL},
    {0},
};

static int make_update(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	const UpdateOptions *o = call->opts;
	int r = make_post(arg, "/update", rq, e);

	if (r < 0)
		return r;
	rq->body = json_object();
	if (!rq->body)
		return err_oom(e);
	r = resources_add(rq->body, &o->resources, e);
	if (r == 0 && o->restart)
		r = resources_add_restart(rq->body, o->restart, e);
	return r;
}

static int show_update(Call *call, const char *arg, int status, const json_t *answer, Err *e)
{
	const json_t *warnings = json_object_get(answer, "Warnings");

	(void)printf("%s\n", arg);
	for (size_t i = 0; i < json_array_size(warnings); i++) {
		const char *w = json_string_value(json_array_get(warnings, i));

		cli_complain(call->cli, "WARNING: %s", w ? w : "");
	}
	return 0;
}

/* ---- the ports of update */

static int ports_body(const UpdateOptions *o, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *exposed = json_object(), *publish = json_object(), *gone = json_object(),
			      *list = json_array();
	const char *port;
	json_t *value;
	int r = exposed && publish && gone && list ? 0 : err_oom(e);

	for (size_t i = 0; r == 0 && o->publish.v && o->publish.v[i]; i++)
		r = spec_add_port(o->publish.v[i], exposed, publish, e);
	for (size_t i = 0; r == 0 && o->unpublish.v && o->unpublish.v[i]; i++)
		r = spec_add_exposed(o->unpublish.v[i], gone, e);
	if (r < 0)
		return r;
	json_object_foreach (gone, port, value)
		(void)json_array_append_new(list, json_string(port));
	*ret = json_pack("{s:O, s:O}", "Publish", publish, "Unpublish", list);
	return *ret ? 0 : err_oom(e);
}

static int make_ports(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", arg, "/ports", e);

	if (!path)
		return -EINVAL;
	rq->method = "POST";
	rq->target = strf("/ireko%s", path);
	return rq->target ? ports_body(call->opts, &rq->body, e) : err_oom(e);
}

/* The arguments are told once, by the last round. */
static int show_nothing(Call *call _unused_, const char *arg _unused_, int status _unused_,
			const json_t *answer _unused_, Err *e _unused_)
{
	return 0;
}

static int run_update(Call *call, Err *e)
{
	const UpdateOptions *o = call->opts;
	_cleanup_json_ json_t *asked = json_object(), *body = NULL;
	bool ports = o->publish.v || o->unpublish.v, more;
	int r = asked ? resources_add(asked, &o->resources, e) : err_oom(e);

	if (r >= 0 && ports)
		r = ports_body(o, &body, e);
	if (r < 0)
		return r;
	more = json_object_size(asked) > 0 || o->restart;
	if (!more && !ports)
		return err_new(e, ERR_INVALID, "you must provide one or more flags when using this command");
	if (more)
		r = many_run(call, &(Many){.make = make_update, .show = ports ? show_nothing : show_update},
			     e);
	if (r == 0 && ports)
		r = many_run(call, &(Many){.make = make_ports, .show = show_update}, e);
	return r;
}

const Command cmd_stop = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			  .summary = "Stop running containers",
			  .flags = stop_flags,
			  .opts_size = sizeof(StopOptions),
			  .min = 1,
			  .max = -1,
			  .run = run_stop};
const Command cmd_restart = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			     .summary = "Stop containers and start them again",
			     .flags = stop_flags,
			     .opts_size = sizeof(StopOptions),
			     .min = 1,
			     .max = -1,
			     .run = run_restart};
const Command cmd_kill = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			  .summary = "Send a signal to running containers",
			  .flags = kill_flags,
			  .opts_size = sizeof(StopOptions),
			  .min = 1,
			  .max = -1,
			  .run = run_kill};
const Command cmd_pause = {.usage = "CONTAINER [CONTAINER...]",
			   .summary = "Freeze all processes of containers",
			   .min = 1,
			   .max = -1,
			   .run = run_pause};
const Command cmd_unpause = {.usage = "CONTAINER [CONTAINER...]",
			     .summary = "Let frozen containers go on",
			     .min = 1,
			     .max = -1,
			     .run = run_unpause};
const Command cmd_wait = {.usage = "CONTAINER [CONTAINER...]",
			  .summary = "Wait until containers stop, and print their exit codes",
			  .min = 1,
			  .max = -1,
			  .run = run_wait};
const Command cmd_rm = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			.summary = "Remove containers",
			.flags = rm_flags,
			.opts_size = sizeof(RmOptions),
			.min = 1,
			.max = -1,
			.run = run_rm};
const Command cmd_update = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			    .summary =
				"Change the limits, the restart policy and the published ports of containers",
			    .flags = update_flags,
			    .opts_size = sizeof(UpdateOptions),
			    .min = 1,
			    .max = -1,
			    .run = run_update};
