/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes how much room, from the sizes in the database.
 *
 * A layer's size is noted when it is made, a blob's when it comes; both never change after that. So what an image takes, what it
 * shares with others and what all of them take together are sums over rows; no directory is walked.
 */
#include "base/clock.h"
#include "base/str.h"
#include "store/dir.h"
#include "store/store-internal.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <uthash.h>

int store_space(Store *s, StoreSpace *ret, Err *e)
{
	struct statvfs v;

	if (fstatvfs(s->root_fd, &v) < 0)
		return err_sys(e, errno, "examine the file system of %s", s->root);
	ret->total = (int64_t)v.f_blocks * (int64_t)v.f_frsize;
	ret->free = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
	ret->files_free = v.f_files ? (int64_t)v.f_favail : -1;
	return 0;
}

/* A layer's folder is one, a blob is one. */
static int sum_inodes(Store *s, int64_t *ret, Err *e)
{
	return db_get_int(
	    &s->db, ret, 0, e,
	    "SELECT CASE WHEN EXISTS (SELECT 1 FROM layer WHERE inodes < 0 AND lost = 0) THEN -1"
	    " ELSE (SELECT coalesce(sum(inodes + 1), 0) FROM layer WHERE lost = 0)"
	    " + (SELECT count(*) FROM blob) END",
	    "");
}

int store_usage(Store *s, StoreUsage *ret, Err *e)
{
	int r = db_get_int(&s->db, &ret->layers, 0, e,
			   "SELECT coalesce(sum(size), 0) FROM layer WHERE lost = 0", "");

	if (r >= 0)
		r = db_get_int(&s->db, &ret->blobs, 0, e, "SELECT coalesce(sum(size), 0) FROM blob", "");
	if (r >= 0)
		r = sum_inodes(s, &ret->inodes, e);
	return r < 0 ? err_ctx(e, r, "sum up the sizes of layers and blobs") : 0;
}

/* A layer that is deleted meanwhile has no row any more, and is not there the next time. */
static int count_layer(Store *s, const char *chain_id, Err *e)
{
	_cleanup_free_ char *path = layer_dir(chain_id);
	_cleanup_close_ int fd = path ? openat(s->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	DirUsage u;
	int r = !path                       ? err_oom(e)
		: fd < 0 && errno != ENOENT ? err_sys(e, errno, "open layer %s", chain_id)
					    : 0;

	if (r < 0 || fd < 0)
		return r;
	r = dir_usage(fd, &u, e);
	return r < 0 ? err_ctx(e, r, "layer %s", chain_id)
		     : db_run(&s->db, e, "UPDATE layer SET inodes = ?2 WHERE chain_id = ?1 AND inodes < 0",
			      "ti", chain_id, u.inodes);
}

static int uncounted_layers(Store *s, char ***ret, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT chain_id FROM layer WHERE inodes < 0 AND lost = 0", "");

	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			return err_oom(e);
	return r;
}

int store_count_inodes(Store *s, int64_t for_ns, Err *e)
{
	_cleanup_strv_ char **layers = NULL;
	int64_t until = clock_mono_ns() + for_ns;
	int r = uncounted_layers(s, &layers, e);

	for (char **l = layers; r >= 0 && l && *l; l++) {
		r = count_layer(s, *l, e);
		if (clock_mono_ns() >= until)
			break;
	}
	return r < 0 ? err_ctx(e, r, "count the files of layers") : 0;
}

/* The layers of the images chosen: ?1 is a JSON array of their ids, or NULL for all. */
#define USED                                                                                                 \
	"WITH RECURSIVE used (chain_id) AS (SELECT chain_id FROM image WHERE chain_id IS NOT NULL"           \
	" AND (?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))"                                       \
	" UNION SELECT l.parent FROM layer l JOIN used u ON l.chain_id = u.chain_id"                         \
	" WHERE l.parent IS NOT NULL) "

int store_images_size(Store *s, char *const *ids, int64_t *ret, Err *e)
{
	_cleanup_json_ json_t *array = ids ? json_from_strv(ids) : NULL;
	_cleanup_free_ char *text = array ? json_text(array) : NULL;
	int64_t layers = 0, blobs = 0;
	int r;

	if (ids && !text)
		return err_oom(e);
	r = db_get_int(&s->db, &layers, 0, e,
		       USED "SELECT coalesce(sum(l.size), 0) FROM layer l JOIN used USING (chain_id)", "t",
		       text);
	if (r >= 0)
		r = db_get_int(
		    &s->db, &blobs, 0, e,
		    USED
		    "SELECT coalesce(sum(size), 0) FROM blob WHERE digest IN (SELECT digest FROM image_blob"
		    " WHERE ?1 IS NULL OR image_id IN (SELECT value FROM json_each(?1)))"
		    " OR digest IN (SELECT blob FROM layer JOIN used USING (chain_id))",
		    "t", text);
	*ret = layers + blobs;
	return r < 0 ? err_ctx(e, r, "sum up the sizes of images") : 0;
}

/* ---- image by image ---- */

/* A layer or a blob, and how many images have it. */
typedef struct Piece {
	UT_hash_handle hh;
	char id[DIGEST_LEN + 1], parent[DIGEST_LEN + 1],
	    blob[DIGEST_LEN + 1]; /* the latter two of layers, or "" */
	int64_t size;
	unsigned images;
	size_t last; /* who was the last to count it */
} Piece;

static void pieces_free(Piece **all)
{
	Piece *p, *next;

	HASH_ITER (hh, *all, p, next) {
		HASH_DEL(*all, p);
		free(p);
	}
}

static int load_pieces(Store *s, Piece **all, Err *e, const char *sql)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, sql, "");

	while (r >= 0 && (r = db_step(&q, e)) > 0) {
		Piece *p = calloc(1, sizeof(*p));

		if (!p)
			return err_oom(e);
		snprintf(p->id, sizeof(p->id), "%s", db_text(&q, 0));
		snprintf(p->parent, sizeof(p->parent), "%s", db_text(&q, 1) ? db_text(&q, 1) : "");
		snprintf(p->blob, sizeof(p->blob), "%s", db_text(&q, 2) ? db_text(&q, 2) : "");
		p->size = db_int(&q, 3);
		HASH_ADD_STR(*all, id, p);
	}
	return r;
}

static Piece *piece_of(Piece *all, const char *id)
{
	Piece *p;

	HASH_FIND_STR(all, id, p);
	return p;
}

typedef struct Pass {
	Piece *layers, *blobs;
	bool count; /* how many images have a piece; else what each image has */
	size_t number;
} Pass;

/* A blob may be an image's for two reasons: it is counted once. */
static void take_piece(const Pass *x, StoreImageUsage *u, size_t image, Piece *p, bool layer)
{
	size_t mark = 2 * image + x->number + 1;

	if (!p || p->last == mark)
		return;
	p->last = mark;
	if (x->count) {
		p->images++;
		return;
	}
	*(layer ? &u->layers : &u->blobs) += p->size;
	if (p->images > 1)
		*(layer ? &u->shared_layers : &u->shared_blobs) += p->size;
}

static void take_chain(const Pass *x, StoreImageUsage *u, size_t image, const char *top)
{
	int depth = 0;

	for (Piece *p = piece_of(x->layers, top); p && depth < IMAGE_LAYERS_MAX; depth++) {
		take_piece(x, u, image, p, true);
		take_piece(x, u, image, piece_of(x->blobs, p->blob), false);
		p = *p->parent ? piece_of(x->layers, p->parent) : NULL;
	}
}

/* Image by image, so that what an image has twice comes twice in a row. */
static int take_all(Store *s, const Pass *x, StoreImageUsage *v, char *const *tops, size_t n, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, "SELECT image_id, digest FROM image_blob ORDER BY image_id", "");
	int more = r < 0 ? r : db_step(&q, e);

	for (size_t i = 0; more >= 0 && i < n; i++) {
		take_chain(x, &v[i], i, tops[i]);
		for (; more > 0 && strcmp(db_text(&q, 0), v[i].id) <= 0; more = db_step(&q, e))
			if (streq(db_text(&q, 0), v[i].id))
				take_piece(x, &v[i], i, piece_of(x->blobs, db_text(&q, 1)), false);
	}
	return MIN2(more, 0);
}

static int load_images(Store *s, StoreImageUsage **ret, char ***ret_tops, size_t *ret_n, Err *e)
{
	_cleanup_query_ DbQuery q = {0};
	size_t n = 0;
	int r = db_query(&s->db, &q, e, "SELECT id, chain_id FROM image ORDER BY id", "");

	while (r >= 0 && (r = db_step(&q, e)) > 0) {
		if ((n & (n - 1)) == 0) {
			StoreImageUsage *grown = reallocarray(*ret, n ? n * 2 : 1, sizeof(**ret));

			if (!grown)
				return err_oom(e);
			*ret = grown;
		}
		(*ret)[n] = (StoreImageUsage){0};
		snprintf((*ret)[n++].id, DIGEST_LEN + 1, "%s", db_text(&q, 0));
		if (strv_add(ret_tops, db_text(&q, 1) ? db_text(&q, 1) : "") < 0)
			return err_oom(e);
	}
	*ret_n = n;
	return r;
}

int store_image_usage(Store *s, StoreImageUsage **ret, size_t *ret_n, Err *e)
{
	_cleanup_strv_ char **tops = NULL;
	_cleanup_(pieces_free) Piece *layers = NULL, *blobs = NULL;
	_cleanup_free_ StoreImageUsage *v = NULL;
	size_t n = 0;
	int r = load_images(s, &v, &tops, &n, e);

	if (r >= 0)
		r = load_pieces(s, &layers, e, "SELECT chain_id, parent, blob, size FROM layer");
	if (r >= 0)
		r = load_pieces(s, &blobs, e, "SELECT digest, NULL, NULL, size FROM blob");
	for (size_t pass = 0; r >= 0 && pass < 2; pass++) {
		const Pass x = {.layers = layers, .blobs = blobs, .count = pass == 0, .number = pass};

		r = take_all(s, &x, v, tops, n, e);
	}
	if (r < 0)
		return err_ctx(e, r, "sum up what images take");
	*ret = take_ptr(v);
	*ret_n = n;
	return 0;
}
