/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploading one blob; the contract is in upload.h.
 *
 * A small blob that is whole goes out as POST and PUT. Anything else is one PATCH with all of it, which starts while the blob
 * may still grow, and a PUT that gives the digest: what every registry has learnt from Docker. Pieces of bounded size are
 * sent to a registry that asks for them (OCI-Chunk-Min-Length) or that finds a body too large (413).
 *
 * When a request breaks, nobody knows how much has arrived. The registry does: the upload's own address tells it (Range), and
 * the next PATCH goes on from there. An upload that the registry has forgotten starts anew. Tries that bring nothing
 * forward are counted, and so few of them are made that a registry which never takes anything is given up.
 *
 * An address that the registry names (Location) may lie on another host; credentials never go there (session_do_at).
 */
#include "registry/upload.h"
#include "base/str.h"

#include <fcntl.h>
#include <time.h>

#define SMALL_MAX     (1 << 20) /* in one PUT */
#define CHUNK_SIZE    (64LL << 20)
#define CHUNK_LEAST   (1LL << 20)
#define CHUNK_MIN_MAX (1LL << 30) /* more than that nobody may ask for */
#define FRUITLESS_MAX 5           /* tries in a row that bring nothing */
#define TRIES_MAX     50          /* however much each brings */
#define LOCATION_MAX  (16u << 10)

/* ---- a blob that grows ---- */

void growing_init(Growing *g)
{
	*g = (Growing){.fd = -1};
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
}

void growing_done(Growing *g)
{
	close_fd(&g->fd);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

void growing_add(Growing *g, int fd, int64_t have)
{
	pthread_mutex_lock(&g->lock);
	if (g->fd < 0)
		g->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	/* Without a descriptor the reader goes on waiting, and fails at the end. */
	if (g->fd >= 0)
		g->have = have;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void growing_end(Growing *g, const char *digest, int r)
{
	pthread_mutex_lock(&g->lock);
	g->ended = true;
	g->r = r < 0 ? r : g->fd < 0 ? -EMFILE : 0;
	if (g->r == 0)
		memcpy(g->digest, digest, DIGEST_LEN + 1);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void growing_whole(Growing *g, int fd, int64_t size, const char *digest)
{
	g->fd = fd;
	g->have = size;
	growing_end(g, digest, 0);
}

int growing_wait(Growing *g, int64_t bytes, bool (*stopped)(void *user), void *user, Err *e)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	while (!g->ended && g->have <= bytes) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 200 * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&g->changed, &g->lock, &until);
		if (stopped && stopped(user)) {
			r = err_new(e, ERR_CANCELLED, "cancelled");
			break;
		}
	}
	if (r == 0 && g->ended)
		r = g->r < 0 ? err_sys(e, g->r, "compress the layer") : 1;
	pthread_mutex_unlock(&g->lock);
	return r;
}

static int64_t growing_have(Growing *g)
{
	pthread_mutex_lock(&g->lock);
	int64_t have = g->have;
	pthread_mutex_unlock(&g->lock);
	return have;
}

/* ---- answers ---- */

int upload_refusal(const Session *s, const char *what, const HttpReply *reply, Err *e)
{
	const RegistryAuth *auth = &s->pull->auth;
	bool signed_in = auth->username || auth->identity_token || auth->registry_token;
	bool denied = reply->status == 401 || reply->status == 403;
	_cleanup_free_ char *why = session_error_text(reply);

	if (!why)
		return err_oom(e);
	/* A reply to HEAD has no text, and some registries have none at all: Docker's words for them. */
	if (denied && str_starts(why, "the registry answered")) {
		free(why);
		why = strdup(signed_in ? "denied: requested access to the resource is denied"
				       : "unauthorized: authentication required");
		if (!why)
			return err_oom(e);
	}
	if (denied) {
		ErrKind kind = str_starts(why, "denied") ? ERR_DENIED : ERR_UNAUTHORIZED;

		return signed_in
			   ? err_new(e, kind, "%s", why)
			   : err_new(e, kind, "%s: log in to %s first", why, s->pull->reference->domain);
	}
	if (reply->status == 404)
		return err_new(e, ERR_NOT_FOUND, "%s: %s", what, why);
	if (reply->status == 413)
		return err_new(e, ERR_INVALID,
			       "%s: %s: the registry, or a proxy before it, takes no body of that size", what,
			       why);
	if (reply->status == 429)
		return err_new(e, ERR_UNAVAILABLE, "%s: the registry limits requests (%s); try again later",
			       what, why);
	if (reply->status >= 500)
		return err_new(e, ERR_UNAVAILABLE, "%s: %s; try again later", what, why);
	return err_new(e, ERR_INVALID, "%s: unexpected status %d from the registry: %s", what, reply->status,
		       why);
}

/* The registry has answered before: if it does not now, it may again. */
static bool is_worth_a_try(const HttpReply *reply)
{
	return reply->trouble == HTTP_BROKEN || reply->trouble == HTTP_NO_CONNECTION;
}

static bool is_stopped(void *user)
{
	const Upload *u = user;

	return session_cancelled(u->session) || (u->stopped && u->stopped(u->user));
}

void upload_done(Upload *u)
{
	free(u->location);
	u->location = NULL;
}

static void forget(Upload *u)
{
	upload_done(u);
	u->offset = 0;
	u->unsure = false;
}

/* Where the upload goes on. A reply without an address leaves the one before. */
static int take_location(Upload *u, const HttpReply *reply, Err *e)
{
	char *next = NULL;

	if (!reply->location && u->location)
		return 0;
	if (!reply->location || strlen(reply->location) > LOCATION_MAX)
		return err_new(e, ERR_INVALID,
			       "the registry began an upload without saying where it goes on (Location)");
	int r = http_url_join(reply->url, reply->location, &next, e);
	if (r < 0)
		return err_ctx(e, r, "upload");
	free(u->location);
	u->location = next;
	return 0;
}

int64_t upload_range_end(const char *range)
{
	const char *dash = range ? strchr(range, '-') : NULL;
	uint64_t last = 0;

	if (!dash || str_to_u64(dash + 1, &last) < 0 || last >= (uint64_t)INT64_MAX)
		return -1;
	return last == 0 ? 0 : (int64_t)last + 1;
}

static void note_chunk_min(Upload *u, const HttpReply *reply)
{
	if (reply->chunk_min <= 0)
		return;
	u->chunk_min = MIN2(reply->chunk_min, CHUNK_MIN_MAX);
	if (u->chunk == 0)
		u->chunk = CHUNK_SIZE;
	u->chunk = MAX2(u->chunk, u->chunk_min);
}

/* Nothing is to lie about at the registry when an upload has failed. It clears up by itself in time, so this is tried once. */
static void abandon(Upload *u)
{
	HttpRequest q = {.method = "DELETE", .cancelled = is_stopped, .cancel_user = u};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (u->location && !is_stopped(u))
		(void)session_do_at(u->session, u->client, u->location, &q, &reply, NULL);
}

/* ---- is it there? ---- */

int upload_blob_exists(Session *s, HttpClient *c, const char *digest, Err *e)
{
	_cleanup_free_ char *what = strf("blobs/%s", digest);
	HttpRequest q = {.method = "HEAD"};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (!what)
		return err_oom(e);
	int r = session_do_patiently(s, c, what, &q, &reply, e);
	if (r < 0)
		return r;
	if (reply.status == 429 || reply.status >= 500)
		return upload_refusal(s, what, &reply, e);
	/* Who may push need not be allowed to look: the upload itself will show. */
	return reply.status == 200;
}

int upload_mount(Upload *u, const char *digest, const char *from, Err *e)
{
	_cleanup_free_ char *what = strf("blobs/uploads/?mount=%s&from=%s", digest, from);
	HttpRequest q = {.method = "POST"};
	_cleanup_(http_reply_done) HttpReply reply = {0};
	Err own = {0};

	if (!what)
		return err_oom(e);
	abandon(u); /* what came of the repository before */
	forget(u);
	int r = session_do(u->session, u->client, what, &q, &reply, &own);
	if (r < 0 && own.kind == ERR_CANCELLED) {
		if (e)
			*e = own;
		return r;
	}
	/* Whatever else goes wrong with a favour, the upload is still there. */
	if (r < 0)
		return 0;
	if (reply.status == 202 && take_location(u, &reply, NULL) == 0)
		note_chunk_min(u, &reply);
	/* Some say so and have nothing. */
	return reply.status == 201 ? upload_blob_exists(u->session, u->client, digest, e) : 0;
}

/* ---- sending ---- */

static int begin(Upload *u, int64_t *retry_after, Err *e)
{
	HttpRequest q = {.method = "POST", .cancelled = is_stopped, .cancel_user = u};
	_cleanup_(http_reply_done) HttpReply reply = {0};
	int r = session_do(u->session, u->client, "blobs/uploads/", &q, &reply, e);

	*retry_after = reply.retry_after;
	if (r < 0)
		return is_worth_a_try(&reply) ? 1 : r;
	if (reply.status != 202) {
		r = upload_refusal(u->session, "begin an upload", &reply, e);
		return http_status_is_temporary(reply.status) ? 1 : r;
	}
	note_chunk_min(u, &reply);
	return take_location(u, &reply, e);
}

static ssize_t give(void *user, int64_t offset, void *buf, size_t cap, Err *e)
{
	Upload *u = user;
	int64_t at = u->offset + offset;

	if (u->piece_end >= 0 && at >= u->piece_end)
		return 0;
	int r = growing_wait(u->blob, at, is_stopped, u, e);

	if (r < 0)
		return r;
	int64_t end = growing_have(u->blob);
	if (u->piece_end >= 0)
		end = MIN2(end, u->piece_end);
	if (at >= end)
		return 0;
	ssize_t n = pread(u->blob->fd, buf, (size_t)MIN2((int64_t)cap, end - at), at);
	if (n <= 0)
		return err_sys(e, n < 0 ? errno : EIO, "read the blob");
	if (u->sent)
		u->sent(u->user, at + n);
	return n;
}

static char *with_digest(const char *location, const char *digest)
{
	return strf("%s%cdigest=%s", location, strchr(location, '?') ? '&' : '?', digest);
}

/* What to do about a request that was not taken: 1 is another try, with its reason in e. */
static int not_taken(Upload *u, const char *what, const HttpReply *reply, Err *e)
{
	int64_t least = MAX2(CHUNK_LEAST, u->chunk_min);
	int r = upload_refusal(u->session, what, reply, e);

	if (http_status_is_temporary(reply->status)) {
		u->unsure = true;
		return 1;
	}
	if (reply->status == 413 && (u->chunk == 0 || u->chunk > least)) {
		u->chunk = u->chunk ? MAX2(u->chunk / 4, least) : CHUNK_SIZE / 2;
		forget(u);
		u->at_once = true;
		return 1;
	}
	/* Forgotten, out of order, or garbled on its way: once more from the start. */
	if ((reply->status == 404 || reply->status == 416 || (reply->status == 400 && u->finishing)) &&
	    u->restarts++ < (reply->status == 400 ? 1 : 3)) {
		forget(u);
		return 1;
	}
	return r;
}

/* Completes the blob, with all of its bytes if none has been sent. */
static int finish(Upload *u, int64_t *retry_after, Err *e)
{
	_cleanup_free_ char *url = with_digest(u->location, u->blob->digest);
	int64_t rest = u->blob->have - u->offset;
	HttpRequest q = {.method = "PUT",
			 .source = give,
			 .source_user = u,
			 .source_len = rest,
			 .cancelled = is_stopped,
			 .cancel_user = u};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (!url)
		return err_oom(e);
	u->piece_end = -1;
	u->finishing = true;
	int r = session_do_at(u->session, u->client, url, &q, &reply, e);
	*retry_after = reply.retry_after;
	if (r < 0) {
		u->unsure = true;
		return is_worth_a_try(&reply) ? 1 : r;
	}
	if (reply.status == 201 || reply.status == 204 || reply.status == 200) {
		if (digest_is_valid(reply.digest) && !streq(reply.digest, u->blob->digest))
			return err_new(e, ERR_INVALID, "the registry keeps the blob %s as %s",
				       u->blob->digest, reply.digest);
		return 0;
	}
	return not_taken(u, "complete an upload", &reply, e);
}

/* After a PATCH that was taken: 2 if there is more to send, 0 if not, 1 if bytes are missing in between. */
static int advance(Upload *u, const HttpReply *reply, Err *e)
{
	int64_t end = upload_range_end(reply->range),
		sent = u->piece_end >= 0 ? u->piece_end : growing_have(u->blob);
	int r = take_location(u, reply, e);

	if (r < 0)
		return r;
	if (end > sent)
		return err_new(e, ERR_INVALID,
			       "the registry says that it has %lld bytes of an upload, only %lld were sent",
			       (long long)end, (long long)sent);
	if (end > 0 && end < sent) { /* it took less */
		u->offset = end;
		r = err_new(e, ERR_UNAVAILABLE, "the registry took %lld of %lld bytes", (long long)end,
			    (long long)sent);
		return r < 0 ? 1 : r;
	}
	u->offset = sent;
	return u->piece_end >= 0 ? 2 : 0;
}

/* How far the next PATCH goes: piece_end, and its length (-1: as far as the blob grows). */
static int plan_piece(Upload *u, int64_t *ret_len, Err *e)
{
	/* One that goes on in the middle has to say how far it goes, so it waits for the end. */
	int64_t more = u->chunk > 0 ? u->offset + u->chunk - 1 : u->offset > 0 ? INT64_MAX : 0;
	int r = growing_wait(u->blob, more, is_stopped, u, e);

	if (r < 0)
		return r;
	int64_t have = growing_have(u->blob);
	u->piece_end = u->chunk > 0 && have - u->offset > u->chunk ? u->offset + u->chunk
		       : r > 0 || u->chunk > 0                     ? have
								   : -1;
	*ret_len = u->piece_end < 0 ? -1 : u->piece_end - u->offset;
	return r > 0 && u->piece_end == have ? 1 : 0;
}

/* One PATCH: 0 when everything is over there, 2 when that piece is, 1 for another try. */
static int send_piece(Upload *u, int64_t *retry_after, Err *e)
{
	char range[64];
	int64_t len = -1;
	int last = plan_piece(u, &len, e);
	HttpRequest q = {.method = "PATCH",
			 .source = give,
			 .source_user = u,
			 .source_len = len,
			 .cancelled = is_stopped,
			 .cancel_user = u};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (last < 0)
		return last;
	if (len == 0)
		return 0;
	/* One that is all there is says nothing of its place, as Docker's does not: some know only that. */
	snprintf(range, sizeof(range), "%lld-%lld", (long long)u->offset, (long long)u->piece_end - 1);
	if (len > 0 && (u->offset > 0 || last == 0))
		q.content_range = range;
	u->finishing = false;
	int r = session_do_at(u->session, u->client, u->location, &q, &reply, e);
	*retry_after = reply.retry_after;
	if (r < 0) {
		u->unsure = true;
		return is_worth_a_try(&reply) ? 1 : r;
	}
	if (reply.status != 202 && reply.status != 201 && reply.status != 204)
		return not_taken(u, "upload", &reply, e);
	r = advance(u, &reply, e);
	return r == 2 && last == 1 ? 0 : r;
}

/* Where the upload stands after a request that broke. 2: the blob is there after all. */
static int ask_offset(Upload *u, int64_t *retry_after, Err *e)
{
	HttpRequest q = {.method = "GET",
			 .max_body = HTTP_ERROR_BODY_MAX,
			 .cancelled = is_stopped,
			 .cancel_user = u};
	_cleanup_(http_reply_done) HttpReply reply = {0};
	int r = session_do_at(u->session, u->client, u->location, &q, &reply, e);

	*retry_after = reply.retry_after;
	if (r < 0)
		return is_worth_a_try(&reply) ? 1 : r;
	if (reply.status == 204 || reply.status == 200 || reply.status == 202) {
		int64_t end = upload_range_end(reply.range);

		if (end < 0 || end > growing_have(u->blob) || take_location(u, &reply, NULL) < 0)
			forget(u);
		else
			u->offset = end;
		u->unsure = false;
		return 0;
	}
	if (http_status_is_temporary(reply.status)) {
		r = upload_refusal(u->session, "ask for the state of an upload", &reply, e);
		return r < 0 ? 1 : r;
	}
	/* Gone: because it was completed, perhaps. */
	if (u->finishing) {
		r = upload_blob_exists(u->session, u->client, u->blob->digest, e);
		if (r != 0)
			return r < 0 ? r : 2;
	}
	forget(u);
	return 0;
}

/* As far as it goes: 0 when the blob is there, 1 for another try. */
static int go_on(Upload *u, int64_t *retry_after, Err *e)
{
	int r = u->location && u->unsure ? ask_offset(u, retry_after, e) : 0;

	if (r != 0)
		return r == 2 ? 0 : r;
	if (!u->location) {
		r = begin(u, retry_after, e);
		if (r != 0)
			return r;
	}
	r = growing_wait(u->blob, u->offset, is_stopped, u, e);
	if (r < 0)
		return r;
	if (r == 1 && u->offset == 0 && u->blob->have <= SMALL_MAX)
		return finish(u, retry_after, e);
	do {
		r = send_piece(u, retry_after, e);
		u->best = MAX2(u->best, u->offset);
	} while (r == 2);
	return r == 0 ? finish(u, retry_after, e) : r;
}

static int pause_before_retry(Upload *u, int64_t ms, Err *e)
{
	for (; ms > 0; ms -= 100) {
		if (is_stopped(u))
			return err_new(e, ERR_CANCELLED, "cancelled");
		int r = session_wait_ms(u->session, MIN2(ms, (int64_t)100), e);
		if (r < 0)
			return r;
	}
	return 0;
}

int upload_blob(Upload *u, Err *e)
{
	int fruitless = 0;

	for (int n = 1;; n++) {
		int64_t before = u->best, retry_after = 0;
		int r = go_on(u, &retry_after, e);

		if (r <= 0) {
			if (r < 0)
				abandon(u);
			return r;
		}
		u->best = MAX2(u->best, u->offset);
		fruitless = u->best > before ? 0 : fruitless + 1;
		if (fruitless == FRUITLESS_MAX || n == TRIES_MAX) {
			abandon(u);
			return err_ctx(e, -EAGAIN, "given up after %d tries", n);
		}
		/* A proxy that finds a body too large may just hang up. */
		if (fruitless == 2 && u->chunk == 0)
			u->chunk = CHUNK_SIZE / 2;
		r = u->at_once ? 0
			       : pause_before_retry(u, retry_delay_ms(MAX2(fruitless, 1), retry_after), e);
		u->at_once = false;
		if (r < 0)
			return r;
	}
}
