/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build for several platforms: the same Dockerfile once for each, all at once.
 *
 * The builds know nothing of one another: what is equal in them, such as a stage FROM --platform=$BUILDPLATFORM, is made once because equal steps are
 * (flight.c). They share the client: it is asked for a directory or an upload once, told one thing at a time, and the first build that fails ends all.
 */
#include "build/solve.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#define PLATFORMS_MAX 32
#define ASKED_MAX     256

/* What the client was asked for already: descriptors to be opened anew. */
typedef struct Asked {
	char *name;
	BuildFiles files; /* whose lists are ours */
	bool upload;
	int fd;
} Asked;

typedef struct Shared {
	Builder *builder;
	const BuildClient *of;
	pthread_mutex_t told;  /* of events */
	pthread_mutex_t asked; /* one question about files at a time; guards what follows */
	Asked v[ASKED_MAX];
	size_t n;
	int alive_fd, stop_fd; /* a pair: POLLHUP once all is given up */
} Shared;

typedef struct OnePlatform {
	Shared *shared;
	const BuildRequest *of;
	BuildClient client;
	char *platform;
	bool first;
	BuildResult *result;
	BuildFailure failure;
	int r;
	Err err;
	pthread_t thread;
	bool runs;
} OnePlatform;

/* ---- the client of all ---- */

static bool same_list(char *const *a, char *const *b)
{
	size_t n = strv_len(a);

	if (!a != !b || n != strv_len(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!streq(a[i], b[i]))
			return false;
	return true;
}

static const Asked *asked_find(const Shared *s, const char *name, const BuildFiles *files)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].upload == !files && streq(s->v[i].name, name) &&
		    (!files || (same_list(s->v[i].files.exclude, files->exclude) &&
				same_list(s->v[i].files.follow, files->follow))))
			return &s->v[i];
	return NULL;
}

/* Takes the descriptor, on failure too. */
static int asked_add(Shared *s, const char *name, const BuildFiles *files, int fd, Err *e)
{
	Asked a = {.name = strdup(name), .upload = !files, .fd = fd};
	bool good = a.name && s->n < ASKED_MAX;

	if (good && files && files->exclude)
		good = (a.files.exclude = strv_dup(files->exclude)) != NULL;
	if (good && files && files->follow)
		good = (a.files.follow = strv_dup(files->follow)) != NULL;
	if (good) {
		s->v[s->n++] = a;
		return 0;
	}
	close_fd(&fd);
	free(a.name);
	strv_free((char **)(uintptr_t)a.files.exclude);
	strv_free((char **)(uintptr_t)a.files.follow);
	return s->n < ASKED_MAX ? err_oom(e) : err_new(e, ERR_INVALID, "more than %d directories", ASKED_MAX);
}

/* Everybody reads at an offset of his own. */
static int reopen(int fd, int flags, Err *e)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? err_sys(e, errno, "open what the client sent once more") : fd;
}

static int shared_directory(void *user, const char *name, const BuildFiles *files, const BuildVertex *vertex,
			    int *ret_fd, Err *e)
{
	static const BuildFiles all;
	Shared *s = user;
	int fd, r = 0;

	files = files ?: &all;
	pthread_mutex_lock(&s->asked);
	const Asked *known = asked_find(s, name, files);
	if (!known) {
		r = s->of->directory(s->of->user, name, files, vertex, &fd, e);
		if (r >= 0)
			r = asked_add(s, name, files, fd, e);
		known = r >= 0 ? &s->v[s->n - 1] : NULL;
	}
	if (known)
		r = *ret_fd = reopen(known->fd, O_RDONLY | O_DIRECTORY, e);
	pthread_mutex_unlock(&s->asked);
	return MIN2(r, 0);
}

/* A stream can be read once: what comes of it is a file without a name. */
static int upload_keep(Shared *s, const char *url, Err *e)
{
	_cleanup_close_ int in = -1, out = -1;
	int r = s->of->upload(s->of->user, url, &in, e);

	if (r < 0)
		return r;
	out =
	    open(store_root(engine_store(builder_engine(s->builder))), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(e, errno, "make a file for the upload");
	int64_t got = fd_copy(in, out);
	if (got < 0)
		return err_sys(e, (int)got, "receive the upload");
	r = out;
	out = -1;
	return asked_add(s, url, NULL, r, e);
}

static int shared_upload(void *user, const char *url, int *ret_fd, Err *e)
{
	Shared *s = user;
	int r = 0;

	pthread_mutex_lock(&s->asked);
	const Asked *known = asked_find(s, url, NULL);
	if (!known) {
		r = upload_keep(s, url, e);
		known = r >= 0 ? &s->v[s->n - 1] : NULL;
	}
	if (known)
		r = *ret_fd = reopen(known->fd, O_RDONLY, e);
	pthread_mutex_unlock(&s->asked);
	return MIN2(r, 0);
}

static void shared_event(void *user, const BuildEvent *ev)
{
	Shared *s = user;

	pthread_mutex_lock(&s->told);
	s->of->event(s->of->user, ev);
	pthread_mutex_unlock(&s->told);
}

static int shared_secret(void *user, const char *id, uint8_t **ret, size_t *ret_len, Err *e)
{
	const Shared *s = user;

	return s->of->secret(s->of->user, id, ret, ret_len, e);
}

static int shared_ssh(void *user, const char *id, int *ret_fd, Err *e)
{
	const Shared *s = user;

	return s->of->ssh(s->of->user, id, ret_fd, e);
}

static int shared_file(void *user, const char *dir, const char *name, bool write, int *ret_fd, Err *e)
{
	const Shared *s = user;

	return s->of->file(s->of->user, dir, name, write, ret_fd, e);
}

static BuildResult *shared_input(void *user, const char *key)
{
	const Shared *s = user;

	return s->of->input(s->of->user, key);
}

static void shared_auth(void *user, const char *domain, EngineAuth *ret)
{
	const Shared *s = user;

	s->of->auth(s->of->user, domain, ret);
}

/* What the client has not, the shared one has not. */
static BuildClient shared_client(Shared *s)
{
	const BuildClient *of = s->of;

	return (BuildClient){.user = s,
			     .directory = of->directory ? shared_directory : NULL,
			     .secret = of->secret ? shared_secret : NULL,
			     .ssh = of->ssh ? shared_ssh : NULL,
			     .upload = of->upload ? shared_upload : NULL,
			     .file = of->file ? shared_file : NULL,
			     .input = of->input ? shared_input : NULL,
			     .auth = of->auth ? shared_auth : NULL,
			     .event = of->event ? shared_event : NULL,
			     .alive_fd = s->alive_fd};
}

static void give_up(Shared *s)
{
	(void)shutdown(s->stop_fd, SHUT_RDWR); /* a second time it is shut already */
}

static int shared_begin(Shared *s, Err *e)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "begin a build for several platforms");
	s->alive_fd = pair[0];
	s->stop_fd = pair[1];
	pthread_mutex_init(&s->told, NULL);
	pthread_mutex_init(&s->asked, NULL);
	return 0;
}

static void shared_done(Shared *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->v[i].name);
		strv_free((char **)(uintptr_t)s->v[i].files.exclude);
		strv_free((char **)(uintptr_t)s->v[i].files.follow);
		close_fd(&s->v[i].fd);
	}
	close_fd(&s->alive_fd);
	close_fd(&s->stop_fd);
	pthread_mutex_destroy(&s->told);
	pthread_mutex_destroy(&s->asked);
}

/* ---- the builds ---- */

static void *one_thread(void *arg)
{
	OnePlatform *p = arg;
	BuildRequest rq = *p->of;

	rq.client = &p->client;
	rq.platform = p->platform;
	p->r = build_solve_one(p->shared->builder, &rq, &(BuildPart){p->platform, p->first}, &p->result,
			       &p->failure, &p->err);
	if (p->r < 0)
		give_up(p->shared);
	return NULL;
}

static void *watch_client(void *arg)
{
	Shared *s = arg;
	struct pollfd p[] = {{.fd = s->alive_fd}, {.fd = s->of->alive_fd}};

	while (poll(p, ELEMENTSOF(p), -1) < 0 && errno == EINTR)
		;
	give_up(s);
	return NULL;
}

static int run_all(Shared *s, OnePlatform *v, size_t n, Err *e)
{
	pthread_t watcher;
	int no = pthread_create(&watcher, NULL, watch_client, s);

	if (no != 0)
		return err_sys(e, no, "start a thread that looks at the client");
	for (size_t i = 0; i < n && no == 0; i++) {
		no = pthread_create(&v[i].thread, NULL, one_thread, &v[i]);
		v[i].runs = no == 0;
	}
	if (no != 0)
		give_up(s);
	for (size_t i = 0; i < n; i++)
		if (v[i].runs)
			pthread_join(v[i].thread, NULL);
	give_up(s);
	pthread_join(watcher, NULL);
	return no == 0 ? 0 : err_sys(e, no, "start a thread for a platform");
}

/* The first failure that is no consequence of another's. */
static OnePlatform *first_failure(OnePlatform *v, size_t n)
{
	OnePlatform *found = NULL;

	for (size_t i = 0; i < n; i++)
		if (v[i].r < 0 && (!found || (found->r == -ECANCELED && v[i].r != -ECANCELED)))
			found = &v[i];
	return found;
}

static int collect(OnePlatform *v, size_t n, BuildResult **ret, BuildFailure *ret_failure, Err *e)
{
	OnePlatform *bad = first_failure(v, n);

	if (!bad) {
		for (size_t i = n; i-- > 1;)
			build_result_join(v[i - 1].result, take_ptr(v[i].result));
		*ret = take_ptr(v[0].result);
		return 0;
	}
	if (ret_failure) {
		*ret_failure = bad->failure;
		bad->failure = (BuildFailure){0};
	}
	if (e)
		*e = bad->err;
	return err_ctx(e, bad->r, "%s", bad->platform);
}

static int solve_several(Builder *b, const BuildRequest *rq, char **platforms, BuildResult **ret,
			 BuildFailure *ret_failure, Err *e)
{
	size_t n = strv_len(platforms);
	_cleanup_free_ OnePlatform *v = calloc(n, sizeof(*v));
	Shared s = {.builder = b, .of = rq->client};
	int r = v ? shared_begin(&s, e) : err_oom(e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		v[i] = (OnePlatform){.shared = &s,
				     .of = rq,
				     .client = shared_client(&s),
				     .platform = platforms[i],
				     .first = i == 0};
	r = run_all(&s, v, n, e);
	if (r >= 0)
		r = collect(v, n, ret, ret_failure, e);
	for (size_t i = 0; i < n; i++) {
		build_result_free(v[i].result);
		build_failure_done(&v[i].failure);
	}
	shared_done(&s);
	return r;
}

/* Each once, as it is written for the others: "linux/arm64". */
static int platforms_parse(const char *text, char ***ret, Err *e)
{
	_cleanup_strv_ char **words = str_empty(text) ? NULL : strv_split(text, ',');

	if (!words && !str_empty(text))
		return err_oom(e);
	for (char **w = words; w && *w; w++) {
		ImagePlatform p = {0};
		int r = image_platform_parse(*w, &p, e);
		_cleanup_free_ char *one = r >= 0 ? image_platform_text(&p) : NULL;

		image_platform_done(&p);
		if (r < 0)
			return r;
		if (!one || (!strv_has(*ret, one) && strv_add(ret, one) < 0))
			return err_oom(e);
	}
	return strv_len(*ret) > PLATFORMS_MAX
		   ? err_new(e, ERR_INVALID, "more than %d platforms in one build", PLATFORMS_MAX)
		   : 0;
}

int build_solve(Builder *b, const BuildRequest *rq, BuildResult **ret, BuildFailure *ret_failure, Err *e)
{
	_cleanup_strv_ char **platforms = NULL;
	BuildRequest one = *rq;
	int r;

	if (ret_failure)
		*ret_failure = (BuildFailure){0};
	r = platforms_parse(rq->platform, &platforms, e);
	if (r < 0)
		return r;
	if (strv_len(platforms) > 1)
		return solve_several(b, rq, platforms, ret, ret_failure, e);
	one.platform = platforms ? platforms[0] : NULL;
	return build_solve_one(b, &one, &(BuildPart){NULL, true}, ret, ret_failure, e);
}
