/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-runtime: global options, the table of commands, and how a failure is told (on stderr, and in the
 * log file in the format that containerd and podman read back).
 */
#include "command.h"

#include "base/clock.h"
#include "base/str.h"
#include "kernel/process.h"

#include <fcntl.h>
#include <getopt.h>

static const struct {
	const char *name;
	CliRun run;
	const char *usage;
	bool meets_container; /* a copy of this program is seen from inside */
	int failure;          /* exit status of a failure, as runc has it */
} commands[] = {
    {"create", cli_create, "create a container", true, 1},
    {"delete", cli_delete, "delete a container", false, 1},
    {"exec", cli_exec, "run another process in a container", true, 255},
    {"features", cli_features, "show what is supported", false, 1},
    {"kill", cli_kill, "send a signal to a container", false, 1},
    {"list", cli_list, "list containers", false, 1},
    {"pause", cli_pause, "freeze all processes of a container", false, 1},
    {"ps", cli_ps, "show the processes of a container", false, 1},
    {"resume", cli_resume, "let a paused container go on", false, 1},
    {"run", cli_run, "create and start a container", true, 1},
    {"spec", cli_spec, "write an example config.json", false, 1},
    {"start", cli_start, "start a created container", false, 1},
    {"state", cli_state, "show the state of a container", false, 1},
    {"update", cli_update, "change the limits of a container", false, 1},
};

static void usage(FILE *out)
{
	fprintf(out, "Usage: ireko-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug]\n"
		     "                     [--systemd-cgroup] COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n");
	for (size_t i = 0; i < ELEMENTSOF(commands); i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].usage);
}

static const Cli *the_cli; /* for warn(), which the library calls without a context */

static void log_line(const Cli *cli, const char *level, const char *message)
{
	_cleanup_close_ int fd = -1;
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;
	TimeText now = clock_rfc3339(clock_now_ns());

	if (!cli->log_path)
		return;
	fd = open(cli->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	if (streq(cli->log_format, "json")) {
		j = json_pack("{s:s, s:s, s:s}", "level", level, "msg", message, "time", now.s);
		text = j ? json_text(j) : NULL;
		if (text)
			dprintf(fd, "%s\n", text);
	} else
		dprintf(fd, "time=\"%s\" level=%s msg=\"%s\"\n", now.s, level, message);
}

static void warn(const char *message)
{
	log_line(the_cli, "warning", message);
	fprintf(stderr, "warning: %s\n", message);
}

static int fail(const Cli *cli, size_t command, const Err *e, int r)
{
	_cleanup_free_ char *message =
	    strf("%s %s failed: %s", cli->program, commands[command].name, err_msg(e, r));
	const char *said = message ? message : err_msg(e, r);

	log_line(cli, "error", said);
	fprintf(stderr, "%s\n", said);
	return commands[command].failure;
}

int cli_bad_option(const char *command, Err *e)
{
	return err_new(e, ERR_INVALID, "unknown option or missing value; see \"ireko-runtime --help\" (%s)",
		       command);
}

int cli_one_id(int argc, char **argv, const char **ret_id, Err *e)
{
	if (optind != argc - 1)
		return err_new(e, ERR_INVALID, "expected exactly one container id");
	*ret_id = argv[optind];
	return 0;
}

int cli_print(const json_t *j, Err *e)
{
	if (json_dumpf(j, stdout, JSON_INDENT(2)) < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return err_sys(e, errno, "write to stdout");
	return 0;
}

static int run(Cli *cli, int argc, char **argv)
{
	Err e = {0};
	size_t i = 0;
	int r;

	while (i < ELEMENTSOF(commands) && !streq(commands[i].name, argv[optind]))
		i++;
	if (i == ELEMENTSOF(commands)) {
		fprintf(stderr, "ireko-runtime: unknown command \"%s\"\n", argv[optind]);
		usage(stderr);
		return 1;
	}
	if (commands[i].meets_container) {
		r = process_protect_exe(argv, &e);
		if (r < 0)
			return fail(cli, i, &e, r);
	}
	argc -= optind;
	argv += optind;
	optind = 0; /* begins anew, for the command's own options */
	r = commands[i].run(cli, argc, argv, &e);
	return r < 0 ? fail(cli, i, &e, r) : r;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"root", required_argument, NULL, 'r'},
	    {"log", required_argument, NULL, 'l'},
	    {"log-format", required_argument, NULL, 'f'},
	    {"debug", no_argument, NULL, 'd'},
	    {"systemd-cgroup", no_argument, NULL, 's'},
	    {"rootless", required_argument, NULL, 'R'},
	    {"version", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	Cli cli = {
	    .options = {.root = "/run/ireko-runtime", .warn = warn},
	    .program = "ireko-runtime",
	    .log_format = "text",
	};
	_cleanup_free_ char *cache = NULL;
	int c;

	the_cli = &cli;
	while ((c = getopt_long_only(argc, argv, "+vh", longs, NULL)) != -1) {
		switch (c) {
		case 'r':
			cli.options.root = optarg;
			break;
		case 'l':
			cli.log_path = optarg;
			break;
		case 'f':
			if (!streq(optarg, "text") && !streq(optarg, "json")) {
				fprintf(stderr, "ireko-runtime: --log-format is text or json\n");
				return 1;
			}
			cli.log_format = optarg;
			break;
		case 'd':
			cli.debug = true;
			break;
		case 's':
			cli.options.systemd_cgroup = true;
			break;
		case 'R':
			break; /* runc's: whether we are root is seen from the user id */
		case 'v':
			printf("ireko-runtime version %s\nspec: 1.1.0\n", IREKO_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 1;
		}
	}
	if (optind >= argc) {
		usage(stderr);
		return 1;
	}
	/* '@' is in no container id. */
	cache = strf("%s/@seccomp", cli.options.root);
	cli.options.seccomp_cache = cache;
	return run(&cli, argc, argv);
}
