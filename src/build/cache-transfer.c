/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --cache-from and --cache-to: cache images (cache-image.h) come from a registry or a file before the stages begin, and go there when the build has succeeded.
 *
 * An imported image is known by its name only as long as its records are read; the rows of the cache keep its layers. Who imports believes what the records say: as
 * with every cache, a registry that others can write to can make a build give anything.
 */
#include "build/cache-image.h"
#include "build/cache-mount.h"
#include "build/solve.h"

#include "base/json.h"
#include "base/log.h"

#define LOCAL_FILE "ireko-cache%s.tar"
#define LOCAL_NAME                                                                                           \
	"cache.invalid/build:" /* of the images in it: an archive that names others would take names away */
#define MOUNT_LABEL "io.ireko.cachemount" /* of an image whose one layer is a cache mount: its name */

/* "-linux-arm64" of a build for several platforms, but the first: each has a cache of its own beside the others. malloc'ed. */
static char *own_suffix(const Build *b)
{
	char *text = strf("%s%s", b->follows ? "-" : "", b->follows ? b->label : "");

	for (char *p = text; p && *p; p++)
		*p = *p == '/' ? '-' : *p;
	return text;
}

/* The name of a cache with that behind it. */
static char *full_name(const Build *b, const Reference *ref)
{
	_cleanup_free_ char *full = reference_full(ref), *suffix = own_suffix(b);

	return full && suffix ? strf("%s%s", full, suffix) : NULL;
}

static int file_open(Build *b, const char *dir, bool write, int *ret_fd, Err *e)
{
	_cleanup_free_ char *suffix = own_suffix(b), *name = suffix ? strf(LOCAL_FILE, suffix) : NULL;
	const BuildClient *client = b->rq->client;

	return name ? client->file(client->user, dir, name, write, ret_fd, e) : err_oom(e);
}

/* ---- from elsewhere ---- */

static int mount_enter(Build *b, const StoreImage *image, const ImageConfig *config, Err *e)
{
	const char *name = strv_env_get(config->run.labels, MOUNT_LABEL);

	if (!name || !image->chain_id)
		return 0;
	if (strlen(name) != 64 || strspn(name, "0123456789abcdef") != 64)
		return err_new(e, ERR_INVALID, "a cache mount is named wrongly");
	return cache_mount_fill(b->store, name, image->chain_id, e);
}

static int records_enter(Build *b, const StoreImage *image, char ***ret_more, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	ImageConfig config = {0};
	CacheRecord *v = NULL;
	char chain[DIGEST_LEN + 1];
	size_t len, n = 0;
	int r = store_blob_read(b->store, image->id, IMAGE_DOCUMENT_MAX, &text, &len, e);

	if (r >= 0)
		r = json_parse(text, len, "image configuration", &doc, e);
	if (r >= 0)
		r = image_config_decode(doc, &config, e);
	if (r >= 0)
		r = cache_records_decode(doc, &v, &n, ret_more, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		size_t layers = v[i].layers;
		_cleanup_free_ char *diff = NULL;

		if (layers > strv_len(config.diff_ids)) {
			r = err_new(e, ERR_INVALID,
				    "a record of a cached step has more layers than its image");
			break;
		}
		if (!v[i].empty) {
			diff = v[i].own == 2
				   ? strf("%s %s", config.diff_ids[layers - 2], config.diff_ids[layers - 1])
				   : strdup(config.diff_ids[layers - 1]);
			if (!diff) {
				r = err_oom(e);
				break;
			}
		}
		*chain = '\0';
		for (size_t k = 0; k < layers; k++)
			chain_id_next(*chain ? chain : NULL, config.diff_ids[k], chain);
		const StoreCacheEntry c = {.key = v[i].key,
					   .chain_id = layers ? chain : NULL,
					   .diff_id = diff,
					   .empty = v[i].empty,
					   .created_ns = v[i].created_ns,
					   .step = v[i].step,
					   .parent = v[i].parent,
					   .content = v[i].content};
		r = store_cache_put(b->store, &c, e);
	}
	if (r >= 0)
		r = mount_enter(b, image, &config, e);
	cache_records_free(v, n);
	image_config_done(&config);
	return r;
}

/* A name that was not here before goes again. */
static int with_image(Build *b, const char *ref, bool was_there, char ***ret_more, Err *e)
{
	StoreImage image = {0};
	int r = store_image_find(b->store, ref, &image, e);

	if (r >= 0)
		r = records_enter(b, &image, ret_more, e);
	store_image_done(&image);
	if (!was_there)
		passing_end(b->en, ref);
	return r;
}

static bool is_here(Build *b, const char *ref)
{
	StoreImage image = {0};
	bool here = store_image_find(b->store, ref, &image, NULL) >= 0;

	store_image_done(&image);
	return here;
}

static int pull_one(Build *b, const char *ref, char ***ret_more, Err *e)
{
	EnginePull p = {.reference = ref, .alive_fd = b->alive_fd};
	bool here = is_here(b, ref);
	char id[DIGEST_LEN + 1];
	Reference parsed = {0};
	int r = reference_parse(ref, &parsed, e);

	if (r >= 0 && b->rq->client->auth)
		b->rq->client->auth(b->rq->client->user, parsed.domain, &p.auth);
	reference_done(&parsed);
	if (r >= 0 && !here)
		r = passing_begin(b->store, ref, e);
	if (r < 0)
		return r;
	r = engine_image_pull(b->en, &p, id, e);
	if (r < 0 && !here)
		passing_end(b->en, ref);
	return r < 0 ? r : with_image(b, ref, here, ret_more, e);
}

static int from_registry(Build *b, const CachePlace *p, Err *e)
{
	_cleanup_strv_ char **more = NULL, **none = NULL;
	Reference ref = {0};
	_cleanup_free_ char *full = NULL;
	int r = reference_parse(p->ref, &ref, e);

	if (r >= 0)
		full = full_name(b, &ref);
	reference_done(&ref);
	if (r < 0 || !full)
		return r < 0 ? r : err_oom(e);
	r = is_here(b, full) ? with_image(b, full, true, &more, e) : pull_one(b, full, &more, e);
	for (char **m = more; r >= 0 && m && *m; m++) {
		_cleanup_free_ char *name = strf("%s%s", full, *m);

		r = name ? pull_one(b, name, &none, e) : err_oom(e);
	}
	return r;
}

typedef struct Loaded {
	Store *store;
	char **names;
} Loaded;

static void note_loaded(void *user, const char *reference, const char *id _unused_)
{
	Loaded *l = user;

	/* What cannot be noted stays under its name. */
	if (reference && passing_begin(l->store, reference, NULL) >= 0)
		(void)strv_add(&l->names, reference);
}

static int from_file(Build *b, const CachePlace *p, Err *e)
{
	_cleanup_strv_ char **more = NULL;
	_cleanup_close_ int fd = -1;
	Loaded loaded = {.store = b->store};
	EngineLoad l = {.loaded = note_loaded, .user = &loaded, .only = LOCAL_NAME};
	int r;

	if (!b->rq->client->file)
		return err_new(e, ERR_UNSUPPORTED,
			       "cache type=local: this client brings no directories for it");
	r = file_open(b, p->path, false, &fd, e);
	l.tar_fd = fd;
	if (r >= 0)
		r = engine_image_load(b->en, &l, e);
	for (char **n = loaded.names; n && *n; n++)
		if (r >= 0)
			r = with_image(b, *n, false, &more, e);
		else
			passing_end(b->en, *n);
	strv_free(loaded.names);
	return r;
}

/* What cannot be had is no reason not to build. */
static void import_one(Build *b, const char *text)
{
	CachePlace p = {0};
	BuildVertex *v = NULL;
	Err err = {0};
	int r = cache_place_parse(text, &p, &err);

	if (r >= 0)
		v = vertex_new(b, 0, "importing cache manifest from %s", p.ref ?: p.path ?: p.type);
	if (v)
		vertex_begin(b, v);
	if (r >= 0)
		r = p.ref ? from_registry(b, &p, &err) : p.path ? from_file(b, &p, &err) : 0;
	if (v)
		(void)vertex_end(b, v, r, &err);
	if (r < 0)
		build_warn(b, "CacheImport", NULL, 0, 0, "cache %.200s: %s", text, err_msg(&err, r));
	cache_place_done(&p);
}

void cache_import(Build *b)
{
	for (char *const *c = b->rq->cache_from; c && *c; c++)
		import_one(b, *c);
}

/* ---- to elsewhere ---- */

typedef struct Export {
	Build *b;
	const CachePlace *place;
	char *full;   /* reference of the first image */
	char **names; /* of all that were made, the first last */
	char **suffixes;
} Export;

static int image_make(Export *x, const Stage *s, const char *name, char *const *more, Err *e)
{
	_cleanup_json_ json_t *doc = image_config_encode(&s->config);
	_cleanup_free_ char *text = NULL;
	char id[DIGEST_LEN + 1];
	int r = doc ? cache_records_encode(doc, s->records, s->n_records, more, e) : err_oom(e);

	if (r < 0)
		return r;
	text = json_text(doc);
	r = text ? store_blob_put(x->b->store, text, strlen(text), id, e) : err_oom(e);
	if (r >= 0)
		r = store_image_put(x->b->store, id, NULL, NULL, e);
	if (r >= 0)
		r = passing_begin(x->b->store, name, e);
	if (r >= 0)
		r = store_tag_put_new(x->b->store, name, id, NULL, NULL, e);
	return r < 0 ? r : strv_add(&x->names, name) < 0 ? err_oom(e) : 0;
}

/* A directory of the cache as an image of one layer; what it has none of is no image. */
static int mount_make(Export *x, const char *cache, const char *name, bool *ret_made, Err *e)
{
	Store *s = x->b->store;
	_cleanup_free_ char *below = cache_mount_path(cache), *path = NULL, *text = NULL, *label = NULL;
	_cleanup_json_ json_t *doc = NULL;
	char chain[DIGEST_LEN + 1], diff[DIGEST_LEN + 1], id[DIGEST_LEN + 1];
	char *diffs[] = {diff, NULL}, *labels[] = {NULL, NULL};
	ImageConfig config = {.run.stop_timeout = -1, .diff_ids = diffs, .run.labels = labels};
	LayerCopy copy = {0};
	int64_t size;
	bool empty;
	int r;

	path = below ? strf("%s/%s", store_root(s), below) : NULL;
	label = labels[0] = strf(MOUNT_LABEL "=%s", cache);
	if (!path || !label)
		return err_oom(e);
	copy.upper_dir = path;
	r = store_layer_commit_copy(s, &copy, chain, diff, &size, &empty, e);
	*ret_made = r >= 0 && !empty;
	if (!*ret_made)
		return r;
	r = image_platform_parse(x->b->rq->platform, &config.platform, e);
	if (r < 0)
		return r;
	doc = image_config_encode(&config);
	image_platform_done(&config.platform);
	text = doc ? json_text(doc) : NULL;
	r = text ? store_blob_put(s, text, strlen(text), id, e) : err_oom(e);
	if (r >= 0)
		r = store_image_put(s, id, NULL, NULL, e);
	if (r >= 0)
		r = passing_begin(s, name, e);
	if (r >= 0)
		r = store_tag_put_new(s, name, id, NULL, NULL, e);
	return r < 0 ? r : strv_add(&x->names, name) < 0 ? err_oom(e) : 0;
}

static int mounts_make(Export *x, Err *e)
{
	int r = 0;

	for (char **c = x->b->cache_mounts; r >= 0 && x->place->mounts && c && *c; c++) {
		_cleanup_free_ char *suffix = strf("-mount%.16s", *c);
		_cleanup_free_ char *name = suffix ? strf("%s%s", x->full, suffix) : NULL;
		bool made = false;

		r = name ? mount_make(x, *c, name, &made, e) : err_oom(e);
		if (r >= 0 && made && strv_add(&x->suffixes, suffix) < 0)
			r = err_oom(e);
	}
	return r < 0 ? err_ctx(e, r, "cache mounts") : 0;
}

static bool is_parent(const Build *b, const Stage *s)
{
	for (size_t i = 0; i < b->n_stages; i++)
		if (b->stages[i].needed && b->stages[i].parent == s)
			return true;
	return false;
}

static int images_make(Export *x, Err *e)
{
	Build *b = x->b;
	int r = mounts_make(x, e);

	for (size_t i = 0; r >= 0 && x->place->max && i < b->n_order; i++) {
		const Stage *s = b->order[i];
		_cleanup_free_ char *suffix = NULL, *name = NULL;

		if (s->index == b->target || !s->chain || is_parent(b, s))
			continue;
		suffix = strf("-stage%zu", s->index);
		name = suffix ? strf("%s%s", x->full, suffix) : NULL;
		if (!name || strv_add(&x->suffixes, suffix) < 0)
			return err_oom(e);
		r = image_make(x, s, name, NULL, e);
	}
	return r < 0 ? r : image_make(x, &b->stages[b->target], x->full, x->suffixes, e);
}

static int push_one(Export *x, const char *name, Err *e)
{
	EnginePush p = {.reference = name, .alive_fd = x->b->alive_fd};
	Reference ref = {0};
	_cleanup_free_ char *repository = NULL, *tag = NULL;
	int r = reference_parse(name, &ref, e);

	if (r < 0)
		return r;
	repository = strf("%s/%s", ref.domain, ref.path);
	tag = ref.tag ? strdup(ref.tag) : NULL;
	if (x->b->rq->client->auth)
		x->b->rq->client->auth(x->b->rq->client->user, ref.domain, &p.auth);
	reference_done(&ref);
	if (!repository || !tag)
		return err_oom(e);
	p.reference = repository;
	p.tag = tag;
	return engine_image_push(x->b->en, &p, e);
}

typedef struct ToFile {
	Export *x;
	int fd;
} ToFile;

static int file_begin(void *user, Err *e)
{
	ToFile *t = user;
	int r = file_open(t->x->b, t->x->place->path, true, &t->fd, e);

	return r < 0 ? r : t->fd;
}

static int to_file(Export *x, Err *e)
{
	ToFile t = {x, -1};
	const EngineSave s = {.names = x->names, .format = "oci", .begin = file_begin, .user = &t};
	int r = engine_image_save(x->b->en, &s, e);

	close_fd(&t.fd);
	/* It is the client's disk, not ours. */
	if (r == -ENOSPC || r == -EDQUOT)
		return err_new_no(e, ERR_EXHAUSTED, EIO,
				  "write to %s: no space left on device: make room there or name another "
				  "directory",
				  x->place->path);
	return r;
}

static int send_all(Export *x, Err *e)
{
	int r = images_make(x, e);

	if (r >= 0 && x->place->path)
		return to_file(x, e);
	/* The one that names the others comes last. */
	for (char **n = x->names; r >= 0 && n && *n; n++)
		r = push_one(x, *n, e);
	return r;
}

static int export_to(Build *b, const CachePlace *p, Err *e)
{
	Export x = {.b = b, .place = p};
	char id[17];
	Reference ref = {0};
	int r = 0;

	if (p->path && !b->rq->client->file)
		return err_new(e, ERR_UNSUPPORTED,
			       "cache type=local: this client brings no directories for it");
	id_random_hex(id, 16);
	if (p->ref)
		r = reference_parse(p->ref, &ref, e);
	if (r < 0)
		return r;
	x.full = p->ref ? full_name(b, &ref) : strf(LOCAL_NAME "%s", id);
	reference_done(&ref);
	r = x.full ? is_here(b, x.full) && p->ref
			 ? err_new(e, ERR_CONFLICT,
				   "%s is the name of an image here: name the cache otherwise", p->ref)
			 : send_all(&x, e)
		   : err_oom(e);
	for (char **n = x.names; n && *n; n++)
		passing_end(b->en, *n);
	strv_free(x.names);
	strv_free(x.suffixes);
	free(x.full);
	return r;
}

static int export_one(Build *b, const char *text, Err *e)
{
	CachePlace p = {0};
	BuildVertex *v;
	int r = cache_place_parse(text, &p, e);

	if (r < 0 || streq(p.type, "inline")) {
		cache_place_done(&p);
		return r;
	}
	v = vertex_new(b, 0, "exporting cache to %s", p.ref ?: p.path);
	if (v)
		vertex_begin(b, v);
	r = v ? export_to(b, &p, e) : err_oom(e);
	if (v)
		r = vertex_end(b, v, r, e);
	if (r < 0 && p.ignore_error && r != -ECANCELED) {
		build_warn(b, "CacheExport", NULL, 0, 0, "cache %.200s: %s", text, err_msg(e, r));
		r = 0;
	}
	cache_place_done(&p);
	return r;
}

int cache_export(Build *b, Err *e)
{
	int r = 0;

	for (char *const *c = b->rq->cache_to; r >= 0 && c && *c; c++)
		r = export_one(b, *c, e);
	return r < 0 ? err_ctx(e, r, "export the cache") : 0;
}

bool cache_is_inline(const Build *b)
{
	const char *asked = strv_env_get(b->rq->args, "BUILDKIT_INLINE_CACHE");

	for (char *const *c = b->rq->cache_to; c && *c; c++)
		if (streq(*c, "type=inline") || str_starts(*c, "type=inline,"))
			return true;
	return streq0(asked, "1") || streq0(asked, "true");
}
