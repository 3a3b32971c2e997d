/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build tells its client: packed as it happens, kept until a reader takes it. The output of steps is kept once, for the first reader, and only so much of
 * it: a client that does not read must not hold up a step that other builds wait for, nor fill our memory.
 */
#include "api/buildkit/door-internal.h"

#define LOG_BYTES_MAX (16u << 20)
#define CLIPPED       "[output clipped: its reader does not keep up]\n"

static Llb__Time time_of(int64_t ns)
{
	Llb__Time t = LLB__TIME__INIT;

	t.seconds = ns / 1000000000;
	t.nanos = (int32_t)(ns % 1000000000);
	return t;
}

static bool append(Job *j, Told told)
{
	if (j->n_told == j->cap_told) {
		size_t cap = j->cap_told ? 2 * j->cap_told : 64;
		Told *grown = reallocarray(j->told, cap, sizeof(*grown));

		if (!grown)
			return false;
		j->told = grown;
		j->cap_told = cap;
	}
	j->told[j->n_told++] = told;
	j->log_bytes += told.log ? told.len : 0;
	pthread_cond_broadcast(&j->changed);
	return true;
}

static void tell(Job *j, const Control__StatusResponse *response, bool log)
{
	Told told = {.len = control__status_response__get_packed_size(response), .log = log};

	told.data = malloc(told.len + 1);
	if (!told.data)
		return;
	control__status_response__pack(response, told.data);
	pthread_mutex_lock(&j->lock);
	if ((log && j->clipped) || !append(j, told))
		free(told.data);
	pthread_mutex_unlock(&j->lock);
}

static void tell_vertex(Job *j, Control__Vertex *v)
{
	Control__StatusResponse response = CONTROL__STATUS_RESPONSE__INIT;

	response.vertexes = &v;
	response.n_vertexes = 1;
	tell(j, &response, false);
}

void status_vertex(Job *j, const char *digest, const char *name, int64_t started_ns, int64_t ended_ns,
		   const char *error)
{
	Control__Vertex v = CONTROL__VERTEX__INIT;
	Llb__Time started = time_of(started_ns), ended = time_of(ended_ns);

	v.digest = (char *)digest;
	v.name = (char *)name;
	v.started = started_ns ? &started : NULL;
	v.completed = ended_ns ? &ended : NULL;
	v.error = (char *)(error ?: "");
	tell_vertex(j, &v);
}

static void event_vertex(Job *j, const BuildVertex *from)
{
	Control__Vertex v = CONTROL__VERTEX__INIT;
	Llb__Time started = time_of(from->started_ns), ended = time_of(from->ended_ns);

	v.digest = (char *)from->digest;
	v.name = from->name;
	v.inputs = from->inputs;
	v.n_inputs = strv_len(from->inputs);
	v.cached = from->cached;
	v.started = from->started_ns ? &started : NULL;
	v.completed = from->ended_ns ? &ended : NULL;
	v.error = from->error ?: (char *)"";
	tell_vertex(j, &v);
}

void status_progress(Job *j, const char *vertex, const char *id, int64_t current, int64_t total,
		     int64_t started_ns, int64_t ended_ns)
{
	Control__StatusResponse response = CONTROL__STATUS_RESPONSE__INIT;
	Control__VertexStatus s = CONTROL__VERTEX_STATUS__INIT, *statuses[] = {&s};
	Llb__Time now = time_of(clock_now_ns()), started = time_of(started_ns), ended = time_of(ended_ns);

	s.id = (char *)id;
	s.vertex = (char *)vertex;
	s.current = current;
	s.total = total;
	s.timestamp = &now;
	s.started = started_ns ? &started : NULL;
	s.completed = ended_ns ? &ended : NULL;
	response.statuses = statuses;
	response.n_statuses = 1;
	tell(j, &response, false);
}

static void tell_log(Job *j, const char *vertex, int64_t time_ns, int stream, const char *text, size_t len)
{
	Control__StatusResponse response = CONTROL__STATUS_RESPONSE__INIT;
	Control__VertexLog l = CONTROL__VERTEX_LOG__INIT, *logs[] = {&l};
	Llb__Time at = time_of(time_ns);

	l.vertex = (char *)vertex;
	l.timestamp = &at;
	l.stream = stream;
	l.msg.data = (uint8_t *)text;
	l.msg.len = len;
	response.logs = logs;
	response.n_logs = 1;
	tell(j, &response, true);
}

/* The first that is too much says so; what follows is dropped until the reader has caught up. */
static void event_log(Job *j, const BuildEvent *ev)
{
	bool clip, was;

	pthread_mutex_lock(&j->lock);
	was = j->clipped;
	clip = j->log_bytes + ev->len > LOG_BYTES_MAX;
	if (was && !clip && j->log_bytes < LOG_BYTES_MAX / 2)
		j->clipped = was = false;
	pthread_mutex_unlock(&j->lock);
	if (was)
		return;
	if (!clip) {
		tell_log(j, ev->vertex->digest, ev->time_ns, ev->stream, ev->text, ev->len);
		return;
	}
	tell_log(j, ev->vertex->digest, ev->time_ns, 2, CLIPPED, strlen(CLIPPED));
	pthread_mutex_lock(&j->lock);
	j->clipped = true;
	pthread_mutex_unlock(&j->lock);
}

static void event_warning(Job *j, const BuildEvent *ev, const char *file, const char *text)
{
	Control__StatusResponse response = CONTROL__STATUS_RESPONSE__INIT;
	Control__VertexWarning w = CONTROL__VERTEX_WARNING__INIT, *warnings[] = {&w};
	Llb__SourceInfo info = LLB__SOURCE_INFO__INIT;
	Llb__Range range = LLB__RANGE__INIT, *ranges[] = {&range};
	Llb__Position start = LLB__POSITION__INIT, end = LLB__POSITION__INIT;
	_cleanup_free_ char *line =
	    ev->rule ? strf("%s: %.*s", ev->rule, (int)MIN2(ev->len, (size_t)4000), ev->text)
		     : strndup(ev->text, ev->len);
	ProtobufCBinaryData detail = {ev->detail ? strlen(ev->detail) : 0, (uint8_t *)ev->detail};
	char digest[DIGEST_LEN + 1];

	if (!line)
		return;
	digest_of(j->ref, strlen(j->ref), digest);
	w.vertex = ev->vertex ? (char *)ev->vertex->digest : digest;
	w.level = 1;
	w.short_ = (ProtobufCBinaryData){strlen(line), (uint8_t *)line};
	w.detail = ev->detail ? &detail : NULL;
	w.n_detail = ev->detail ? 1 : 0;
	w.url = (char *)(ev->url ?: "");
	if (ev->line > 0 && text) {
		info.filename = (char *)file;
		info.data = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
		info.language = (char *)"Dockerfile";
		start.line = ev->line;
		end.line = MAX2(ev->line, ev->last_line);
		range.start = &start;
		range.end = &end;
		w.info = &info;
		w.ranges = ranges;
		w.n_ranges = 1;
	}
	response.warnings = warnings;
	response.n_warnings = 1;
	tell(j, &response, false);
}

void status_warn(Job *j, const char *text)
{
	const BuildEvent ev = {.kind = BUILD_WARNING, .text = text, .len = strlen(text)};

	event_warning(j, &ev, "", NULL);
}

void status_event(Job *j, const BuildEvent *ev, const char *file, const char *text)
{
	switch (ev->kind) {
	case BUILD_VERTEX:
		event_vertex(j, ev->vertex);
		break;
	case BUILD_PROGRESS:
		status_progress(j, ev->vertex->digest, ev->id, ev->current, ev->total, ev->started_ns,
				ev->ended_ns);
		break;
	case BUILD_LOG:
		event_log(j, ev);
		break;
	case BUILD_WARNING:
		event_warning(j, ev, file, text);
		break;
	case BUILD_STEP:
	case BUILD_NOTE:
		break; /* the classic builder's */
	}
}

/* ---- the reader ---- */

bool status_next(Job *j, size_t at, uint8_t **ret_data, size_t *ret_len)
{
	Told *t;

	pthread_mutex_lock(&j->lock);
	while (at >= j->n_told && !j->told_all)
		pthread_cond_wait(&j->changed, &j->lock);
	if (at >= j->n_told) {
		pthread_mutex_unlock(&j->lock);
		return false;
	}
	t = &j->told[at];
	*ret_len = t->len;
	*ret_data = NULL;
	if (t->data && t->log) {
		*ret_data = take_ptr(t->data);
		j->log_bytes -= t->len;
	} else if (t->data) {
		*ret_data = malloc(t->len + 1);
		if (*ret_data)
			memcpy(*ret_data, t->data, t->len);
	}
	pthread_mutex_unlock(&j->lock);
	return true;
}

int rpc_status(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Control__StatusRequest *rq = NULL;
	_cleanup_job_ Job *j = NULL;
	uint8_t *data;
	size_t len;
	int r = grpc_receive_only(call, &control__status_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = job_get(user, rq->ref, WAIT_STATUS_MS, grpc_call_alive_fd(call), &j, e);
	for (size_t at = 0; r >= 0 && status_next(j, at, &data, &len); at++) {
		if (data)
			r = grpc_send(call, data, len, e);
		free(data);
	}
	return r;
}
