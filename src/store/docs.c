/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents of the floors above: one row each. */
#include "base/str.h"
#include "store/store-internal.h"

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

int store_doc_each(Store *s, const char *collection, int (*fn)(void *user, const char *key, json_t *doc),
		   void *user, Err *e)
{
	char **v = NULL;
	size_t n = 0;
	int r = read_all(s, collection, &v, &n, e);

	if (r < 0)
		r = err_ctx(e, r, "list the %s documents", collection);
	for (size_t i = 0; r == 0 && i < n; i++) {
		_cleanup_json_ json_t *doc = NULL;

		r = parse_doc(collection, v[2 * i], v[2 * i + 1], &doc, e);
		if (r == 0)
			r = fn(user, v[2 * i], doc);
	}
	for (size_t i = 0; i < 2 * n; i++)
		free(v[i]);
	free(v);
	return r;
}
