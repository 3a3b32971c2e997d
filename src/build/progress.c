/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build tells while it runs. The client's function is called by one thread at a time; vertices live as long as the build, so that a door may
 * keep what points to them.
 */
#include "build/build-internal.h"

#include <stdarg.h>

static void tell(Build *b, BuildEvent *ev)
{
	ev->time_ns = clock_now_ns();
	if (b->rq->client->event)
		b->rq->client->event(b->rq->client->user, ev);
}

static void tell_vertex(Build *b, const BuildVertex *v)
{
	BuildEvent ev = {.kind = BUILD_VERTEX, .vertex = v};

	tell(b, &ev);
}

static _printf_(1, 0) char *vformat(const char *fmt, va_list ap)
{
	char *text = NULL;

	return vasprintf(&text, fmt, ap) < 0 ? NULL : text;
}

BuildVertex *vertex_new(Build *b, int line, const char *fmt, ...)
{
	BuildVertex *v = calloc(1, sizeof(*v)), **grown;
	char unique[64];
	va_list ap;

	if (!v)
		return NULL;
	va_start(ap, fmt);
	v->name = vformat(fmt, ap);
	va_end(ap);
	v->line = line;
	pthread_mutex_lock(&b->events_lock);
	grown = v->name ? reallocarray(b->vertices.items, b->vertices.n + 1, sizeof(*grown)) : NULL;
	if (grown) {
		b->vertices.items = grown;
		grown[b->vertices.n++] = v;
		snprintf(unique, sizeof(unique), "vertex %s %zu", b->seed, b->vertices.n);
		digest_of(unique, strlen(unique), v->digest);
	}
	pthread_mutex_unlock(&b->events_lock);
	if (grown)
		return v;
	free(v->name);
	free(v);
	return NULL;
}

void vertices_done(Build *b)
{
	for (size_t i = 0; i < b->vertices.n; i++) {
		free(b->vertices.items[i]->name);
		strv_free(b->vertices.items[i]->inputs);
		free(b->vertices.items[i]->error);
		free(b->vertices.items[i]->why);
		free(b->vertices.items[i]);
	}
	free(b->vertices.items);
}

void vertex_begin(Build *b, BuildVertex *v)
{
	pthread_mutex_lock(&b->events_lock);
	v->started_ns = clock_now_ns();
	tell_vertex(b, v);
	pthread_mutex_unlock(&b->events_lock);
}

int vertex_end(Build *b, BuildVertex *v, int r, const Err *e)
{
	pthread_mutex_lock(&b->events_lock);
	v->ended_ns = clock_now_ns();
	if (r < 0)
		v->error = strdup(err_msg(e, r)); /* without memory it is told by the build's own error */
	tell_vertex(b, v);
	pthread_mutex_unlock(&b->events_lock);
	return r;
}

void vertex_cached(Build *b, BuildVertex *v)
{
	pthread_mutex_lock(&b->events_lock);
	v->cached = true;
	pthread_mutex_unlock(&b->events_lock);
}

void vertex_why(Build *b, BuildVertex *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pthread_mutex_lock(&b->events_lock);
	free(v->why);
	v->why = vformat(fmt, ap);
	pthread_mutex_unlock(&b->events_lock);
	va_end(ap);
}

void vertex_log(Build *b, const BuildVertex *v, int stream, const char *text, size_t len)
{
	BuildEvent ev = {.kind = BUILD_LOG, .vertex = v, .stream = stream, .text = text, .len = len};

	pthread_mutex_lock(&b->events_lock);
	tell(b, &ev);
	pthread_mutex_unlock(&b->events_lock);
}

void vertex_progress(Build *b, const BuildVertex *v, const char *id, int64_t current, int64_t total,
		     bool ended)
{
	BuildEvent ev = {.kind = BUILD_PROGRESS,
			 .vertex = v,
			 .id = id,
			 .current = current,
			 .total = total,
			 .started_ns = v->started_ns,
			 .ended_ns = ended ? clock_now_ns() : 0};

	pthread_mutex_lock(&b->events_lock);
	tell(b, &ev);
	pthread_mutex_unlock(&b->events_lock);
}

void build_warning(Build *b, const BuildEvent *ev)
{
	BuildEvent whole = *ev;

	whole.kind = BUILD_WARNING;
	whole.file = b->dockerfile_name;
	whole.source = b->dockerfile_text;
	whole.source_len = b->dockerfile_len;
	pthread_mutex_lock(&b->events_lock);
	tell(b, &whole);
	pthread_mutex_unlock(&b->events_lock);
}

void build_warn(Build *b, const char *rule, const char *url, int line, int last_line, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = vformat(fmt, ap);
	va_end(ap);
	build_warning(b, &(BuildEvent){.text = text ?: rule,
				       .len = strlen(text ?: rule),
				       .rule = rule,
				       .url = url,
				       .line = line,
				       .last_line = last_line});
}

void build_tell(Build *b, BuildEventKind kind, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	text = vformat(fmt, ap);
	va_end(ap);
	if (!text)
		return; /* a line of progress less */
	BuildEvent ev = {.kind = kind, .text = text, .len = strlen(text)};
	pthread_mutex_lock(&b->events_lock);
	tell(b, &ev);
	pthread_mutex_unlock(&b->events_lock);
}
