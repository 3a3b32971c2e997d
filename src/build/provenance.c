/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Provenance: what an image was built from, in the words of SLSA (https://slsa.dev/spec/v1.0/provenance).
 *
 * What the build fetched, images, repositories and files, is noted as it is found (material_add). The values of secrets are nowhere in it; build arguments
 * and the Dockerfile are, if everything (max) was asked for.
 */
#include "build/result.h"

#include "base/base64.h"

#define BUILD_TYPE   "urn:ireko:build:dockerfile:v1"
#define MATERIAL_MAX 4096

static bool is_noted(const Build *b, const char *uri)
{
	const json_t *one;
	size_t i;

	json_array_foreach (b->materials, i, one)
		if (streq0(json_get_str(one, "uri"), uri))
			return true;
	return false;
}

int material_add(Build *b, const char *uri, const char *algorithm, const char *digest, Err *e)
{
	int r = 0;

	if (!b->rq->provenance)
		return 0;
	pthread_mutex_lock(&b->events_lock);
	if (!b->materials)
		b->materials = json_array();
	if (!is_noted(b, uri) && json_array_size(b->materials) < MATERIAL_MAX &&
	    json_array_append_new(b->materials,
				  json_pack("{s:s, s:{s:s}}", "uri", uri, "digest", algorithm, digest)) < 0)
		r = err_oom(e);
	pthread_mutex_unlock(&b->events_lock);
	return r;
}

/* ADDRESSes may have a user and a password in them. */
static char *without_userinfo(const char *url)
{
	const char *begin = strstr(url, "://"), *at, *slash;

	if (!begin)
		return strdup(url);
	begin += 3;
	slash = begin + strcspn(begin, "/?#");
	at = memrchr(begin, '@', (size_t)(slash - begin));
	return at ? strf("%.*s%s", (int)(begin - url), url, at + 1) : strdup(url);
}

int material_add_url(Build *b, const char *url, const char *algorithm, const char *digest, Err *e)
{
	_cleanup_free_ char *uri = without_userinfo(url);

	return uri ? material_add(b, uri, algorithm, digest, e) : err_oom(e);
}

static int set(json_t *doc, const char *key, json_t *value)
{
	return json_object_set_new(doc, key, value);
}

/* As BuildKit's front end takes them. */
static int add_args(const Build *b, json_t *args)
{
	int r = 0;

	for (char *const *a = b->rq->args; r >= 0 && a && *a; a++) {
		_cleanup_free_ char *key = strf("build-arg:%.*s", (int)strcspn(*a, "="), *a);
		const char *value = strchr(*a, '=');

		r = key ? set(args, key, json_string(value ? value + 1 : "")) : -1;
	}
	for (char *const *l = b->rq->labels; r >= 0 && l && *l; l++) {
		_cleanup_free_ char *key = strf("label:%.*s", (int)strcspn(*l, "="), *l);
		const char *value = strchr(*l, '=');

		r = key ? set(args, key, json_string(value ? value + 1 : "")) : -1;
	}
	return r;
}

static json_t *parameters(const Build *b, bool max)
{
	json_t *args = json_object(), *source = json_pack("{s:s}", "path", b->dockerfile_name);
	_cleanup_free_ char *uri = b->rq->context ? without_userinfo(b->rq->context) : NULL;
	int r = args && source && (uri || !b->rq->context) ? 0 : -1;

	if (r == 0 && uri)
		r = set(source, "uri", json_string(uri));
	if (r == 0 && !str_empty(b->rq->target))
		r = set(args, "target", json_string(b->rq->target));
	if (r == 0 && max)
		r = add_args(b, args);
	if (r == 0)
		return json_pack("{s:o, s:{s:s, s:o}}", "configSource", source, "request", "frontend",
				 "dockerfile.v0", "args", args);
	json_decref(args);
	json_decref(source);
	return NULL;
}

static json_t *metadata(const Build *b, bool max)
{
	TimeText began = clock_rfc3339(b->began_ns), ended = clock_rfc3339(clock_now_ns());
	json_t *doc = json_pack("{s:s, s:s, s:s}", "invocationId", b->seed, "startedOn", began.s,
				"finishedOn", ended.s);
	_cleanup_free_ char *text =
	    max && b->dockerfile_text ? base64_encode(b->dockerfile_text, b->dockerfile_len, false) : NULL;

	if (doc && text &&
	    set(doc, "ireko_source", json_pack("{s:s, s:s}", "filename", b->dockerfile_name, "data", text)) <
		0)
		json_decref(take_ptr(doc));
	return doc;
}

json_t *provenance_make(const Build *b, bool max)
{
	ImagePlatform own = {0};
	_cleanup_free_ char *platform =
	    image_platform_parse(NULL, &own, NULL) >= 0 ? image_platform_text(&own) : NULL;
	json_t *outer = parameters(b, max), *times = metadata(b, max);
	json_t *materials = b->materials ? json_deep_copy(b->materials) : json_array();

	image_platform_done(&own);
	if (platform && outer && times && materials)
		return json_pack("{s:{s:s, s:o, s:{s:s}, s:o}, s:{s:{s:s, s:{s:s}}, s:o}}", "buildDefinition",
				 "buildType", BUILD_TYPE, "externalParameters", outer, "internalParameters",
				 "builderPlatform", platform, "resolvedDependencies", materials, "runDetails",
				 "builder", "id", "", "version", "ireko", IREKO_VERSION, "metadata", times);
	json_decref(outer);
	json_decref(times);
	json_decref(materials);
	return NULL;
}
