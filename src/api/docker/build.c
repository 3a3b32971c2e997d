/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /build: the classic builder's door. The context arrives as a tar, is unpacked by the store's sandbox into a directory of its
 * own under the data root, and that directory goes when the build is over, however it ends.
 */
#include "api/docker/door-internal.h"
#include "base/id.h"
#include "build/build.h"

#include <fcntl.h>
#include <sys/socket.h>

typedef struct Build {
	Progress progress;
	HttpRequest *rq;
	json_t *accounts; /* of X-Registry-Config */
	char **args, **labels, **hosts, **tags, **cache_from, **cache_to, **ulimits;
	char *context; /* directory, or NULL */
	int context_fd;
	bool quiet;
} Build;

static void build_done(Build *b)
{
	close_fd(&b->context_fd);
	/* What cannot be removed is found again by name, under tmp/. */
	if (b->context)
		(void)remove_tree_at(AT_FDCWD, b->context);
	free(b->context);
	strv_free(b->args);
	strv_free(b->labels);
	strv_free(b->hosts);
	strv_free(b->tags);
	strv_free(b->cache_from);
	strv_free(b->cache_to);
	strv_free(b->ulimits);
	json_decref(b->accounts);
	progress_done(&b->progress);
}

static void build_auth(void *user, const char *domain, EngineAuth *ret)
{
	Build *b = user;

	auth_account(auth_config_find(b->accounts, domain), ret);
}

static void tell_text(Build *b, const BuildEvent *ev, const char *end)
{
	_cleanup_free_ char *text = strf("%.*s%s", (int)MIN2(ev->len, (size_t)INT32_MAX), ev->text, end);

	if (text)
		progress_stream(&b->progress, text);
}

/* The classic builder's stream: steps, their output, and how far a base image is. */
static void build_event(void *user, const BuildEvent *ev)
{
	Build *b = user;

	if (b->quiet)
		return;
	switch (ev->kind) {
	case BUILD_STEP:
	case BUILD_NOTE:
		tell_text(b, ev, "\n");
		break;
	case BUILD_LOG:
		tell_text(b, ev, "");
		break;
	case BUILD_WARNING:
		progress_stream(&b->progress, "[Warning] ");
		tell_text(b, ev, "\n");
		break;
	case BUILD_PROGRESS:
		/* What the client sent it knows. */
		if (!str_ends(ev->id, ":"))
			progress_status(&b->progress, ev->id, ev->ended_ns ? "Pull complete" : "Downloading",
					ev->current, ev->total);
		break;
	case BUILD_VERTEX:
		break;
	}
}

/* All directories are the one that came as a tar. */
static int build_directory(void *user, const char *name, const BuildFiles *files _unused_,
			   const BuildVertex *vertex _unused_, int *ret_fd, Err *e)
{
	const Build *b = user;

	if (b->context_fd < 0 || (!streq(name, "context") && !streq(name, "dockerfile")))
		return err_new(e, ERR_INVALID,
			       "local:%.100s: this request brings no directory but the context", name);
	*ret_fd = fcntl(b->context_fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_sys(e, errno, "copy the context's descriptor") : 0;
}

/* A JSON object of strings; null values ("from the environment") give K alone. */
static int query_map(HttpRequest *rq, const char *name, char ***ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const char *key;
	json_t *value;
	int r = http_query_json(rq, name, &doc, e);

	if (r < 0)
		return r;
	if (doc && !json_is_object(doc))
		return err_new(e, ERR_INVALID, "%s: expected a JSON object", name);
	json_object_foreach (doc, key, value) {
		if (!json_is_string(value) && !json_is_null(value))
			return err_new(e, ERR_INVALID, "%s: %.60s: expected a string", name, key);
		r = strv_take(ret, json_is_null(value) ? strdup(key)
						       : strf("%s=%s", key, json_string_value(value)));
		if (r < 0)
			return err_oom(e);
	}
	return 0;
}

/* A JSON list of strings. */
static int query_strings(HttpRequest *rq, const char *name, char ***ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = http_query_json(rq, name, &doc, e);

	if (r < 0 || !doc)
		return r;
	r = json_to_strv(doc, ret);
	return r < 0 ? err_new(e, ERR_INVALID, "%s: expected a JSON list of strings", name) : 0;
}

/* [{"Name", "Soft", "Hard"}] to NAME=SOFT:HARD. */
static int query_ulimits(HttpRequest *rq, char ***ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	size_t i;
	json_t *one;
	int r = http_query_json(rq, "ulimits", &doc, e);

	if (r < 0)
		return r;
	json_array_foreach (doc, i, one) {
		const char *name = json_get_str(one, "Name");

		if (!name || !json_is_integer(json_object_get(one, "Soft")) ||
		    !json_is_integer(json_object_get(one, "Hard")))
			return err_new(e, ERR_INVALID, "ulimits: expected Name, Soft and Hard of each");
		if (strv_take(ret, strf("%s=%lld:%lld", name, (long long)json_get_int(one, "Soft", 0),
					(long long)json_get_int(one, "Hard", 0))) < 0)
			return err_oom(e);
	}
	return 0;
}

static int query_list(HttpRequest *rq, const char *name, char sep, char ***ret, Err *e)
{
	const char *v;

	for (size_t i = 0; (v = http_query_nth(rq, name, i)); i++) {
		_cleanup_strv_ char **parts = sep ? strv_split(v, sep) : NULL;

		if (!sep && *v && strv_add(ret, v) < 0)
			return err_oom(e);
		for (char **p = parts; p && *p; p++)
			if (**p && strv_add(ret, *p) < 0)
				return err_oom(e);
	}
	return 0;
}

static int open_context(Build *b, Door *d, Err *e)
{
	char id[17];
	_cleanup_free_ char *tmp = strf("%s/tmp", d->data_root);
	int r;

	id_random_hex(id, 16);
	b->context = tmp ? strf("%s/build-%s", tmp, id) : NULL;
	if (!b->context)
		return err_oom(e);
	if (mkdir(tmp, 0700) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make %s", tmp);
	if (mkdir(b->context, 0700) < 0) {
		r = err_sys(e, errno, "make %s", b->context);
		free(take_ptr(b->context));
		return r;
	}
	b->context_fd = open(b->context, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->context_fd < 0)
		return err_sys(e, errno, "open %s", b->context);
	return 0;
}

static int receive_context(Build *b, Door *d, Err *e)
{
	ArchiveExtract x = {.keep_owner = true};
	int r = open_context(b, d, e);

	if (r < 0)
		return r;
	x.dir_fd = b->context_fd;
	x.fd = http_body_fd(b->rq, e);
	if (x.fd < 0)
		return x.fd;
	r = store_archive_extract(engine_store(d->engine), &x, e);
	if (r >= 0)
		r = http_body_end(b->rq, e);
	return r < 0 ? err_ctx(e, r, "build context") : 0;
}

static int read_options(Build *b, BuildRequest *q, Err *e)
{
	static const struct {
		const char *name;
		size_t offset;
	} numbers[] = {
	    {"memory", offsetof(BuildRequest, memory)},
	    {"memswap", offsetof(BuildRequest, memory_swap)},
	    {"cpushares", offsetof(BuildRequest, cpu_shares)},
	    {"cpuperiod", offsetof(BuildRequest, cpu_period)},
	    {"cpuquota", offsetof(BuildRequest, cpu_quota)},
	    {"shmsize", offsetof(BuildRequest, shm_size)},
	};
	int r = query_map(b->rq, "buildargs", &b->args, e);

	if (r >= 0)
		r = query_map(b->rq, "labels", &b->labels, e);
	if (r >= 0)
		r = query_strings(b->rq, "cachefrom", &b->cache_from, e);
	/* Ours: docker's command has it for BuildKit only. */
	if (r >= 0)
		r = query_strings(b->rq, "cacheto", &b->cache_to, e);
	if (r >= 0)
		r = query_ulimits(b->rq, &b->ulimits, e);
	if (r >= 0)
		r = query_list(b->rq, "extrahosts", ',', &b->hosts, e);
	if (r >= 0)
		r = query_list(b->rq, "t", 0, &b->tags, e);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
		r = http_query_int(b->rq, numbers[i].name, (int64_t *)(void *)((char *)q + numbers[i].offset),
				   e);
	if (r >= 0)
		r = auth_config_parse(http_header(b->rq, "X-Registry-Config"), &b->accounts, e);
	return r;
}

static const char *query_or_null(HttpRequest *rq, const char *name)
{
	const char *v = http_query(rq, name);

	return str_empty(v) ? NULL : v;
}

static int refuse_unsupported(HttpRequest *rq, Err *e)
{
	const char *outputs = http_query(rq, "outputs"), *isolation = http_query(rq, "isolation");

	if (query_or_null(rq, "securityopt"))
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "securityopt %.100s is not offered: steps run as containers do by default, or with "
		    "RUN --security=insecure",
		    http_query(rq, "securityopt"));
	if (!str_empty(isolation) && !streq(isolation, "default"))
		return err_new(e, ERR_UNSUPPORTED, "isolation %.40s is not offered", isolation);
	if (!str_empty(outputs) && !streq(outputs, "null") && !streq(outputs, "[]"))
		return err_new(e, ERR_UNSUPPORTED,
			       "outputs %.200s are not offered here: docker build with BuildKit has them",
			       outputs);
	return 0;
}

static void tell_success(Build *b, const char *id)
{
	_cleanup_free_ char *built =
	    b->quiet ? strf("%s\n", id) : strf("Successfully built %.12s\n", digest_hex(id));

	progress_send(&b->progress, json_pack("{s:{s:s}}", "aux", "ID", id));
	if (built)
		progress_stream(&b->progress, built);
	for (char **t = b->tags; !b->quiet && t && *t; t++) {
		_cleanup_free_ char *shown = reference_shown(*t);
		_cleanup_free_ char *text = shown ? strf("Successfully tagged %s\n", shown) : NULL;

		if (text)
			progress_stream(&b->progress, text);
	}
}

/* The text clients match on, and the code that docker build exits with. */
static int tell_failure(Build *b, int r, const BuildFailure *f, Err *e)
{
	int code = f->status;

	if (code)
		r = err_new(e, ERR_INTERNAL,
			    "The command '%.500s' returned a non-zero code: %d (%s:%d)%s%.1000s",
			    f->command ?: "", code, query_or_null(b->rq, "dockerfile") ?: "Dockerfile",
			    f->line, str_empty(f->output) ? "" : "; its last output was:\n", f->output ?: "");
	if (!http_answered(b->rq))
		return r;
	progress_send(&b->progress, code ? json_pack("{s:{s:i, s:o}, s:o}", "errorDetail", "code", code,
						     "message", doc_error(e, r), "error", doc_error(e, r))
					 : json_pack("{s:{s:o}, s:o}", "errorDetail", "message",
						     doc_error(e, r), "error", doc_error(e, r)));
	return 0;
}

static int run_build(Build *b, Door *d, BuildRequest *q, Err *e)
{
	HttpRequest *rq = b->rq;
	const BuildClient client = {.user = b,
				    .directory = build_directory,
				    .auth = build_auth,
				    .event = build_event,
				    .alive_fd = http_alive_fd(rq)};
	BuildFailure failure = {0};
	BuildResult *result = NULL;
	BuildImageMade made;
	int r = build_tags_check(b->tags, e);

	q->client = &client;
	q->in_order = true;
	q->dockerfile = query_or_null(rq, "dockerfile");
	q->args = b->args;
	q->labels = b->labels;
	q->extra_hosts = b->hosts;
	q->ulimits = b->ulimits;
	q->context = query_or_null(rq, "remote");
	q->cache_from = b->cache_from;
	q->cache_to = b->cache_to;
	q->target = query_or_null(rq, "target");
	q->network_mode = query_or_null(rq, "networkmode");
	q->platform = query_or_null(rq, "platform");
	q->no_cache = http_query_bool(rq, "nocache", false);
	q->pull = http_query_bool(rq, "pull", false);
	q->squash = http_query_bool(rq, "squash", false);
	q->keep_failed = !http_query_bool(rq, "rm", true) && !http_query_bool(rq, "forcerm", false);
	q->cpuset_cpus = query_or_null(rq, "cpusetcpus");
	q->cpuset_mems = query_or_null(rq, "cpusetmems");
	q->cgroup_parent = query_or_null(rq, "cgroupparent");
	/* Its stream is of one build. */
	if (r >= 0 && q->platform && strchr(q->platform, ','))
		r = err_new(e, ERR_INVALID,
			    "platform %.100s: the classic builder builds one platform at a time: build with "
			    "buildx, or with ireko build",
			    q->platform);
	if (r >= 0)
		r = build_solve(d->builder, q, &result, &failure, e);
	if (r >= 0)
		r = build_result_image(result, &(BuildImageOptions){.tags = b->tags}, &made, e);
	build_result_free(result);
	if (r < 0) {
		r = tell_failure(b, r, &failure, e);
		build_failure_done(&failure);
		return r;
	}
	tell_success(b, made.id);
	return progress_end(&b->progress, 0, e);
}

/* ---- builds with an id, which can be cancelled */

/* On the stack of the request that builds. */
typedef struct NamedBuild {
	const char *id; /* NULL: none was given */
	int alive_fd;
	struct NamedBuild *next;
} NamedBuild;

static void named_build_begin(Door *d, NamedBuild *n)
{
	if (!n->id)
		return;
	pthread_mutex_lock(&d->builds_lock);
	n->next = d->builds;
	d->builds = n;
	pthread_mutex_unlock(&d->builds_lock);
}

static void named_build_end(Door *d, const NamedBuild *n)
{
	NamedBuild **at = &d->builds;

	if (!n->id)
		return;
	pthread_mutex_lock(&d->builds_lock);
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	pthread_mutex_unlock(&d->builds_lock);
}

/* POST /build/cancel?id=X: as if the client of /build?buildid=X had gone, which everything in a build watches for. An id that is not known is
 * that of a build which has ended. */
int h_build_cancel(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	const char *id = http_query(rq, "id");

	if (str_empty(id))
		return err_new(e, ERR_INVALID, "build ID not provided");
	pthread_mutex_lock(&d->builds_lock);
	for (const NamedBuild *n = d->builds; n; n = n->next)
		if (streq(n->id, id))
			(void)shutdown(n->alive_fd, SHUT_RDWR);
	pthread_mutex_unlock(&d->builds_lock);
	return http_reply_empty(rq, 200);
}

int h_build(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(build_done)
	    Build b = {.rq = rq, .context_fd = -1, .quiet = http_query_bool(rq, "q", false)};
	NamedBuild named = {.id = http_query(rq, "buildid"), .alive_fd = http_alive_fd(rq)};
	BuildRequest q = {0};
	int r;

	progress_init(&b.progress, rq);
	r = refuse_unsupported(rq, e);
	if (r >= 0)
		r = read_options(&b, &q, e);
	named_build_begin(d, &named);
	/* What lies elsewhere is fetched by the build. */
	if (r >= 0 && !query_or_null(rq, "remote"))
		r = receive_context(&b, d, e);
	if (r >= 0)
		r = run_build(&b, d, &q, e);
	named_build_end(d, &named);
	return r;
}
