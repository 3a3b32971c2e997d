/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of one image: fetched in parallel, unpacked in order, and where possible while they arrive.
 *
 * A bounded number of workers downloads, lowest layer first, each piece into a BlobWriter, which hashes it. As long as fewer than
 * UNPACKERS_MAX layers are being unpacked, each piece goes into a pipe too, at whose other end a thread has store_layer_apply() unpack
 * it: the layer is `streamed`. It needs the layer below only in the end (`below`), and is not believed until its gate opens, when the
 * blob is complete and has its digest. All other layers are unpacked by the calling thread, bottom up, from their blobs. Whoever waits,
 * waits for a layer further down, so that there is always one that goes on.
 *
 * A blob that another pull is fetching already is waited for (flights.h), and then found in the store.
 *
 * The blobs of an artifact go the same way without being unpacked: they have no diff id.
 *
 * The first failure is the pull's; everything else then stops (`stopping`), by the cancel poll of the downloads and by the
 * gates. A broken download goes on where it stopped (Range); what was handed out is never handed out twice.
 *
 * Locks: LayersPull.lock guards `next`, `lent`, `unpacking`, `stopping`, `err` and every Layer's `download`, `streamed`, `unpacking`, `committed`.
 */
#include "registry/registry-internal.h"
#include "base/clock.h"
#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <time.h>

#define PROGRESS_EVERY_NS (100 * 1000000LL)
#define PIPE_SIZE         (1 << 20)
#define UNPACKERS_MAX     2 /* at once: each costs memory, and a processor */
#define AWAIT_DIGEST_MAX  (4 << 20)
#define TRIES_MAX         50 /* however much each brings */

typedef enum Outcome { PENDING, DONE, FAILED } Outcome;

struct LayersPull;

typedef struct Layer {
	struct LayersPull *all;
	size_t index;
	const ImageDescriptor *d;
	const char *diff_id;         /* NULL: a blob that is only kept */
	char parent[DIGEST_LEN + 1]; /* "" for the lowest */
	char chain[DIGEST_LEN + 1];
	char id[13]; /* what progress calls it */
	Outcome download;
	bool streamed, unpacking, committed;
	atomic_bool applied; /* store_layer_apply returned with success */
	atomic_llong received;
	int64_t last_progress;
	pthread_t unpacker;
	bool has_unpacker; /* to be joined in the end */
	/* of the worker that has it */
	Flight *flight; /* NULL: its turn is over */
	BlobWriter *writer;
	int pipe[2];
} Layer;

typedef struct LayersPull {
	Session *session;
	Store *store;
	Layer *layers;
	size_t n;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t next, unpacking;
	HttpClient *lent; /* for the first worker that asks, or NULL */
	atomic_bool stopping;
	int r;
	Err err;
} LayersPull;

static void say(const Layer *l, const char *status, int64_t current, int64_t total)
{
	const RegistryPull *p = l->all->session->pull;

	if (p->progress)
		p->progress(p->user, l->id, status, current, total);
}

static void say_sometimes(Layer *l, const char *status, int64_t current)
{
	int64_t now = clock_mono_ns();

	if (now - l->last_progress < PROGRESS_EVERY_NS)
		return;
	l->last_progress = now;
	say(l, status, current, l->d->size);
}

/* The first failure stands; those that follow from it say nothing new. */
static void fail(LayersPull *a, int r, const Err *e)
{
	pthread_mutex_lock(&a->lock);
	if (a->r == 0) {
		a->r = r;
		a->err = *e;
	}
	a->stopping = true;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

static void set_outcome(Layer *l, Outcome o)
{
	pthread_mutex_lock(&l->all->lock);
	l->download = o;
	pthread_cond_broadcast(&l->all->changed);
	pthread_mutex_unlock(&l->all->lock);
}

static void set_committed(Layer *l)
{
	pthread_mutex_lock(&l->all->lock);
	l->committed = true;
	pthread_cond_broadcast(&l->all->changed);
	pthread_mutex_unlock(&l->all->lock);
}

/* ---- unpacking ---- */

/* Whatever follows the end of the archive is part of the blob, and must not stop its download at a full pipe. */
static void drain(const Layer *l)
{
	char rest[4096];
	ssize_t n;

	do
		n = l->pipe[0] >= 0 ? read(l->pipe[0], rest, sizeof(rest)) : 0;
	while (n > 0 || (n < 0 && errno == EINTR));
}

/* Has the next place among UNPACKERS_MAX, and waits until it is free: who has one gives it back without waiting for a layer further
 * down (below()), so that this ends. */
static void unpacking_begins(Layer *l)
{
	LayersPull *a = l->all;

	pthread_mutex_lock(&a->lock);
	l->unpacking = true;
	a->unpacking++;
	while (!a->stopping && a->unpacking > UNPACKERS_MAX)
		pthread_cond_wait(&a->changed, &a->lock);
	pthread_mutex_unlock(&a->lock);
}

static void unpacking_ends(Layer *l)
{
	pthread_mutex_lock(&l->all->lock);
	l->all->unpacking -= l->unpacking;
	l->unpacking = false;
	pthread_cond_broadcast(&l->all->changed);
	pthread_mutex_unlock(&l->all->lock);
}

/* The tree is there, and may depend on what lies below from now on. */
static int below(void *user, Err *e)
{
	Layer *l = user;
	LayersPull *a = l->all;
	bool there;

	unpacking_ends(l);
	drain(l);
	pthread_mutex_lock(&a->lock);
	while (!a->stopping && !a->layers[l->index - 1].committed)
		pthread_cond_wait(&a->changed, &a->lock);
	there = a->layers[l->index - 1].committed;
	pthread_mutex_unlock(&a->lock);
	return there ? 0 : err_new(e, ERR_CANCELLED, "the pull was stopped");
}

static int gate(void *user, Err *e)
{
	Layer *l = user;
	LayersPull *a = l->all;
	bool open;

	drain(l);
	pthread_mutex_lock(&a->lock);
	while (!a->stopping && l->download == PENDING)
		pthread_cond_wait(&a->changed, &a->lock);
	open = !a->stopping && l->download == DONE;
	pthread_mutex_unlock(&a->lock);
	return open && !session_cancelled(a->session) ? 0 : err_new(e, ERR_CANCELLED, "the pull was stopped");
}

static void on_unpacked(void *user, int64_t bytes_read)
{
	Layer *l = user;
	bool downloaded;

	pthread_mutex_lock(&l->all->lock);
	downloaded = l->download == DONE;
	pthread_mutex_unlock(&l->all->lock);
	if (downloaded)
		say_sometimes(l, "Extracting", bytes_read);
}

static int apply(Layer *l, int fd, Err *e)
{
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1];
	const LayerApply x = {.parent = *l->parent ? l->parent : NULL,
			      .want_diff_id = l->diff_id,
			      .blob = l->d->digest,
			      .fd = fd,
			      .below = *l->parent ? below : NULL,
			      .gate = gate,
			      .progress = on_unpacked,
			      .user = l};
	int r = store_layer_apply(l->all->store, &x, chain, diff, e);

	if (r < 0)
		return err_ctx(e, r, "unpack layer %s", l->d->digest);
	l->applied = true;
	return 0;
}

static void finish(Layer *l)
{
	set_committed(l);
	say(l, "Pull complete", 0, 0);
}

/* Runs beside the download, and on until the layer below is there. When unpacking fails because the download did, the download's
 * error is the one to tell: its thread reports it before it ends the pipe. */
static void *apply_thread(void *user)
{
	Layer *l = user;
	Err e = {0};
	int r = apply(l, l->pipe[0], &e);

	/* What the unpacker found damaged may be another blob than was asked for: its digest tells, if it is not far. */
	if (r < 0 && l->d->size - l->received <= AWAIT_DIGEST_MAX)
		drain(l);
	unpacking_ends(l);
	close_fd(&l->pipe[0]);
	if (r < 0)
		fail(l->all, r, &e);
	else
		finish(l);
	return NULL;
}

/* ---- downloading ---- */

static bool layer_stopped(void *user)
{
	const Layer *l = user;

	return l->all->stopping || l->applied || session_cancelled(l->all->session);
}

/* Waits for room in the pipe, so that a stopped pull does not hang on a full one. */
static int feed(Layer *l, const char *data, size_t len, Err *e)
{
	while (len > 0 && l->pipe[1] >= 0) {
		struct pollfd p = {.fd = l->pipe[1], .events = POLLOUT};
		ssize_t n;

		if (layer_stopped(l))
			return err_new(e, ERR_CANCELLED, "cancelled");
		if (poll(&p, 1, 200) <= 0)
			continue;
		n = write(l->pipe[1], data, len);
		if (n < 0 && errno == EPIPE)
			close_fd(&l->pipe[1]); /* nobody unpacks any more; why, its thread says */
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(e, errno, "write to the unpacker");
		else if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int on_data(void *user, int64_t offset, const void *data, size_t len, Err *e)
{
	Layer *l = user;
	int64_t have = blob_writer_size(l->writer);

	if (offset != have)
		return err_new(e, ERR_INVALID,
			       "the bytes from %lld on came where those from %lld on were due",
			       (long long)offset, (long long)have);
	if ((int64_t)len > l->d->size - have)
		return err_new(e, ERR_INVALID, "the registry sends more than the %lld bytes of the manifest",
			       (long long)l->d->size);
	int r = blob_writer_write(l->writer, data, len, e);
	if (r < 0)
		return r;
	l->received = have + (int64_t)len;
	flight_tell(l->flight, have + (int64_t)len);
	r = feed(l, data, len, e);
	if (r == 0)
		say_sometimes(l, "Downloading", have + (int64_t)len);
	return r;
}

/* "Retrying in N seconds", as the seconds pass. */
static int pause_before_retry(Layer *l, int64_t ms, Err *e)
{
	for (int64_t left = ms; left > 0; left -= 100) {
		if (layer_stopped(l))
			return err_new(e, ERR_CANCELLED, "cancelled");
		if (ms >= 1000 && (ms - left) % 1000 == 0) {
			char text[64];
			int64_t s = (left + 999) / 1000;

			snprintf(text, sizeof(text), "Retrying in %lld second%s", (long long)s,
				 s == 1 ? "" : "s");
			say(l, text, 0, 0);
		}
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	}
	return 0;
}

/* One request for what is missing. 1: worth another try, with its error in e. */
static int fetch_rest(Layer *l, HttpClient *c, int64_t *ret_retry_after, Err *e)
{
	_cleanup_free_ char *what = strf("blobs/%s", l->d->digest);
	HttpRequest q = {.method = "GET",
			 .range_from = blob_writer_size(l->writer),
			 .sink = on_data,
			 .sink_user = l,
			 .cancelled = layer_stopped,
			 .cancel_user = l};
	_cleanup_(http_reply_done) HttpReply reply = {0};

	if (!what)
		return err_oom(e);
	int r = session_do(l->all->session, c, what, &q, &reply, e);
	*ret_retry_after = reply.retry_after;
	if (r < 0)
		return reply.trouble == HTTP_BROKEN ||
			       (reply.trouble == HTTP_NO_CONNECTION && q.range_from > 0)
			   ? 1
			   : r;
	if (reply.status != 200 && reply.status != 206) {
		r = session_refusal(l->all->session, "layer", &reply, e);
		return http_status_is_temporary(reply.status) ? 1 : r;
	}
	if (blob_writer_size(l->writer) < l->d->size) {
		r = err_new(e, ERR_UNAVAILABLE, "the registry sent %lld of %lld bytes",
			    (long long)blob_writer_size(l->writer), (long long)l->d->size);
		return r < 0 ? 1 : r;
	}
	return 0;
}

static int fetch(Layer *l, HttpClient *c, Err *e)
{
	int fruitless = 0, attempts = (int)registry_limit(&l->all->session->registry->limits.attempts);

	for (int n = 0; blob_writer_size(l->writer) < l->d->size; n++) {
		int64_t before = blob_writer_size(l->writer), retry_after = 0;
		int r = fetch_rest(l, c, &retry_after, e);

		if (r < 0)
			return r;
		fruitless = blob_writer_size(l->writer) > before ? 0 : fruitless + 1;
		if (r == 0 || blob_writer_size(l->writer) == l->d->size)
			continue;
		if (fruitless >= attempts || n >= MAX2(attempts, TRIES_MAX))
			return err_ctx(e, -EAGAIN, "given up after %d tries", n + 1);
		r = pause_before_retry(l, retry_delay_spread_ms(fruitless + 1, retry_after), e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What a stopped or broken download has got stays in l->writer, for whoever comes next. */
static int download(Layer *l, HttpClient *c, Err *e)
{
	char digest[DIGEST_LEN + 1];
	int r = l->writer ? 0 : blob_writer_new(l->all->store, &l->writer, e);

	if (r == 0)
		r = fetch(l, c, e);
	bool of_use = r < 0 && e && (e->kind == ERR_CANCELLED || e->kind == ERR_UNAVAILABLE);
	if (r == 0) {
		say(l, "Verifying Checksum", 0, 0);
		r = blob_writer_commit(l->writer, l->d->digest, l->d->size, digest, e);
	}
	if (!of_use)
		blob_writer_free(take_ptr(l->writer));
	if (r == 0)
		say(l, "Download complete", 0, 0);
	return r < 0 ? err_ctx(e, r, "download layer %s", l->d->digest) : 0;
}

/* ---- one layer ---- */

static int open_pipe(Layer *l, Err *e)
{
	if (pipe2(l->pipe, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe to the unpacker");
	(void)fcntl(l->pipe[1], F_SETPIPE_SZ, PIPE_SIZE); /* a smaller one only costs switches */
	(void)fcntl(l->pipe[1], F_SETFL, O_NONBLOCK);
	return 0;
}

/* A pull that was stopped or cut off is begun again; one that failed otherwise would fail again. */
static bool is_asked_for_again(Layer *l)
{
	LayersPull *a = l->all;

	pthread_mutex_lock(&a->lock);
	bool again = a->r == 0 || a->err.kind == ERR_CANCELLED || a->err.kind == ERR_UNAVAILABLE;
	pthread_mutex_unlock(&a->lock);
	return again;
}

/* The others, or who comes later, may have what has arrived. */
static void end_turn(Layer *l, bool keep)
{
	flight_land(l->flight, take_ptr(l->writer));
	flight_leave(take_ptr(l->flight), keep);
}

/* Returns when the download is over; the unpacker goes on by itself. */
static int run_download(Layer *l, HttpClient *c, Err *e)
{
	int r = open_pipe(l, e);

	if (r < 0)
		return r;
	int no = pthread_create(&l->unpacker, NULL, apply_thread, l);
	if (no != 0) {
		close_fd(&l->pipe[0]);
		close_fd(&l->pipe[1]);
		return err_sys(e, no, "start a thread");
	}
	l->has_unpacker = true;
	r = download(l, c, e);
	/* Somebody else may have made the layer meanwhile: then nothing is missing. */
	if (r < 0 && l->applied)
		r = 0;
	else if (r < 0)
		fail(l->all, r, e);
	set_outcome(l, r < 0 ? FAILED : DONE);
	close_fd(&l->pipe[1]);
	return r;
}

static int run_from_blob(Layer *l, Err *e)
{
	int64_t size = 0;
	_cleanup_close_ int fd = store_blob_open(l->all->store, l->d->digest, &size, e);

	if (fd < 0)
		return fd;
	if (size != l->d->size)
		return err_new(e, ERR_INVALID, "layer %s has %lld bytes, the manifest says %lld",
			       l->d->digest, (long long)size, (long long)l->d->size);
	unpacking_begins(l);
	int r = apply(l, fd, e);
	unpacking_ends(l);
	return r;
}

static bool may_stream(Layer *l)
{
	LayersPull *a = l->all;

	pthread_mutex_lock(&a->lock);
	l->streamed = l->unpacking = a->unpacking < UNPACKERS_MAX;
	a->unpacking += l->streamed;
	pthread_mutex_unlock(&a->lock);
	return l->streamed;
}

/* A blob that an image is known to have is brought back, though its layer is there. */
static bool is_whole(const Layer *l)
{
	if (!l->diff_id)
		return store_blob_has(l->all->store, l->d->digest);
	return store_layer_has(l->all->store, l->chain) && !store_blob_lost(l->all->store, l->d->digest);
}

/* In one's turn: another pull may have brought the blob, made the layer, or got half-way, meanwhile. */
static int run_in_turn(Layer *l, HttpClient *c, Err *e)
{
	int r;

	if (is_whole(l)) {
		finish(l);
		return 0;
	}
	if (store_blob_has(l->all->store, l->d->digest)) {
		say(l, "Download complete", 0, 0); /* verified when it came */
		set_outcome(l, DONE);
		return 0;
	}
	l->writer = flight_partial(l->flight);
	if (l->diff_id && !l->writer && may_stream(l)) {
		r = run_download(l, c, e);
		if (!l->has_unpacker)
			unpacking_ends(l);
		return r;
	}
	r = download(l, c, e);
	if (r == 0 && l->diff_id)
		set_outcome(l, DONE);
	else if (r == 0)
		finish(l);
	return r;
}

static int wait_for_turn(Layer *l, Err *e)
{
	while (!flight_turn(l->flight, 100)) {
		if (layer_stopped(l))
			return err_new(e, ERR_CANCELLED, "cancelled");
		say_sometimes(l, "Downloading", flight_told(l->flight));
	}
	return 0;
}

/* What a worker does; a layer that is not streamed is left to unpack_rest(). */
static void run_layer(Layer *l, HttpClient *c)
{
	const Session *s = l->all->session;
	Err e = {0};
	int r = 0;

	l->flight = flight_join(s->registry->flights, s->base, l->d->digest);
	if (!l->flight) {
		fail(l->all, err_oom(&e), &e);
		return;
	}
	r = wait_for_turn(l, &e);
	if (r == 0) {
		r = run_in_turn(l, c, &e);
		if (r < 0)
			fail(l->all, r, &e);
		end_turn(l, is_asked_for_again(l));
	} else {
		flight_leave(take_ptr(l->flight), true);
		fail(l->all, r, &e);
	}
}

static Layer *take_next(LayersPull *a)
{
	Layer *l = NULL;

	pthread_mutex_lock(&a->lock);
	while (a->next < a->n && a->layers[a->next].committed)
		a->next++;
	if (!a->stopping && a->next < a->n)
		l = &a->layers[a->next++];
	pthread_mutex_unlock(&a->lock);
	return l;
}

static HttpClient *take_lent(LayersPull *a)
{
	pthread_mutex_lock(&a->lock);
	HttpClient *c = take_ptr(a->lent);
	pthread_mutex_unlock(&a->lock);
	return c;
}

static void *worker(void *user)
{
	LayersPull *a = user;
	HttpClient *lent = take_lent(a), *c = lent;
	Err e = {0};
	int r = lent ? 0 : registry_client_get(a->session->registry, &c, &e);

	if (r < 0) {
		fail(a, r, &e);
		return NULL;
	}
	for (Layer *l; (l = take_next(a));)
		run_layer(l, c);
	if (!lent)
		http_client_free(c);
	return NULL;
}

/* ---- all layers ---- */

static Layer *plan(LayersPull *a, size_t i, const ImageDescriptor *d)
{
	Layer *l = &a->layers[i];

	l->all = a;
	l->index = i;
	l->d = d;
	l->pipe[0] = l->pipe[1] = -1;
	memcpy(l->id, digest_hex(d->digest), 12);
	return l;
}

static void plan_layers(LayersPull *a, const ImageManifest *m, char *const *diff_ids)
{
	for (size_t i = 0; i < a->n; i++) {
		Layer *l = plan(a, i, &m->layers[i]);

		l->diff_id = diff_ids[i];
		if (i > 0)
			memcpy(l->parent, a->layers[i - 1].chain, sizeof(l->parent));
		chain_id_next(*l->parent ? l->parent : NULL, l->diff_id, l->chain);
		l->committed = is_whole(l);
	}
}

/* What has an address elsewhere is left there. */
static void plan_blobs(LayersPull *a, const ImageManifest *m)
{
	for (size_t i = 0; i < a->n; i++) {
		Layer *l = plan(a, i, i < m->n_layers ? &m->layers[i] : &m->config);

		l->committed = strv_len(l->d->urls) > 0 || is_whole(l);
	}
}

static size_t count_missing(const LayersPull *a)
{
	size_t missing = 0;

	for (size_t i = 0; i < a->n; i++)
		missing += !a->layers[i].committed;
	return missing;
}

static void announce(LayersPull *a)
{
	size_t at_once = registry_limit(&a->session->registry->limits.layers), waiting = 0;

	for (size_t i = 0; i < a->n; i++)
		say(&a->layers[i], a->layers[i].committed ? "Already exists" : "Pulling fs layer", 0, 0);
	for (size_t i = 0; i < a->n; i++)
		if (!a->layers[i].committed && waiting++ >= at_once)
			say(&a->layers[i], "Waiting", 0, 0);
}

/* Waits until the layer is committed by its worker (false), or downloaded and ours to unpack (true). */
static bool wait_for(Layer *l)
{
	LayersPull *a = l->all;
	bool ours;

	pthread_mutex_lock(&a->lock);
	while (!a->stopping && !l->committed && (l->download != DONE || l->streamed))
		pthread_cond_wait(&a->changed, &a->lock);
	ours = !a->stopping && !l->committed;
	pthread_mutex_unlock(&a->lock);
	return ours;
}

static void unpack_rest(LayersPull *a)
{
	for (size_t i = 0; i < a->n && !a->stopping; i++) {
		Layer *l = &a->layers[i];
		Err e = {0};

		if (!wait_for(l))
			continue;
		int r = session_cancelled(a->session) ? err_new(&e, ERR_CANCELLED, "cancelled")
						      : run_from_blob(l, &e);
		if (r < 0)
			fail(a, r, &e);
		else
			finish(l);
	}
}

static void run_workers(LayersPull *a, size_t missing)
{
	pthread_t threads[REGISTRY_AT_ONCE_MAX];
	size_t want = MIN2(missing, registry_limit(&a->session->registry->limits.layers)), n = 0;

	for (; n < want; n++) {
		int no = pthread_create(&threads[n], NULL, worker, a);

		if (no != 0) {
			Err e = {0};

			if (n == 0) /* with one worker the pull is slower, with none it fails */
				fail(a, err_sys(&e, no, "start a thread"), &e);
			break;
		}
	}
	unpack_rest(a);
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* diff_ids: NULL for an artifact. */
static int pull(LayersPull *a, const ImageManifest *m, char *const *diff_ids, Err *e)
{
	a->layers = calloc(a->n + 1, sizeof(*a->layers));
	if (!a->layers)
		return err_oom(e);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	if (diff_ids)
		plan_layers(a, m, diff_ids);
	else
		plan_blobs(a, m);
	announce(a);
	run_workers(a, count_missing(a));
	for (size_t i = 0; i < a->n; i++)
		if (a->layers[i].has_unpacker)
			pthread_join(a->layers[i].unpacker, NULL);
	pthread_cond_destroy(&a->changed);
	pthread_mutex_destroy(&a->lock);
	free(a->layers);
	if (a->r < 0 && e)
		*e = a->err;
	return a->r;
}

int layers_pull(Session *s, HttpClient *c, Store *store, const ImageManifest *m, char *const *diff_ids,
		Err *e)
{
	static char *const none[] = {NULL};
	LayersPull a = {.session = s, .store = store, .lent = c, .n = m->n_layers};

	return pull(&a, m, diff_ids ? diff_ids : none, e);
}

int blobs_pull(Session *s, HttpClient *c, Store *store, const ImageManifest *m, Err *e)
{
	LayersPull a = {.session = s, .store = store, .lent = c, .n = m->n_layers + 1};

	return pull(&a, m, NULL, e);
}
