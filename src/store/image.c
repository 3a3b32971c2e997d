/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: a config blob, the chain of layers that it names, and tags.
 *
 * The row of an image repeats what listings need (size, creation, chain id), so that no blob is opened for them.
 * References are kept in full form; those with a digest are rows of the same table and told apart by their "@".
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/str.h"
#include "store/store-internal.h"

#define MEDIA_TYPE_MAX 255 /* two names of up to 127, and the slash */
#define NEW_TRIES      10
#define USED_EVERY_NS  (3600 * 1000000000ll) /* how exactly the last use is known */

void store_image_done(StoreImage *i)
{
	free(i->id);
	free(i->manifest_digest);
	free(i->parent);
	free(i->chain_id);
	free(i->labels);
	free(i->artifact_type);
	free(i->index_digest);
	strv_free(i->tags);
	strv_free(i->digests);
	*i = (StoreImage){0};
}

void store_images_free(StoreImage *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		store_image_done(&v[i]);
	free(v);
}

/* ---- recording ---- */

static int load_document(Store *s, const char *digest, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = store_blob_read(s, digest, IMAGE_DOCUMENT_MAX, &text, &len, e);

	return r < 0 ? r : json_parse(text, len, digest, ret, e);
}

/* An artifact's id names its manifest, which must not be taken for the config of an image without layers. */
static int check_is_config(const json_t *doc, Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};

	if (!json_object_get(doc, "layers") || image_manifest_decode(doc, &m, NULL) < 0)
		return 0;
	const char *type = image_manifest_artifact(&m);
	return err_new(e, ERR_INVALID, "it is an artifact of type %.200s, not a container image",
		       type ? type : "unknown");
}

int store_image_config(Store *s, const char *id, ImageConfig *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = load_document(s, id, &doc, e);

	if (r >= 0)
		r = check_is_config(doc, e);
	if (r >= 0)
		r = image_config_decode(doc, ret, e);
	return r < 0 ? err_ctx(e, r, "config of image %s", id) : 0;
}

/* The chain id of the top layer ("" without layers) and the bytes of all. */
static int resolve_chain(Store *s, char *const *diff_ids, char chain[DIGEST_LEN + 1], int64_t *ret_size,
			 Err *e)
{
	char below[DIGEST_LEN + 1] = "";
	int64_t sum = 0;

	chain[0] = 0;
	for (char *const *d = diff_ids; d && *d; d++) {
		int64_t size;
		int r;

		if (!digest_is_valid(*d))
			return err_new(e, ERR_INVALID, "invalid diff id: %s", *d);
		memcpy(below, chain, sizeof(below));
		chain_id_next(*below ? below : NULL, *d, chain);
		r = store_layer_size(s, chain, &size, e);
		if (r < 0)
			return r;
		sum += size;
	}
	*ret_size = sum;
	return 0;
}

static int add_blob(Store *s, const char *id, const char *digest, Err *e)
{
	/* Foreign layers and the like were never fetched. */
	int r = db_run(&s->db, e,
		       "INSERT OR IGNORE INTO image_blob (image_id, digest) SELECT ?1, digest FROM blob "
		       "WHERE digest = ?2",
		       "tt", id, digest);

	return r < 0 ? r : 0;
}

static int load_manifest(Store *s, const char *digest, ImageManifest *ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = load_document(s, digest, &doc, e);

	return r < 0 ? r : image_manifest_decode(doc, ret, e);
}

static int add_blobs(Store *s, const char *id, const char *manifest_digest, const ImageManifest *m, Err *e)
{
	int r = add_blob(s, id, id, e);

	if (r >= 0 && manifest_digest)
		r = add_blob(s, id, manifest_digest, e);
	if (r >= 0 && m->config.digest && !streq(m->config.digest, id))
		r = add_blob(s, id, m->config.digest, e);
	for (size_t i = 0; r >= 0 && i < m->n_layers; i++)
		r = add_blob(s, id, m->layers[i].digest, e);
	return r;
}

typedef struct PutImage {
	const char *id, *manifest_digest, *parent, *chain, *labels, *artifact_type;
	int64_t size, created_ns;
} PutImage;

static int put_rows(Store *s, const PutImage *p, const ImageManifest *m, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int64_t found = 1;
	int r = db_begin(&s->db, &tx, e);

	if (r >= 0 && p->chain)
		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM layer WHERE chain_id = ?1", "t",
			       p->chain);
	if (r >= 0 && !found)
		return err_new(e, ERR_CONFLICT, "the layer %s was deleted meanwhile: try again", p->chain);
	if (r >= 0)
		r = db_run(&s->db, e,
			   "INSERT INTO image (id, manifest_digest, parent, chain_id, size, created_ns, "
			   "tagged_ns, labels, used_ns, artifact_type)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET"
			   " manifest_digest = coalesce(excluded.manifest_digest, manifest_digest),"
			   " parent = coalesce(excluded.parent, parent), labels = excluded.labels,"
			   " used_ns = excluded.used_ns",
			   "ttttiitit", p->id, p->manifest_digest, p->parent, p->chain, p->size,
			   p->created_ns, p->labels, clock_now_ns(), p->artifact_type);
	if (r >= 0)
		r = add_blobs(s, p->id, p->manifest_digest, m, e);
	return r < 0 ? r : db_commit(&tx, e);
}

int store_image_put(Store *s, const char *config_digest, const char *manifest_digest, const char *parent,
		    Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	_cleanup_(image_config_done) ImageConfig c = {0};
	char chain[DIGEST_LEN + 1];
	PutImage p = {.id = config_digest, .manifest_digest = manifest_digest, .parent = parent};
	int r = store_image_config(s, config_digest, &c, e);

	if (r >= 0)
		r = resolve_chain(s, c.diff_ids, chain, &p.size, e);
	if (r >= 0 && manifest_digest)
		r = load_manifest(s, manifest_digest, &m, e);
	if (r < 0)
		return err_ctx(e, r, "record image %s", config_digest);
	/* Labels that cannot be said in JSON are looked up in the config when they are asked for. */
	_cleanup_json_ json_t *labels = json_map_from_strv(c.run.labels);
	_cleanup_free_ char *labels_text = labels ? json_text(labels) : NULL;
	p.labels = labels_text;
	p.chain = *chain ? chain : NULL;
	/* A creation time that nobody can read is no reason to refuse an image. */
	if (!c.created || clock_parse(c.created, &p.created_ns) < 0)
		p.created_ns = 0;
	r = put_rows(s, &p, &m, e);
	return r < 0 ? err_ctx(e, r, "record image %s", config_digest) : 0;
}

/* Users see it, scripts compare it (RFC 6838, section 4.2). */
static bool is_media_type(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&-^_.+/");

	return n > 0 && n <= MEDIA_TYPE_MAX && s[n] == 0;
}

/* What is fetched from elsewhere, and never by us, is no part of it. */
static bool is_elsewhere(const ImageDescriptor *d)
{
	return strv_len(d->urls) > 0;
}

static int check_artifact(Store *s, const ImageManifest *m, PutImage *p, Err *e)
{
	p->artifact_type = image_manifest_artifact(m);
	if (!p->artifact_type)
		return err_new(e, ERR_INVALID, "it is a container image, not an artifact");
	if (!is_media_type(p->artifact_type))
		return err_new(e, ERR_INVALID, "its type is not a media type");
	for (size_t i = 0; i <= m->n_layers; i++) {
		const ImageDescriptor *d = i < m->n_layers ? &m->layers[i] : &m->config;
		int64_t size = 0;
		int r = is_elsewhere(d)
			    ? 0
			    : db_get_int(&s->db, &size, -1, e, "SELECT size FROM blob WHERE digest = ?1", "t",
					 d->digest);

		if (r < 0)
			return r;
		if (size < 0)
			return err_new(e, ERR_CONFLICT, "its blob %s was deleted meanwhile: try again",
				       d->digest);
		p->size += size;
	}
	return 0;
}

int store_artifact_put(Store *s, const char *manifest_digest, Err *e)
{
	_cleanup_(image_manifest_done) ImageManifest m = {0};
	PutImage p = {.id = manifest_digest, .manifest_digest = manifest_digest, .labels = "{}"};
	int r = load_manifest(s, manifest_digest, &m, e);

	if (r >= 0)
		r = check_artifact(s, &m, &p, e);
	if (r >= 0)
		r = put_rows(s, &p, &m, e);
	return r < 0 ? err_ctx(e, r, "record artifact %s", manifest_digest) : 0;
}

int store_image_keep(Store *s, const char *id, const char *digest, Err *e)
{
	int r = add_blob(s, id, digest, e);

	return r < 0 ? err_ctx(e, r, "keep %s with image %s", digest, id) : 0;
}

/* ---- reading ---- */

#define COLUMNS                                                                                              \
	"i.id, i.manifest_digest, i.size, i.created_ns, i.tagged_ns, i.parent, i.chain_id, i.labels, "       \
	"t.reference, i.used_ns, i.artifact_type, i.index_digest, "                                          \
	"EXISTS (SELECT 1 FROM image_part p WHERE p.part_id = i.id), "                                       \
	"EXISTS (SELECT 1 FROM image_part p WHERE p.image_id = i.id)"

static int dup_column(const DbQuery *q, int column, char **ret)
{
	const char *text = db_text(q, column);

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int fill_image(const DbQuery *q, StoreImage *i)
{
	i->size = db_int(q, 2);
	i->created_ns = db_int(q, 3);
	i->tagged_ns = db_int(q, 4);
	i->used_ns = db_int(q, 9);
	i->part = db_int(q, 12) != 0;
	i->has_parts = db_int(q, 13) != 0;
	if (dup_column(q, 0, &i->id) < 0 || dup_column(q, 1, &i->manifest_digest) < 0 ||
	    dup_column(q, 5, &i->parent) < 0)
		return -ENOMEM;
	if (dup_column(q, 6, &i->chain_id) < 0 || dup_column(q, 7, &i->labels) < 0)
		return -ENOMEM;
	return dup_column(q, 10, &i->artifact_type) < 0 ? -ENOMEM : dup_column(q, 11, &i->index_digest);
}

static int fill_reference(const DbQuery *q, StoreImage *i)
{
	const char *reference = db_text(q, 8);

	if (!reference)
		return 0;
	return strv_add(strchr(reference, '@') ? &i->digests : &i->tags, reference);
}

/* Rows are an image each, repeated for each of its references, in order of both. */
static int read_images(DbQuery *q, StoreImage **ret, size_t *ret_n, Err *e)
{
	StoreImage *v = NULL;
	size_t n = 0;
	int r;

	while ((r = db_step(q, e)) > 0) {
		if (n == 0 || !streq(v[n - 1].id, db_text(q, 0))) {
			if ((n & (n - 1)) == 0) {
				StoreImage *grown = reallocarray(v, n ? n * 2 : 1, sizeof(*v));

				if (!grown) {
					r = err_oom(e);
					break;
				}
				v = grown;
			}
			v[n++] = (StoreImage){0};
			r = fill_image(q, &v[n - 1]);
		}
		if (r >= 0)
			r = fill_reference(q, &v[n - 1]);
		if (r < 0) {
			r = err_oom(e);
			break;
		}
	}
	if (r < 0) {
		store_images_free(v, n);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const StoreImage *x = a, *y = b;

	if (x->created_ns != y->created_ns)
		return x->created_ns > y->created_ns ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_text(char **v)
{
	size_t n = strv_len(v);

	if (n > 1)
		qsort(v, n, sizeof(*v), by_text);
}

/* The database gives them in the order of its indexes, which costs it nothing; sorting rows by their times would. */
int store_image_list(Store *s, StoreImage **ret, size_t *ret_n, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e,
			 "SELECT " COLUMNS " FROM image i LEFT JOIN tag t ON t.image_id = i.id ORDER BY i.id",
			 "");

	if (r >= 0)
		r = read_images(&q, ret, ret_n, e);
	for (size_t i = 0; r >= 0 && i < *ret_n; i++) {
		sort_text((*ret)[i].tags);
		sort_text((*ret)[i].digests);
	}
	if (r >= 0 && *ret_n > 1)
		qsort(*ret, *ret_n, sizeof(**ret), newest_first);
	return r;
}

int store_image_get(Store *s, const char *id, StoreImage *ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	StoreImage *v = NULL;
	size_t n = 0;
	int r =
	    db_query(&s->db, &q, e,
		     "SELECT " COLUMNS " FROM image i LEFT JOIN tag t ON t.image_id = i.id WHERE i.id = ?1"
		     " ORDER BY t.reference",
		     "t", id);

	if (r >= 0)
		r = read_images(&q, &v, &n, e);
	if (r < 0)
		return r;
	if (n == 0)
		return err_new(e, ERR_NOT_FOUND, "No such image: %s", id);
	*ret = v[0];
	free(v);
	return 0;
}

/* ---- parts ---- */

static int parts_replace(Store *s, const char *id, const char *index_digest, char *const *parts, Err *e)
{
	int r = db_run(&s->db, e, "DELETE FROM image_part WHERE image_id = ?1", "t", id);
	int64_t at = 0;

	if (r >= 0)
		r = db_run(&s->db, e, "UPDATE image SET index_digest = ?2 WHERE id = ?1", "tt", id,
			   index_digest);
	if (r == 0)
		return err_new(e, ERR_NOT_FOUND, "No such image: %s", id);
	if (r > 0 && index_digest)
		r = add_blob(s, id, index_digest, e);
	for (char *const *p = parts; r >= 0 && p && *p; p++)
		r = db_run(&s->db, e,
			   "INSERT INTO image_part (image_id, part_id, at) SELECT ?1, id, ?3 FROM image "
			   "WHERE id = ?2 AND id != ?1",
			   "tti", id, *p, at++);
	return r;
}

int store_image_parts_set(Store *s, const char *id, const char *index_digest, char *const *parts, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int r = db_begin(&s->db, &tx, e);

	if (r >= 0)
		r = parts_replace(s, id, index_digest, parts, e);
	if (r >= 0)
		r = db_commit(&tx, e);
	return r < 0 ? err_ctx(e, r, "parts of image %s", id) : 0;
}

int store_image_part_add(Store *s, const char *id, const char *part, Err *e)
{
	int r =
	    db_run(&s->db, e,
		   "INSERT OR IGNORE INTO image_part (image_id, part_id, at) SELECT ?1, id, (SELECT "
		   "coalesce(max(at), 0) + 1 FROM image_part WHERE image_id = ?1) FROM image WHERE id = ?2 "
		   "AND id != ?1",
		   "tt", id, part);

	return r < 0 ? err_ctx(e, r, "parts of image %s", id) : 0;
}

int store_image_parts(Store *s, const char *id, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT part_id FROM image_part WHERE image_id = ?1 ORDER BY at", "t",
			 id);

	*ret = NULL;
	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			r = err_oom(e);
	if (r < 0)
		strv_free(take_ptr(*ret));
	return r;
}

/* 1 if it is an image of that platform. */
static int is_for(Store *s, const char *id, const ImagePlatform *want, Err *e)
{
	_cleanup_(image_config_done) ImageConfig c = {.run.stop_timeout = -1};
	int r = store_image_config(s, id, &c, e);

	if (r < 0)
		return r;
	ImageDescriptor d = {.has_platform = true, .platform = c.platform};
	const ImageIndex one = {.manifests = &d, .n_manifests = 1};
	return image_index_select(&one, want) != NULL;
}

int store_image_choose(Store *s, StoreImage *image, const ImagePlatform *want, Err *e)
{
	_cleanup_strv_ char **parts = NULL;
	int r = image->has_parts ? store_image_parts(s, image->id, &parts, e) : 0;

	if (r < 0 || !parts)
		return r;
	r = is_for(s, image->id, want, e);
	for (char **p = parts; r == 0 && *p; p++) {
		_cleanup_(store_image_done) StoreImage part = {0};

		r = store_image_get(s, *p, &part, e);
		if (r >= 0 && !part.artifact_type)
			r = is_for(s, *p, want, e);
		if (r <= 0)
			continue;
		store_image_done(image);
		*image = part;
		part = (StoreImage){0};
	}
	return r < 0 ? err_ctx(e, r, "look for the platform") : 0;
}

/* ---- finding what a user typed ---- */

/* The image that a reference row points at: 1, or 0 if there is none. */
static int find_tag(Store *s, const char *reference, char **ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT image_id FROM tag WHERE reference = ?1", "t", reference);

	if (r >= 0)
		r = db_step(&q, e);
	if (r <= 0)
		return r;
	*ret = strdup(db_text(&q, 0));
	return *ret ? 1 : err_oom(e);
}

static int find_reference(Store *s, const char *name, char **ret, Err *e)
{
	_cleanup_(reference_done) Reference ref = {0};
	_cleanup_free_ char *full = NULL;

	if (reference_parse(name, &ref, NULL) < 0)
		return 0;
	/* With both, the digest is what counts. */
	if (ref.digest) {
		free(ref.tag);
		ref.tag = NULL;
	}
	full = reference_full(&ref);
	return full ? find_tag(s, full, ret, e) : err_oom(e);
}

static int find_prefix(Store *s, const char *name, char **ret, Err *e)
{
	const char *hex = str_after(name, "sha256:");
	_cleanup_query_ DbQuery q = {0};
	char from[DIGEST_LEN + 1], to[DIGEST_LEN + 2];
	int r;

	hex = hex ? hex : name;
	if (!id_is_hex(hex))
		return 0;
	snprintf(from, sizeof(from), "sha256:%s", hex);
	snprintf(to, sizeof(to), "sha256:%sg", hex); /* behind every hex digit */
	r = db_query(&s->db, &q, e, "SELECT id FROM image WHERE id >= ?1 AND id < ?2 LIMIT 2", "tt", from,
		     to);
	if (r >= 0)
		r = db_step(&q, e);
	if (r <= 0)
		return r;
	*ret = strdup(db_text(&q, 0));
	if (!*ret)
		return err_oom(e);
	r = db_step(&q, e);
	if (r > 0)
		r = err_new(e, ERR_INVALID, "multiple IDs found with provided prefix: %s", name);
	return r < 0 ? r : 1;
}

/* In dockerd's words: with the tag that was meant, for clients take the name from there. */
static int no_such_image(const char *name, Err *e)
{
	_cleanup_(reference_done) Reference ref = {0};
	_cleanup_free_ char *familiar = NULL;

	if (!digest_is_valid(name) && reference_parse(name, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	return err_new(e, ERR_NOT_FOUND, "No such image: %s", familiar ? familiar : name);
}

int store_image_find(Store *s, const char *name, StoreImage *ret, Err *e)
{
	_cleanup_free_ char *id = NULL;
	int r = 0;

	/* A whole id wins over a repository of that name, a tag over a short id. */
	if (digest_is_valid(name))
		r = find_prefix(s, name, &id, e);
	if (r == 0)
		r = find_reference(s, name, &id, e);
	if (r == 0)
		r = find_prefix(s, name, &id, e);
	if (r < 0)
		return r;
	if (r == 0)
		return no_such_image(name, e);
	return store_image_get(s, id, ret, e);
}

/* ---- tags ---- */

int store_tag_put(Store *s, const char *reference, const char *image_id, char **ret_old, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	_cleanup_free_ char *old = NULL;
	int64_t found = 0;
	int r = db_begin(&s->db, &tx, e);

	if (r >= 0)
		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM image WHERE id = ?1", "t", image_id);
	if (r >= 0 && !found)
		return err_new(e, ERR_NOT_FOUND, "No such image: %s", image_id);
	if (r >= 0)
		r = find_tag(s, reference, &old, e);
	if (r >= 0)
		r = db_run(&s->db, e,
			   "INSERT INTO tag (reference, image_id) VALUES (?1, ?2)"
			   " ON CONFLICT DO UPDATE SET image_id = excluded.image_id",
			   "tt", reference, image_id);
	if (r >= 0 && !strchr(reference, '@'))
		r = db_run(&s->db, e, "UPDATE image SET tagged_ns = ?2 WHERE id = ?1", "ti", image_id,
			   clock_now_ns());
	if (r >= 0)
		r = db_commit(&tx, e);
	if (r < 0)
		return err_ctx(e, r, "tag %s", reference);
	if (ret_old)
		*ret_old = take_ptr(old);
	return 0;
}

int store_tag_put_new(Store *s, const char *reference, const char *image_id, const char *manifest_digest,
		      const char *parent, Err *e)
{
	Err own = {0};
	int r = store_tag_put(s, reference, image_id, NULL, &own);

	for (int n = 0; r < 0 && own.kind == ERR_NOT_FOUND && n < NEW_TRIES; n++) {
		own = (Err){0};
		r = streq0(manifest_digest, image_id)
			? store_artifact_put(s, image_id, &own)
			: store_image_put(s, image_id, manifest_digest, parent, &own);
		if (r >= 0)
			r = store_tag_put(s, reference, image_id, NULL, &own);
	}
	if (r < 0 && e)
		*e = own;
	return r;
}

int store_tag_delete(Store *s, const char *reference, Err *e)
{
	static const char sql[] = "DELETE FROM tag WHERE reference = ?1";
	int r = db_run(&s->db, e, sql, "t", reference);

	if (r == -ENOSPC && reserve_give(s))
		r = db_run(&s->db, e, sql, "t", reference);
	if (r < 0)
		return err_ctx(e, r, "untag %s", reference);
	return r > 0 ? 0 : err_new(e, ERR_NOT_FOUND, "No such image: %s", reference);
}

int store_image_used(Store *s, const char *id, Err *e)
{
	int64_t now = clock_now_ns();
	int r = db_run(&s->db, e, "UPDATE image SET used_ns = ?2 WHERE id = ?1 AND used_ns < ?3", "tii", id,
		       now, now - USED_EVERY_NS);

	return r < 0 ? err_ctx(e, r, "note the use of image %s", id) : 0;
}

/* ---- what it needs ---- */

static int list_blobs(Store *s, const char *id, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT digest FROM image_blob WHERE image_id = ?1", "t", id);

	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			return err_oom(e);
	return r;
}

bool store_image_is_whole(Store *s, const char *id)
{
	_cleanup_(store_image_done) StoreImage i = {0};
	_cleanup_strv_ char **blobs = NULL;
	_cleanup_free_ char *chain = NULL;
	bool whole = store_image_get(s, id, &i, NULL) >= 0 && list_blobs(s, id, &blobs, NULL) >= 0 &&
		     store_blob_has(s, id);

	for (char **b = blobs; whole && b && *b; b++)
		whole = store_blob_has(s, *b);
	chain = take_ptr(i.chain_id);
	for (int depth = 0; whole && chain; depth++) {
		char *parent = NULL;

		whole = depth < IMAGE_LAYERS_MAX && store_layer_has(s, chain) &&
			layer_parent(s, chain, &parent, NULL) >= 0;
		free(chain);
		chain = parent;
	}
	return whole;
}

/* ---- deletion ---- */

static int delete_rows(Store *s, const char *id, char ***ret_blobs, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int64_t tags = 0;
	int r = db_begin(&s->db, &tx, e);

	if (r >= 0)
		r = db_get_int(&s->db, &tags, 0, e,
			       "SELECT count(*) FROM tag WHERE image_id = ?1 AND instr(reference, '@') = 0",
			       "t", id);
	if (r >= 0 && tags > 0)
		return err_new(e, ERR_CONFLICT, "image %s has %lld tags: remove them first", id,
			       (long long)tags);
	if (r >= 0)
		r = list_blobs(s, id, ret_blobs, e);
	if (r >= 0)
		r = db_run(&s->db, e, "DELETE FROM tag WHERE image_id = ?1", "t", id);
	if (r >= 0)
		r = db_run(&s->db, e, "DELETE FROM image_blob WHERE image_id = ?1", "t", id);
	if (r >= 0)
		r = db_run(&s->db, e, "DELETE FROM image_part WHERE image_id = ?1 OR part_id = ?1", "t", id);
	if (r >= 0)
		r = db_run(&s->db, e, "DELETE FROM image WHERE id = ?1", "t", id);
	return r < 0 ? r : db_commit(&tx, e);
}

int store_image_delete(Store *s, const char *id, StoreFreed *ret, Err *e)
{
	_cleanup_(store_image_done) StoreImage i = {0};
	_cleanup_strv_ char **blobs = NULL;
	int r = store_image_get(s, id, &i, e);

	if (r < 0)
		return r;
	r = delete_rows(s, id, &blobs, e);
	if (r == -ENOSPC && reserve_give(s)) {
		strv_free(take_ptr(blobs));
		r = delete_rows(s, id, &blobs, e);
	}
	if (r >= 0)
		r = gc_uncached(s, i.chain_id, &blobs, ret, e);
	if (r >= 0)
		r = gc_blobs(s, blobs, ret, e);
	return r < 0 ? err_ctx(e, r, "delete image %s", id) : 0;
}
