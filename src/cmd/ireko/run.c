/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run and create. Round trips of an attached run: create; attach and wait together; start. The image is
 * pulled only when the engine says that it has none.
 */
#include "base/fd.h"
#include "config.h"
#include "oci/reference.h"
#include "pull.h"
#include "run-options.h"
#include "session.h"
#include "text.h"
#include "verbs.h"

#include <fcntl.h>

typedef enum PullPolicy { PULL_MISSING, PULL_ALWAYS, PULL_NEVER } PullPolicy;

static int pull_policy(const RunOptions *o, PullPolicy *ret, Err *e)
{
	if (!o->pull || streq(o->pull, "missing") || streq(o->pull, ""))
		*ret = PULL_MISSING;
	else if (streq(o->pull, "always"))
		*ret = PULL_ALWAYS;
	else if (streq(o->pull, "never"))
		*ret = PULL_NEVER;
	else
		return err_new(
		    e, ERR_INVALID,
		    "invalid pull option: '%s': must be one of \"always\", \"missing\" or \"never\"",
		    o->pull);
	return 0;
}

static char *create_target(const RunOptions *o)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "/containers/create");
	if (o->name)
		text_query(&b, "name", o->name);
	if (o->platform)
		text_query(&b, "platform", o->platform);
	return strbuf_steal(&b);
}

/* The file is made before the container, so that a name that is taken costs nothing. */
static int open_cidfile(const RunOptions *o, int *ret, Err *e)
{
	if (!o->cidfile)
		return 0;
	*ret = open(o->cidfile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (*ret < 0 && errno == EEXIST)
		return err_new(
		    e, ERR_CONFLICT,
		    "container ID file found, make sure the other container isn't running or delete %s",
		    o->cidfile);
	return *ret < 0 ? err_sys(e, errno, "create the container ID file %s", o->cidfile) : 0;
}

static void tell_missing(const Cli *cli, const char *image)
{
	_cleanup_free_ char *full = NULL;
	Reference ref = {0};

	if (reference_parse(image, &ref, NULL) == 0)
		full = reference_familiar(&ref);
	reference_done(&ref);
	cli_complain(cli, "Unable to find image '%s' locally", full ? full : image);
}

static int try_create(Cli *cli, const RunOptions *o, const char *image, const char *target,
		      const json_t *body, json_t **ret, Err *e)
{
	PullPolicy policy = PULL_MISSING;
	int r = pull_policy(o, &policy, e);

	if (r == 0 && policy == PULL_ALWAYS)
		r = pull_image(cli, image, o->platform, o->quiet, stderr, e);
	if (r < 0)
		return r;
	r = api_call(cli, "POST", target, body, ret, e);
	if (r >= 0 || e->kind != ERR_NOT_FOUND || policy != PULL_MISSING ||
	    !strcasestr(e->msg, "no such image"))
		return r;
	if (!o->quiet)
		tell_missing(cli, image);
	r = pull_image(cli, image, o->platform, o->quiet, stderr, e);
	return r < 0 ? r : api_call(cli, "POST", target, body, ret, e);
}

static void print_warnings(const Cli *cli, const json_t *answer)
{
	const json_t *w = json_object_get(answer, "Warnings");

	for (size_t i = 0; i < json_array_size(w); i++) {
		const char *s = json_string_value(json_array_get(w, i));

		cli_complain(cli, "WARNING: %s", s ? s : "");
	}
}

/* Before anything else, as docker does. A full id is no name of a repository, but an image. */
static int check_image_name(const char *image, Err *e)
{
	Reference ref = {0};
	bool is_id =
	    str_starts(image, "sha256:") || (strlen(image) == 64 && strspn(image, "0123456789abcdef") == 64);
	int r = is_id ? 0 : reference_parse(image, &ref, e);

	reference_done(&ref);
	return r;
}

static int create_container(Call *call, char **ret_id, Err *e)
{
	RunOptions *o = call->opts;
	_cleanup_json_ json_t *body = NULL, *answer = NULL;
	_cleanup_free_ char *target = create_target(o);
	_cleanup_close_ int cid_fd = -1;
	int r = target ? check_image_name(call->args[0], e) : err_oom(e);

	if (r == 0)
		r = config_add_proxies(call->cli, &o->env.v, e);

	if (r == 0)
		r = run_make_body(o, call->args[0], call->args + 1, &body, e);
	if (r == 0)
		r = open_cidfile(o, &cid_fd, e);
	if (r < 0)
		return r;
	r = try_create(call->cli, o, call->args[0], target, body, &answer, e);
	const char *id = json_get_str(answer, "Id");
	if (r >= 0 && (str_empty(id) || strspn(id, "0123456789abcdef") != strlen(id)))
		r = err_new(e, ERR_INTERNAL, "the engine's answer to create has no id");
	if (r >= 0 && cid_fd >= 0) {
		int bad = fd_write_all(cid_fd, id, strlen(id));

		if (bad < 0)
			r = err_sys(e, bad, "write the container ID file %s", o->cidfile);
	}
	if (r < 0) {
		if (cid_fd >= 0)
			(void)unlink(o->cidfile);
		return r;
	}
	print_warnings(call->cli, answer);
	*ret_id = strdup(id);
	return *ret_id ? 0 : err_oom(e);
}

static int start_container(Cli *cli, const char *id, Err *e)
{
	_cleanup_free_ char *target = strf("/containers/%s/start", id);
	int r = target ? api_call(cli, "POST", target, NULL, NULL, e) : err_oom(e);

	return r < 0 ? r : 0;
}

/* The exit status that a shell would give, told by the words of the error. */
static int status_of_start_error(const Err *e)
{
	if (strstr(e->msg, "executable file not found") || strstr(e->msg, "no such file or directory") ||
	    strstr(e->msg, "No such file or directory") || strstr(e->msg, "not a directory"))
		return 127;
	if (strcasestr(e->msg, "permission denied") || strcasestr(e->msg, "is a directory"))
		return 126;
	return 125;
}

static int report_start_error(const Call *call, const Err *e)
{
	cli_complain(call->cli, "%s: %s\n\nRun '%s %s --help' for more information", call->cli->program,
		     e->msg, call->cli->program, call->path);
	return status_of_start_error(e);
}

static int run_in_background(Call *call, const char *id, Err *e)
{
	int r = start_container(call->cli, id, e);

	/* The container exists even if it did not start. */
	(void)printf("%s\n", id);
	return r < 0 ? report_start_error(call, e) : 0;
}

static int run_in_foreground(Call *call, Session *s, Err *e)
{
	int r = session_catch_signals(s, e);

	if (r == 0)
		r = session_open(s, e);
	if (r < 0)
		return r;
	if (start_container(call->cli, s->id, e) < 0)
		return report_start_error(call, e);
	session_resize(s);
	r = session_run(s, e);
	if (r == STREAM_DETACHED) {
		(void)fputs("read escape sequence\n", stderr);
		return 0;
	}
	return r < 0 ? r : session_wait(s, e);
}

static int run_run(Call *call, Err *e)
{
	const RunOptions *o = call->opts;
	_cleanup_free_ char *id = NULL;
	Attached a;
	int r = run_attached(o, &a, e);

	if (r < 0)
		return r;
	_cleanup_session_ Session s = {.cli = call->cli,
				       .tty = o->tty,
				       .in = a.in,
				       .out = a.out,
				       .err = a.err,
				       .proxy = tri(o->sig_proxy, true),
				       .detach_keys = session_keys(call->cli, o->detach_keys),
				       .wait_for = o->rm ? "removed" : "next-exit",
				       .signal_fd = -1};
	r = session_check(&s, e);
	if (r < 0 && r == -ENOTTY) {
		cli_complain(call->cli, "%s", err_msg(e, r));
		return 1;
	}
	if (r == 0)
		r = create_container(call, &id, e);
	if (r < 0)
		return r;
	s.id = id;
	return o->detach ? run_in_background(call, id, e) : run_in_foreground(call, &s, e);
}

static int run_create(Call *call, Err *e)
{
	_cleanup_free_ char *id = NULL;
	int r = create_container(call, &id, e);

	if (r == 0)
		(void)printf("%s\n", id);
	return r;
}

const Command cmd_run = {.usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
			 .summary = "Make a container from an image and start it",
			 .flags = run_flags,
			 .opts_size = sizeof(RunOptions),
			 .min = 1,
			 .max = -1,
			 .stop_at_first = true,
			 .failure = 125,
			 .run = run_run};
const Command cmd_create = {.usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
			    .summary = "Make a container from an image",
			    .flags = create_flags,
			    .opts_size = sizeof(RunOptions),
			    .min = 1,
			    .max = -1,
			    .stop_at_first = true,
			    .run = run_create};
