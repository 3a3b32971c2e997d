/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that make, start, stop and end containers. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <ctype.h>
#include <getopt.h>
#include <signal.h>

typedef struct CreateArgs {
	RuntimeCreate c;
	RuntimeKept *kept;
	char **env;
	const char *pidfd_socket;
	bool detach, keep;
} CreateArgs;

#define C(m) offsetof(CreateArgs, m)
#define CREATE_OPTIONS                                                                                       \
	{"bundle", 'b', CLI_TEXT, C(c.bundle), "DIR", "the bundle's directory (default: the current one)"},  \
	    {"console-socket",    0,        CLI_TEXT,                                                        \
	     C(c.console_socket), "SOCKET", "unix socket that gets the terminal's master"},                  \
	    {"pidfd-socket", 0, CLI_TEXT, C(pidfd_socket), "SOCKET", "unix socket that gets a pidfd"},       \
	    {"pid-file", 0, CLI_TEXT, C(c.pid_file), "FILE", "write the process id there"},                  \
	    {"no-pivot", 0, CLI_FLAG, C(c.no_pivot), NULL, "move the root mount instead of pivot_root(2)"},  \
	    {"no-new-keyring",    0,    CLI_FLAG,                                                            \
	     C(c.no_new_keyring), NULL, "share the session keyring of the caller"},                          \
	    {"preserve-fds", 0, CLI_FDS, C(c.preserve_fds), "N", "pass descriptors 3 to 3+N-1"},             \
	    CLI_HELP_OPTION

static const CliOption create_options[] = {CREATE_OPTIONS, {NULL, 0, CLI_NOTHING, 0, NULL, NULL}};

static const CliOption run_options[] = {
    CREATE_OPTIONS,
    {"detach", 'd', CLI_FLAG, C(detach), NULL, "leave the container running in the background"},
    {"keep", 0, CLI_FLAG, C(keep), NULL, "do not delete the container after it has exited"},
    {"no-subreaper", 0, CLI_NOTHING, 0, NULL,
     "taken for compatibility: nothing is reaped here but the container"},
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static const CliOption no_options[] = {CLI_HELP_OPTION, {NULL, 0, CLI_NOTHING, 0, NULL, NULL}};

static int parse_create(const CliOption *options, int argc, char **argv, CreateArgs *a, Err *e)
{
	int n, r;

	*a = (CreateArgs){.c = {.bundle = ".", .rootfs_fd = -1, .stdio = {0, 1, 2}}};
	r = cli_parse(options, argc, argv, a, e);
	if (r == 0)
		r = cli_one_id(argc, argv, &a->c.id, e);
	if (r == 0)
		r = sockets_listen(&a->env, &n, e);
	if (r < 0)
		return r;
	a->c.preserve_fds += n;
	a->c.extra_env = a->env;
	a->c.notify = !str_empty(getenv("NOTIFY_SOCKET"));
	return 0;
}

static int create(const Cli *cli, const CreateArgs *a, pid_t *pid, int *pidfd, int *console, Err *e)
{
	int r = runtime_create(&cli->options, &a->c, pid, pidfd, console, e);

	if (r < 0)
		return r;
	r = sockets_send_pidfd(a->pidfd_socket, *pidfd, e);
	if (r < 0)
		(void)runtime_delete(&cli->options, a->c.id, true, NULL);
	return r;
}

static int do_create(const Cli *cli, int argc, char **argv, Err *e)
{
	CreateArgs a = {0};
	int r = parse_create(create_options, argc, argv, &a, e), pidfd = -1, console = -1;
	pid_t pid;

	a.c.console = RUNTIME_CONSOLE_BY_SOCKET;
	if (r == 0)
		r = create(cli, &a, &pid, &pidfd, &console, e);
	strv_free(a.env);
	closep(&pidfd);
	return r;
}

const CliCommand cli_create = {.name = "create",
			       .arguments = "<container-id>",
			       .summary = "create a container",
			       .options = create_options,
			       .run = do_create,
			       .meets_container = true,
			       .failure = 1,
			       .names_program = true,
			       .says = "create failed"};

static int do_start(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_close_ int notify = -1, pidfd = -1;
	_cleanup_(runtime_state_done) RuntimeState s = {0};
	const char *id = NULL;
	int r = cli_parse(no_options, argc, argv, NULL, e);

	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	if (r == 0)
		r = sockets_notify_open(cli, id, &notify, e);
	if (r == 0)
		r = runtime_start(&cli->options, id, e);
	if (r < 0 || notify < 0)
		return r;
	r = runtime_state(&cli->options, id, &s, e);
	if (r < 0)
		return r;
	pidfd = process_pidfd_checked(s.pid, s.pid_start);
	sockets_notify_wait(notify, pidfd, s.pid);
	return 0;
}

const CliCommand cli_start = {.name = "start",
			      .arguments = "<container-id>",
			      .summary = "execute the process of a created container",
			      .options = no_options,
			      .run = do_start,
			      .failure = 1};

/* A command that cannot be executed is told in the words of whoever would have executed it. */
static int could_not_execute(const Err *e, int r)
{
	log_write(LOG_DEBUG, err_msg(e, r));
	log_say(err_msg(e, r));
	return 1;
}

static bool is_exec_failure(const Err *e)
{
	return str_starts(e->msg, "exec ");
}

static int run_attached(const Cli *cli, const CreateArgs *a, pid_t pid, int pidfd, int console, Err *e)
{
	_cleanup_close_ int notify = -1;
	Err ignored = {0};
	int status, r = a->c.start ? 0 : sockets_notify_open(cli, a->c.id, &notify, e);

	if (r == 0 && !a->c.start)
		r = runtime_start(&cli->options, a->c.id, e);
	if (r == 0 && a->detach) {
		if (notify >= 0)
			sockets_notify_wait(notify, pidfd, pid);
		return 0;
	}
	if (r < 0) {
		(void)runtime_delete(&cli->options, a->c.id, true, &ignored);
		return is_exec_failure(e) ? could_not_execute(e, r) : r;
	}
	status = foreground_wait(pid, pidfd, console, notify, e);
	if (a->keep)
		return status;
	/* If waiting failed it may live. */
	r = status < 0 ? runtime_delete(&cli->options, a->c.id, true, &ignored)
		       : runtime_delete_kept(&cli->options, a->kept, e);
	return r < 0 ? r : status;
}

static int do_run(const Cli *cli, int argc, char **argv, Err *e)
{
	CreateArgs a = {0};
	_cleanup_close_ int pidfd = -1, console = -1;
	pid_t pid;
	int r = parse_create(run_options, argc, argv, &a, e);

	a.c.plain_newlines = !a.detach;
	a.c.console = a.detach ? RUNTIME_CONSOLE_BY_SOCKET : RUNTIME_CONSOLE_RETURNED;
	/* The socket for notifications goes between the two. */
	a.c.start = !a.c.notify;
	a.c.ret_kept = a.detach ? NULL : &a.kept;
	if (r == 0 && !a.detach)
		r = foreground_prepare(e);
	if (r == 0)
		r = create(cli, &a, &pid, &pidfd, &console, e);
	if (r == 0)
		r = run_attached(cli, &a, pid, pidfd, console, e);
	else if (a.c.start && is_exec_failure(e))
		r = could_not_execute(e, r);
	runtime_kept_free(a.kept);
	strv_free(a.env);
	return r;
}

const CliCommand cli_run = {.name = "run",
			    .arguments = "<container-id>",
			    .summary = "create and run a container",
			    .options = run_options,
			    .run = do_run,
			    .meets_container = true,
			    .failure = 1,
			    .names_program = true,
			    .says = "run failed"};

int cli_signal(const char *s)
{
	int n;

	if (isdigit((unsigned char)*s))
		return str_to_int(s, 0, 64, &n) < 0 ? -1 : n;
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (n = 1; n < 32; n++) {
		const char *name = sigabbrev_np(n);

		if (name && strcasecmp(name, s) == 0)
			return n;
	}
	if (strncasecmp(s, "RTMIN", 5) == 0 && (s[5] == '\0' || str_to_int(s + 6, 0, 30, &n) == 0))
		return SIGRTMIN + (s[5] ? n : 0);
	return -1;
}

typedef struct KillArgs {
	bool all;
} KillArgs;

static const CliOption kill_options[] = {
    {"all", 'a', CLI_FLAG, offsetof(KillArgs, all), NULL,
     "signal every process of the container, also of a stopped one"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int do_kill(const Cli *cli, int argc, char **argv, Err *e)
{
	KillArgs a = {0};
	int sig = SIGTERM, r = cli_parse(kill_options, argc, argv, &a, e);

	if (r < 0)
		return r;
	if (optind >= argc || optind + 2 < argc)
		return err_new(e, ERR_INVALID, "\"kill\" requires a container id and at most a signal");
	if (optind + 1 < argc) {
		sig = cli_signal(argv[optind + 1]);
		if (sig < 0)
			return err_new(e, ERR_INVALID, "unknown signal \"%s\"", argv[optind + 1]);
	}
	return runtime_kill(&cli->options, argv[optind], sig, a.all, e);
}

const CliCommand cli_kill = {.name = "kill",
			     .arguments = "<container-id> [signal]",
			     .summary =
				 "send a signal (default: SIGTERM) to the first process of a container",
			     .options = kill_options,
			     .run = do_kill,
			     .failure = 1};

typedef struct DeleteArgs {
	bool force;
} DeleteArgs;

static const CliOption delete_options[] = {
    {"force", 'f', CLI_FLAG, offsetof(DeleteArgs, force), NULL,
     "kill it first if it runs; one that does not exist is no error"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int do_delete(const Cli *cli, int argc, char **argv, Err *e)
{
	DeleteArgs a = {0};
	const char *id;
	int r = cli_parse(delete_options, argc, argv, &a, e);

	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_delete(&cli->options, id, a.force, e);
}

const CliCommand cli_delete = {.name = "delete",
			       .arguments = "<container-id>",
			       .summary = "delete what a container holds",
			       .options = delete_options,
			       .run = do_delete,
			       .failure = 1};

static int pause_or_resume(const Cli *cli, int argc, char **argv, bool pause, Err *e)
{
	const char *id;
	int r = cli_parse(no_options, argc, argv, NULL, e);

	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_pause(&cli->options, id, pause, e);
}

static int do_pause(const Cli *cli, int argc, char **argv, Err *e)
{
	return pause_or_resume(cli, argc, argv, true, e);
}

const CliCommand cli_pause = {.name = "pause",
			      .arguments = "<container-id>",
			      .summary = "suspend all processes of a container",
			      .options = no_options,
			      .run = do_pause,
			      .failure = 1};

static int do_resume(const Cli *cli, int argc, char **argv, Err *e)
{
	return pause_or_resume(cli, argc, argv, false, e);
}

const CliCommand cli_resume = {.name = "resume",
			       .arguments = "<container-id>",
			       .summary = "let all processes of a paused container go on",
			       .options = no_options,
			       .run = do_resume,
			       .failure = 1};
