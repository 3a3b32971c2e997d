/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frontend's options to a request for the builder. What is not known is refused by name: a build must not look as if it had done what it has not.
 */
#include "api/buildkit/door-internal.h"

#include "base/json.h"

typedef struct Options {
	BuildRequest rq;
	char **args, **labels, **hosts, **ulimits, **contexts, **stages, **caches;
	char **imports;  /* as ClientState has them */
	char **left_out; /* caches that are imported by another way than there is */
} Options;

static void options_done(Options *o)
{
	strv_free(o->args);
	strv_free(o->labels);
	strv_free(o->hosts);
	strv_free(o->ulimits);
	strv_free(o->contexts);
	strv_free(o->stages);
	strv_free(o->caches);
	strv_free(o->left_out);
	strv_free(o->imports);
}

/* ---- one option ---- */

static int text(Options *o, size_t offset, const char *value)
{
	*(const char **)(void *)((char *)&o->rq + offset) = *value ? value : NULL;
	return 0;
}

static int number(const char *key, const char *value, int64_t *ret, Err *e)
{
	return !*value || str_to_i64(value, ret) >= 0
		   ? 0
		   : err_new(e, ERR_INVALID, "%s: \"%.60s\" is no number", key, value);
}

static int pieces(const char *value, char ***ret, Err *e)
{
	_cleanup_strv_ char **parts = *value ? strv_split(value, ',') : NULL;

	for (char **p = parts; p && *p; p++)
		if (**p && strv_add(ret, *p) < 0)
			return err_oom(e);
	return 0;
}

/* "name=address" to "name:address". */
static int hosts(Options *o, const char *value, Err *e)
{
	int r = pieces(value, &o->hosts, e);

	for (char **h = o->hosts; r >= 0 && h && *h; h++) {
		char *sep = strchr(*h, '=');

		if (!sep)
			return err_new(e, ERR_INVALID, "add-hosts: \"%.100s\": expected NAME=ADDRESS", *h);
		*sep = ':';
	}
	return r;
}

static int add_pair(char ***to, const char *name, const char *value, Err *e)
{
	return strv_take(to, strf("%s=%s", name, value)) < 0 ? err_oom(e) : 0;
}

/* "NAME" or "NAME::PLATFORM", which is for one platform of several. */
static int named_context(Options *o, const char *name, const char *value, Err *e)
{
	const char *platform = strstr(name, "::");
	_cleanup_free_ char *bare = platform ? strndup(name, (size_t)(platform - name)) : strdup(name);

	return bare ? add_pair(&o->contexts, bare, value, e) : err_oom(e);
}

/* An image is pulled; what lies with the client would have to be sent. A build does without. */
static int cache_import(Options *o, const char *type, const json_t *attrs, Err *e)
{
	const char *ref = json_get_str(attrs, "ref");
	bool known = streq(type, "registry") && ref;
	const char *src = json_get_str(attrs, "src"), *digest = json_get_str(attrs, "digest");

	/* Which of the blobs in it is the index the client says beside. */
	if (streq(type, "local") && src && digest && !strchr(src, ','))
		return strv_take(&o->caches, strf("type=local,src=%s", src)) < 0 ||
			       strv_add(&o->imports, src) < 0 || strv_add(&o->imports, digest) < 0
			   ? err_oom(e)
			   : 0;
	return strv_take(known ? &o->caches : &o->left_out,
			 known ? strf("type=registry,ref=%s", ref) : strdup(type)) < 0
		   ? err_oom(e)
		   : 0;
}

/* [{"Type": "registry", "Attrs": {"ref": NAME}}, ...] */
static int cache_imports(Options *o, const char *value, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	json_t *one;
	size_t i;
	int r = *value ? json_parse_bounded(value, strlen(value), "cache-imports", &doc, e) : 0;

	if (r < 0)
		return err_kind(e, r, ERR_INVALID);
	json_array_foreach (doc, i, one) {
		r = cache_import(o, json_get_str(one, "Type") ?: "", json_object_get(one, "Attrs"), e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "", "mode=max", "mode=min,inline-only=true", "disabled=true", "type=provenance,...": what a client adds by itself, the one with inline-only, is not what
 * anybody has asked for, and would make an index of every image. */
static int provenance(Options *o, const char *value, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	const char *mode = "min";
	int r = pieces(value, &fields, e);

	for (char **f = fields; r >= 0 && f && *f; f++) {
		if (streq(*f, "inline-only=true") || streq(*f, "disabled=true") || streq(*f, "false"))
			return 0;
		if (streq(*f, "mode=max") || streq(*f, "mode=min"))
			mode = streq(*f, "mode=max") ? "max" : "min";
		else if (!streq(*f, "true") && !streq(*f, "type=provenance") &&
			 !streq(*f, "disabled=false") && !streq(*f, "inline-only=false") &&
			 !streq(*f, "version=v1") && !streq(*f, "reproducible=false"))
			return err_new(e, ERR_UNSUPPORTED, "provenance: %.100s is not offered", *f);
	}
	if (r >= 0)
		o->rq.provenance = mode;
	return r;
}

/* Packages are listed by us: scanners in images are not run. */
static int sbom(Options *o, const char *value, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	int r = pieces(value, &fields, e);

	for (char **f = fields; r >= 0 && f && *f; f++) {
		if (streq(*f, "disabled=true") || streq(*f, "false"))
			return 0;
		if (!streq(*f, "true") && !streq(*f, "type=sbom") && !streq(*f, "disabled=false"))
			return err_new(e, ERR_UNSUPPORTED,
				       "sbom: %.100s is not offered: packages of dpkg and apk are listed",
				       *f);
	}
	if (r >= 0)
		o->rq.sbom = true;
	return r;
}

static bool is_builtin_frontend(const char *image)
{
	const char *s = str_after(image, "docker.io/") ?: image;

	s = str_after(s, "docker/dockerfile");
	if (s && str_starts(s, "-upstream"))
		s = str_after(s, "-upstream");
	return s && (!*s || *s == ':' || *s == '@');
}

static int frontend_image(const char *image, Err *e)
{
	return is_builtin_frontend(image) ? 0
					  : err_new(e, ERR_UNSUPPORTED,
						    "frontend %.200s: frontends in images are not offered: "
						    "docker/dockerfile is built in, of any version",
						    image);
}

/* Prefixes of keys that have a name behind them. */
static int prefixed(Options *o, const char *key, const char *value, Err *e, bool *ret_known)
{
	const char *name;

	*ret_known = true;
	if ((name = str_after(key, "build-arg:")))
		return add_pair(&o->args, name, value, e);
	if ((name = str_after(key, "label:")))
		return add_pair(&o->labels, name, value, e);
	if ((name = str_after(key, "context:")))
		return named_context(o, name, value, e);
	/* What an input's image is like is known here; sessions are looked up when a directory is asked for; the rest says where a build
	 * comes from, for records that are not kept. */
	if (str_starts(key, "input-metadata:") || str_starts(key, "local-sessionid:") ||
	    str_starts(key, "vcs:"))
		return 0;
	if (streq(key, "attest:provenance"))
		return provenance(o, value, e);
	if (streq(key, "attest:sbom"))
		return sbom(o, value, e);
	*ret_known = false;
	return 0;
}

static const struct {
	const char *key;
	size_t offset;
} texts[] =
    {
	{"filename", offsetof(BuildRequest, dockerfile)},
	{"target", offsetof(BuildRequest, target)},
	{"hostname", offsetof(BuildRequest, hostname)},
	{"force-network-mode", offsetof(BuildRequest, network_mode)},
	{"cgroup-parent", offsetof(BuildRequest, cgroup_parent)},
	{"cpuset-cpus", offsetof(BuildRequest, cpuset_cpus)},
	{"cpuset-mems", offsetof(BuildRequest, cpuset_mems)},
	{"context", offsetof(BuildRequest, context)},
},
  numbers[] = {
      {"shm-size", offsetof(BuildRequest, shm_size)},
      {"memory", offsetof(BuildRequest, memory)},
      {"memory-swap", offsetof(BuildRequest, memory_swap)},
      {"cpu-shares", offsetof(BuildRequest, cpu_shares)},
      {"cpu-period", offsetof(BuildRequest, cpu_period)},
      {"cpu-quota", offsetof(BuildRequest, cpu_quota)},
};

/* Known, and of no meaning for us: names of directories are looked up when they are asked for. */
static const char *const meant_elsewhere[] = {
    "contextkey", "dockerfilekey", "local-sharedkeyhint", "frontend.caps", "cmdline", "requestid", NULL};

static int special(Options *o, const char *key, const char *value, Err *e, bool *ret_known)
{
	*ret_known = true;
	if (streq(key, "no-cache")) {
		o->rq.no_cache = true;
		return pieces(value, &o->stages, e);
	}
	if (streq(key, "image-resolve-mode")) {
		o->rq.pull = streq(value, "pull");
		return 0;
	}
	if (streq(key, "add-hosts"))
		return hosts(o, value, e);
	if (streq(key, "ulimit"))
		return pieces(value, &o->ulimits, e);
	if (streq(key, "platform"))
		return text(o, offsetof(BuildRequest, platform), value);
	if (streq(key, "source"))
		return frontend_image(value, e);
	if (streq(key, "cache-imports"))
		return streq(value, "null") ? 0 : cache_imports(o, value, e);
	if (streq(key, "cache-from"))
		return pieces(value, &o->caches, e);
	if (streq(key, "multi-platform")) {
		o->rq.index = streq(value, "true") || streq(value, "1");
		return 0;
	}
	*ret_known = false;
	return 0;
}

static int option(Options *o, const char *key, const char *value, Err *e)
{
	bool known;
	int r;

	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		if (streq(key, texts[i].key))
			return text(o, texts[i].offset, value);
	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (streq(key, numbers[i].key))
			return number(key, value, (int64_t *)(void *)((char *)&o->rq + numbers[i].offset), e);
	for (const char *const *m = meant_elsewhere; *m; m++)
		if (streq(key, *m))
			return 0;
	r = special(o, key, value, e, &known);
	if (!known)
		r = prefixed(o, key, value, e, &known);
	return known
		   ? r
		   : err_new(e, ERR_UNSUPPORTED, "frontend option %.100s=%.100s is not offered", key, value);
}

static int options_read(Options *o, const Gateway__SolveRequest *rq, Err *e)
{
	int r = 0;

	if (!streq(rq->frontend, "dockerfile.v0") && !streq(rq->frontend, "gateway.v0"))
		return err_new(e, ERR_UNSUPPORTED, "frontend %.100s is not offered: there is dockerfile.v0",
			       rq->frontend);
	if (streq(rq->frontend, "gateway.v0") && !pairs_get(rq->frontend_opt, rq->n_frontend_opt, "source"))
		return err_new(e, ERR_INVALID, "frontend gateway.v0: no source was named");
	for (size_t i = 0; r >= 0 && i < rq->n_frontend_opt; i++)
		r = option(o, rq->frontend_opt[i]->key, rq->frontend_opt[i]->value, e);
	o->rq.own_dockerfile = pairs_get(rq->frontend_opt, rq->n_frontend_opt, "dockerfilekey") != NULL;
	o->rq.args = o->args;
	o->rq.labels = o->labels;
	o->rq.extra_hosts = o->hosts;
	o->rq.ulimits = o->ulimits;
	o->rq.named_contexts = o->contexts;
	o->rq.no_cache_stages = o->stages;
	o->rq.cache_from = o->caches;
	return r;
}

/* ---- the build ---- */

static void warn_of_cache(Job *j, const char *type)
{
	_cleanup_free_ char *text =
	    strf("cache import of type %.60s is not offered: the build goes on without it", type);

	if (text)
		status_warn(j, text);
}

static int solve(ClientState *c, GrpcCall *call, Options *o, BuildResult **ret, Err *e)
{
	BuildFailure failure = {0};
	BuildResult *result = NULL;
	Err err = {0};
	int r;

	o->rq.client = &c->client;
	o->rq.entitlements = c->job->entitlements;
	o->rq.cache_to = c->job->cache_to;
	for (char *const *left = o->left_out; left && *left; left++)
		warn_of_cache(c->job, *left);
	c->imports = o->imports;
	r = build_solve(c->job->door->builder, &o->rq, &result, &failure, &err);
	if (r == -ENOSPC || r == -EDQUOT)
		client_forget_trees(c);
	r = content_finish(c, r, &err);
	if (r < 0)
		build_result_free(result);
	else
		*ret = result;
	if (r < 0) {
		/* Clients put the name of a code in front of the message, unless it is UNKNOWN. */
		if (err.kind != ERR_CANCELLED) {
			err.no = EIO;
			r = err_kind(&err, -EIO, ERR_INTERNAL);
		}
		fail_with_source(call, &err, r, failure.file ?: c->filename, failure.source, failure.line,
				 failure.last_line);
		if (e)
			*e = err;
	}
	build_failure_done(&failure);
	return r;
}

int build_run(Job *j, GrpcCall *call, const Gateway__SolveRequest *rq, Answer *ret, Err *e)
{
	_cleanup_(options_done) Options o = {0};
	_cleanup_(client_done) ClientState c;
	const char *request = pairs_get(rq->frontend_opt, rq->n_frontend_opt, "requestid");
	BuildResult *result = NULL;
	Kept *k;
	int r;

	client_init(&c, j);
	c.opts = rq->frontend_opt;
	c.n_opts = rq->n_frontend_opt;
	c.inputs = rq->frontend_inputs;
	c.n_inputs = rq->n_frontend_inputs;
	r = options_read(&o, rq, e);
	if (r >= 0 && j->writes_files && (o.rq.provenance || o.rq.sbom))
		r = err_new(e, ERR_UNSUPPORTED,
			    "attestations go with images, and the output is files: use type=oci, or leave "
			    "--provenance and --sbom away");
	if (r >= 0 && o.rq.dockerfile)
		c.filename = o.rq.dockerfile;
	if (r >= 0 && !str_empty(request))
		return describe_run(&c, request, &o.rq, ret, e);
	if (r >= 0)
		r = solve(&c, call, &o, &result, e);
	if (r >= 0)
		r = kept_add(j, result, &k, e);
	if (r < 0)
		return r;
	ret->kept = kept_get(j->door, k->id);
	return ret->kept ? 0 : err_new(e, ERR_INTERNAL, "the result is gone");
}
