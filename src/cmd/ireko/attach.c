/* SPDX-License-Identifier: Apache-2.0 */
/* attach, and start with and without it. */
#include "many.h"
#include "options.h"
#include "session.h"
#include "terminal.h"
#include "text.h"
#include "verbs.h"

typedef struct AttachOptions {
	const char *detach_keys;
	bool no_stdin;
	Tri sig_proxy;
} AttachOptions;

#define O(field) offsetof(AttachOptions, field)
static const Flag attach_flags[] = {
    {"detach-keys", 0, FLAG_STRING, O(detach_keys), "Keys that detach (default ctrl-p,ctrl-q)", NULL},
    {"no-stdin", 0, FLAG_BOOL, O(no_stdin), "Do not attach standard input", NULL},
    {"sig-proxy", 0, FLAG_TRI, O(sig_proxy), "Forward signals to the container (default true)", NULL},
    {0},
};
#undef O

static int inspect(Cli *cli, const char *name, json_t **ret, Err *e)
{
	_cleanup_free_ char *target = api_path("containers", name, "/json", e);

	return target ? api_get(cli, target, ret, e) : -EINVAL;
}

static int check_state(const json_t *c, Err *e)
{
	const json_t *state = json_object_get(c, "State");

	if (!json_get_bool(state, "Running", false))
		return err_new(e, ERR_CONFLICT, "You cannot attach to a stopped container, start it first");
	if (json_get_bool(state, "Paused", false))
		return err_new(e, ERR_CONFLICT, "You cannot attach to a paused container, unpause it first");
	if (json_get_bool(state, "Restarting", false))
		return err_new(e, ERR_CONFLICT,
			       "You cannot attach to a restarting container, wait until it is running");
	return 0;
}

/* A full-screen program draws itself anew when the size changes: once to another size, then to ours. */
static void redraw(Session *s)
{
	int h, w;
	_cleanup_free_ char *target = NULL;

	if (!s->tty || !terminal_size(STDOUT_FILENO, &h, &w))
		return;
	target = strf("/containers/%s/resize?h=%d&w=%d", s->id, h + 1, w + 1);
	if (target)
		(void)api_call(s->cli, "POST", target, NULL, NULL, NULL);
	session_resize(s);
}

static int finish(Session *s, int end, Err *e)
{
	if (end < 0)
		return end;
	if (end == STREAM_DETACHED) {
		(void)fputs("read escape sequence\n", stderr);
		return 0;
	}
	return session_wait(s, e);
}

static int run_attach(Call *call, Err *e)
{
	const AttachOptions *o = call->opts;
	_cleanup_json_ json_t *c = NULL;
	_cleanup_session_ Session s = {.cli = call->cli,
				       .signal_fd = -1,
				       .detach_keys = session_keys(call->cli, o->detach_keys),
				       .wait_for = "not-running"};
	int r = inspect(call->cli, call->args[0], &c, e);

	if (r >= 0)
		r = check_state(c, e);
	if (r < 0)
		return r;
	const json_t *config = json_object_get(c, "Config");
	const char *id = json_get_str(c, "Id");
	s.id = id ? id : call->args[0];
	s.tty = json_get_bool(config, "Tty", false);
	s.in = !o->no_stdin && json_get_bool(config, "OpenStdin", false);
	s.out = s.err = true;
	s.proxy = tri(o->sig_proxy, true) && !s.tty;
	r = session_check(&s, e);
	if (r == 0)
		r = session_catch_signals(&s, e);
	if (r == 0)
		r = session_open(&s, e);
	if (r < 0)
		return r;
	redraw(&s);
	return finish(&s, session_run(&s, e), e);
}

/* ---- start */

typedef struct StartOptions {
	bool attach, interactive;
	const char *detach_keys, *checkpoint, *checkpoint_dir;
	Tri sig_proxy;
} StartOptions;

#define O(field) offsetof(StartOptions, field)
static const Flag start_flags[] = {
    {"attach", 'a', FLAG_BOOL, O(attach), "Attach output and forward signals", NULL},
    {"checkpoint", 0, FLAG_STRING, O(checkpoint), "Restore from this checkpoint", NULL},
    {"checkpoint-dir", 0, FLAG_STRING, O(checkpoint_dir), "Folder of checkpoints", NULL},
    {"detach-keys", 0, FLAG_STRING, O(detach_keys), "Keys that detach (default ctrl-p,ctrl-q)", NULL},
    {"interactive", 'i', FLAG_BOOL, O(interactive), "Attach standard input", NULL},
    {"sig-proxy", 0, FLAG_TRI, O(sig_proxy), NULL, NULL},
    {0},
};
#undef O

static char *start_target(const StartOptions *o, const char *id, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", id, "/start", e);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return NULL;
	strbuf_add(&b, path);
	if (o->checkpoint)
		text_query(&b, "checkpoint", o->checkpoint);
	if (o->checkpoint_dir)
		text_query(&b, "checkpoint-dir", o->checkpoint_dir);
	return strbuf_steal(&b);
}

static int make_start(Call *call, const char *arg, ManyRequest *rq, Err *e)
{
	rq->method = "POST";
	rq->target = start_target(call->opts, arg, e);
	return rq->target ? 0 : -EINVAL;
}

static int start_attached(Call *call, Err *e)
{
	const StartOptions *o = call->opts;
	_cleanup_json_ json_t *c = NULL;
	_cleanup_session_ Session s = {.cli = call->cli,
				       .signal_fd = -1,
				       .detach_keys = session_keys(call->cli, o->detach_keys)};
	int r;

	if (call->n_args > 1)
		return err_new(e, ERR_INVALID, "you cannot start and attach multiple containers at once");
	r = inspect(call->cli, call->args[0], &c, e);
	if (r < 0)
		return r;
	const json_t *config = json_object_get(c, "Config");
	const char *id = json_get_str(c, "Id");
	s.id = id ? id : call->args[0];
	s.tty = json_get_bool(config, "Tty", false);
	s.in = o->interactive && json_get_bool(config, "OpenStdin", false);
	s.out = s.err = true;
	s.proxy = tri(o->sig_proxy, true) && !s.tty;
	/* One that removes itself is gone before it could be asked. */
	s.wait_for =
	    json_get_bool(json_object_get(c, "HostConfig"), "AutoRemove", false) ? "removed" : "next-exit";
	_cleanup_free_ char *target = start_target(o, s.id, e);
	r = target ? session_check(&s, e) : -EINVAL;
	if (r == 0)
		r = session_catch_signals(&s, e);
	if (r == 0)
		r = session_open(&s, e);
	if (r == 0)
		r = api_call(call->cli, "POST", target, NULL, NULL, e);
	if (r < 0)
		return r;
	session_resize(&s);
	return finish(&s, session_run(&s, e), e);
}

static int run_start(Call *call, Err *e)
{
	const StartOptions *o = call->opts;

	if (o->attach || o->interactive)
		return start_attached(call, e);
	return many_run(call, &(Many){.make = make_start, .failed = "Error: failed to start containers"}, e);
}

const Command cmd_attach = {.usage = "[OPTIONS] CONTAINER",
			    .summary = "Attach this terminal to a running container",
			    .flags = attach_flags,
			    .opts_size = sizeof(AttachOptions),
			    .min = 1,
			    .max = 1,
			    .run = run_attach};
const Command cmd_start = {.usage = "[OPTIONS] CONTAINER [CONTAINER...]",
			   .summary = "Start stopped containers",
			   .flags = start_flags,
			   .opts_size = sizeof(StartOptions),
			   .min = 1,
			   .max = -1,
			   .run = run_start};
