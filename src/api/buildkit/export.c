/* SPDX-License-Identifier: Apache-2.0 */
/* Exporters: what becomes of a result. Each tells what it does as a vertex of its own. */
#include "api/buildkit/door-internal.h"

#include "base/base64.h"
#include "base/id.h"
#include "oci/reference.h"

#include <fcntl.h>
#include <jansson.h>

typedef struct Export {
	Job *job;
	const Control__Exporter *x;
	int id; /* among the outputs of the client */
	Kept *kept;
	ExporterResponse *out;
	char digest[DIGEST_LEN + 1]; /* of the vertex */
	int64_t started_ns;
} Export;

void exporter_response_done(ExporterResponse *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->pairs[i]->key);
		free(x->pairs[i]->value);
		free(x->pairs[i]);
	}
	free(x->pairs);
}

int exporter_respond(ExporterResponse *x, const char *key, const char *value, Err *e)
{
	Llb__Pair **grown = reallocarray(x->pairs, x->n + 1, sizeof(*grown)), *p = malloc(sizeof(*p));

	if (grown)
		x->pairs = grown;
	if (!grown || !p) {
		free(p);
		return err_oom(e);
	}
	llb__pair__init(p);
	p->key = strdup(key);
	p->value = strdup(value);
	x->pairs[x->n++] = p;
	return p->key && p->value ? 0 : err_oom(e);
}

static const char *attr(const Export *x, const char *key)
{
	return pairs_get(x->x->attrs, x->x->n_attrs, key);
}

static bool is_true(const char *v)
{
	return v && (streq(v, "1") || strcasecmp(v, "true") == 0 || strcasecmp(v, "t") == 0);
}

/* ---- an image ---- */

static void step(const Export *x, const char *id, int64_t started_ns)
{
	status_progress(x->job, x->digest, id, 0, 0, started_ns, clock_now_ns());
}

static void tell_named(const Export *x, char *const *tags)
{
	for (; tags && *tags; tags++) {
		_cleanup_free_ char *text = strf("naming to %s", *tags);

		if (text)
			step(x, text, clock_now_ns());
	}
}

/* Names as they are stored: of the registry, with a tag. */
static int full_names(const char *list, char ***ret, Err *e)
{
	_cleanup_strv_ char **names = str_empty(list) ? NULL : strv_split(list, ',');
	int r = 0;

	for (char **n = names; r >= 0 && n && *n; n++) {
		Reference ref = {0};

		if (!**n)
			continue;
		r = reference_parse(*n, &ref, e);
		if (r >= 0 && ref.digest)
			r = err_new(e, ERR_INVALID, "cannot store an image with a digest: %.300s", *n);
		if (r >= 0 && strv_take(ret, reference_full(&ref)) < 0)
			r = err_oom(e);
		reference_done(&ref);
	}
	return r;
}

static int descriptor(Export *x, const BuildImageMade *made, Err *e)
{
	json_t *doc =
	    *made->digest
		? json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType", made->media_type, "digest", made->digest,
			    "size", (json_int_t)made->size, "annotations", "config.digest", made->id)
		: json_pack("{s:s, s:s, s:I, s:{s:s, s:s}}", "mediaType",
			    "application/vnd.docker.container.image.v1+json", "digest", made->id, "size",
			    (json_int_t)strlen(x->kept->config), "annotations", "config.digest", made->id,
			    "containerimage.config.digest", made->id);
	_cleanup_free_ char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	_cleanup_free_ char *encoded = text ? base64_encode(text, strlen(text), false) : NULL;

	json_decref(doc);
	return encoded ? exporter_respond(x->out, "containerimage.descriptor", encoded, e) : err_oom(e);
}

/* "annotation.KEY", "annotation-index.KEY", "annotation-manifest[linux/arm64].KEY", as --annotation has them. */
static int annotations(const Control__Exporter *x, char ***ret, Err *e)
{
	for (size_t i = 0; i < x->n_attrs; i++) {
		const char *place = str_after(x->attrs[i]->key, "annotation"),
			   *key = place ? strchr(place, '.') : NULL;
		_cleanup_free_ char *text = NULL;

		if (!key)
			continue;
		text =
		    *place == '-'
			? strf("%.*s:%s=%s", (int)(key - place - 1), place + 1, key + 1, x->attrs[i]->value)
			: strf("manifest%.*s:%s=%s", (int)(key - place), place, key + 1, x->attrs[i]->value);
		if (!text || strv_add(ret, text) < 0)
			return err_oom(e);
	}
	return 0;
}

/* pushed: by what a registry has it, NULL if it was not pushed. */
static int respond_image(Export *x, const BuildImageMade *made, const char *pushed, char *const *tags, Err *e)
{
	_cleanup_free_ char *names = strv_join(tags, ",");
	int r = exporter_respond(x->out, "containerimage.digest",
				 pushed ?: (*made->digest ? made->digest : made->id), e);

	if (r >= 0)
		r = exporter_respond(x->out, "containerimage.config.digest", made->id, e);
	if (r >= 0 && !str_empty(names))
		r = exporter_respond(x->out, "image.name", names, e);
	return r < 0 ? r : descriptor(x, made, e);
}

static void tell_made(const Export *x, const BuildImageMade *made, int64_t began)
{
	_cleanup_free_ char *writing = strf("writing image %s", made->id), *list = NULL;

	step(x, "exporting layers", began);
	if (writing)
		step(x, writing, began);
	if (*made->digest)
		list = strf("exporting manifest%s %s", strstr(made->media_type, "index") ? " list" : "",
			    made->digest);
	if (list)
		step(x, list, began);
}

static int export_image(Export *x, Err *e)
{
	_cleanup_strv_ char **tags = NULL, **notes = NULL;
	BuildImageMade made;
	char pushed[DIGEST_LEN + 1];
	int64_t began = clock_now_ns();
	int r = full_names(attr(x, "name"), &tags, e);

	if (r >= 0)
		r = annotations(x->x, &notes, e);
	if (r >= 0)
		r = build_result_image(x->kept->result,
				       &(BuildImageOptions){.tags = tags, .annotations = notes}, &made, e);
	if (r < 0)
		return r;
	tell_made(x, &made, began);
	tell_named(x, tags);
	memcpy(pushed, *made.digest ? made.digest : made.id, sizeof(pushed));
	if (is_true(attr(x, "push")))
		r = export_push(x->job, x->digest, tags, pushed, e);
	return r < 0 ? r : respond_image(x, &made, pushed, tags, e);
}

/* ---- files ---- */

static void copied(void *user, int64_t bytes, bool end)
{
	const Export *x = user;

	status_progress(x->job, x->digest, "copying files", bytes, 0, x->started_ns,
			end ? clock_now_ns() : 0);
}

/* A stage without files is an empty directory. */
static int result_root(Export *x, int *ret, Err *e)
{
	return build_result_mount_all(x->kept->result, ret, e);
}

static int export_local(Export *x, Err *e)
{
	_cleanup_close_ int root = -1;
	Session *s;
	int r = job_session(x->job, &s, e);

	if (r >= 0)
		r = result_root(x, &root, e);
	return r < 0 ? r : filesend_tree(x->job, s, x->id, root, copied, x, e);
}

/* What is written to the client by a thread of its own while we read it. */
typedef struct Packer {
	Export *x;
	int (*write)(struct Packer *p, Err *e);
	int root, out_fd, r;
	char *const *tags, *const *notes;
	BuildImageMade made;
	Err err;
	pthread_t thread;
} Packer;

static void *pack_thread(void *arg)
{
	Packer *p = arg;

	p->r = p->write(p, &p->err);
	close_fd(&p->out_fd);
	return NULL;
}

static int write_files(Packer *p, Err *e)
{
	return engine_directory_archive(p->root, p->out_fd, e);
}

static int write_image(Packer *p, Err *e)
{
	return build_result_archive(p->x->kept->result,
				    &(BuildImageOptions){.tags = p->tags, .annotations = p->notes},
				    p->x->x->type, p->out_fd, &p->made, e);
}

static int stream(Packer *p, Err *e)
{
	_cleanup_close_ int in_fd = -1;
	Export *x = p->x;
	Session *s;
	int ends[2], r = job_session(x->job, &s, e);

	if (r < 0)
		return r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe for the output");
	in_fd = ends[0];
	p->out_fd = ends[1];
	r = pthread_create(&p->thread, NULL, pack_thread, p);
	if (r != 0) {
		close_fd(&p->out_fd);
		return err_sys(e, r, "start a thread for the output");
	}
	r = filesend_stream(x->job, s, x->id, in_fd, copied, x, e);
	close_fd(&in_fd); /* of a client that takes no more, the packer learns so */
	pthread_join(p->thread, NULL);
	/* What went wrong here is why the stream ended. */
	if (p->r < 0 && p->r != -EPIPE) {
		if (e)
			*e = p->err;
		r = p->r;
	}
	return r;
}

static int export_tar(Export *x, Err *e)
{
	_cleanup_close_ int root = -1;
	int r = result_root(x, &root, e);

	return r < 0 ? r : stream(&(Packer){.x = x, .write = write_files, .root = root}, e);
}

static int export_archive(Export *x, Err *e)
{
	_cleanup_strv_ char **tags = NULL, **notes = NULL;
	Packer p = {.x = x, .write = write_image};
	int r = full_names(attr(x, "name"), &tags, e);

	if (r >= 0)
		r = annotations(x->x, &notes, e);
	if (r < 0)
		return r;
	p.tags = tags;
	p.notes = notes;
	r = stream(&p, e);
	return r < 0 ? r : respond_image(x, &p.made, NULL, tags, e);
}

/* ---- all of them ---- */

static const struct {
	const char *type, *title;
	int (*fn)(Export *x, Err *e);
} exporters[] = {
    {"moby", "exporting to image", export_image},
    {"image", "exporting to image", export_image},
    {"local", "exporting to client directory", export_local},
    {"tar", "exporting to client tarball", export_tar},
    {"docker", "exporting to docker image format", export_archive},
    {"oci", "exporting to oci image format", export_archive},
};

static int find(const char *type, size_t *ret, Err *e)
{
	for (size_t i = 0; i < ELEMENTSOF(exporters); i++)
		if (streq(exporters[i].type, type)) {
			*ret = i;
			return 0;
		}
	return err_new(e, ERR_UNSUPPORTED,
		       "exporter %.60s is not offered: there are image, docker, oci, local and tar", type);
}

/* What exporters may be told, with the one value that is what they do anyway (NULL: any). */
static const struct {
	const char *key, *value;
} attrs_known[] = {
    {"name", NULL},
    {"push", NULL},
    {"context", NULL},
    {"dest", NULL}, /* where the client puts it: old ones tell */
    {"buildinfo", NULL},
    {"buildinfo-attrs", NULL},
    {"prefer-image-digest", NULL},
    {"compression", "gzip"},
    {"tar", "true"},
    {"unpack", "true"},
    {"store", "true"},
    {"oci-mediatypes", "true"},
    {"platform-split", "true"},
    {"push-by-digest", "false"},
    {"rewrite-timestamp", "false"},
    {"force-compression", "false"},
    {"registry.insecure", "false"},
    {"name-canonical", "false"},
};

static bool same_value(const char *want, const char *value)
{
	return !want || streq(want, value) || (streq(want, "true") && is_true(value)) ||
	       (streq(want, "false") && (streq(value, "0") || strcasecmp(value, "false") == 0));
}

static int check_attr(const char *type, const char *key, const char *value, Err *e)
{
	bool known = str_starts(key, "annotation");

	for (size_t i = 0; !known && i < ELEMENTSOF(attrs_known); i++)
		known = streq(key, attrs_known[i].key) && same_value(attrs_known[i].value, value);
	return known
		   ? 0
		   : err_new(e, ERR_UNSUPPORTED, "exporter %s: %.60s=%.60s is not offered", type, key, value);
}

static int check_attrs(const Control__Exporter *x, Err *e)
{
	_cleanup_strv_ char **notes = NULL;
	int r = annotations(x, &notes, e);

	for (size_t i = 0; r >= 0 && i < x->n_attrs; i++)
		r = check_attr(x->type, x->attrs[i]->key, x->attrs[i]->value, e);
	return r < 0 ? r : build_annotations_check(notes, e);
}

/* The older member has the one output of clients that know of no more. */
static size_t outputs(const Control__SolveRequest *rq, Control__Exporter *older,
		      Control__Exporter **ret_older)
{
	if (rq->n_exporters > 0 || !*rq->exporter_deprecated)
		return rq->n_exporters;
	control__exporter__init(older);
	older->type = rq->exporter_deprecated;
	older->attrs = rq->exporter_attrs_deprecated;
	older->n_attrs = rq->n_exporter_attrs_deprecated;
	*ret_older = older;
	return 1;
}

int export_check(const Control__SolveRequest *rq, Err *e)
{
	Control__Exporter older, *old = NULL;
	size_t n = outputs(rq, &older, &old), at;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		const Control__Exporter *x = old ?: rq->exporters[i];
		_cleanup_strv_ char **names = NULL;

		r = find(x->type, &at, e);
		if (r >= 0)
			r = check_attrs(x, e);
		if (r >= 0 && (exporters[at].fn == export_image || exporters[at].fn == export_archive))
			r = full_names(pairs_get(x->attrs, x->n_attrs, "name"), &names, e);
	}
	return r;
}

static int export_one(Export *x, Err *e)
{
	char unique[33];
	size_t at = 0;
	int r = find(x->x->type, &at, e);

	if (r < 0)
		return r;
	id_random_hex(unique, 32);
	digest_of(unique, 32, x->digest);
	x->started_ns = clock_now_ns();
	status_vertex(x->job, x->digest, exporters[at].title, x->started_ns, 0, NULL);
	r = exporters[at].fn(x, e);
	status_vertex(x->job, x->digest, exporters[at].title, x->started_ns, clock_now_ns(),
		      r < 0 ? err_msg(e, r) : NULL);
	return r;
}

int export_all(Job *j, const Control__SolveRequest *rq, Kept *k, ExporterResponse *ret, Err *e)
{
	Control__Exporter older, *old = NULL;
	size_t n = outputs(rq, &older, &old);
	int r = 0;

	for (size_t i = 0; k && k->config && r >= 0 && i < n; i++) {
		Export x = {.job = j, .x = old ?: rq->exporters[i], .id = (int)i, .kept = k, .out = ret};

		r = export_one(&x, e);
	}
	return r;
}
