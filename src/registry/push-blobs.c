/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blobs of an image to a repository.
 *
 * A few workers, of which the calling thread is one, take blob by blob. One whose digest is known is looked for first,
 * then asked for out of another repository (mount), then sent from the store. A layer without a blob is compressed by
 * a thread of its own and sent while it grows; one that turns out small is looked for like the others, since by then its
 * digest is known. No more layers are compressed at once than there are processors.
 *
 * The first failure is the push's; everything else then stops (`stopping`), by the polls of uploads and compressors.
 */
#include "registry/push.h"
#include "base/clock.h"
#include "base/str.h"

#include <time.h>

#define PROGRESS_EVERY_NS (100 * 1000000LL)
#define SMALL_MAX         (1 << 20)
#define MOUNTS_MAX        2 /* tries */

static void say(const PushBlob *b, const char *status, int64_t current, int64_t total)
{
	const RegistryPush *p = b->all->p;

	if (p->progress && *b->id)
		p->progress(p->user, b->id, status, current, total);
}

static void say_sometimes(PushBlob *b, int64_t current, int64_t total)
{
	int64_t now = clock_mono_ns();

	if (now - b->last_progress < PROGRESS_EVERY_NS || total <= 0)
		return;
	b->last_progress = now;
	say(b, "Pushing", MIN2(current, total), total);
}

static void fail(PushImage *a, int r, const Err *e)
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

static bool blob_stopped(void *user)
{
	const PushBlob *b = user;

	return b->all->stopping || session_cancelled(b->all->session);
}

static void on_sent(void *user, int64_t bytes)
{
	PushBlob *b = user;

	say_sometimes(b, bytes, b->size);
}

/* ---- blobs that are known ---- */

/* 1 if the repository has it, be it by a mount. */
static int is_there(PushBlob *b, Upload *u, Err *e)
{
	int r = upload_blob_exists(u->session, u->client, b->digest, e);

	if (r != 0) {
		if (r > 0)
			say(b, "Layer already exists", 0, 0);
		return r;
	}
	for (size_t i = 0; b->from && b->from[i] && i < MOUNTS_MAX; i++) {
		_cleanup_free_ char *text = strf("Mounted from %s", b->from[i]);

		r = upload_mount(u, b->digest, b->from[i], e);
		if (r > 0 && text)
			say(b, text, 0, 0);
		if (r != 0)
			return r;
	}
	return 0;
}

/* ---- layers that are compressed on the way ---- */

typedef struct Packing {
	PushBlob *blob;
	Growing growing;
	atomic_bool stopped;
	LayerBlob made;
	int r;
	Err e;
} Packing;

static void on_grown(void *user, int fd, int64_t bytes)
{
	Packing *k = user;

	growing_add(&k->growing, fd, bytes);
}

static void on_tar(void *user, int64_t bytes)
{
	Packing *k = user;

	say_sometimes(k->blob, bytes, k->blob->layer_size);
}

static bool packing_stopped(void *user)
{
	const Packing *k = user;

	return k->stopped || blob_stopped(k->blob);
}

static void *pack_thread(void *user)
{
	Packing *k = user;
	const PushImage *a = k->blob->all;
	const LayerPack p = {
	    .form = a->p->form, .grown = on_grown, .progress = on_tar, .stopped = packing_stopped, .user = k};

	k->r = store_layer_pack(a->store, k->blob->chain, &p, &k->made, &k->e);
	growing_end(&k->growing, k->made.digest, k->r);
	return NULL;
}

/* Waits for a processor. */
static int begin_packing(PushBlob *b, Err *e)
{
	PushImage *a = b->all;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	int most = (int)MAX2(processors, 1L);

	pthread_mutex_lock(&a->lock);
	while (a->packing >= most && !a->stopping)
		pthread_cond_wait(&a->changed, &a->lock);
	a->packing++;
	pthread_mutex_unlock(&a->lock);
	return blob_stopped(b) ? err_new(e, ERR_CANCELLED, "cancelled") : 0;
}

static void end_packing(PushBlob *b)
{
	pthread_mutex_lock(&b->all->lock);
	b->all->packing--;
	pthread_cond_broadcast(&b->all->changed);
	pthread_mutex_unlock(&b->all->lock);
}

static void learn(PushBlob *b, const LayerBlob *made)
{
	memcpy(b->digest, made->digest, sizeof(b->digest));
	b->size = made->size;
	b->form = made->form;
	b->plain = false;
	b->known = b->packed = true;
}

/* Sends what the thread makes. 1: there was nothing to send. */
static int send_packed(Packing *k, Upload *u, Err *e)
{
	PushBlob *b = k->blob;
	bool knew = b->known;
	int r = growing_wait(&k->growing, SMALL_MAX, blob_stopped, b, e);

	if (r < 0)
		return r;
	if (r == 1 && !(knew && streq(b->digest, k->made.digest))) {
		learn(b, &k->made);
		r = is_there(b, u, e);
		if (r != 0)
			return r;
	}
	u->blob = &k->growing;
	return upload_blob(u, e);
}

static int pack_and_send(PushBlob *b, Upload *u, Err *e)
{
	Packing k = {.blob = b};
	pthread_t thread;
	int r = begin_packing(b, e);

	growing_init(&k.growing);
	if (r == 0) {
		int no = pthread_create(&thread, NULL, pack_thread, &k);

		if (no != 0)
			r = err_sys(e, no, "start a thread");
	}
	if (r == 0) {
		r = send_packed(&k, u, e);
		k.stopped = r < 0;
		pthread_join(thread, NULL);
		if (k.r < 0 && k.e.kind != ERR_CANCELLED && e)
			*e = k.e; /* why there was nothing to send */
		if (k.r == 0)
			learn(b, &k.made);
	}
	growing_done(&k.growing);
	end_packing(b);
	return r;
}

/* ---- one blob ---- */

static int send_from_store(PushBlob *b, Upload *u, int fd, int64_t size, Err *e)
{
	Growing g;

	growing_init(&g);
	growing_whole(&g, fd, size, b->digest);
	b->size = size;
	u->blob = &g;
	u->sent = on_sent;
	int r = upload_blob(u, e);
	growing_done(&g);
	return r;
}

static int run_blob(PushBlob *b, Upload *u, Err *e)
{
	int64_t size = 0;
	int fd = -1, r = b->known ? is_there(b, u, e) : 0;

	if (r != 0)
		return r;
	if (b->known)
		fd = store_blob_open(b->all->store, b->digest, &size, NULL);
	if (fd < 0 && !*b->chain)
		return err_new(e, ERR_INTERNAL, "the blob %s is missing: pull or build the image again",
			       b->digest);
	say(b, "Pushing", 0, 0);
	r = fd >= 0 ? send_from_store(b, u, fd, size, e) : pack_and_send(b, u, e);
	if (r == 0)
		say(b, "Pushed", 0, 0);
	return r;
}

static int push_blob(PushBlob *b, HttpClient *c, Err *e)
{
	Upload u = {.session = b->all->session, .client = c, .stopped = blob_stopped, .user = b};
	int r = run_blob(b, &u, e);

	upload_done(&u);
	if (r >= 0)
		return 0;
	/* What is about the whole repository needs no name of a layer. */
	if (!e || e->kind == ERR_DENIED || e->kind == ERR_UNAUTHORIZED || e->kind == ERR_CANCELLED)
		return r;
	return err_ctx(e, r, "push %s", b->known ? b->digest : b->id);
}

/* ---- all of them ---- */

static PushBlob *take_next(PushImage *a)
{
	PushBlob *b = NULL;

	pthread_mutex_lock(&a->lock);
	while (a->next < a->n && (a->blobs[a->next].foreign || a->blobs[a->next].same))
		a->next++;
	if (!a->stopping && a->next < a->n)
		b = &a->blobs[a->next++];
	pthread_mutex_unlock(&a->lock);
	return b;
}

static void work(PushImage *a, HttpClient *c)
{
	for (PushBlob *b; (b = take_next(a));) {
		Err e = {0};
		int r = push_blob(b, c, &e);

		if (r < 0)
			fail(a, r, &e);
	}
}

static void *worker(void *user)
{
	PushImage *a = user;
	_cleanup_(http_client_freep) HttpClient *c = NULL;
	Err e = {0};
	int r = registry_client_get(a->session->registry, &c, &e);

	if (r < 0)
		fail(a, r, &e);
	else
		work(a, c);
	return NULL;
}

static size_t announce(const PushImage *a, size_t at_once)
{
	size_t layers = 0, n = 0;

	for (size_t i = 0; i < a->n; i++)
		say(&a->blobs[i], "Preparing", 0, 0);
	for (size_t i = 0; i < a->n; i++) {
		const PushBlob *b = &a->blobs[i];

		n += !b->foreign && !b->same;
		if (b->foreign)
			say(b, "Skipped foreign layer", 0, 0);
		else if (!b->same && *b->chain && layers++ >= at_once)
			say(b, "Waiting", 0, 0);
	}
	return n;
}

/* Those that are said once and meant several times. */
static void settle_same(PushImage *a)
{
	for (size_t i = 0; i < a->n; i++) {
		PushBlob *b = &a->blobs[i];

		if (!b->same)
			continue;
		memcpy(b->digest, b->same->digest, sizeof(b->digest));
		b->size = b->same->size;
		b->form = b->same->form;
		b->plain = b->same->plain;
		b->known = true;
		say(b, "Layer already exists", 0, 0);
	}
}

int push_blobs(PushImage *a, HttpClient *c, Err *e)
{
	size_t at_once = registry_limit(&a->session->registry->limits.blobs), n = 0;
	size_t want = MIN2(announce(a, at_once), at_once);
	pthread_t threads[REGISTRY_AT_ONCE_MAX];

	/* With fewer threads it is slower, no more. */
	while (n + 1 < want && pthread_create(&threads[n], NULL, worker, a) == 0)
		n++;
	work(a, c);
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (a->r < 0) {
		if (e)
			*e = a->err;
		return a->r;
	}
	settle_same(a);
	return 0;
}
