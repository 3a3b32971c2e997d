/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build for one platform, from its Dockerfile to the stage that was asked for: a thread a stage, all at once.
 *
 * One more thread watches the client: whatever ends the build, its departure or a stage that fails, alive_fd of all that is under way reports POLLHUP
 * then, and everybody comes home before build_solve() returns.
 */
#include "build/build-internal.h"
#include "build/solve.h"

#include <poll.h>
#include <sys/socket.h>

int build_cancelled(Err *e)
{
	return err_new(e, ERR_CANCELLED, "the build was cancelled by its client");
}

bool build_is_over(const Build *b)
{
	struct pollfd p = {.fd = b->alive_fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

static void give_up(Build *b)
{
	(void)shutdown(b->stop_fd, SHUT_RDWR); /* a second time it is shut already */
}

int build_await(Build *b, Stage *other, Err *e)
{
	pthread_mutex_lock(&b->lock);
	while (other->state == STAGE_WAITING && b->failed == 0)
		pthread_cond_wait(&b->changed, &b->lock);
	StageState state = other->state;
	pthread_mutex_unlock(&b->lock);
	return state == STAGE_DONE ? 0 : build_cancelled(e);
}

/* Whoever is the first makes a stage. */
static bool claim(Build *b, Stage *s)
{
	pthread_mutex_lock(&b->lock);
	bool mine = !s->begun;
	s->begun = true;
	pthread_mutex_unlock(&b->lock);
	return mine;
}

/* ---- the Dockerfile ---- */

static int read_file(int dir, const char *path, size_t max, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(dir, path, O_RDONLY | O_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return fd == -ENOENT ? fd : err_sys(e, fd, "open %s", path);
	r = fd_read_all(fd, max, ret, ret_len);
	return r < 0 ? err_sys(e, r, "read %s", path) : 0;
}

/* The rules for the context: beside the Dockerfile under its own name, or the context's .dockerignore. */
static int ignore_load(Build *b, int dir, Err *e)
{
	_cleanup_free_ char *own = strf("%s.dockerignore", b->dockerfile_name), *text = NULL;
	size_t len;
	int r = own ? read_file(dir, own, DOCKERFILE_MAX, &text, &len, e) : err_oom(e);
	_cleanup_close_ int context = -1;
	char *follow[] = {(char *)".dockerignore", NULL};
	const BuildFiles files = {.follow = follow};

	if (r == -ENOENT && b->rq->context)
		r = read_file(dir, ".dockerignore", DOCKERFILE_MAX, &text, &len, e);
	else if (r == -ENOENT) {
		r = b->rq->client->directory(b->rq->client->user, "context", &files, NULL, &context, e);
		if (r >= 0)
			r = read_file(context, ".dockerignore", DOCKERFILE_MAX, &text, &len, e);
	}
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : ignore_parse(text, &b->ignore, e);
}

static int dockerfile_open(Build *b, BuildVertex *v, int *ret, Err *e)
{
	_cleanup_free_ char *ignore = strf("%s.dockerignore", b->dockerfile_name);
	char *follow[] = {b->dockerfile_name, ignore, NULL};
	const BuildFiles files = {.follow = follow};

	if (!ignore)
		return err_oom(e);
	return b->rq->client->directory(b->rq->client->user, "dockerfile", &files, v, ret, e);
}

static int dockerfile_read(Build *b, BuildVertex *v, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int dir = -1;
	_cleanup_free_ char *name = NULL;
	int r = 0;

	if (b->rq->dockerfile_text) {
		*ret = strdup(b->rq->dockerfile_text);
		*ret_len = strlen(b->rq->dockerfile_text);
		if (!*ret)
			return err_oom(e);
	}
	if (b->rq->dockerfile_text && b->rq->context)
		return 0;
	r = b->rq->context && !b->rq->own_dockerfile ? build_context_dockerfile(b, &dir, &name, e)
						     : dockerfile_open(b, v, &dir, e);
	if (r < 0)
		return b->rq->dockerfile_text ? 0 : r;
	if (!b->rq->dockerfile_text)
		r = read_file(dir, name ?: b->dockerfile_name, DOCKERFILE_MAX, ret, ret_len, e);
	if (r == -ENOENT)
		return err_new(
		    e, ERR_INVALID,
		    "failed to read dockerfile: Cannot locate specified Dockerfile: open %s: no such file or "
		    "directory: put one into the context or name it with -f",
		    b->dockerfile_name);
	return r < 0 ? r : ignore_load(b, dir, e);
}

/* The language is built in: other front ends would be images that are run. */
static int syntax_check(Build *b, Err *e)
{
	const char *given = plan_given_arg(b, "BUILDKIT_SYNTAX"), *name, *end;
	_cleanup_free_ char *asked = NULL;
	int line, r = 0;

	if (!given)
		r = dockerfile_syntax(b->dockerfile_text, b->dockerfile_len, &asked, &line, e);
	name = given ?: asked;
	if (r < 0 || str_empty(name))
		return r;
	end = str_after(name, "docker.io/");
	if (end)
		name = end;
	end = str_after(name, "docker/dockerfile-upstream") ?: str_after(name, "docker/dockerfile");
	if (end && (!*end || *end == ':' || *end == '@'))
		return 0;
	return err_new(
	    e, ERR_UNSUPPORTED,
	    "syntax %.200s: front ends that are images are not offered: docker/dockerfile is built in",
	    given ?: asked);
}

static int dockerfile_understand(Build *b, Err *e)
{
	DockerfilePlace place = {0};
	int r = syntax_check(b, e);

	if (r < 0)
		return r;
	r = dockerfile_parse_at(b->dockerfile_text, b->dockerfile_len, b->dockerfile_name, &b->df, &place, e);
	if (r < 0) {
		b->how.line = place.first;
		b->how.last_line = place.last;
	}
	return r;
}

static int dockerfile_load(Build *b, Err *e)
{
	BuildVertex *v;
	int r;

	b->dockerfile_name = strdup(str_empty(b->rq->dockerfile) ? "Dockerfile" : b->rq->dockerfile);
	v = b->dockerfile_name
		? vertex_new(b, 0, "[%s%sinternal] load build definition from %s", b->label ?: "",
			     b->label ? " " : "", path_base(b->dockerfile_name))
		: NULL;
	if (!v)
		return err_oom(e);
	vertex_begin(b, v);
	r = dockerfile_read(b, v, &b->dockerfile_text, &b->dockerfile_len, e);
	if (r >= 0) {
		int64_t len = (int64_t)b->dockerfile_len;

		vertex_progress(b, v, "transferring dockerfile:", len, len, true);
		r = dockerfile_understand(b, e);
	}
	return vertex_end(b, v, r, e);
}

/* ---- the stages ---- */

static void stage_ended(Build *b, Stage *s, int r, const Err *e)
{
	pthread_mutex_lock(&b->lock);
	s->state = r < 0 ? STAGE_FAILED : STAGE_DONE;
	/* What the others say after the first is that they were told to stop. */
	if (r < 0 && b->failed == 0) {
		b->failed = r;
		b->failure = *e;
	}
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	if (r < 0)
		give_up(b);
}

static void stage_make(Build *b, Stage *s)
{
	Err err = {0};
	int r = stage_run(b, s, &err);

	stage_ended(b, s, r, &err);
}

int build_late(Build *b, Stage *s, const DockerfileStep *trigger, Err *e)
{
	_cleanup_free_ Stage **order = NULL;
	size_t n = 0;
	int r = plan_late(b, s, trigger, &order, &n, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (build_is_over(b))
			return build_cancelled(e);
		stage_make(b, order[i]);
		r = build_await(b, order[i], e);
	}
	return r;
}

typedef struct StageThread {
	Build *b;
	Stage *s;
	pthread_t thread;
} StageThread;

static void *stage_thread(void *arg)
{
	StageThread *t = arg;
	if (claim(t->b, t->s))
		stage_make(t->b, t->s);
	return NULL;
}

static int stages_at_once(Build *b, Err *e)
{
	_cleanup_free_ StageThread *threads = calloc(b->n_order, sizeof(*threads));
	size_t n = 0;
	int no = 0;

	if (!threads)
		return err_oom(e);
	for (; n < b->n_order; n++) {
		threads[n] = (StageThread){.b = b, .s = b->order[n]};
		no = pthread_create(&threads[n].thread, NULL, stage_thread, &threads[n]);
		if (no != 0)
			break;
	}
	if (no != 0) {
		Err err = {0};

		stage_ended(b, b->order[n], err_sys(&err, no, "start a thread for a stage"), &err);
	}
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i].thread, NULL);
	return 0;
}

static void stages_in_order(Build *b)
{
	for (size_t i = 0; i < b->n_order && b->failed == 0; i++)
		if (claim(b, b->order[i]))
			stage_make(b, b->order[i]);
}

static void warn_of_unused(Build *b)
{
	_cleanup_strbuf_ StrBuf names = {0};

	for (char *const *a = b->rq->args; a && *a; a++) {
		_cleanup_free_ char *name = strndup(*a, strcspn(*a, "="));

		if (name && !strv_has(b->used_args, name) && !str_starts(name, "BUILDKIT_") &&
		    !streq(name, "SOURCE_DATE_EPOCH"))
			strbuf_addf(&names, "%s%s", names.len ? ", " : "", name);
	}
	if (names.len && !names.oom)
		build_warn(b, "UnusedBuildArg", NULL, 0, 0, "One or more build-args [%s] were not consumed",
			   names.s);
}

static int stages_make(Build *b, Err *e)
{
	int r = 0;

	if (b->n_order == 1 || b->rq->in_order)
		stages_in_order(b);
	else
		r = stages_at_once(b, e);
	if (r >= 0 && b->failed < 0) {
		if (e)
			*e = b->failure;
		r = b->failed;
	}
	return r;
}

static int solve_watched(Build *b, Err *e)
{
	int r = run_check(b, e);

	if (r >= 0)
		r = dockerfile_load(b, e);
	if (r >= 0)
		r = plan_make(b, e);
	if (r >= 0)
		r = build_lint(b, e);
	if (r < 0)
		return r;
	cache_import(b);
	r = stages_make(b, e);
	if (r >= 0)
		r = cache_export(b, e);
	if (r >= 0 && !b->follows)
		warn_of_unused(b);
	return r;
}

/* Everything long looks at alive_fd alone, which a failure ends as well as the client. */
static void *watch_client(void *arg)
{
	Build *b = arg;
	struct pollfd p[] = {{.fd = b->alive_fd}, {.fd = b->rq->client->alive_fd}};

	while (poll(p, ELEMENTSOF(p), -1) < 0 && errno == EINTR)
		;
	give_up(b);
	return NULL;
}

static int solve(Build *b, Err *e)
{
	pthread_t watcher;
	int no = pthread_create(&watcher, NULL, watch_client, b), r;

	if (no != 0)
		return err_sys(e, no, "start a thread that looks at the client");
	r = solve_watched(b, e);
	give_up(b);
	pthread_join(watcher, NULL);
	return r;
}

void build_free(Build *b)
{
	for (size_t i = 0; i < b->n_stages; i++)
		stage_done(&b->stages[i]);
	free(b->stages);
	free(b->order);
	strv_free(b->global_args);
	strv_free(b->platform_args);
	strv_free(b->proxy_args);
	strv_free(b->used_args);
	strv_free(b->cache_mounts);
	dockerfile_done(&b->df);
	ignore_done(&b->ignore);
	free(b->dockerfile_name);
	free(b->dockerfile_text);
	vertices_done(b);
	json_decref(b->materials);
	contexts_free(b);
	close_fd(&b->context_fd);
	close_fd(&b->alive_fd);
	close_fd(&b->stop_fd);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->context_lock);
	pthread_mutex_destroy(&b->events_lock);
	pthread_cond_destroy(&b->changed);
	free(b);
}

static int build_new(Builder *builder, const BuildRequest *rq, Build **ret, Err *e)
{
	Build *b = calloc(1, sizeof(*b));
	int pair[2];

	if (!b || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		int no = b ? errno : ENOMEM;

		free(b);
		return err_sys(e, no, "begin a build");
	}
	*b = (Build){.builder = builder,
		     .en = builder_engine(builder),
		     .store = engine_store(builder_engine(builder)),
		     .rq = rq,
		     .alive_fd = pair[0],
		     .stop_fd = pair[1],
		     .context_fd = -1};
	id_random_hex(b->seed, 16);
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->context_lock, NULL);
	pthread_mutex_init(&b->events_lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	*ret = b;
	return 0;
}

void build_failure_done(BuildFailure *f)
{
	free(f->command);
	free(f->output);
	free(f->container_id);
	free(f->file);
	free(f->source);
	free(f->excerpt);
	*f = (BuildFailure){0};
}

/* Without memory there is less to show. */
static void tell_failure(Build *b, BuildFailure *ret)
{
	const DockerfilePlace place = {.first = b->how.line, .last = b->how.last_line};

	if (b->dockerfile_text && place.first)
		b->how.excerpt = dockerfile_excerpt(b->dockerfile_text, b->dockerfile_len, b->dockerfile_name,
						    &place, NULL);
	b->how.file = take_ptr(b->dockerfile_name);
	b->how.source = take_ptr(b->dockerfile_text);
	b->how.source_len = b->dockerfile_len;
	*ret = b->how;
}

int build_solve_one(Builder *builder, const BuildRequest *rq, const BuildPart *part, BuildResult **ret,
		    BuildFailure *ret_failure, Err *e)
{
	Store *store = engine_store(builder_engine(builder));
	EngineSpace space;
	Build *b;
	int r = build_new(builder, rq, &b, e), ended;

	if (r < 0)
		return r;
	b->label = part->label;
	b->follows = part->label && !part->first;
	b->began_ns = clock_now_ns();
	/* Layers of the cache are not an image's yet: they must not be collected between the steps, nor before they are exported. */
	engine_space_begin(b->en, &space);
	store_lease_begin(store);
	r = solve(b, e);
	if (r >= 0)
		r = build_result_new(b, ret, e);
	if (r < 0) {
		ended = store_lease_end(store, NULL);
		(void)ended; /* the build's own error is the one to tell */
		r = engine_space_end(b->en, &space, r, e);
	}
	if (r < 0 && ret_failure)
		tell_failure(b, ret_failure);
	else
		build_failure_done(&b->how);
	build_free(b);
	return r;
}
