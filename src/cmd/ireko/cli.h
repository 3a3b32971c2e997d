/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command of the command line knows: who we are, which engine we talk to, and the call at hand.
 *
 * A command is one row (Command) and one function. The function gets a Call with its flags decoded into
 * `opts` (see options.h) and its arguments, and returns the exit status, or a negative errno with the Err
 * filled: main() prints that in the way docker would and turns it into the command's failure status.
 * Everything lives as long as main().
 */
#pragma once

#include "base/json.h"
#include "dial.h"
#include "wire/http-client.h"

typedef struct Cli {
	char **argv;            /* the whole command line */
	const char *program;    /* "ireko", or "docker" when called so: what help and errors say */
	const char *host;       /* -H, or NULL */
	const char *context;    /* --context, or NULL */
	const char *config_dir; /* --config, or NULL */
	bool tls, tls_verify;   /* --tls, --tlsverify */
	bool debug;             /* --debug */
	const char *tls_ca, *tls_cert, *tls_key; /* --tlscacert and so on, or NULL */
	json_t *config;                          /* config.json, once it was needed */
	HttpcAddress address;                    /* once it was needed, and how it is reached */
	Dial dial;
	Httpc *idle;           /* the kept connection of the plain requests, or NULL */
	char api_version[16];  /* used in paths */
	bool version_settled;  /* the engine is known to speak it */
	bool out_tty, err_tty; /* standard output, standard error */
} Cli;

struct Flag;
typedef struct Call Call;

typedef struct Command {
	const char *usage;   /* what follows the name: "[OPTIONS] CONTAINER [CONTAINER...]" */
	const char *summary; /* one line */
	const struct Flag *flags;
	size_t opts_size;
	int min, max; /* arguments; max -1: any number */
	bool
	    stop_at_first; /* flags end at the first argument, because what follows is a command of its own */
	bool raw;          /* flags are arguments, but for --help */
	int failure;       /* exit status of an error, 0 for 1 */
	int (*run)(Call *call, Err *e);
} Command;

struct Call {
	Cli *cli;
	const Command *command;
	const char *path; /* as typed: "container ls" */
	void *opts;
	char **args; /* NULL-terminated */
	int n_args;
};

/* The whole program: its exit status. */
int cli_main(int argc, char **argv);
/* A command of ours, as if it had been typed behind the global options: its exit status. */
int cli_dispatch(Cli *cli, int argc, char **argv);
/* "program: message" or the bare message on standard error, control bytes escaped on a terminal. */
void cli_complain(const Cli *cli, const char *fmt, ...) _printf_(2, 3);
/* Runs `each` for every argument; complains about those that fail and goes on. The exit status. */
int cli_for_each(Call *call, int (*each)(Call *call, const char *arg, Err *e));
/* Asks on the terminal; true when the answer is yes. */
bool cli_confirm(const char *question);
