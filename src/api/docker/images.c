/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of images: list, pull, import, load, save, tag, remove, commit, prune, bootstrap. */
#include "api/docker/door-internal.h"

static const char *query_or_null(HttpRequest *rq, const char *name)
{
	const char *v = http_query(rq, name);

	return str_empty(v) ? NULL : v;
}

int query_platform(HttpRequest *rq, const char *key, char **ret, Err *e)
{
	const char *text = query_or_null(rq, key);
	_cleanup_json_ json_t *doc = NULL;

	if (!text)
		return 0;
	if (*text != '{') {
		*ret = strdup(text);
		return *ret ? 0 : err_oom(e);
	}
	int r = json_parse(text, strlen(text), "platform", &doc, e);
	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	const char *os = json_get_str(doc, "os"), *architecture = json_get_str(doc, "architecture"),
		   *variant = json_get_str(doc, "variant");
	if (!os || !architecture)
		return err_new(e, ERR_INVALID, "platform: os and architecture must be given");
	*ret = strf("%s/%s%s%s", os, architecture, str_empty(variant) ? "" : "/",
		    str_empty(variant) ? "" : variant);
	return *ret ? 0 : err_oom(e);
}

static int failed(const Err *e)
{
	return e->no ? -e->no : -EIO;
}

/* `reference` is a glob over the familiar and the full forms, with tag and without. */
static bool match_reference(const Filters *f, const StoreImage *i)
{
	const char *pattern;

	for (size_t k = 0; (pattern = filters_get(f, "reference", k)); k++)
		for (char **t = i->tags; t && *t; t++) {
			Reference r = {0};
			bool ok = false;

			if (reference_parse(*t, &r, NULL) >= 0) {
				_cleanup_free_ char *shown = reference_familiar(&r),
						    *name = reference_familiar_name(&r);
				_cleanup_free_ char *full_name = strf("%s/%s", r.domain, r.path);

				ok = shown && name && full_name &&
				     (glob_match(pattern, shown) || glob_match(pattern, name) ||
				      glob_match(pattern, *t) || glob_match(pattern, full_name));
			}
			reference_done(&r);
			if (ok)
				return true;
		}
	return !filters_has(f, "reference");
}

static int match_labels(Door *d, const Filters *f, const StoreImage *i, Err *e)
{
	ImageConfig c = {0};
	bool ok;
	int r;

	if (!filters_has(f, "label") && !filters_has(f, "label!"))
		return 1;
	r = i->artifact_type ? 0 : store_image_config(engine_store(d->engine), i->id, &c, e);
	if (r < 0)
		return r;
	ok = filters_labels(f, c.run.labels);
	image_config_done(&c);
	return ok;
}

static bool is_dangling(const StoreImage *i)
{
	return !(i->tags && *i->tags) && !(i->digests && *i->digests);
}

static bool is_parent(const StoreImage *v, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (streq0(v[i].parent, id))
			return true;
	return false;
}

typedef struct ImageBounds {
	int64_t before_ns, since_ns, until_ns;
	bool has_dangling, dangling;
} ImageBounds;

static int bounds_parse(Door *d, const Filters *f, ImageBounds *b, Err *e)
{
	int r = 0;

	*b = (ImageBounds){.before_ns = INT64_MAX, .since_ns = INT64_MIN, .until_ns = INT64_MAX};
	for (int before = 0; before < 2 && r >= 0; before++) {
		const char *ref = filters_get(f, before ? "before" : "since", 0);
		StoreImage i = {0};

		if (!ref)
			continue;
		r = store_image_find(engine_store(d->engine), ref, &i, e);
		if (r >= 0)
			*(before ? &b->before_ns : &b->since_ns) = i.created_ns;
		store_image_done(&i);
	}
	if (r >= 0)
		r = filters_time(f, "until", &b->until_ns, e);
	b->has_dangling = filters_has(f, "dangling");
	return r < 0 ? r : filters_bool(f, "dangling", &b->dangling, e);
}

static int compare_usage(const void *key, const void *item)
{
	return strcmp(key, ((const StoreImageUsage *)item)->id);
}

/* -1: nobody asked, or the image has just come. */
static int64_t shared_of(const StoreImageUsage *v, size_t n, const StoreImage *i)
{
	const StoreImageUsage *u = n ? bsearch(i->id, v, n, sizeof(*v), compare_usage) : NULL;

	return u ? u->shared_layers : -1;
}

#define IMAGE_TEXT_USUAL 400 /* bytes that an image takes in a list, or somewhat less */

int h_images_list(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"before",    "dangling", "label", "label!",
					      "reference", "since",    "until", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	_cleanup_strbuf_ StrBuf text = {0};
	StoreImage *v = NULL;
	ImageBounds b;
	_cleanup_free_ StoreImageUsage *usage = NULL;
	size_t n = 0, n_usage = 0;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	strbuf_add_c(&text, '[');

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = bounds_parse(d, &f, &b, e);
	if (r >= 0)
		r = store_image_list(engine_store(d->engine), &v, &n, e);
	if (r >= 0 && http_tag(rq) >= 142 && http_query_bool(rq, "shared-size", false))
		r = store_image_usage(engine_store(d->engine), &usage, &n_usage, e);
	strbuf_reserve(&text, n * IMAGE_TEXT_USUAL);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		bool dangling = is_dangling(&v[i]);

		if (b.has_dangling && (b.dangling != dangling || v[i].part))
			continue;
		if (dangling && !http_query_bool(rq, "all", false) && (v[i].part || is_parent(v, n, v[i].id)))
			continue;
		if (v[i].created_ns >= b.before_ns || v[i].created_ns <= b.since_ns ||
		    v[i].created_ns >= b.until_ns || !match_reference(&f, &v[i]))
			continue;
		r = match_labels(d, &f, &v[i], e);
		if (r <= 0)
			continue;
		if (text.len > 1)
			strbuf_add_c(&text, ',');
		r = image_list_text(&text, d, &v[i], http_tag(rq), -1, shared_of(usage, n_usage, &v[i]), e);
	}
	store_images_free(v, n);
	strbuf_add(&text, "]\n");
	if (r >= 0 && text.oom)
		r = err_oom(e);
	return r < 0 ? r : http_reply(rq, 200, "application/json", text.s, text.len);
}

/* The image of the platform that is asked for; whoever names one that is not here is told so, in dockerd's words. */
static int check_platform(HttpRequest *rq, Door *d, StoreImage *i, const char *key, Err *e)
{
	_cleanup_free_ char *text = NULL, *own = NULL;
	ImagePlatform want = {0}, have = {0};
	int r = query_platform(rq, key, &text, e);

	if (r < 0 || !text)
		return r;
	r = image_platform_parse(text, &want, e);
	if (r >= 0)
		r = store_image_choose(engine_store(d->engine), i, &want, e);
	if (r < 0) {
		image_platform_done(&want);
		return r;
	}
	_cleanup_json_ json_t *doc = image_inspect_doc(d, i, http_tag(rq), e);
	if (!doc) {
		image_platform_done(&want);
		return failed(e);
	}
	const char *variant = json_get_str(doc, "Variant");
	own = strf("%s/%s%s%s", json_get_str(doc, "Os"), json_get_str(doc, "Architecture"),
		   str_empty(variant) ? "" : "/", str_empty(variant) ? "" : variant);
	r = own ? image_platform_parse(own, &have, e) : err_oom(e);
	bool same = r == 0 && streq(want.os, have.os) && streq(want.architecture, have.architecture) &&
		    (str_empty(want.variant) || streq0(have.variant, want.variant));
	image_platform_done(&want);
	image_platform_done(&have);
	if (r < 0 || same)
		return r;
	return err_new(e, ERR_NOT_FOUND,
		       "image with reference %s was found but does not provide the specified platform (%s)",
		       http_param(rq, "name"), text);
}

int h_image_inspect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(store_image_done) StoreImage i = {0};
	json_t *doc;
	int r = 0;

	if (http_query_bool(rq, "manifests", false) && !str_empty(http_query(rq, "platform")))
		r = err_new(e, ERR_INVALID,
			    "conflicting options: manifests and platform options cannot both be set");
	if (r == 0)
		r = store_image_find(engine_store(d->engine), http_param(rq, "name"), &i, e);
	if (r == 0)
		r = check_platform(rq, d, &i, "platform", e);
	if (r < 0)
		return r;
	doc = image_inspect_doc(d, &i, http_tag(rq), e);
	return doc ? http_reply_json(rq, 200, doc) : failed(e);
}

int h_image_history(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(store_image_done) StoreImage i = {0};
	json_t *doc;
	int r = store_image_find(engine_store(d->engine), http_param(rq, "name"), &i, e);

	if (r == 0)
		r = check_platform(rq, d, &i, "platform", e);
	if (r < 0)
		return r;
	doc = image_history_doc(d, &i, e);
	return doc ? http_reply_json(rq, 200, doc) : failed(e);
}

int h_image_tag(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *repo = query_or_null(rq, "repo");
	int r;

	if (!repo)
		return err_new(e, ERR_INVALID, "image name cannot be blank");
	r = engine_image_tag(d->engine, http_param(rq, "name"), repo, query_or_null(rq, "tag"), e);
	return r < 0 ? r : http_reply_empty(rq, 201);
}

int h_image_remove(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(store_image_done) StoreImage i = {0};
	json_t *doc = NULL;
	int r = 0;

	if (query_or_null(rq, "platforms"))
		r = store_image_find(engine_store(d->engine), http_param(rq, "name"), &i, e);
	if (r == 0 && i.id)
		r = check_platform(rq, d, &i, "platforms", e);
	if (r < 0)
		return r;
	r = engine_image_remove(d->engine, http_param(rq, "name"), http_query_bool(rq, "force", false),
				http_query_bool(rq, "noprune", false), &doc, e);

	return r < 0 ? r : reply_doc(rq, 200, doc, e);
}

/* "repo" + "tag" or "sha256:..." -> one reference. */
static char *join_reference(const char *name, const char *tag)
{
	if (str_empty(tag))
		return strdup(name);
	return strf(strchr(tag, ':') ? "%s@%s" : "%s:%s", name, tag);
}

/* True if the text ends in ":tag" or "@digest". */
static bool has_tail(const char *reference)
{
	const char *slash = strrchr(reference, '/');

	return strpbrk(slash ? slash : reference, ":@") != NULL;
}

static int pull(HttpRequest *rq, Door *d, Err *e)
{
	_cleanup_json_ json_t *account = NULL;
	_cleanup_free_ char *reference = NULL;
	_cleanup_(progress_done) Progress p;
	char id[DIGEST_LEN + 1];
	EnginePull q;
	int r;

	progress_init(&p, rq);
	r = auth_header_parse(http_header(rq, "X-Registry-Auth"), &account, e);
	if (r < 0)
		return r;
	reference = join_reference(http_query(rq, "fromImage"), http_query(rq, "tag"));
	if (!reference)
		return err_oom(e);
	q = (EnginePull){
	    .reference = reference,
	    .all_tags = !query_or_null(rq, "tag") && !has_tail(reference), /* the API's rule */
	    .platform = query_or_null(rq, "platform"),
	    .progress = progress_status,
	    .user = &p,
	    .alive_fd = http_alive_fd(rq),
	};
	auth_account(account, &q.auth);
	r = engine_image_pull(d->engine, &q, id, e);
	/* To 401 the docker CLI answers with a prompt, even where nobody can answer it. */
	if (r < 0 && e->kind == ERR_UNAUTHORIZED)
		r = err_kind(e, r, ERR_DENIED);
	return progress_end(&p, r, e);
}

/* `changes` may be repeated. NULL-terminated, of pointers into the request. */
static int changes_of(HttpRequest *rq, char ***ret, Err *e)
{
	const char *c;

	for (size_t i = 0; (c = http_query_nth(rq, "changes", i)); i++)
		if (strv_add(ret, c) < 0)
			return err_oom(e);
	return 0;
}

/* "created": seconds since 1970, an addition of ours for reproducible images. 0 if it is not given. */
static int created_of(HttpRequest *rq, int64_t *ret_ns, Err *e)
{
	int64_t seconds = 0;
	int r = http_query_int(rq, "created", &seconds, e);

	if (r >= 0 && (seconds < 0 || seconds > INT64_MAX / 1000000000))
		return err_new(e, ERR_INVALID, "created=%lld: expected seconds since 1970",
			       (long long)seconds);
	*ret_ns = seconds * 1000000000;
	return r;
}

static int import(HttpRequest *rq, Door *d, Err *e)
{
	const char *repo = query_or_null(rq, "repo"), *source = http_query(rq, "fromSrc");
	_cleanup_free_ char *reference = repo ? join_reference(repo, http_query(rq, "tag")) : NULL;
	_cleanup_strv_ char **changes = NULL;
	_cleanup_(progress_done) Progress p;
	bool from_body = streq(source, "-");
	char id[DIGEST_LEN + 1];
	EngineImport i = {.tar_fd = -1, .alive_fd = -1};
	int r;

	progress_init(&p, rq);
	if (!from_body && !str_starts(source, "http://") && !str_starts(source, "https://"))
		return err_new(
		    e, ERR_INVALID,
		    "import from \"%.200s\": expected an http or https URL, or \"-\" for an archive that "
		    "is sent along",
		    source);
	r = changes_of(rq, &changes, e);
	if (r >= 0)
		r = created_of(rq, &i.created_ns, e);
	if (r >= 0 && from_body)
		r = i.tar_fd = http_body_fd(rq, e);
	if (r < 0)
		return r;
	i.url = from_body ? NULL : source;
	i.reference = reference;
	i.message = query_or_null(rq, "message");
	i.platform = query_or_null(rq, "platform");
	i.changes = changes;
	i.progress = progress_status;
	i.user = &p;
	if (!from_body)
		i.alive_fd = http_alive_fd(rq);
	r = engine_image_import(d->engine, &i, id, e);
	if (r >= 0 && from_body)
		r = http_body_end(rq, e);
	if (r >= 0)
		progress_status(&p, NULL, id, 0, 0);
	return progress_end(&p, r, e);
}

int h_image_create(HttpRequest *rq, void *user, Err *e)
{
	if (query_or_null(rq, "fromImage"))
		return pull(rq, user, e);
	if (query_or_null(rq, "fromSrc"))
		return import(rq, user, e);
	return err_new(e, ERR_INVALID, "images/create: one of fromImage and fromSrc must be given");
}

int h_bootstrap(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *reference = query_or_null(rq, "reference");
	_cleanup_(progress_done) Progress p;
	char id[DIGEST_LEN + 1];
	int r;

	progress_init(&p, rq);
	if (!reference)
		return err_new(e, ERR_INVALID,
			       "bootstrap: reference must be given, for example debian:bookworm");
	r = engine_image_bootstrap(d->engine, reference, http_query_bool(rq, "again", false), progress_status,
				   &p, http_alive_fd(rq), id, e);
	if (r >= 0)
		progress_send(&p, json_pack("{s:{s:s}}", "aux", "ID", id));
	return progress_end(&p, r, e);
}

static void load_told(void *user, const char *reference, const char *id)
{
	_cleanup_free_ char *shown = reference ? reference_shown(reference) : NULL;
	_cleanup_free_ char *text =
	    shown ? strf("Loaded image: %s\n", shown) : strf("Loaded image ID: %s\n", id);

	if (text)
		progress_stream(user, text);
}

int h_images_load(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_free_ char *platform = NULL;
	_cleanup_(progress_done) Progress p;
	int fd, r = query_platform(rq, "platform", &platform, e);

	progress_init(&p, rq);
	p.quiet = http_query_bool(rq, "quiet", false);
	fd = r < 0 ? r : http_body_fd(rq, e);
	if (fd < 0)
		return fd;
	const EngineLoad l = {
	    .tar_fd = fd,
	    .platform = platform,
	    .progress = progress_status,
	    .loaded = load_told,
	    .user = &p,
	};
	r = engine_image_load(d->engine, &l, e);
	if (r >= 0)
		r = http_body_end(rq, e);
	return progress_end(&p, r, e);
}

/* Called when everything was found: until then a wrong name is a 404 and not a broken tar. */
static int save_begin(void *user, Err *e)
{
	HttpRequest *rq = user;

	(void)http_stream_begin(rq, 200, "application/x-tar");
	return http_stream_fd(rq, e);
}

static int save(HttpRequest *rq, Door *d, char *const *names, Err *e)
{
	_cleanup_free_ char *platform = NULL;
	int r = query_platform(rq, "platform", &platform, e);
	const EngineSave s = {
	    .names = names,
	    .format = query_or_null(rq, "format"),
	    .platform = platform,
	    .begin = save_begin,
	    .user = rq,
	};

	return r < 0 ? r : engine_image_save(d->engine, &s, e);
}

int h_image_save(HttpRequest *rq, void *user, Err *e)
{
	char *names[] = {(char *)http_param(rq, "name"), NULL};

	return save(rq, user, names, e);
}

int h_images_save(HttpRequest *rq, void *user, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	const char *name;

	for (size_t i = 0; (name = http_query_nth(rq, "names", i)); i++) {
		_cleanup_strv_ char **parts = strv_split(name, ',');

		for (char **p = parts; p && *p; p++)
			if (**p && strv_add(&names, *p) < 0)
				return err_oom(e);
	}
	if (!names)
		return err_new(e, ERR_INVALID, "images/get: names must be given");
	return save(rq, user, names, e);
}

int h_image_commit(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_strv_ char **changes = NULL;
	_cleanup_(image_run_config_done) ImageRunConfig config = {0};
	const char *container = query_or_null(rq, "container"), *repo = query_or_null(rq, "repo"),
		   *one = query_or_null(rq, "changes");
	EngineCommit c;
	char id[DIGEST_LEN + 1];
	int64_t created_ns = 0;
	int r = http_body_json(rq, false, &body, e);

	if (r >= 0 && !container)
		r = err_new(e, ERR_INVALID, "commit: container must be given");
	if (r >= 0)
		r = changes_of(rq, &changes, e);
	if (r >= 0)
		r = created_of(rq, &created_ns, e);
	/* The command line sends several changes as lines of one parameter. */
	if (r >= 0 && one && strchr(one, '\n')) {
		strv_free(changes);
		changes = strv_split(one, '\n');
	}
	/* It also sends an empty config, which means the container's. */
	if (r >= 0 && json_object_size(body) > 0 && json_object_get(body, "Image") &&
	    !str_empty(json_get_str(body, "Image")))
		r = image_run_config_decode(body, &config, e);
	else
		json_object_clear(body);
	if (r < 0)
		return r;
	c = (EngineCommit){
	    .repo = repo,
	    .tag = query_or_null(rq, "tag"),
	    .comment = query_or_null(rq, "comment"),
	    .author = query_or_null(rq, "author"),
	    .pause = http_query_bool(rq, "pause", true),
	    .created_ns = created_ns,
	    .changes = changes,
	    .config = json_object_size(body) > 0 ? &config : NULL,
	};
	r = engine_container_commit(d->engine, container, &c, id, e);
	return r < 0 ? r : reply_doc(rq, 201, json_pack("{s:s}", "Id", id), e);
}

int h_squash(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	EngineSquash q = {
	    .image = query_or_null(rq, "image"),
	    .from = query_or_null(rq, "from"),
	    .name = query_or_null(rq, "name"),
	};
	char id[DIGEST_LEN + 1];
	int r = q.image ? created_of(rq, &q.created_ns, e)
			: err_new(e, ERR_INVALID, "squash: image must be given");

	if (r >= 0)
		r = engine_image_squash(d->engine, &q, id, e);
	return r < 0 ? r : reply_doc(rq, 201, json_pack("{s:s}", "Id", id), e);
}

typedef struct ImagePruneMatch {
	Door *door;
	const Filters *filters;
	int64_t until_ns;
} ImagePruneMatch;

static bool prune_match(void *user, const StoreImage *i)
{
	const ImagePruneMatch *m = user;

	/* An image whose config cannot be read is kept: prune deletes only what it understands. */
	return i->created_ns < m->until_ns && match_labels(m->door, m->filters, i, NULL) > 0;
}

int h_images_prune(HttpRequest *rq, void *user, Err *e)
{
	static const char *const allowed[] = {"dangling", "label", "label!", "until", NULL};
	Door *d = user;
	_cleanup_filters_ Filters f = {0};
	ImagePruneMatch m = {d, &f, INT64_MAX};
	json_t *deleted = NULL;
	int64_t bytes = 0;
	bool dangling = true;
	int r = filters_parse(http_query(rq, "filters"), &f, e);

	if (r >= 0)
		r = filters_allow(&f, allowed, e);
	if (r >= 0)
		r = filters_bool(&f, "dangling", &dangling, e);
	if (r >= 0)
		r = filters_time(&f, "until", &m.until_ns, e);
	if (r >= 0)
		r = prune_begin(d, PRUNE_IMAGES, e);
	if (r < 0)
		return r;
	r = engine_image_prune(d->engine, dangling, prune_match, &m, &deleted, &bytes, e);
	prune_end(d, PRUNE_IMAGES);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:o, s:I}", "ImagesDeleted", deleted ? deleted : json_null(),
				   "SpaceReclaimed", (json_int_t)bytes),
			 e);
}
