/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that only look: state, list, ps, features. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/wait.h>

static const CliOption no_options[] = {CLI_HELP_OPTION, {NULL, 0, CLI_NOTHING, 0, NULL, NULL}};

static json_t *state_json(const RuntimeState *s)
{
	_cleanup_json_ json_t *j =
	    json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "ociVersion", OCI_VERSION, "id", s->id,
		      "pid", (int)s->pid, "status", runtime_status_name(s->status), "bundle", s->bundle,
		      "rootfs", s->rootfs, "created", s->created, "owner", s->owner);

	if (j && json_object_size(s->annotations) > 0 &&
	    json_object_set(j, "annotations", s->annotations) < 0)
		return NULL;
	return take_ptr(j);
}

static int do_state(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(runtime_state_done) RuntimeState s = {0};
	_cleanup_json_ json_t *j = NULL;
	const char *id;
	int r = cli_parse(no_options, argc, argv, NULL, e);

	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	if (r == 0)
		r = runtime_state(&cli->options, id, &s, e);
	if (r < 0)
		return r;
	j = state_json(&s);
	return j ? cli_print(j, e) : err_oom(e);
}

const CliCommand cli_state = {.name = "state",
			      .arguments = "<container-id>",
			      .summary = "print the state of a container",
			      .options = no_options,
			      .run = do_state,
			      .failure = 1};

#define COLUMNS 6

static void fill_row(const RuntimeState *s, char *pid, size_t cap, const char *row[COLUMNS])
{
	snprintf(pid, cap, "%d", (int)s->pid);
	row[0] = s->id;
	row[1] = pid;
	row[2] = runtime_status_name(s->status);
	row[3] = s->bundle;
	row[4] = s->created;
	row[5] = s->owner;
}

/* Columns as wide as their widest word and three blanks, twelve at least. */
static void print_table(const RuntimeState *items, size_t n)
{
	const char *row[COLUMNS], *const head[COLUMNS] = {"ID",     "PID",     "STATUS",
							  "BUNDLE", "CREATED", "OWNER"};
	size_t widths[COLUMNS];
	char pid[16];

	for (size_t c = 0; c < COLUMNS; c++)
		widths[c] = MAX2(strlen(head[c]) + 3, (size_t)12);
	for (size_t i = 0; i < n; i++) {
		fill_row(&items[i], pid, sizeof(pid), row);
		for (size_t c = 0; c < COLUMNS; c++)
			widths[c] = MAX2(widths[c], strlen(row[c]) + 3);
	}
	for (size_t i = 0; i <= n; i++) {
		if (i > 0)
			fill_row(&items[i - 1], pid, sizeof(pid), row);
		for (size_t c = 0; c < COLUMNS; c++)
			printf("%-*s", c + 1 < COLUMNS ? (int)widths[c] : 0, i ? row[c] : head[c]);
		putchar('\n');
	}
}

static int print_json_line(json_t *j, Err *e)
{
	if (!j)
		return err_oom(e);
	if (json_dumpf(j, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return err_sys(e, errno, "write to stdout");
	return 0;
}

static int print_list(const RuntimeState *items, size_t n, const char *format, bool quiet, Err *e)
{
	_cleanup_json_ json_t *list = json_array();

	for (size_t i = 0; quiet && i < n; i++)
		printf("%s\n", items[i].id);
	if (quiet)
		return 0;
	if (streq(format, "table")) {
		print_table(items, n);
		return 0;
	}
	if (!streq(format, "json"))
		return err_new(e, ERR_INVALID, "invalid format option \"%s\": it is table or json", format);
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, state_json(&items[i])) < 0)
			return err_oom(e);
	/* What Go makes of no containers. */
	return n == 0 ? (puts("null") == EOF ? err_sys(e, errno, "write to stdout") : 0)
		      : print_json_line(list, e);
}

typedef struct ListArgs {
	const char *format;
	bool quiet;
} ListArgs;

static const CliOption list_options[] = {
    {"format", 'f', CLI_TEXT, offsetof(ListArgs, format), "FORMAT", "\"table\" (the default) or \"json\""},
    {"quiet", 'q', CLI_FLAG, offsetof(ListArgs, quiet), NULL, "only the ids"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int do_list(const Cli *cli, int argc, char **argv, Err *e)
{
	ListArgs a = {.format = "table"};
	RuntimeState *items = NULL;
	size_t n = 0;
	int r = cli_parse(list_options, argc, argv, &a, e);

	if (r == 0)
		r = runtime_list(&cli->options, &items, &n, e);
	if (r == 0)
		r = print_list(items, n, a.format, a.quiet, e);
	for (size_t i = 0; i < n; i++)
		runtime_state_done(&items[i]);
	free(items);
	return r;
}

const CliCommand cli_list = {.name = "list",
			     .arguments = "",
			     .summary = "list the containers of this root",
			     .options = list_options,
			     .run = do_list,
			     .failure = 1};

static bool is_pid(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* The lines of ps(1) that are about these processes: the column is found in the heading. */
static int filter_ps(FILE *ps, const pid_t *pids, size_t n, Err *e)
{
	char line[4096], word[32];
	int column = -1;

	if (!fgets(line, sizeof(line), ps))
		return err_new(e, ERR_INTERNAL, "ps printed nothing");
	printf("%s", line);
	for (int i = 0, at = 0, used; sscanf(line + at, "%31s%n", word, &used) == 1; i++, at += used)
		if (streq(word, "PID"))
			column = i;
	if (column < 0)
		return err_new(e, ERR_INVALID, "the output of ps has no column PID");
	while (fgets(line, sizeof(line), ps)) {
		int at = 0, used, i = 0;

		while (sscanf(line + at, "%31s%n", word, &used) == 1 && i++ < column)
			at += used;
		if (is_pid(pids, n, (pid_t)atoi(word)))
			printf("%s", line);
	}
	return 0;
}

static int run_ps(char *const *words, const pid_t *pids, size_t n, Err *e)
{
	char *args[64] = {(char *)"ps", (char *)"-ef", NULL};
	_cleanup_fclose_ FILE *out = NULL;
	int p[2], r;
	pid_t pid;

	for (size_t i = 0; words[0] && i + 2 < ELEMENTSOF(args) && words[i]; i++) {
		args[i + 1] = words[i];
		args[i + 2] = NULL;
	}
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		if (dup2(p[1], 1) >= 0)
			execvp("ps", args);
		_exit(127);
	}
	closep(&p[1]);
	out = fdopen(p[0], "r");
	if (pid < 0 || !out) {
		closep(&p[0]);
		return err_sys(e, errno, "start ps");
	}
	r = filter_ps(out, pids, n, e);
	(void)waitpid(pid, NULL, 0);
	return r;
}

static json_t *pids_json(const pid_t *pids, size_t n)
{
	_cleanup_json_ json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, json_integer(pids[i])) < 0)
			return NULL;
	return take_ptr(list);
}

typedef struct PsArgs {
	const char *format;
} PsArgs;

static const CliOption ps_options[] = {
    {"format", 'f', CLI_TEXT, offsetof(PsArgs, format), "FORMAT", "\"table\" (the default) or \"json\""},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int do_ps(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_json_ json_t *list = NULL;
	PsArgs a = {.format = "table"};
	size_t n = 0;
	int r = cli_parse_leading(ps_options, argc, argv, &a, e);

	if (r < 0)
		return r;
	if (optind >= argc)
		return err_new(e, ERR_INVALID, "\"ps\" requires a container id");
	r = runtime_pids(&cli->options, argv[optind], &pids, &n, e);
	if (r < 0)
		return r;
	if (streq(a.format, "table"))
		return run_ps(argv + optind + 1, pids, n, e);
	if (!streq(a.format, "json"))
		return err_new(e, ERR_INVALID, "invalid format option \"%s\": it is table or json", a.format);
	list = pids_json(pids, n);
	return print_json_line(list, e);
}

const CliCommand cli_ps = {.name = "ps",
			   .arguments = "<container-id> [ps options]",
			   .summary = "show the processes of a container",
			   .options = ps_options,
			   .run = do_ps,
			   .failure = 1};

static int do_features(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r = cli_parse(no_options, argc, argv, NULL, e);

	if (r == 0)
		r = runtime_features(&j, e);
	return r < 0 ? r : cli_print(j, e);
}

const CliCommand cli_features = {.name = "features",
				 .arguments = "",
				 .summary = "show what this runtime supports",
				 .options = no_options,
				 .run = do_features,
				 .failure = 1};

int cli_print(const json_t *j, Err *e)
{
	if (json_dumpf(j, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return err_sys(e, errno, "write to stdout");
	return 0;
}
