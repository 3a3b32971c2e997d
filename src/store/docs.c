/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents of the floors above: one row each. */
#include "base/str.h"
#include "store/store-internal.h"

#include <pthread.h>

#define THREADS_MAX 7  /* beside the caller */
#define SHARE       16 /* documents that a thread takes at once */

int store_doc_put(Store *s, const char *collection, const char *key, const json_t *doc, Err *e)
{
	_cleanup_free_ char *text = json_text(doc);
	int r;

	if (!text)
		return err_oom(e);
	r = db_run(&s->db, e,
		   "INSERT INTO doc (collection, key, json) VALUES (?1, ?2, ?3)"
		   " ON CONFLICT DO UPDATE SET json = excluded.json",
		   "ttt", collection, key, text);
	return r < 0 ? err_ctx(e, r, "store the %s %s", collection, key) : 0;
}

int store_doc_delete(Store *s, const char *collection, const char *key, Err *e)
{
	static const char sql[] = "DELETE FROM doc WHERE collection = ?1 AND key = ?2";
	int r = db_run(&s->db, e, sql, "tt", collection, key);

	if (r == -ENOSPC && reserve_give(s))
		r = db_run(&s->db, e, sql, "tt", collection, key);
	return r < 0 ? err_ctx(e, r, "delete the %s %s", collection, key) : 0;
}

static int parse_doc(const char *collection, const char *key, const char *text, json_t **ret, Err *e)
{
	int r = json_parse(text, strlen(text), "the stored document", ret, e);

	return r < 0 ? err_ctx(e, r, "%s %s", collection, key) : 0;
}

int store_doc_get(Store *s, const char *collection, const char *key, json_t **ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT json FROM doc WHERE collection = ?1 AND key = ?2", "tt",
			 collection, key);

	if (r >= 0)
		r = db_step(&q, e);
	if (r < 0)
		return err_ctx(e, r, "read the %s %s", collection, key);
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "No such %s: %s", collection, key);
	return parse_doc(collection, key, db_text(&q, 0), ret, e);
}

/* Keys and texts in turn, so that the callback runs without the lock and may itself use the store. */
static int read_all(Store *s, const char *collection, char ***ret, size_t *ret_n, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	char **v = NULL;
	size_t n = 0;
	int r = db_query(&s->db, &q, e, "SELECT key, json FROM doc WHERE collection = ?1 ORDER BY key", "t",
			 collection);

	while (r >= 0 && (r = db_step(&q, e)) > 0) {
		if ((n & (n - 1)) == 0) {
			char **grown = reallocarray(v, n ? n * 2 : 1, 2 * sizeof(*v));

			if (!grown) {
				r = err_oom(e);
				break;
			}
			v = grown;
		}
		v[2 * n] = strdup(db_text(&q, 0));
		v[2 * n + 1] = strdup(db_text(&q, 1));
		n++;
		if (!v[2 * n - 2] || !v[2 * n - 1])
			r = err_oom(e);
	}
	*ret = v;
	*ret_n = n;
	return r;
}

int store_doc_keys(Store *s, const char *collection, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	_cleanup_strv_ char **v = calloc(1, sizeof(*v));
	size_t n = 0;
	int r = v ? db_query(&s->db, &q, e, "SELECT key FROM doc WHERE collection = ?1 ORDER BY key", "t",
			     collection)
		  : err_oom(e);

	while (r >= 0 && (r = db_step(&q, e)) > 0) {
		/* A power of two is full, with its end. */
		char **grown = (n & (n + 1)) == 0 ? reallocarray(v, 2 * n + 2, sizeof(*v)) : v;

		if (!grown)
			return err_oom(e);
		v = grown;
		v[n] = strdup(db_text(&q, 0));
		if (!v[n])
			return err_oom(e);
		v[++n] = NULL;
	}
	if (r < 0)
		return err_ctx(e, r, "list the %s documents", collection);
	*ret = take_ptr(v);
	return 0;
}

typedef int (*DocFn)(void *user, const char *key, json_t *doc);

static int visit(const char *collection, const char *key, const char *text, DocFn fn, void *user, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = parse_doc(collection, key, text, &doc, e);

	return r == 0 ? fn(user, key, doc) : r;
}

static int read_documents(Store *s, const char *collection, char ***ret, size_t *ret_n, Err *e)
{
	int r = read_all(s, collection, ret, ret_n, e);

	return r < 0 ? err_ctx(e, r, "list the %s documents", collection) : 0;
}

static void documents_free(char **v, size_t n)
{
	for (size_t i = 0; i < 2 * n; i++)
		free(v[i]);
	free(v);
}

int store_doc_each(Store *s, const char *collection, DocFn fn, void *user, Err *e)
{
	char **v = NULL;
	size_t n = 0;
	int r = read_documents(s, collection, &v, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = visit(collection, v[2 * i], v[2 * i + 1], fn, user, e);
	documents_free(v, n);
	return r;
}

/* ---- on several processors */

typedef struct Crowd {
	const char *collection;
	char **v;
	size_t n;
	DocFn fn;
	void *user;
	size_t next; /* atomic */
	pthread_mutex_t lock;
	int r; /* the first that is not 0 */
	Err err;
} Crowd;

static bool crowd_goes_on(Crowd *c, int r, const Err *e)
{
	bool on;

	pthread_mutex_lock(&c->lock);
	if (r != 0 && c->r == 0) {
		c->r = r;
		c->err = *e;
	}
	on = c->r == 0;
	pthread_mutex_unlock(&c->lock);
	return on;
}

static void *crowd_thread(void *arg)
{
	Crowd *c = arg;
	bool on = true;

	while (on) {
		size_t first = __atomic_fetch_add(&c->next, SHARE, __ATOMIC_RELAXED);
		Err e = {0};
		int r = 0;

		for (size_t i = first; r == 0 && i < MIN2(first + SHARE, c->n); i++)
			r = visit(c->collection, c->v[2 * i], c->v[2 * i + 1], c->fn, c->user, &e);
		on = first < c->n && crowd_goes_on(c, r, &e);
	}
	return NULL;
}

int store_doc_each_at_once(Store *s, const char *collection, DocFn fn, void *user, Err *e)
{
	Crowd c = {.collection = collection, .fn = fn, .user = user, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[THREADS_MAX];
	size_t started = 0, want;
	int r = read_documents(s, collection, &c.v, &c.n, e);

	if (r == 0) {
		long others = MIN2(sysconf(_SC_NPROCESSORS_ONLN) - 1, (long)THREADS_MAX);

		want = others > 0 ? MIN2(c.n / SHARE, (size_t)others) : 0;
		/* With fewer it is slower, no more. */
		while (started < want && pthread_create(&threads[started], NULL, crowd_thread, &c) == 0)
			started++;
		crowd_thread(&c);
		for (size_t i = 0; i < started; i++)
			pthread_join(threads[i], NULL);
		r = c.r;
		if (r < 0 && e)
			*e = c.err;
	}
	documents_free(c.v, c.n);
	return r;
}
