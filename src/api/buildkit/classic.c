/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /build?version=2: BuildKit as docker's command line before 23 (DOCKER_BUILDKIT=1) and libraries speak it. The options are the classic builder's query, the
 * directories come over a session or the context is a body, and what is told goes back as messages of a JSON stream. It is a job like any other.
 *
 * A context that comes in a request of its own (buildid=upload-request:ID) waits there until the build that asks for it (remote=upload-request&buildid=ID) has read
 * it: the request that brings it ends with that build, and the build waits a while for the request.
 */
#include "api/buildkit/door-internal.h"

#include "base/base64.h"
#include "base/id.h"
#include "base/json.h"

#include <fcntl.h>
#include <poll.h>

#define UPLOAD_PREFIX  "upload-request:"
#define WAIT_UPLOAD_MS 5000

/* ---- bodies for other requests ---- */

typedef enum UploadState {
	UPLOAD_WAITS,    /* for a build */
	UPLOAD_TAKEN,    /* which reads */
	UPLOAD_READ,     /* and has read it */
	UPLOAD_CHECKED,  /* whether the client has sent all of it is known: result, err */
	UPLOAD_RELEASED, /* to the build, too */
} UploadState;

/* On the stack of the request that brings it; all is under door->lock. */
struct Upload {
	const char *id;
	int fd, result;
	Err err;
	UploadState state;
	struct Upload *next;
};

static Upload *upload_find(BuildkitDoor *d, const char *id)
{
	for (Upload *u = d->uploads; u; u = u->next)
		if (streq(u->id, id))
			return u;
	return NULL;
}

static bool is_stopping(BuildkitDoor *d)
{
	struct pollfd p = {.fd = d->stop_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* With the lock, which is let go meanwhile: until the other side has come to `state`. */
static void await_state(BuildkitDoor *d, const Upload *u, UploadState state)
{
	while (u->state < state)
		pthread_cond_wait(&d->changed, &d->lock);
}

static void set_state(BuildkitDoor *d, Upload *u, UploadState state)
{
	u->state = state;
	pthread_cond_broadcast(&d->changed);
}

static int upload_wait(BuildkitDoor *d, Upload *u, HttpRequest *rq, Err *e)
{
	int64_t deadline = clock_mono_ns() + WAIT_UPLOAD_MS * 1000000LL;
	int alive_fd = http_alive_fd(rq);

	while (u->state == UPLOAD_WAITS) {
		if (clock_mono_ns() >= deadline || hung_up(alive_fd) || is_stopping(d))
			return err_new(e, ERR_NOT_FOUND, "no build has asked for the upload %.100s", u->id);
		(void)door_wait(d, clock_mono_ns() + 100000000);
	}
	await_state(d, u, UPLOAD_READ);
	pthread_mutex_unlock(&d->lock);
	u->result = http_body_end(rq, &u->err);
	pthread_mutex_lock(&d->lock);
	set_state(d, u, UPLOAD_CHECKED);
	await_state(d, u, UPLOAD_RELEASED);
	if (u->result < 0 && e)
		*e = u->err;
	return u->result;
}

static int upload(BuildkitDoor *d, HttpRequest *rq, const char *id, Err *e)
{
	Upload u = {.id = id, .fd = http_body_fd(rq, e)};
	int r = u.fd;

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	if (upload_find(d, id)) {
		pthread_mutex_unlock(&d->lock);
		return err_new(e, ERR_CONFLICT, "the upload %.100s is there already", id);
	}
	u.next = d->uploads;
	d->uploads = &u;
	pthread_cond_broadcast(&d->changed);
	r = upload_wait(d, &u, rq, e);
	for (Upload **at = &d->uploads; *at; at = &(*at)->next)
		if (*at == &u) {
			*at = u.next;
			break;
		}
	pthread_mutex_unlock(&d->lock);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

/* A copy of its descriptor. It is the build's until upload_release. */
static int upload_take(BuildkitDoor *d, const char *id, HttpRequest *rq, Upload **ret, int *ret_fd, Err *e)
{
	int64_t deadline = clock_mono_ns() + WAIT_UPLOAD_MS * 1000000LL;
	int alive_fd = http_alive_fd(rq);
	Upload *u;

	pthread_mutex_lock(&d->lock);
	while (!(u = upload_find(d, id)) && clock_mono_ns() < deadline && !hung_up(alive_fd) &&
	       !is_stopping(d))
		(void)door_wait(d, clock_mono_ns() + 100000000);
	if (u && u->state != UPLOAD_WAITS)
		u = NULL;
	if (u) {
		*ret_fd = fcntl(u->fd, F_DUPFD_CLOEXEC, 3);
		set_state(d, u, UPLOAD_TAKEN);
	}
	pthread_mutex_unlock(&d->lock);
	if (!u)
		return err_new(e, ERR_NOT_FOUND, "the upload of build %.100s has not come", id);
	*ret = u;
	return *ret_fd < 0 ? err_sys(e, errno, "copy the upload's descriptor") : 0;
}

/* Whether all of it had come. */
static int upload_release(BuildkitDoor *d, Upload **upload, Err *e)
{
	Upload *u = take_ptr(*upload);
	int r;

	if (!u)
		return 0;
	pthread_mutex_lock(&d->lock);
	set_state(d, u, UPLOAD_READ);
	await_state(d, u, UPLOAD_CHECKED);
	r = u->result;
	if (r < 0 && e)
		*e = u->err;
	set_state(d, u, UPLOAD_RELEASED);
	pthread_mutex_unlock(&d->lock);
	return r;
}

/* ---- what is told ---- */

typedef struct Classic {
	HttpRequest *rq;
	Job *job;
	ClassicQuery query;
	Upload *upload;
	pthread_t teller;
} Classic;

/* The stream begins with the first message: what fails before there was any has a status of its own. */
static void say(Classic *c, json_t *message)
{
	_cleanup_free_ char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = text ? strf("%s\r\n", text) : NULL;

	json_decref(message);
	if (!line)
		return;
	if (!http_answered(c->rq))
		(void)http_stream_begin(c->rq, 200, "application/json");
	(void)http_stream_write(c->rq, line, strlen(line)); /* that a client has left is noticed elsewhere */
}

static void *tell(void *arg)
{
	Classic *c = arg;
	uint8_t *data;
	size_t len;

	for (size_t at = 0; status_next(c->job, at, &data, &len); at++) {
		_cleanup_free_ char *text = data ? base64_encode(data, len, false) : NULL;

		if (text)
			say(c, json_pack("{s:s, s:s}", "id", "moby.buildkit.trace", "aux", text));
		free(data);
	}
	return NULL;
}

static void tell_image(Classic *c, const ExporterResponse *out)
{
	const char *id = pairs_get(out->pairs, out->n, "containerimage.config.digest");

	if (!id)
		return;
	say(c, json_pack("{s:s, s:{s:s}}", "id", "moby.image.id", "aux", "ID", id));
	if (http_query_bool(c->rq, "q", false))
		say(c, json_pack("{s:o}", "stream", json_sprintf("%s\n", id)));
}

/* ---- the build ---- */

static int run(Classic *c, ExporterResponse *out, Err *e)
{
	_cleanup_answer_ Answer a = {0};
	int fd = http_alive_fd(c->rq), r = control_begin(c->job, fd, e);

	if (r >= 0)
		r = control_run(c->job, NULL, fd, &c->query.solve, &a, e);
	close_fd(&c->job->body_fd);
	/* What was cut off may look whole. */
	if (r >= 0)
		r = upload_release(c->job->door, &c->upload, e);
	if (r >= 0 && c->query.body)
		r = http_body_end(c->rq, e);
	return r < 0 ? r : export_all(c->job, &c->query.solve, a.kept, out, e);
}

static int build(Classic *c, Err *e)
{
	_cleanup_(exporter_response_done) ExporterResponse out = {0};
	int r = pthread_create(&c->teller, NULL, tell, c);

	if (r != 0) {
		job_end(c->job);
		return err_sys(e, r, "start a thread that tells of the build");
	}
	r = run(c, &out, e);
	job_end(c->job);
	pthread_join(c->teller, NULL);
	if (r < 0 && !http_answered(c->rq))
		return r;
	if (r < 0) {
		_cleanup_free_ char *text = http_plain_text(err_msg(e, r));

		say(c,
		    json_pack("{s:{s:s}, s:s}", "errorDetail", "message", text ?: "", "error", text ?: ""));
		return 0;
	}
	tell_image(c, &out);
	return http_answered(c->rq) ? 0 : http_reply_empty(c->rq, 200);
}

/* The body that the context is, if it is one; an old client sends one without a meaning. */
static int take_body(BuildkitDoor *d, Classic *c, const char *id, Err *e)
{
	int fd = -1, r = 0;

	if (c->query.other_body)
		r = str_empty(id) ? err_new(e, ERR_INVALID, "remote=upload-request: no buildid was given")
				  : upload_take(d, id, c->rq, &c->upload, &c->job->body_fd, e);
	if (r < 0 || !c->query.body)
		return r;
	fd = http_body_fd(c->rq, e);
	if (fd < 0)
		return fd;
	c->job->body_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return c->job->body_fd < 0 ? err_sys(e, errno, "copy the body's descriptor") : 0;
}

bool is_classic_build(const HttpRequest *rq, void *user)
{
	(void)user;
	return streq0(http_query(rq, "version"), "2");
}

int h_classic_build(HttpRequest *rq, void *user, Err *e)
{
	BuildkitDoor *d = user;
	const char *id = http_query(rq, "buildid"), *uploaded = str_after(id ?: "", UPLOAD_PREFIX);
	Classic c = {.rq = rq};
	char made[33];
	int r;

	if (uploaded)
		return upload(d, rq, uploaded, e);
	id_random_hex(made, 32);
	r = classic_query_read(rq, &c.query, e);
	c.query.solve.ref = str_empty(id) ? made : (char *)id;
	if (r >= 0)
		r = export_check(&c.query.solve, e);
	if (r >= 0)
		r = job_new(d, &c.query.solve, &c.job, e);
	if (r >= 0) {
		r = take_body(d, &c, id, e);
		if (r >= 0)
			r = build(&c, e);
		else
			job_end(c.job);
	}
	(void)upload_release(d, &c.upload, NULL); /* that the build has failed is said */
	job_unref(c.job);
	classic_query_done(&c.query);
	return r;
}

/* ---- POST /build/cancel?id=X, where X is a build of this door's ---- */

bool is_classic_cancel(const HttpRequest *rq, void *user)
{
	const char *id = http_query(rq, "id");

	return id && job_is_there(user, id);
}

int h_classic_cancel(HttpRequest *rq, void *user, Err *e)
{
	Job *j;

	if (job_get(user, http_query(rq, "id"), 0, http_alive_fd(rq), &j, e) >= 0) {
		job_stop(j);
		job_unref(j);
	}
	return http_reply_empty(rq, 200); /* of one that has ended, nothing is left to do */
}
