/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that make, start and end containers. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <ctype.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>

typedef struct CreateArgs {
	RuntimeCreate c;
	bool detach, keep;
} CreateArgs;

static int parse_create(int argc, char **argv, CreateArgs *a, Err *e)
{
	static const struct option longs[] = {
	    {"bundle", required_argument, NULL, 'b'},   {"console-socket", required_argument, NULL, 'c'},
	    {"pid-file", required_argument, NULL, 'p'}, {"no-pivot", no_argument, NULL, 'n'},
	    {"no-new-keyring", no_argument, NULL, 'k'}, {"preserve-fds", required_argument, NULL, 'f'},
	    {"detach", no_argument, NULL, 'd'},         {"keep", no_argument, NULL, 'K'},
	    {"no-subreaper", no_argument, NULL, 'S'},   {NULL, 0, NULL, 0},
	};
	int c;

	*a = (CreateArgs){.c = {.bundle = ".", .rootfs_fd = -1, .stdio = {0, 1, 2}}};
	while ((c = getopt_long_only(argc, argv, "+b:d", longs, NULL)) != -1) {
		switch (c) {
		case 'b':
			a->c.bundle = optarg;
			break;
		case 'c':
			a->c.console_socket = optarg;
			break;
		case 'p':
			a->c.pid_file = optarg;
			break;
		case 'n':
			a->c.no_pivot = true;
			break;
		case 'k':
			a->c.no_new_keyring = true;
			break;
		case 'f':
			if (str_to_int(optarg, 0, 1024, &a->c.preserve_fds) < 0)
				return err_new(e, ERR_INVALID, "--preserve-fds \"%s\": expected 0 to 1024",
					       optarg);
			break;
		case 'd':
			a->detach = true;
			break;
		case 'K':
			a->keep = true;
			break;
		case 'S':
			break;
		default:
			return cli_bad_option(argv[0], e);
		}
	}
	return cli_one_id(argc, argv, &a->c.id, e);
}

int cli_create(const Cli *cli, int argc, char **argv, Err *e)
{
	CreateArgs a;
	int r = parse_create(argc, argv, &a, e), pidfd = -1, console = -1;
	pid_t pid;

	if (r < 0)
		return r;
	r = runtime_create(&cli->options, &a.c, &pid, &pidfd, &console, e);
	if (r < 0)
		return r;
	closep(&pidfd);
	if (console >= 0) {
		/* Nobody would ever hold the other end of its terminal. */
		closep(&console);
		(void)runtime_delete(&cli->options, a.c.id, true, NULL);
		return err_new(e, ERR_INVALID, "a terminal needs --console-socket");
	}
	return 0;
}

int cli_start(const Cli *cli, int argc, char **argv, Err *e)
{
	const char *id;
	int r;

	if (getopt(argc, argv, "+") != -1)
		return cli_bad_option(argv[0], e);
	r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_start(&cli->options, id, e);
}

static int run_attached(const Cli *cli, const CreateArgs *a, pid_t pid, int pidfd, int console, Err *e)
{
	Err ignored = {0};
	int status, r = runtime_start(&cli->options, a->c.id, e);

	if (r == 0 && a->detach)
		return 0;
	if (r < 0) {
		(void)runtime_delete(&cli->options, a->c.id, true, &ignored);
		return r;
	}
	status = foreground_wait(pid, pidfd, console, e);
	if (!a->keep) {
		r = runtime_delete(&cli->options, a->c.id, true, status < 0 ? &ignored : e);
		if (r < 0)
			return r;
	}
	return status;
}

int cli_run(const Cli *cli, int argc, char **argv, Err *e)
{
	CreateArgs a;
	_cleanup_close_ int pidfd = -1, console = -1;
	pid_t pid;
	int r = parse_create(argc, argv, &a, e);

	if (r == 0 && !a.detach)
		r = foreground_prepare(e);
	if (r == 0)
		r = runtime_create(&cli->options, &a.c, &pid, &pidfd, &console, e);
	if (r < 0)
		return r;
	if (a.detach && console >= 0) {
		(void)runtime_delete(&cli->options, a.c.id, true, NULL);
		return err_new(e, ERR_INVALID, "a terminal with --detach needs --console-socket");
	}
	return run_attached(cli, &a, pid, pidfd, console, e);
}

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

int cli_kill(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {{"all", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
	bool all = false;
	int c, sig = SIGTERM;

	while ((c = getopt_long_only(argc, argv, "+a", longs, NULL)) != -1) {
		if (c != 'a')
			return cli_bad_option(argv[0], e);
		all = true;
	}
	if (optind >= argc || optind + 2 < argc)
		return err_new(e, ERR_INVALID, "expected a container id and at most a signal");
	if (optind + 1 < argc) {
		sig = cli_signal(argv[optind + 1]);
		if (sig < 0)
			return err_new(e, ERR_INVALID, "unknown signal \"%s\"", argv[optind + 1]);
	}
	return runtime_kill(&cli->options, argv[optind], sig, all, e);
}

int cli_delete(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {{"force", no_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
	bool force = false;
	const char *id;
	int c, r;

	while ((c = getopt_long_only(argc, argv, "+f", longs, NULL)) != -1) {
		if (c != 'f')
			return cli_bad_option(argv[0], e);
		force = true;
	}
	r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_delete(&cli->options, id, force, e);
}

static int pause_or_resume(const Cli *cli, int argc, char **argv, bool pause, Err *e)
{
	const char *id;
	int r;

	if (getopt(argc, argv, "+") != -1)
		return cli_bad_option(argv[0], e);
	r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_pause(&cli->options, id, pause, e);
}

int cli_pause(const Cli *cli, int argc, char **argv, Err *e)
{
	return pause_or_resume(cli, argc, argv, true, e);
}

int cli_resume(const Cli *cli, int argc, char **argv, Err *e)
{
	return pause_or_resume(cli, argc, argv, false, e);
}

static int update_from_file(const char *path, OciResources *ret, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = streq(path, "-") ? fd_read_all(0, 1u << 20, &text, &len)
				 : file_read_at(AT_FDCWD, path, 1u << 20, &text, &len);

	if (r < 0)
		return err_sys(e, r, "read resources from %s", path);
	r = oci_json_parse(text, len, "resources", &j, e);
	return r < 0 ? r : oci_resources_decode(j, ret, e);
}

static int update_option(int c, OciResources *res, Err *e)
{
	int64_t *const fields[] = {&res->memory_limit, &res->memory_reservation, &res->memory_swap,
				   &res->cpu_shares,   &res->cpu_quota,          &res->cpu_period,
				   &res->pids_limit,   &res->blkio_weight,       &res->cpu_burst,
				   &res->cpu_idle};

	if (c >= 1 && c <= (int)ELEMENTSOF(fields)) {
		/* Sizes may be "64m"; -1 takes a limit away. */
		if (str_to_i64(optarg, fields[c - 1]) < 0 &&
		    (c > 3 || str_to_bytes(optarg, fields[c - 1]) < 0))
			return err_new(e, ERR_INVALID, "\"%s\" is no number", optarg);
		return 0;
	}
	char **text = c == 20 ? &res->cpus : &res->mems;

	free(*text);
	*text = strdup(optarg);
	return *text ? 0 : err_oom(e);
}

int cli_update(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {
	    {"resources", required_argument, NULL, 'r'},        {"memory", required_argument, NULL, 1},
	    {"memory-reservation", required_argument, NULL, 2}, {"memory-swap", required_argument, NULL, 3},
	    {"cpu-share", required_argument, NULL, 4},          {"cpu-quota", required_argument, NULL, 5},
	    {"cpu-period", required_argument, NULL, 6},         {"pids-limit", required_argument, NULL, 7},
	    {"blkio-weight", required_argument, NULL, 8},       {"cpu-burst", required_argument, NULL, 9},
	    {"cpu-idle", required_argument, NULL, 10},          {"cpuset-cpus", required_argument, NULL, 20},
	    {"cpuset-mems", required_argument, NULL, 21},       {NULL, 0, NULL, 0},
	};
	_cleanup_(oci_resources_done) OciResources res = {0};
	_cleanup_json_ json_t *empty = json_object();
	const char *id;
	int c, r = empty ? oci_resources_decode(empty, &res, e) : err_oom(e);

	while (r == 0 && (c = getopt_long_only(argc, argv, "+r:", longs, NULL)) != -1) {
		if (c == '?')
			return cli_bad_option(argv[0], e);
		r = c == 'r' ? update_from_file(optarg, &res, e) : update_option(c, &res, e);
	}
	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	return r < 0 ? r : runtime_update(&cli->options, id, &res, e);
}
