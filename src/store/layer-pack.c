/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers as registries want them: their tar, compressed, as a blob; and what is remembered of it.
 *
 * A layer that came from a registry has such a blob already. For one that was made here, a thread writes the tar (and
 * hashes it: it must have the layer's diff id) into a pipe, the caller's thread compresses what comes out, and a third one hashes that
 * and writes the blob; `grown` tells of every piece, so that an upload can begin long before the end. What came of it is
 * noted down (documents "layer-form"), so that the next push knows digest and size without the blob.
 */
#include "base/fd.h"
#include "base/str.h"
#include "store/deflate.h"
#include "store/store-internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#define FORMS     "layer-form"
#define PIPE_SIZE (1 << 20)

static const char *const form_names[] = {[LAYER_GZIP] = "gzip", [LAYER_ZSTD] = "zstd"};

/* ---- what is there ---- */

static bool form_of_bytes(int fd, LayerForm *ret)
{
	uint8_t m[4];

	if (pread(fd, m, sizeof(m), 0) != (ssize_t)sizeof(m))
		return false;
	*ret = m[0] == 0x1F ? LAYER_GZIP : LAYER_ZSTD;
	return (m[0] == 0x1F && m[1] == 0x8B) || memcmp(m, "\x28\xB5\x2F\xFD", 4) == 0;
}

int store_layer_blob(Store *s, const char *chain_id, LayerBlob *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	LayerBlob b = {0};
	int r = db_query(&s->db, &q, e, "SELECT blob FROM layer WHERE chain_id = ?1 AND blob IS NOT NULL",
			 "t", chain_id);

	if (r >= 0)
		r = db_step(&q, e);
	if (r <= 0)
		return r;
	snprintf(b.digest, sizeof(b.digest), "%s", db_text(&q, 0));
	_cleanup_close_ int fd = store_blob_open(s, b.digest, &b.size, NULL);
	if (fd < 0 || !form_of_bytes(fd, &b.form))
		return 0;
	*ret = b;
	return 1;
}

static char *form_key(const char *chain_id, LayerForm form)
{
	return strf("%s %s", chain_id, form_names[form]);
}

int store_layer_form(Store *s, const char *chain_id, LayerForm form, LayerBlob *ret, Err *e)
{
	_cleanup_free_ char *key = form_key(chain_id, form);
	_cleanup_json_ json_t *doc = NULL;
	Err own = {0};

	if (!key)
		return err_oom(e);
	int r = store_doc_get(s, FORMS, key, &doc, &own);
	if (r < 0 && own.kind == ERR_NOT_FOUND)
		return 0;
	if (r < 0) {
		if (e)
			*e = own;
		return r;
	}
	const char *digest = json_get_str(doc, "digest");
	if (!digest || !digest_is_valid(digest))
		return 0;
	memcpy(ret->digest, digest, DIGEST_LEN + 1);
	ret->size = json_get_int(doc, "size", 0);
	ret->form = form;
	return 1;
}

/* A layer without a blob gets this one, and with it a way to be made again. */
static int remember(Store *s, const char *chain_id, const LayerBlob *b, Err *e)
{
	_cleanup_free_ char *key = form_key(chain_id, b->form);
	_cleanup_json_ json_t *doc =
	    json_pack("{s:s, s:I}", "digest", b->digest, "size", (json_int_t)b->size);
	int r = key && doc ? store_doc_put(s, FORMS, key, doc, e) : err_oom(e);

	if (r < 0)
		return r;
	r = db_run(&s->db, e,
		   "UPDATE layer SET blob = ?2 WHERE chain_id = ?1"
		   " AND (blob IS NULL OR blob NOT IN (SELECT digest FROM blob))",
		   "tt", chain_id, b->digest);
	return r < 0 ? r : 0;
}

int layer_forms_gc(Store *s, Err *e)
{
	int r = db_run(&s->db, e,
		       "DELETE FROM doc WHERE collection = '" FORMS "'"
		       " AND substr(key, 1, 71) NOT IN (SELECT chain_id FROM layer)",
		       "");

	return r < 0 ? r : 0;
}

/* ---- making it ---- */

typedef struct TarFeed {
	Store *s;
	const char *chain_id;
	int out_fd;
	int r;
	Err e;
} TarFeed;

static void *feed_tar(void *user)
{
	TarFeed *f = user;
	sigset_t pipe_only;

	/* A reader that gave up is an error to return, not a signal. */
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
	f->r = store_layer_write_tar(f->s, f->chain_id, f->out_fd, &f->e);
	close_fd(&f->out_fd);
	return NULL;
}

/* Compressed bytes on their way from the thread that makes them to one that hashes and writes them: the compressor has a processor to
 * itself. Slots are filled and emptied in turn; `filled` counts those that are full. */
#define SLOTS     4
#define SLOT_SIZE DEFLATE_PIECE

typedef struct Outlet {
	const LayerPack *p;
	BlobWriter *writer;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t *data; /* SLOTS * SLOT_SIZE */
	size_t len[SLOTS];
	unsigned next, filled;
	bool ended;
	int r; /* of the writing thread */
	Err e;
	pthread_t thread;
} Outlet;

/* The oldest full slot, or NULL when there are no more. */
static uint8_t *outlet_take(Outlet *o, size_t *ret_len)
{
	uint8_t *slot = NULL;

	pthread_mutex_lock(&o->lock);
	while (o->filled == 0 && !o->ended)
		pthread_cond_wait(&o->changed, &o->lock);
	if (o->filled > 0) {
		unsigned first = (o->next + SLOTS - o->filled) % SLOTS;

		slot = o->data + (size_t)first * SLOT_SIZE;
		*ret_len = o->len[first];
	}
	pthread_mutex_unlock(&o->lock);
	return slot;
}

static void outlet_free_slot(Outlet *o, int r)
{
	pthread_mutex_lock(&o->lock);
	o->filled--;
	o->r = r;
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
}

static void *write_out(void *user)
{
	Outlet *o = user;
	size_t len = 0;
	int r = 0;

	for (uint8_t *slot; (slot = outlet_take(o, &len));) {
		/* After a failure slots are only emptied, so that nobody waits. */
		if (r == 0)
			r = blob_writer_write(o->writer, slot, len, &o->e);
		if (r == 0 && o->p->grown)
			o->p->grown(o->p->user, blob_writer_fd(o->writer), blob_writer_size(o->writer));
		outlet_free_slot(o, r);
	}
	return NULL;
}

static int outlet_put(void *user, const void *data, size_t len, Err *e)
{
	Outlet *o = user;
	int r;

	if (len == 0)
		return 0;
	pthread_mutex_lock(&o->lock);
	while (o->filled == SLOTS)
		pthread_cond_wait(&o->changed, &o->lock);
	r = o->r;
	if (r == 0) {
		memcpy(o->data + (size_t)o->next * SLOT_SIZE, data, len);
		o->len[o->next] = len;
		o->next = (o->next + 1) % SLOTS;
		o->filled++;
		pthread_cond_signal(&o->changed);
	}
	pthread_mutex_unlock(&o->lock);
	if (r < 0 && e)
		*e = o->e;
	return r;
}

static int outlet_begin(Outlet *o, Err *e)
{
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	o->data = malloc((size_t)SLOTS * SLOT_SIZE);
	int no = o->data ? pthread_create(&o->thread, NULL, write_out, o) : ENOMEM;
	if (no == 0)
		return 0;
	free(o->data);
	return err_sys(e, no, "start a thread");
}

/* Everything is written, or will never be. */
static int outlet_end(Outlet *o, Err *e)
{
	pthread_mutex_lock(&o->lock);
	o->ended = true;
	pthread_cond_signal(&o->changed);
	pthread_mutex_unlock(&o->lock);
	pthread_join(o->thread, NULL);
	free(o->data);
	pthread_cond_destroy(&o->changed);
	pthread_mutex_destroy(&o->lock);
	if (o->r < 0 && e)
		*e = o->e;
	return o->r;
}

/* Whole pieces only: what deflate.h wants. */
static int pack_stream(const LayerPack *p, int fd, Outlet *o, Err *e)
{
	_cleanup_(deflate_freep) Deflate *d = NULL;
	_cleanup_free_ char *piece = malloc(DEFLATE_PIECE);
	int64_t done = 0;
	int r = piece ? deflate_new(p->form == LAYER_ZSTD ? DEFLATE_ZSTD : DEFLATE_GZIP, &d, e) : err_oom(e);

	for (bool last = false; r >= 0 && !last;) {
		ssize_t n = fd_read_full(fd, piece, DEFLATE_PIECE);

		if (n < 0)
			return err_sys(e, (int)n, "read the tar of a layer");
		if (p->stopped && p->stopped(p->user))
			return err_new(e, ERR_CANCELLED, "cancelled");
		last = n < (ssize_t)DEFLATE_PIECE;
		r = deflate_add(d, piece, (size_t)n, last, outlet_put, o, e);
		done += n;
		if (r >= 0 && p->progress)
			p->progress(p->user, done);
	}
	return r;
}

static int pack_and_write(const LayerPack *p, int fd, BlobWriter *w, Err *e)
{
	Outlet o = {.p = p, .writer = w};
	int r = outlet_begin(&o, e), written;

	if (r < 0)
		return r;
	r = pack_stream(p, fd, &o, e);
	written = outlet_end(&o, r < 0 ? NULL : e);
	return r < 0 ? r : written;
}

static int run_pipe(Store *s, const char *chain_id, const LayerPack *p, BlobWriter *w, Err *e)
{
	_cleanup_close_ int from = -1;
	TarFeed feed = {.s = s, .chain_id = chain_id};
	pthread_t thread;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE); /* a smaller one only costs switches */
	from = fds[0];
	feed.out_fd = fds[1];
	int r = pthread_create(&thread, NULL, feed_tar, &feed);
	if (r != 0) {
		(void)close(fds[1]);
		return err_sys(e, r, "start a thread");
	}
	r = pack_and_write(p, from, w, e);
	/* Whatever stopped the reader must not leave the writer stuck. */
	close_fd(&from);
	pthread_join(thread, NULL);
	if (r >= 0 && feed.r < 0) {
		if (e)
			*e = feed.e;
		return feed.r;
	}
	return r;
}

int store_layer_pack(Store *s, const char *chain_id, const LayerPack *p, LayerBlob *ret, Err *e)
{
	_cleanup_(blob_writer_freep) BlobWriter *w = NULL;
	LayerBlob b = {.form = p->form};
	int r = blob_writer_new(s, &w, e);

	if (r >= 0)
		r = run_pipe(s, chain_id, p, w, e);
	if (r >= 0)
		r = blob_writer_commit(w, NULL, -1, b.digest, e);
	if (r >= 0) {
		b.size = blob_writer_size(w);
		r = remember(s, chain_id, &b, e);
	}
	if (r < 0)
		return err_ctx(e, r, "compress layer %s", chain_id);
	*ret = b;
	return 0;
}
