/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of ireko-runtime: runc's, so that whatever drives runc can drive this.
 *
 * A command is one CliCommand, a row of the table in main.c: its words for the help, a table of options that says where in the
 * command's own struct each goes, and a function. The function gets the words behind the global options (argv[0] is
 * the command's name) and returns the exit status, or a negative errno with `e` filled.
 */
#pragma once

#include "runtime/runtime.h"

typedef struct Cli {
	RuntimeOptions options;
	const char *program; /* the name we were called by: "runc" where we stand in for it */
} Cli;

typedef enum CliKind {
	CLI_FLAG,    /* bool */
	CLI_TEXT,    /* const char *, of argv */
	CLI_LIST,    /* char **, once for each time the option is given; the caller's */
	CLI_FDS,     /* int, 0 to 1024 */
	CLI_NOTHING, /* taken for runc's sake: it changes nothing here */
	CLI_NOTHING_VALUE,
} CliKind;

typedef struct CliOption {
	const char *name;
	char letter; /* or 0 */
	CliKind kind;
	size_t offset; /* in the struct given to cli_parse */
	const char *value, *help;
} CliOption;
#define CLI_HELP_OPTION                                                                                      \
	{                                                                                                    \
		"help", 'h', CLI_NOTHING, 0, NULL, "show this help"                                          \
	}

typedef int (*CliRun)(const Cli *cli, int argc, char **argv, Err *e);

typedef struct CliCommand {
	const char *name, *arguments, *summary;
	const CliOption *options; /* ends with a NULL name */
	CliRun run;
	bool meets_container; /* a copy of this program is seen from inside */
	int failure;          /* exit status of a failure */
	bool names_program;   /* its errors begin with the program's name */
	const char *says;     /* ... and with this; or NULL */
} CliCommand;

extern const CliCommand cli_create, cli_run, cli_start, cli_exec, cli_kill, cli_delete, cli_pause, cli_resume,
    cli_update, cli_checkpoint, cli_restore, cli_state, cli_list, cli_ps, cli_spec, cli_features, cli_events;

/* Fills the struct; the remaining words are at argv[optind]. Options may also stand behind arguments; cli_parse_leading() stops at
 * the first argument, where what follows is not for us. */
int cli_parse(const CliOption *options, int argc, char **argv, void *into, Err *e);
int cli_parse_leading(const CliOption *options, int argc, char **argv, void *into, Err *e);
/* The one argument that is left at argv[optind]; ERR_INVALID otherwise. */
int cli_one_id(int argc, char **argv, const char **ret_id, Err *e);
/* Prints a document as runc does, indented by two. */
int cli_print(const json_t *j, Err *e);
/* "TERM", "SIGTERM", "15" to a number, or -1. */
int cli_signal(const char *s);

/* ---- log.c: where errors, warnings and debug lines go: to --log, or to stderr in the same form (logrus's) ---- */
typedef enum LogLevel { LOG_ERROR, LOG_WARNING, LOG_DEBUG } LogLevel;
/* path NULL: stderr. */
int log_open(const char *path, const char *format, bool debug, Err *e);
void log_write(LogLevel level, const char *message);
bool log_is_stderr(void);
/* A line on stderr, for people: without what would be a command to their terminal. */
void log_say(const char *message);

/* ---- rootless.c ---- */
/* The state directory of this user, made if it is below $XDG_RUNTIME_DIR; malloc'ed. */
int cli_default_root(char **ret, Err *e);
/* --rootless: true, false, or (auto, NULL) whether this is not the machine's root. */
int cli_rootless(const char *word, bool *ret, Err *e);
/* Changes the example of "spec" into one that works without privilege. */
int cli_fit_spec_for_user(json_t *spec, Err *e);

/* ---- foreground.c ---- */
/* Waits for a process in the foreground, passing signals on to it, and between `console` (-1: none) and our own terminal
 * whatever is typed and shown. `notify` (-1: none) is served meanwhile. Returns its exit status as shells have it. */
int foreground_wait(pid_t pid, int pidfd, int console, int notify, Err *e);
/* To be called before the process is made: signals that come early are kept for it. */
int foreground_prepare(Err *e);

/* ---- sockets.c: what systemd passes to a service (sd_listen_fds(3), sd_notify(3)), passed on to the container ---- */
/* The number of descriptors from 3 on that are meant for this process, 0 if there are none; its variables are added to *env. */
int sockets_listen(char ***env, int *ret_n, Err *e);
/* Binds the socket to which the container sends its notifications; -1 in *ret if nobody asked for any ($NOTIFY_SOCKET). */
int sockets_notify_open(const Cli *cli, const char *id, int *ret, Err *e);
/* Takes one message; 1 if it was READY=1, which is passed on, together with the pid. */
int sockets_notify_take(int fd, pid_t pid);
/* Hands a pidfd to whoever listens at path (NULL: nobody). */
int sockets_send_pidfd(const char *path, int pidfd, Err *e);
/* Until the container is ready, or has ended. */
void sockets_notify_wait(int fd, int pidfd, pid_t pid);
