/* SPDX-License-Identifier: Apache-2.0 */
/* events: one line an event, as it comes. */
#include "base/clock.h"
#include "client.h"
#include "format.h"
#include "options.h"
#include "rows.h"
#include "text.h"
#include "verbs.h"

#include <time.h>

#define EVENT_MAX (4u << 20)

typedef struct EventsOptions {
	const char *format, *since, *until;
	List filters;
} EventsOptions;

#define O(field) offsetof(EventsOptions, field)
static const Flag flags[] = {
    {"filter", 'f', FLAG_LIST, O(filters), "Show only what matches KEY=VALUE", "filter"},
    {"format", 0, FLAG_STRING, O(format), "json, or a Go template", NULL},
    {"since", 0, FLAG_STRING, O(since), "Show what happened since a time, or how long ago", NULL},
    {"until", 0, FLAG_STRING, O(until), "Stop at a time", NULL},
    {0},
};
#undef O

static int make_target(const EventsOptions *o, StrBuf *b, Err *e)
{
	const char *const times[][2] = {{"since", o->since}, {"until", o->until}};

	strbuf_add(b, "/events");
	for (size_t i = 0; i < ELEMENTSOF(times); i++) {
		if (!times[i][1])
			continue;
		_cleanup_free_ char *t = text_timestamp(times[i][1], clock_now_ns());
		if (!t)
			return err_new(e, ERR_INVALID,
				       "invalid value for \"%s\": %s is no time and no duration", times[i][0],
				       times[i][1]);
		text_query(b, times[i][0], t);
	}
	int r = api_add_filters(b, o->filters.v, e);
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

/* "2024-05-01T10:00:00.000000000+02:00" */
static char *local_nanos(int64_t ns)
{
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;
	char date[32], zone[8];

	if (!localtime_r(&t, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) ||
	    !strftime(zone, sizeof(zone), "%z", &tm))
		return NULL;
	if (tm.tm_gmtoff == 0)
		return strf("%s.%09lldZ", date, (long long)(ns % 1000000000));
	return strf("%s.%09lld%.3s:%s", date, (long long)(ns % 1000000000), zone, zone + 3);
}

static void print_event(const Cli *cli, const json_t *ev)
{
	const json_t *actor = json_object_get(ev, "Actor");
	const char *type = json_get_str(ev, "Type"), *action = json_get_str(ev, "Action"),
		   *id = json_get_str(actor, "ID");
	int64_t ns = json_get_int(ev, "timeNano", 0);
	_cleanup_free_ char *when = local_nanos(ns ? ns : json_get_int(ev, "time", 0) * 1000000000);
	_cleanup_free_ char *attributes = row_join_map(json_object_get(actor, "Attributes"), ", ");
	bool any = !str_empty(attributes);
	_cleanup_free_ char *line =
	    strf("%s %s %s %s%s%s%s", when ? when : "", type ? type : "", action ? action : "", id ? id : "",
		 any ? " (" : "", any ? attributes : "", any ? ")" : "");

	text_put(stdout, line ? line : "", cli->out_tty);
	(void)fputc('\n', stdout);
}

static int show_event(Call *call, const char *line, size_t n, Err *e)
{
	const EventsOptions *o = call->opts;
	_cleanup_json_ json_t *ev = NULL;
	int r;

	/* application/json-seq puts a record separator in front. */
	while (n > 0 && strchr("\x1e \t\r", *line)) {
		line++;
		n--;
	}
	if (n == 0)
		return 0;
	r = json_parse(line, n, "the engine's event", &ev, e);
	if (r < 0)
		return r;
	if (o->format)
		r = format_document(call->cli, o->format, ev, e);
	else
		print_event(call->cli, ev);
	/* Somebody may be waiting for this line. */
	if (r == 0 && fflush(stdout) != 0)
		r = err_sys(e, errno, "write the output");
	return r;
}

static int show_lines(Call *call, StrBuf *b, Err *e)
{
	size_t start = 0;
	int r = 0;

	for (char *end; r == 0 && b->len > start && (end = memchr(b->s + start, '\n', b->len - start));) {
		r = show_event(call, b->s + start, (size_t)(end - (b->s + start)), e);
		start = (size_t)(end - b->s) + 1;
	}
	memmove(b->s, b->s + start, b->len - start);
	b->len -= start;
	return r;
}

static int run_events(Call *call, Err *e)
{
	_cleanup_strbuf_ StrBuf target = {0}, b = {0};
	_cleanup_httpc_ Httpc *c = NULL;
	char piece[16384];
	int r = make_target(call->opts, &target, e);

	if (r == 0)
		r = api_stream(call->cli, &(ApiRequest){.method = "GET", .target = target.s}, &c, NULL, e);
	while (r >= 0) {
		ssize_t n = httpc_read(c, piece, sizeof(piece), e);

		if (n < 0)
			return err_ctx(e, (int)n, "the event stream broke");
		if (n == 0)
			return b.len > 0 ? show_event(call, b.s, b.len, e) : 0;
		strbuf_add_n(&b, piece, (size_t)n);
		if (b.oom)
			return err_oom(e);
		if (b.len > EVENT_MAX)
			return err_new(e, ERR_INTERNAL, "the engine's event is larger than %u bytes",
				       EVENT_MAX);
		r = show_lines(call, &b, e);
	}
	return r;
}

const Command cmd_events = {.usage = "[OPTIONS]",
			    .summary = "Show what happens in the engine, as it happens",
			    .flags = flags,
			    .opts_size = sizeof(EventsOptions),
			    .run = run_events};
