/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where blobs were seen: at which registry, in which repositories of it.
 *
 * What a pull brought from one repository, a push to another one at the same registry can have mounted there, without sending
 * a byte. Documents "blob-place": digest -> {"registry": ["repository", ...]}, the last seen first. A hint, nothing more: a registry
 * is asked before anything relies on it.
 */
#include "base/str.h"
#include "store/store-internal.h"

#define PLACES           "blob-place"
#define REPOSITORIES_MAX 4 /* of one registry: a mount needs one that works */
#define REGISTRIES_MAX   16

/* The document of a blob, or a new one. */
static int load(Store *s, const char *digest, json_t **ret, Err *e)
{
	Err own = {0};
	int r = store_doc_get(s, PLACES, digest, ret, &own);

	if (r < 0 && own.kind == ERR_NOT_FOUND) {
		*ret = json_object();
		return *ret ? 0 : err_oom(e);
	}
	if (r < 0 && e)
		*e = own;
	return r;
}

static ssize_t find(const json_t *list, const char *path)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		if (streq0(json_string_value(json_array_get(list, i)), path))
			return (ssize_t)i;
	return -1;
}

/* 1 if the document has changed, 0 if it said so already. */
static int add(json_t *doc, const char *domain, const char *path)
{
	json_t *list = json_object_get(doc, domain);
	ssize_t at = find(list, path);

	if (at == 0)
		return 0;
	if (!list) {
		if (json_object_size(doc) >= REGISTRIES_MAX)
			json_object_clear(doc);
		list = json_array();
		if (json_object_set_new(doc, domain, list) < 0)
			return -ENOMEM;
	}
	if (at > 0)
		json_array_remove(list, (size_t)at);
	if (json_array_size(list) >= REPOSITORIES_MAX)
		json_array_remove(list, REPOSITORIES_MAX - 1);
	return json_array_insert_new(list, 0, json_string(path)) < 0 ? -ENOMEM : 1;
}

int store_blobs_seen(Store *s, const char *domain, const char *path, char *const *digests, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int r = db_begin(&s->db, &tx, e);

	for (char *const *d = digests; r >= 0 && d && *d; d++) {
		_cleanup_json_ json_t *doc = NULL;

		r = load(s, *d, &doc, e);
		if (r < 0)
			break;
		r = add(doc, domain, path);
		if (r > 0)
			r = store_doc_put(s, PLACES, *d, doc, e);
		else if (r < 0)
			r = err_oom(e);
	}
	if (r >= 0)
		r = db_commit(&tx, e);
	return r < 0 ? err_ctx(e, r, "note where blobs are") : 0;
}

int store_blob_places(Store *s, const char *digest, const char *domain, char ***ret_paths, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = load(s, digest, &doc, e);

	if (r < 0)
		return r;
	r = json_to_strv(json_object_get(doc, domain), ret_paths);
	return r == -ENOMEM ? err_oom(e) : 0;
}

int blob_places_gc(Store *s, Err *e)
{
	int r = db_run(&s->db, e,
		       "DELETE FROM doc WHERE collection = '" PLACES "'"
		       " AND key NOT IN (SELECT digest FROM blob)"
		       " AND key NOT IN (SELECT blob FROM layer WHERE blob IS NOT NULL)",
		       "");

	return r < 0 ? r : 0;
}
