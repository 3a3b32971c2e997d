/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "events": a line of JSON with what the container uses, again and again until it has stopped, and one whenever memory ran out
 * in it.
 */
#include "command.h"

#include "base/clock.h"
#include "base/str.h"
#include "kernel/process.h"

#include <getopt.h>
#include <poll.h>

typedef struct EventsArgs {
	const char *interval;
	bool stats;
} EventsArgs;

static const CliOption events_options[] = {
    {"interval", 0, CLI_TEXT, offsetof(EventsArgs, interval), "DURATION",
     "time between two lines (default: 5s)"},
    {"stats", 0, CLI_FLAG, offsetof(EventsArgs, stats), NULL, "one line, at once"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static int print_event(json_t *event, Err *e)
{
	_cleanup_json_ json_t *j = event;

	if (!j)
		return err_oom(e);
	if (json_dumpf(j, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return err_sys(e, errno, "write to stdout");
	return 0;
}

static int print_stats(const Cli *cli, const char *id, Err *e)
{
	json_t *data = NULL;
	int r = runtime_stats(&cli->options, id, &data, e);

	return r < 0 ? r
		     : print_event(json_pack("{s:s, s:s, s:o}", "type", "stats", "id", id, "data", data), e);
}

static int print_oom(const char *id, Err *e)
{
	return print_event(json_pack("{s:s, s:s}", "type", "oom", "id", id), e);
}

/* Until the process behind pidfd has ended. */
static int follow(const Cli *cli, const char *id, int pidfd, struct pollfd oom, int interval_ms, Err *e)
{
	int r = print_stats(cli, id, e);

	while (r == 0) {
		struct pollfd p[] = {{pidfd, POLLIN, 0}, oom};
		int n = poll(p, ELEMENTSOF(p), interval_ms);

		if (n < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
		if (n > 0 && p[1].revents) {
			runtime_oom_drain(oom.fd);
			if (runtime_oom_kills(&cli->options, id) > 0)
				r = print_oom(id, e);
		}
		if (n > 0 && p[0].revents)
			return r;
		if (n == 0)
			r = print_stats(cli, id, e);
	}
	/* One that was deleted between two looks has no more to say. */
	return r == -ENOENT ? 0 : r;
}

static int parse_interval(const char *text, int *ret_ms, Err *e)
{
	int64_t ns;

	if (clock_parse_duration(text, &ns) < 0 || ns <= 0 || ns / 1000000 > INT32_MAX)
		return err_new(e, ERR_INVALID,
			       "duration interval must be greater than 0: --interval \"%s\"; expected such "
			       "as 5s or 100ms",
			       text);
	*ret_ms = (int)MAX2(ns / 1000000, 1);
	return 0;
}

static int do_events(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(runtime_state_done) RuntimeState s = {0};
	_cleanup_close_ int pidfd = -1, oom = -1;
	EventsArgs a = {.interval = "5s"};
	const char *id;
	short oom_events = 0;
	int ms, r = cli_parse(events_options, argc, argv, &a, e);

	if (r == 0)
		r = parse_interval(a.interval, &ms, e);
	if (r == 0)
		r = cli_one_id(argc, argv, &id, e);
	if (r == 0)
		r = runtime_state(&cli->options, id, &s, e);
	if (r < 0)
		return r;
	if (s.status == RUNTIME_STOPPED)
		return err_new(e, ERR_CONFLICT, "container with id %s is not running", id);
	if (a.stats)
		return print_stats(cli, id, e);
	pidfd = process_pidfd_checked(s.pid, s.pid_start);
	/* Where memory is not limited nothing is told about it. */
	if (runtime_watch_oom(&cli->options, id, &oom, &oom_events, e) < 0 && cli->options.debug)
		cli->options.debug(e->msg);
	return follow(cli, id, pidfd, (struct pollfd){oom, oom_events, 0}, ms, e);
}

const CliCommand cli_events = {.name = "events",
			       .arguments = "<container-id>",
			       .summary = "print statistics and out-of-memory events of a container",
			       .options = events_options,
			       .run = do_events,
			       .failure = 1};
