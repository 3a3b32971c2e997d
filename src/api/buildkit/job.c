/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: builds of clients, by the ref that the client made up for each. Calls that belong to one may arrive before it is there and are made to wait. One that has
 * ended stays listed for a moment: the call that asks for its status may be on its way.
 */
#include "api/buildkit/door-internal.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#define REF_MAX       256
#define ENDED_FOR_NS  10000000000LL
#define ENDED_AT_MOST 16

/* ---- the list ---- */

static void job_free(Job *j)
{
	for (size_t i = 0; i < j->n_told; i++)
		free(j->told[i].data);
	free(j->told);
	free(j->calls);
	strv_free(j->entitlements);
	strv_free(j->cache_to);
	message_freep(&j->answer);
	session_unref(j->session);
	close_fd(&j->alive_fd);
	close_fd(&j->stop_fd);
	close_fd(&j->returned_fd);
	close_fd(&j->body_fd);
	pthread_mutex_destroy(&j->lock);
	pthread_cond_destroy(&j->changed);
	free(j->ref);
	free(j->cache_manifest);
	free(j->session_id);
	free(j);
}

static bool unref_locked(Job *j)
{
	return --j->refs == 0;
}

void job_unref(Job *j)
{
	BuildkitDoor *d;
	bool last;

	if (!j)
		return;
	d = j->door;
	pthread_mutex_lock(&d->lock);
	last = unref_locked(j);
	pthread_mutex_unlock(&d->lock);
	if (last)
		job_free(j);
}

/* Takes the oldest of those off the list that have ended too long ago, or are too many; NULL: none. Its reference is the caller's. */
static Job *take_ended(BuildkitDoor *d, int64_t now)
{
	Job **oldest = NULL, *j;
	size_t n = 0;

	for (Job **at = &d->jobs; *at; at = &(*at)->next)
		if ((*at)->ended_ns) {
			n++;
			if (!oldest || (*at)->ended_ns < (*oldest)->ended_ns)
				oldest = at;
		}
	if (!oldest || (n <= ENDED_AT_MOST && (*oldest)->ended_ns + ENDED_FOR_NS > now))
		return NULL;
	j = *oldest;
	*oldest = j->next;
	j->listed = false;
	return j;
}

static void forget_ended(BuildkitDoor *d)
{
	Job *j;

	do {
		pthread_mutex_lock(&d->lock);
		j = take_ended(d, clock_mono_ns());
		pthread_mutex_unlock(&d->lock);
		job_unref(j);
	} while (j);
}

static Job *find(BuildkitDoor *d, const char *ref)
{
	for (Job *j = d->jobs; j; j = j->next)
		if (streq(j->ref, ref))
			return j;
	return NULL;
}

static int job_list(Job *j, Err *e)
{
	BuildkitDoor *d = j->door;
	bool taken;

	pthread_mutex_lock(&d->lock);
	taken = find(d, j->ref) != NULL;
	if (!taken) {
		j->next = d->jobs;
		d->jobs = j;
		j->listed = true;
		j->refs++;
		pthread_cond_broadcast(&d->changed);
	}
	pthread_mutex_unlock(&d->lock);
	return taken ? err_new(e, ERR_CONFLICT, "job ID %s exists", j->ref) : 0;
}

/* What the frontend's calls need to know, before the first of them can find the job. */
static int read_request(Job *j, const Control__SolveRequest *rq, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < rq->n_entitlements; i++)
		r = strv_add(&j->entitlements, rq->entitlements[i]);
	for (size_t i = 0; i < rq->n_exporters; i++)
		j->writes_files |=
		    streq(rq->exporters[i]->type, "local") || streq(rq->exporters[i]->type, "tar");
	for (size_t i = 0; r >= 0 && rq->cache && i < rq->cache->n_exports; i++)
		r = strv_take(&j->cache_to,
			      cache_text(rq->cache->exports[i]->type, rq->cache->exports[i]->attrs,
					 rq->cache->exports[i]->n_attrs));
	return r < 0 ? err_oom(e) : 0;
}

int job_new(BuildkitDoor *d, const Control__SolveRequest *rq, Job **ret, Err *e)
{
	const char *ref = rq->ref, *session_id = rq->session;
	int pair[2], r;
	Job *j;

	if (str_empty(ref) || strlen(ref) > REF_MAX || strlen(session_id) > REF_MAX)
		return err_new(e, ERR_INVALID, "the ref of the build is missing or too long");
	forget_ended(d);
	j = calloc(1, sizeof(*j));
	if (!j)
		return err_oom(e);
	*j = (Job){.door = d, .refs = 1, .alive_fd = -1, .stop_fd = -1, .body_fd = -1};
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->changed, NULL);
	j->ref = strdup(ref);
	j->session_id = strdup(session_id);
	j->returned_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = j->ref && j->session_id ? 0 : -ENOMEM;
	if (r >= 0 && (j->returned_fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0))
		r = -errno;
	if (r < 0) {
		job_free(j);
		return err_sys(e, r, "begin build %s", ref);
	}
	j->alive_fd = pair[0];
	j->stop_fd = pair[1];
	r = read_request(j, rq, e);
	if (r >= 0)
		r = job_list(j, e);
	if (r < 0)
		job_free(j);
	else
		*ret = j;
	return r;
}

int job_get(BuildkitDoor *d, const char *ref, int wait_ms, int alive_fd, Job **ret, Err *e)
{
	int64_t deadline = clock_mono_ns() + wait_ms * 1000000LL;
	Job *j;

	pthread_mutex_lock(&d->lock);
	while (!(j = find(d, ref)) && clock_mono_ns() < deadline && !hung_up(alive_fd))
		(void)door_wait(d, MIN2(deadline, clock_mono_ns() + 100000000));
	if (j)
		j->refs++;
	pthread_mutex_unlock(&d->lock);
	if (!j)
		return err_new(e, ERR_NOT_FOUND, "no such job %.256s", ref);
	*ret = j;
	return 0;
}

bool job_is_there(BuildkitDoor *d, const char *ref)
{
	bool there;

	pthread_mutex_lock(&d->lock);
	there = find(d, ref) != NULL;
	pthread_mutex_unlock(&d->lock);
	return there;
}

int job_of_call(BuildkitDoor *d, GrpcCall *call, Job **ret, Err *e)
{
	const char *ref = grpc_metadata(call, "buildkit-controlapi-buildid", 0);

	if (str_empty(ref))
		return err_new(e, ERR_INVALID, "no buildkit-controlapi-buildid in the metadata of the call");
	return job_get(d, ref, WAIT_BRIDGE_MS, grpc_call_alive_fd(call), ret, e);
}

/* ---- its end ---- */

void job_stop(Job *j)
{
	pthread_mutex_lock(&j->lock);
	j->over = true;
	(void)shutdown(j->stop_fd, SHUT_RDWR); /* a second time it is shut already */
	for (size_t i = 0; i < j->n_calls; i++)
		grpc_call_cancel(j->calls[i]);
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
}

void jobs_stop(BuildkitDoor *d)
{
	pthread_mutex_lock(&d->lock);
	for (Job *j = d->jobs; j; j = j->next)
		job_stop(j);
	pthread_mutex_unlock(&d->lock);
}

void job_end(Job *j)
{
	BuildkitDoor *d = j->door;

	job_stop(j);
	pthread_mutex_lock(&j->lock);
	while (j->working > 0)
		pthread_cond_wait(&j->changed, &j->lock);
	j->told_all = true;
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	kept_of_job_end(j);
	/* What is listed a while longer is only what it told. */
	pthread_mutex_lock(&j->lock);
	session_unref(take_ptr(j->session));
	close_fd(&j->alive_fd);
	close_fd(&j->stop_fd);
	close_fd(&j->returned_fd);
	close_fd(&j->body_fd);
	pthread_mutex_unlock(&j->lock);
	pthread_mutex_lock(&d->lock);
	j->ended_ns = clock_mono_ns();
	pthread_mutex_unlock(&d->lock);
}

/* ---- its session, and calls to the client ---- */

int job_session(Job *j, Session **ret, Err *e)
{
	Session *s = NULL;

	if (!*j->session_id)
		return err_new(e, ERR_INVALID,
			       "the build has no session: nothing can be asked of its client");
	pthread_mutex_lock(&j->lock);
	while (!j->session && !j->over)
		pthread_cond_wait(&j->changed, &j->lock);
	s = j->over ? NULL : j->session;
	pthread_mutex_unlock(&j->lock);
	if (!s)
		return err_new(e, ERR_CANCELLED, "the build is over: its client or its session is gone");
	*ret = s;
	return 0;
}

int job_call_begin(Job *j, Session *s, const char *path, const GrpcField *metadata, size_t n, GrpcCall **ret,
		   Err *e)
{
	GrpcCall **grown, *call;
	int r = grpc_call_begin(s->connection, path, metadata, n, &call, e);
	bool over;

	if (r < 0)
		return r;
	pthread_mutex_lock(&j->lock);
	over = j->over;
	grown = over ? NULL : reallocarray(j->calls, j->n_calls + 1, sizeof(GrpcCall *));
	if (grown) {
		j->calls = grown;
		grown[j->n_calls++] = call;
	}
	pthread_mutex_unlock(&j->lock);
	if (grown) {
		*ret = call;
		return 0;
	}
	grpc_call_drop(call);
	return over ? err_new(e, ERR_CANCELLED, "the build is over") : err_oom(e);
}

static void forget_call(Job *j, const GrpcCall *call)
{
	pthread_mutex_lock(&j->lock);
	for (size_t i = 0; i < j->n_calls; i++)
		if (j->calls[i] == call) {
			j->calls[i] = j->calls[--j->n_calls];
			break;
		}
	pthread_mutex_unlock(&j->lock);
}

int job_call_finish(Job *j, GrpcCall *call, Err *e)
{
	forget_call(j, call);
	return grpc_call_finish(call, e);
}

void job_call_drop(Job *j, GrpcCall *call)
{
	forget_call(j, call);
	grpc_call_drop(call);
}

void jobs_free(BuildkitDoor *d)
{
	Job *j, *next;

	for (j = d->jobs; j; j = next) {
		next = j->next;
		job_unref(j);
	}
	d->jobs = NULL;
}
