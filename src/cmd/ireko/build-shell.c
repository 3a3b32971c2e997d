/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shell in what a failed step has left. Its files are an image without a name, with the step's user, directory and environment, in which `run` starts the shell. For
 * --shell-on-fail the engine makes it, and removes it when our connection ends; for `builder shell`, in a container that was kept, we do.
 */
#include "base/str.h"
#include "build.h"
#include "client.h"
#include "text.h"
#include "verbs.h"

static int commit(Cli *cli, const char *container, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_json_ json_t *answer = NULL;
	int r;

	strbuf_add(&target, "/commit");
	text_query(&target, "container", container);
	text_query(&target, "pause", "0");
	if (target.oom)
		return err_oom(e);
	r = api_call(cli, "POST", target.s, NULL, &answer, e);
	if (r < 0)
		return r;
	const char *id = json_get_str(answer, "Id");
	*ret = id ? strdup(id) : NULL;
	return *ret ? 0 : err_new(e, ERR_INTERNAL, "the engine did not tell the image's id");
}

/* What is not there any more needs no removal; anything else is told, as it stays. */
static void clean_up(Cli *cli, const char *kind, const char *id)
{
	Err e = {0};
	_cleanup_free_ char *path = api_path(kind, id, "?force=1", &e);

	if (path && api_call(cli, "DELETE", path, NULL, NULL, &e) < 0 && e.kind != ERR_NOT_FOUND)
		cli_complain(cli, "%s", e.msg);
}

int build_shell_image(Cli *cli, const char *image, Err *e)
{
	bool tty = isatty(STDIN_FILENO) == 1 && cli->out_tty;
	char *words[] = {(char *)"run",
			 (char *)"--rm",
			 tty ? (char *)"-it" : (char *)"-i",
			 (char *)"--entrypoint",
			 (char *)"/bin/sh",
			 (char *)(uintptr_t)image,
			 NULL};

	if (tty)
		(void)fprintf(stderr, "A shell in the files of the failed step; it ends with exit.\n");
	return cli_dispatch(cli, (int)ELEMENTSOF(words) - 1, words);
}

int build_shell(Cli *cli, const char *container, Err *e)
{
	_cleanup_free_ char *image = NULL;
	int r = commit(cli, container, &image, e);

	if (r < 0)
		return r;
	r = build_shell_image(cli, image, e);
	clean_up(cli, "images", image);
	return r;
}

/* ---- builder shell */

/* Only containers of builds are made of no image. */
static int newest_kept(Cli *cli, char **ret, Err *e)
{
	_cleanup_json_ json_t *list = NULL;
	int r = api_get(cli, "/containers/json?all=1", &list, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *c = json_array_get(list, i);
		const char *image = json_get_str(c, "ImageID"), *id = json_get_str(c, "Id");

		if (id && str_empty(image) && streq0(json_get_str(c, "State"), "exited")) {
			*ret = strdup(id);
			return *ret ? 0 : err_oom(e);
		}
	}
	return err_new(e, ERR_NOT_FOUND,
		       "no failed build step was kept: build with --rm=false or --shell-on-fail");
}

static int run_shell(Call *call, Err *e)
{
	_cleanup_free_ char *id = NULL;
	int r = 0;

	if (call->n_args == 0)
		r = newest_kept(call->cli, &id, e);
	return r < 0 ? r : build_shell(call->cli, id ? id : call->args[0], e);
}

const Command cmd_builder_shell = {.usage = "[CONTAINER]",
				   .summary =
				       "Open a shell in the files of a build step that failed and was kept",
				   .flags = (const Flag[]){{0}},
				   .max = 1,
				   .run = run_shell};
