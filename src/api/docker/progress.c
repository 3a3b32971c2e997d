/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress messages: one JSON object each, followed by CRLF (api map 1.8).
 *
 * The stream begins with the first message, so that a call that fails at once still gets a proper status. Byte counts of one id are
 * thinned out to one in 100 ms; a new status and the last count always go out.
 */
#include "api/docker/door-internal.h"

#define THROTTLE_MS 100

void progress_init(Progress *p, HttpRequest *rq)
{
	*p = (Progress){.rq = rq};
	pthread_mutex_init(&p->lock, NULL);
}

void progress_done(Progress *p)
{
	pthread_mutex_destroy(&p->lock);
}

static void send_locked(Progress *p, const json_t *message)
{
	_cleanup_free_ char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = text ? strf("%s\r\n", text) : NULL;

	if (!line)
		return;
	if (!http_answered(p->rq))
		(void)http_stream_begin(p->rq, 200, "application/json");
	/* A client that left is noticed through the alive fd. */
	(void)http_stream_write(p->rq, line, strlen(line));
}

void progress_send(Progress *p, json_t *message)
{
	pthread_mutex_lock(&p->lock);
	send_locked(p, message);
	pthread_mutex_unlock(&p->lock);
	json_decref(message);
}

void progress_stream(Progress *p, const char *text)
{
	progress_send(p, json_pack("{s:o}", "stream", doc_str(text)));
}

/* Under the lock: is this count worth a message? */
static bool throttled(Progress *p, const char *id, const char *status, int64_t current, int64_t total)
{
	int64_t now = clock_mono_ns() / 1000000;

	for (size_t i = 0; i < ELEMENTSOF(p->last); i++) {
		if (!streq(p->last[i].id, id))
			continue;
		if (strncmp(p->last[i].status, status, sizeof(p->last[i].status) - 1) == 0 && total > 0 &&
		    current < total && now - p->last[i].at_ms < THROTTLE_MS)
			return true;
		snprintf(p->last[i].status, sizeof(p->last[i].status), "%s", status);
		p->last[i].at_ms = now;
		return false;
	}
	size_t slot = p->next++ % ELEMENTSOF(p->last);
	snprintf(p->last[slot].id, sizeof(p->last[slot].id), "%s", id);
	snprintf(p->last[slot].status, sizeof(p->last[slot].status), "%s", status);
	p->last[slot].at_ms = now;
	return false;
}

void progress_status(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	Progress *p = user;
	json_t *m;

	if (p->quiet)
		return;
	pthread_mutex_lock(&p->lock);
	if (!id || !throttled(p, id, status, current, total)) {
		m = json_pack("{s:o}", "status", doc_str(status));
		if (m && (id || total > 0))
			json_object_set_new(m, "progressDetail",
					    total > 0
						? json_pack("{s:I, s:I}", "current", (json_int_t)current,
							    "total", (json_int_t)total)
						: json_object());
		if (m && id)
			json_object_set_new(m, "id", doc_str(id));
		send_locked(p, m);
		json_decref(m);
	}
	pthread_mutex_unlock(&p->lock);
}

int progress_end(Progress *p, int r, Err *e)
{
	if (r >= 0) {
		if (!http_answered(p->rq))
			return http_stream_begin(p->rq, 200, "application/json");
		return 0;
	}
	if (!http_answered(p->rq))
		return r;
	progress_send(p, json_pack("{s:{s:o}, s:o}", "errorDetail", "message", doc_error(e, r), "error",
				   doc_error(e, r)));
	return 0;
}
