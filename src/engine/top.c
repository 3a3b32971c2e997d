/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `top`: the host's ps, its rows narrowed to the container's processes.
 *
 * Nothing is run in the container. Arguments for ps come from an API client, so they are checked to be nothing but
 * options and never pass a shell; ps must print the column PID, by which rows are chosen.
 */
#include "engine/engine-internal.h"

#include <ctype.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define PS_OUTPUT_MAX (32u << 20)

/* ps options that take a command or file do not exist; words that are no options are BSD-style letters or -o's value. */
static int args_split(const char *ps_args, char ***ret, Err *e)
{
	const char *text = str_empty(ps_args) ? "-ef" : ps_args;
	_cleanup_strv_ char **argv = NULL;
	_cleanup_free_ char *copy = strdup(text);
	char *cursor = copy, *w;

	if (!copy || strv_add(&argv, "ps") < 0)
		return err_oom(e);
	for (const char *p = text; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(" -_,:=%+.", *p))
			return err_new(e, ERR_INVALID,
				       "invalid ps arguments \"%s\": the character '%c' is not allowed", text,
				       *p);
	while ((w = strsep(&cursor, " ")))
		if (*w && strv_add(&argv, w) < 0)
			return err_oom(e);
	*ret = take_ptr(argv);
	return 0;
}

static int run_ps(char **argv, char **ret, Err *e)
{
	posix_spawn_file_actions_t fa;
	_cleanup_close_ int in = -1, out = -1;
	char *const env[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LC_ALL=C", (char *)"COLUMNS=4096", NULL};
	int p[2], status = 0, r;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	in = p[0];
	out = p[1];
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_adddup2(&fa, out, 2);
	r = posix_spawnp(&pid, "ps", &fa, NULL, argv, env);
	posix_spawn_file_actions_destroy(&fa);
	close_fd(&out);
	if (r != 0)
		return r == ENOENT ? err_new(e, ERR_UNAVAILABLE,
					     "ps is not installed on the host: apt-get install procps")
				   : err_sys(e, r, "start ps");
	_cleanup_free_ char *text = NULL;
	r = fd_read_all(in, PS_OUTPUT_MAX, &text, NULL);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return err_sys(e, r, "read the output of ps");
	if (status != 0)
		return err_new(e, ERR_INVALID, "ps: %.500s", text);
	*ret = take_ptr(text);
	return 0;
}

/* Cuts a line into n columns, the last one taking the rest. */
static json_t *row_of(const char *line, size_t n)
{
	json_t *row = json_array();

	for (size_t i = 0; row && i < n; i++) {
		line += strspn(line, " \t");
		size_t len = i + 1 < n ? strcspn(line, " \t") : strlen(line);

		while (i + 1 == n && len > 0 && isspace((unsigned char)line[len - 1]))
			len--;
		json_t *cell = json_stringn(line, len);
		/* A process may be called anything, in no encoding. */
		if (json_array_append_new(row, cell ? cell : json_string("?")) < 0) {
			json_decref(row);
			return NULL;
		}
		line += len;
	}
	return row;
}

static json_t *titles_of(const char *line, size_t *ret_pid_column)
{
	json_t *titles = json_array();

	*ret_pid_column = SIZE_MAX;
	for (size_t i = 0; titles && *(line += strspn(line, " \t")); i++) {
		size_t len = strcspn(line, " \t");

		if (len == 3 && strncmp(line, "PID", 3) == 0 && *ret_pid_column == SIZE_MAX)
			*ret_pid_column = i;
		json_array_append_new(titles, json_stringn(line, len));
		line += len;
	}
	return titles;
}

static bool has_pid(const pid_t *pids, size_t n, const char *text)
{
	int v;

	if (!text || str_to_int(text, 1, INT32_MAX, &v) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		if (pids[i] == v)
			return true;
	return false;
}

static int narrow(char *text, const pid_t *pids, size_t n, json_t **ret, Err *e)
{
	char *cursor = text, *line = strsep(&cursor, "\n");
	size_t pid_column;
	_cleanup_json_ json_t *titles = titles_of(line ?: "", &pid_column), *rows = json_array();

	if (!titles || !rows)
		return err_oom(e);
	if (pid_column == SIZE_MAX)
		return err_new(e, ERR_INVALID,
			       "Couldn't find PID field in ps output: choose columns that have it");
	while ((line = strsep(&cursor, "\n"))) {
		json_t *row = row_of(line, json_array_size(titles));

		if (!row)
			return err_oom(e);
		if (has_pid(pids, n, json_string_value(json_array_get(row, pid_column))))
			json_array_append(rows, row);
		json_decref(row);
	}
	*ret = json_pack("{s:O, s:O}", "Titles", titles, "Processes", rows);
	return *ret ? 0 : err_oom(e);
}

int engine_container_top(Engine *en, const char *ref, const char *ps_args, json_t **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_strv_ char **argv = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	size_t n = 0;
	int r = container_find(en, ref, &c, e);

	if (r < 0)
		return r;
	ContainerStatus s = container_status(c);
	if (s == CONTAINER_RESTARTING)
		return err_new(e, ERR_CONFLICT,
			       "Container %s is restarting, wait until the container is running", c->id);
	if (s != CONTAINER_RUNNING && s != CONTAINER_PAUSED)
		return err_new(e, ERR_CONFLICT, "container %s is not running", c->id);
	r = args_split(ps_args, &argv, e);
	if (r >= 0)
		r = container_shim(c, &shim, e);
	if (r >= 0)
		r = shim_pids(shim, &pids, &n, e);
	if (r >= 0)
		r = run_ps(argv, &text, e);
	if (r >= 0)
		r = narrow(text, pids, n, ret, e);
	if (r < 0)
		return err_ctx(e, r, "top of container %s", ref);
	container_event(en, c, "top", NULL);
	return 0;
}
