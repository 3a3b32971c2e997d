/* SPDX-License-Identifier: Apache-2.0 */
/* exec: create, start with the connection hijacked, and ask for the exit code; three round trips. */
#include "env-file.h"
#include "options.h"
#include "session.h"
#include "terminal.h"
#include "verbs.h"

typedef struct ExecOptions {
	bool detach, interactive, tty, privileged;
	const char *detach_keys, *user, *workdir;
	List env, env_files;
} ExecOptions;

#define O(field) offsetof(ExecOptions, field)
static const Flag flags[] = {
    {"detach", 'd', FLAG_BOOL, O(detach), "Run in the background", NULL},
    {"detach-keys", 0, FLAG_STRING, O(detach_keys), "Keys that detach (default ctrl-p,ctrl-q)", NULL},
    {"env", 'e', FLAG_LIST, O(env), "Set an environment variable", NULL},
    {"env-file", 0, FLAG_LIST, O(env_files), "Read environment variables from a file", NULL},
    {"interactive", 'i', FLAG_BOOL, O(interactive), "Keep standard input open", NULL},
    {"privileged", 0, FLAG_BOOL, O(privileged), "Give the command all privileges", NULL},
    {"tty", 't', FLAG_BOOL, O(tty), "Give the command a terminal", NULL},
    {"user", 'u', FLAG_STRING, O(user), "User name or id, and group: USER[:GROUP]", NULL},
    {"workdir", 'w', FLAG_STRING, O(workdir), "Working directory in the container", NULL},
    {0},
};

static json_t *console_size(void)
{
	int h, w;

	return terminal_size(STDOUT_FILENO, &h, &w) ? json_pack("[i, i]", h, w) : NULL;
}

/* The body of exec create; NULL with the Err filled. */
static json_t *make_config(const Call *call, Err *e)
{
	const ExecOptions *o = call->opts;
	_cleanup_strv_ char **env = NULL;
	const char *keys = session_keys(call->cli, o->detach_keys);
	bool attach = !o->detach;

	if (env_collect(o->env_files.v, o->env.v, &env, e) < 0)
		return NULL;
	json_t *cmd = json_from_strv(call->args + 1), *env_json = json_from_strv(env);
	json_t *j = json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:s, s:s, s:o, s:o}", "User",
			      o->user ? o->user : "", "Privileged", o->privileged, "Tty", o->tty,
			      "AttachStdin", attach && o->interactive, "AttachStdout", attach, "AttachStderr",
			      attach, "Detach", o->detach, "DetachKeys", keys ? keys : "", "WorkingDir",
			      o->workdir ? o->workdir : "", "Env", env_json, "Cmd", cmd);
	json_t *size = o->tty ? console_size() : NULL;

	if (!j || (size && json_object_set_new(j, "ConsoleSize", size) < 0)) {
		int r = err_new(e, ERR_INVALID, "the command and its environment must be UTF-8");

		json_decref(j);
		return r < 0 ? NULL : j;
	}
	return j;
}

static int start_detached(Cli *cli, const char *id, bool tty, Err *e)
{
	_cleanup_free_ char *target = strf("/exec/%s/start", id);
	_cleanup_json_ json_t *body = json_pack("{s:b, s:b}", "Detach", true, "Tty", tty);
	int r = target && body ? api_call(cli, "POST", target, body, NULL, e) : err_oom(e);

	return r < 0 ? r : 0;
}

static int exit_code(Cli *cli, const char *id, Err *e)
{
	_cleanup_free_ char *target = strf("/exec/%s/json", id);
	_cleanup_json_ json_t *j = NULL;
	int r = target ? api_get(cli, target, &j, e) : err_oom(e);

	if (r < 0)
		return err_ctx(e, r, "ask for the exit code of the command");
	return (int)(json_get_int(j, "ExitCode", 0) & 255);
}

static int start_attached(Call *call, const char *id, Err *e)
{
	const ExecOptions *o = call->opts;
	_cleanup_session_ Session s = {.cli = call->cli,
				       .id = call->args[0],
				       .exec_id = id,
				       .tty = o->tty,
				       .in = o->interactive,
				       .out = true,
				       .err = true,
				       .detach_keys = session_keys(call->cli, o->detach_keys),
				       .signal_fd = -1};
	_cleanup_free_ char *target = strf("/exec/%s/start", id);
	_cleanup_json_ json_t *body = json_pack("{s:b, s:b}", "Detach", false, "Tty", o->tty);
	json_t *size = o->tty ? console_size() : NULL;
	Httpc *c = NULL;
	int r =
	    target && body && (!size || json_object_set_new(body, "ConsoleSize", size) == 0) ? 0 : err_oom(e);

	if (r == 0)
		r = session_catch_signals(&s, e);
	if (r == 0)
		r = api_stream(
		    call->cli,
		    &(ApiRequest){.method = "POST", .target = target, .body = body, .upgrade = true}, &c,
		    NULL, e);
	if (r < 0)
		return r;
	session_take(&s, c);
	session_resize(&s);
	r = session_run(&s, e);
	if (r == STREAM_DETACHED) {
		(void)fputs("read escape sequence\n", stderr);
		return 0;
	}
	return r < 0 ? r : exit_code(call->cli, id, e);
}

static int run_exec(Call *call, Err *e)
{
	const ExecOptions *o = call->opts;
	Session check = {.cli = call->cli,
			 .tty = o->tty,
			 .in = o->interactive && !o->detach,
			 .detach_keys = session_keys(call->cli, o->detach_keys)};
	_cleanup_free_ char *target = api_path("containers", call->args[0], "/exec", e);
	_cleanup_json_ json_t *config = NULL, *answer = NULL;
	int r = target ? session_check(&check, e) : -EINVAL;

	if (r < 0)
		return r;
	config = make_config(call, e);
	r = config ? api_call(call->cli, "POST", target, config, &answer, e) : -EINVAL;
	if (r < 0)
		return r;
	const char *id = json_get_str(answer, "Id");
	if (str_empty(id) || strspn(id, "0123456789abcdef") != strlen(id))
		return err_new(e, ERR_INTERNAL, "the engine's answer to exec has no id");
	return o->detach ? start_detached(call->cli, id, o->tty, e) : start_attached(call, id, e);
}

const Command cmd_exec = {.usage = "[OPTIONS] CONTAINER COMMAND [ARG...]",
			  .summary = "Run a command in a running container",
			  .flags = flags,
			  .opts_size = sizeof(ExecOptions),
			  .min = 2,
			  .max = -1,
			  .stop_at_first = true,
			  .run = run_exec};
