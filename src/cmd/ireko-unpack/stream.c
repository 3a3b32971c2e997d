/* SPDX-License-Identifier: Apache-2.0 */
/* The decompressing thread and its ring; the model is in stream.h. */
#include "stream.h"

#include "store/digest.h"

#include <pthread.h>

#define CHUNKS     6
#define CHUNK_SIZE (256u << 10)
#define INPUT_SIZE (256u << 10)

struct Stream {
	int fd;
	int64_t max_bytes;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ready, go;
	bool hash_when_taken; /* then the hasher is the caller's */
	uint8_t *chunk[CHUNKS];
	size_t chunk_len[CHUNKS];
	size_t tail, full;
	bool lent;  /* the chunk at tail is in the caller's hands */
	bool ended; /* nothing will be added */
	int failed;
	Err error;
	int64_t bytes_read;
	/* the thread's own until it has ended */
	Hasher *hasher;
	int64_t bytes_out;
	uint8_t *in;
	size_t in_at, in_len;
	bool in_ended;
	Inflate *inflate;
};

static int read_more(Stream *s, Err *e)
{
	ssize_t n;

	do
		n = read(s->fd, s->in + s->in_len, INPUT_SIZE - s->in_len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_sys(e, errno, "read the archive");
	s->in_len += (size_t)n;
	s->in_ended = n == 0;
	pthread_mutex_lock(&s->lock);
	s->bytes_read += n;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Fills one chunk as far as the stream goes; *ret_len < CHUNK_SIZE only at its end. */
static int fill_chunk(Stream *s, uint8_t *out, size_t *ret_len, Err *e)
{
	size_t len = 0;

	while (len < CHUNK_SIZE) {
		size_t used, made;
		int r;

		if (s->in_at == s->in_len && !s->in_ended) {
			s->in_at = s->in_len = 0;
			r = read_more(s, e);
			if (r < 0)
				return r;
		}
		r = inflate_step(s->inflate, s->in + s->in_at, s->in_len - s->in_at, &used, out + len,
				 CHUNK_SIZE - len, &made, s->in_ended, e);
		if (r < 0)
			return r;
		s->in_at += used;
		len += made;
		if (s->in_ended && used == 0 && made == 0)
			break;
	}
	*ret_len = len;
	if (len < CHUNK_SIZE)
		return inflate_finish(s->inflate, e);
	return 0;
}

static int begin(Stream *s, Err *e)
{
	while (s->in_len < INFLATE_MAGIC && !s->in_ended) {
		int r = read_more(s, e);

		if (r < 0)
			return r;
	}
	return inflate_new(s->in, s->in_len, &s->inflate, e);
}

static uint8_t *free_chunk(Stream *s)
{
	uint8_t *chunk;

	pthread_mutex_lock(&s->lock);
	while (s->full == CHUNKS)
		pthread_cond_wait(&s->changed, &s->lock);
	chunk = s->chunk[(s->tail + s->full) % CHUNKS];
	pthread_mutex_unlock(&s->lock);
	return chunk;
}

static void publish(Stream *s, size_t len, bool ended, int failed, const Err *e)
{
	pthread_mutex_lock(&s->lock);
	if (len > 0) {
		s->chunk_len[(s->tail + s->full) % CHUNKS] = len;
		s->full++;
	}
	if (failed < 0) {
		s->failed = failed;
		s->error = *e;
	}
	s->ended = ended || failed < 0;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *run(void *user)
{
	Stream *s = user;
	Err e = {0};
	size_t len = CHUNK_SIZE;
	int r;

	pthread_mutex_lock(&s->lock);
	s->ready = true;
	pthread_cond_broadcast(&s->changed);
	while (!s->go)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);

	r = begin(s, &e);
	while (r >= 0 && len == CHUNK_SIZE) {
		uint8_t *chunk = free_chunk(s);

		r = fill_chunk(s, chunk, &len, &e);
		if (r < 0)
			break;
		s->bytes_out += (int64_t)len;
		if (s->bytes_out > s->max_bytes) {
			r = err_new(&e, ERR_INVALID,
				    "the layer is larger than the limit of %lld bytes when unpacked",
				    (long long)s->max_bytes);
			break;
		}
		if (s->hasher && !s->hash_when_taken)
			hasher_add(s->hasher, chunk, len);
		publish(s, len, len < CHUNK_SIZE, 0, NULL);
	}
	if (r < 0)
		publish(s, 0, true, r, &e);
	return NULL;
}

int stream_new(int fd, int64_t max_bytes, bool hashed, Stream **ret, Err *e)
{
	Stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_oom(e);
	s->fd = fd;
	s->max_bytes = max_bytes;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->hasher = hashed ? hasher_new() : NULL;
	s->in = malloc(INPUT_SIZE);
	s->chunk[0] = malloc((size_t)CHUNKS * CHUNK_SIZE);
	if ((hashed && !s->hasher) || !s->in || !s->chunk[0]) {
		r = err_oom(e);
		goto undo;
	}
	for (size_t i = 1; i < CHUNKS; i++)
		s->chunk[i] = s->chunk[0] + i * CHUNK_SIZE;
	r = pthread_create(&s->thread, NULL, run, s);
	if (r != 0) {
		r = err_sys(e, r, "start a thread");
		goto undo;
	}
	/* What the C library does at the start of a thread is done before the sandbox is sealed. */
	pthread_mutex_lock(&s->lock);
	while (!s->ready)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	*ret = s;
	return 0;
undo:
	hasher_free(s->hasher);
	free(s->in);
	free(s->chunk[0]);
	free(s);
	return r;
}

void stream_hash_when_taken(Stream *s)
{
	s->hash_when_taken = true;
}

void stream_go(Stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->go = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

ssize_t stream_next(void *user, const uint8_t **ret, Err *e)
{
	Stream *s = user;
	ssize_t n = 0;

	pthread_mutex_lock(&s->lock);
	if (s->lent) {
		s->lent = false;
		s->tail = (s->tail + 1) % CHUNKS;
		s->full--;
		pthread_cond_broadcast(&s->changed);
	}
	while (s->full == 0 && !s->ended)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->full > 0) {
		*ret = s->chunk[s->tail];
		n = (ssize_t)s->chunk_len[s->tail];
		s->lent = true;
	} else if (s->failed < 0) {
		n = s->failed;
		if (e)
			*e = s->error;
	}
	pthread_mutex_unlock(&s->lock);
	if (n > 0 && s->hash_when_taken)
		hasher_add(s->hasher, *ret, (size_t)n);
	return n;
}

int64_t stream_bytes_read(Stream *s)
{
	int64_t n;

	pthread_mutex_lock(&s->lock);
	n = s->bytes_read;
	pthread_mutex_unlock(&s->lock);
	return n;
}

int stream_digest(Stream *s, char ret[DIGEST_LEN + 1], int64_t *ret_bytes, Err *e)
{
	int r;

	/* `ended` was seen under the lock, and the thread touches nothing of its own after setting it. */
	*ret_bytes = s->bytes_out;
	if (!s->hasher) {
		ret[0] = '\0';
		return 0;
	}
	r = hasher_digest(s->hasher, ret);
	return r < 0 ? err_sys(e, r, "hash the layer") : 0;
}
