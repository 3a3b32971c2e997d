/* SPDX-License-Identifier: Apache-2.0 */
/* logs. The bytes are the container's and go out as they are. */
#include "base/clock.h"
#include "client.h"
#include "options.h"
#include "stream.h"
#include "text.h"
#include "verbs.h"

typedef struct LogsOptions {
	bool details, follow, timestamps;
	const char *since, *until, *tail;
} LogsOptions;

#define O(field) offsetof(LogsOptions, field)
static const Flag flags[] = {
    {"details", 0, FLAG_BOOL, O(details), "Show the labels and variables that the log driver kept", NULL},
    {"follow", 'f', FLAG_BOOL, O(follow), "Go on showing what is logged", NULL},
    {"since", 0, FLAG_STRING, O(since), "Show what is newer: a time, or how long ago (42m)", NULL},
    {"tail", 'n', FLAG_STRING, O(tail), "Show only so many lines from the end (default all)", NULL},
    {"timestamps", 't', FLAG_BOOL, O(timestamps), "Show when each line was logged", NULL},
    {"until", 0, FLAG_STRING, O(until), "Show what is older: a time, or how long ago (42m)", NULL},
    {0},
};
#undef O

static int add_time(StrBuf *b, const char *key, const char *value, Err *e)
{
	if (!value)
		return 0;
	_cleanup_free_ char *t = text_timestamp(value, clock_now_ns());
	if (!t)
		return err_new(e, ERR_INVALID, "invalid value for \"%s\": %s is no time and no duration", key,
			       value);
	text_query(b, key, t);
	return 0;
}

static int make_target(const Call *call, StrBuf *b, Err *e)
{
	const LogsOptions *o = call->opts;
	_cleanup_free_ char *path = api_path("containers", call->args[0], "/logs?stdout=1&stderr=1", e);
	int r = path ? 0 : -EINVAL;

	if (r < 0)
		return r;
	strbuf_add(b, path);
	if (o->follow)
		text_query(b, "follow", "1");
	if (o->details)
		text_query(b, "details", "1");
	if (o->timestamps)
		text_query(b, "timestamps", "1");
	text_query(b, "tail", o->tail ? o->tail : "all");
	r = add_time(b, "since", o->since, e);
	if (r == 0)
		r = add_time(b, "until", o->until, e);
	return r < 0 ? r : b->oom ? err_oom(e) : 0;
}

/* The content type tells frames from a terminal's raw bytes since API 1.42; before, only the container
 * does. */
static int is_raw(Call *call, const HttpcResponse *rs, bool *ret, Err *e)
{
	_cleanup_free_ char *type = httpc_response_header(rs, "Content-Type");
	_cleanup_json_ json_t *c = NULL;

	*ret = false;
	if (streq0(type, "application/vnd.docker.multiplexed-stream"))
		return 0;
	_cleanup_free_ char *target = api_path("containers", call->args[0], "/json", e);
	int r = target ? api_get(call->cli, target, &c, e) : -EINVAL;
	*ret = json_get_bool(json_object_get(c, "Config"), "Tty", false);
	return r < 0 ? r : 0;
}

static int run_logs(Call *call, Err *e)
{
	_cleanup_strbuf_ StrBuf target = {0};
	_cleanup_httpc_ Httpc *c = NULL;
	const HttpcResponse *rs;
	Demux d = {.out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO};
	static char buf[65536];
	int r = make_target(call, &target, e);

	if (r == 0)
		r = api_stream(call->cli, &(ApiRequest){.method = "GET", .target = target.s}, &c, &rs, e);
	if (r >= 0)
		r = is_raw(call, rs, &d.raw, e);
	while (r == 0) {
		ssize_t n = httpc_read(c, buf, sizeof(buf), e);

		if (n <= 0)
			return n < 0 ? err_ctx(e, (int)n, "the log stream broke") : 0;
		r = demux_feed(&d, buf, (size_t)n, e);
	}
	return r;
}

const Command cmd_logs = {.usage = "[OPTIONS] CONTAINER",
			  .summary = "Show what a container has written",
			  .flags = flags,
			  .opts_size = sizeof(LogsOptions),
			  .min = 1,
			  .max = 1,
			  .run = run_logs};
