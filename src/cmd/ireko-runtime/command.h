/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of ireko-runtime: runc's, so that whatever drives runc can drive this.
 *
 * A command is one row of the table in main.c and one function, which gets the words behind the global options (argv[0] is
 * the command's name) and returns the exit status, or a negative errno with `e` filled.
 */
#pragma once

#include "runtime/runtime.h"

typedef struct Cli {
	RuntimeOptions options;
	const char *program;
	const char *log_path, *log_format;
	bool debug;
} Cli;

typedef int (*CliRun)(const Cli *cli, int argc, char **argv, Err *e);

int cli_create(const Cli *cli, int argc, char **argv, Err *e);
int cli_run(const Cli *cli, int argc, char **argv, Err *e);
int cli_start(const Cli *cli, int argc, char **argv, Err *e);
int cli_exec(const Cli *cli, int argc, char **argv, Err *e);
int cli_kill(const Cli *cli, int argc, char **argv, Err *e);
int cli_delete(const Cli *cli, int argc, char **argv, Err *e);
int cli_pause(const Cli *cli, int argc, char **argv, Err *e);
int cli_resume(const Cli *cli, int argc, char **argv, Err *e);
int cli_update(const Cli *cli, int argc, char **argv, Err *e);
int cli_state(const Cli *cli, int argc, char **argv, Err *e);
int cli_list(const Cli *cli, int argc, char **argv, Err *e);
int cli_ps(const Cli *cli, int argc, char **argv, Err *e);
int cli_spec(const Cli *cli, int argc, char **argv, Err *e);
int cli_features(const Cli *cli, int argc, char **argv, Err *e);

/* The one argument that is left at argv[optind]; ERR_INVALID with the usage otherwise. */
int cli_one_id(int argc, char **argv, const char **ret_id, Err *e);
int cli_bad_option(const char *command, Err *e);
/* Prints a document as runc does, indented by two. */
int cli_print(const json_t *j, Err *e);
/* "TERM", "SIGTERM", "15" to a number, or -1. */
int cli_signal(const char *s);

/* Waits for a process in the foreground, passing signals on to it, and between `console` (-1: none) and our own terminal
 * whatever is typed and shown. Returns its exit status as shells have it. */
int foreground_wait(pid_t pid, int pidfd, int console, Err *e);
/* To be called before the process is made: signals that come early are kept for it. */
int foreground_prepare(Err *e);
