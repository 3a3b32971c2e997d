/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directories that COPY and ADD read: the client's, opened when the first step asks for them, and what lies in the network or was uploaded, which is fetched
 * then, once for a build. An archive is unpacked by the store's sandbox; a file that is none is the Dockerfile, alone in its directory.
 */
#include "build/context.h"

#define UPLOAD "http://buildkit-session/"

struct Context {
	char *value; /* what it was asked for by */
	int fd;
	bool single; /* there is nothing but a Dockerfile, called `file` */
	char *file;
	Ignore ignore;
	Fetch fetch;
	char *path; /* of what was unpacked or uploaded, below the data root; NULL: nothing was */
	int dir;
	struct Context *next;
};

static void context_free(Build *b, Context *c)
{
	close_fd(&c->fd);
	fetch_done(&c->fetch);
	fetch_room_done(b, &c->path, &c->dir);
	ignore_done(&c->ignore);
	free(c->value);
	free(c->file);
	free(c);
}

void contexts_free(Build *b)
{
	for (Context *c = b->contexts, *next; c; c = next) {
		next = c->next;
		context_free(b, c);
	}
	b->contexts = NULL;
}

/* ---- what is not a directory yet ---- */

static int go_on(void *user, int64_t bytes_read, Err *e)
{
	return build_is_over(user) ? build_cancelled(e) : 0;
}

static int unpack(Build *b, int fd, int dir, Err *e)
{
	const ArchiveExtract x = {.fd = fd, .dir_fd = dir, .go_on = go_on, .user = b};

	return err_ctx(e, store_archive_extract(b->store, &x, e), "unpack the build context");
}

/* `name` in dir: an archive, which is unpacked to a room of its own, or a Dockerfile. */
static int take_file(Build *b, Context *c, int dir, const char *name, Err *e)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int room = -1;
	bool archive = false;
	int r;

	if (fd < 0)
		return err_sys(e, errno, "open what was fetched");
	r = store_archive_recognise(b->store, fd, &archive, e);
	if (r >= 0 && !archive) {
		c->single = true;
		c->file = strdup(name);
		c->fd = fcntl(dir, F_DUPFD_CLOEXEC, 3);
		return c->file && c->fd >= 0 ? 0
					     : err_sys(e, c->file ? errno : ENOMEM, "open what was fetched");
	}
	if (r >= 0)
		r = fetch_room(b, &path, &room, e);
	if (r >= 0)
		r = unpack(b, fd, room, e);
	/* The upload's room, if there is one, has done its duty. */
	fetch_room_done(b, &c->path, &c->dir);
	c->path = take_ptr(path);
	c->dir = take_fd(&room);
	c->fd = r < 0 ? -1 : fcntl(c->dir, F_DUPFD_CLOEXEC, 3);
	return r;
}

static int save(Build *b, int from, int to, Err *e)
{
	int64_t left = store_layer_limits(b->store).bytes;
	char buf[65536];
	ssize_t n;

	while ((n = fd_read_full(from, buf, sizeof(buf))) > 0) {
		int r = fd_write_all(to, buf, (size_t)n);

		left -= n;
		if (left < 0)
			return err_new(e, ERR_INVALID, "the build context is larger than a layer may be");
		if (r < 0)
			return err_sys(e, r, "write the build context");
		if (build_is_over(b))
			return build_cancelled(e);
	}
	return n < 0 ? err_sys(e, (int)n, "read the build context") : 0;
}

static int take_upload(Build *b, Context *c, Err *e)
{
	_cleanup_close_ int from = -1, to = -1;
	int r = 0;

	if (!b->rq->client->upload)
		return err_new(e, ERR_INVALID, "%.200s: this client uploads nothing", c->value);
	r = b->rq->client->upload(b->rq->client->user, c->value, &from, e);
	if (r >= 0)
		r = fetch_room(b, &c->path, &c->dir, e);
	if (r < 0)
		return r;
	to = openat(c->dir, "upload", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = to < 0 ? err_sys(e, errno, "make a file for the upload") : save(b, from, to, e);
	return r < 0 ? r : take_file(b, c, c->dir, "upload", e);
}

static int take_remote(Build *b, Context *c, Err *e)
{
	int r = fetch_init(&c->fetch, b, c->value, true, e);

	if (r >= 0)
		r = fetch_identify(&c->fetch, e);
	if (r >= 0)
		r = fetch_get(&c->fetch, e);
	if (r < 0)
		return r;
	if (!c->fetch.is_git)
		return take_file(b, c, c->fetch.dir, c->fetch.file, e);
	c->fd = fcntl(c->fetch.dir, F_DUPFD_CLOEXEC, 3);
	if (c->fd < 0)
		return err_sys(e, errno, "open the repository");
	if (!c->fetch.keep_git_dir && !streq0(plan_given_arg(b, "BUILDKIT_CONTEXT_KEEP_GIT_DIR"), "1")) {
		int gone = remove_tree_at(c->fd, ".git");

		return gone < 0 && gone != -ENOENT ? err_sys(e, gone, "remove .git") : 0;
	}
	return 0;
}

/* A directory of the client's own has its own rules about what stays at home. */
static int take_local(Build *b, Context *c, const char *name, const BuildVertex *v, Err *e)
{
	const BuildFiles all = {0};
	_cleanup_free_ char *text = NULL;
	int r = b->rq->client->directory(b->rq->client->user, name, &all, v, &c->fd, e);
	_cleanup_close_ int fd =
	    r < 0 ? -1 : path_open_in_root(c->fd, ".dockerignore", O_RDONLY | O_NONBLOCK, 0);

	if (r < 0 || fd == -ENOENT)
		return MIN2(r, 0);
	r = fd < 0 ? fd : fd_read_all(fd, DOCKERFILE_MAX, &text, NULL);
	return r < 0 ? err_sys(e, r, "read .dockerignore") : ignore_parse(text, &c->ignore, e);
}

static int take(Build *b, Context *c, Err *e)
{
	const char *rest = str_after(c->value, "local:");
	BuildVertex *v = vertex_new(b, 0, "[internal] load build context from %.200s", rest ?: c->value);
	int r = v ? 0 : err_oom(e);

	if (r < 0)
		return r;
	vertex_begin(b, v);
	if (rest)
		r = take_local(b, c, rest, v, e);
	else if (str_starts(c->value, UPLOAD))
		r = take_upload(b, c, e);
	else
		r = take_remote(b, c, e);
	return vertex_end(b, v, r, e);
}

/* ---- once for a build ---- */

int context_get(Build *b, const char *value, Context **ret, Err *e)
{
	Context *c;
	int r = 0;

	pthread_mutex_lock(&b->context_lock);
	for (c = b->contexts; c && !streq(c->value, value); c = c->next)
		;
	if (!c) {
		c = calloc(1, sizeof(*c));
		r = c && (c->value = strdup(value)) ? 0 : err_oom(e);
		if (r >= 0) {
			c->fd = c->dir = c->fetch.dir = -1;
			r = take(b, c, e);
		}
		if (r >= 0) {
			c->next = b->contexts;
			b->contexts = c;
		} else if (c) {
			context_free(b, c);
		}
	}
	pthread_mutex_unlock(&b->context_lock);
	if (r >= 0)
		*ret = c;
	return r;
}

int context_dir(const Context *c)
{
	return c->fd;
}

const Ignore *context_ignore(const Context *c)
{
	return &c->ignore;
}

int build_context(Build *b, int *ret_fd, Err *e)
{
	const BuildFiles files = {.exclude = b->ignore.patterns};
	Context *c;
	BuildVertex *v;
	int r = 0;

	if (b->rq->context) {
		r = context_get(b, b->rq->context, &c, e);
		if (r >= 0)
			*ret_fd = c->fd;
		return r;
	}
	pthread_mutex_lock(&b->context_lock);
	if (b->context_fd < 0) {
		v = vertex_new(b, 0, "[internal] load build context");
		if (v)
			vertex_begin(b, v);
		r = v ? b->rq->client->directory(b->rq->client->user, "context", &files, v, &b->context_fd, e)
		      : err_oom(e);
		if (v)
			r = vertex_end(b, v, r, e);
	}
	*ret_fd = b->context_fd;
	pthread_mutex_unlock(&b->context_lock);
	return r;
}

int build_context_dockerfile(Build *b, int *ret_dir, char **ret_name, Err *e)
{
	Context *c;
	int r = context_get(b, b->rq->context, &c, e);

	if (r < 0)
		return r;
	*ret_dir = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	*ret_name = strdup(c->single ? c->file : b->dockerfile_name);
	return *ret_dir >= 0 && *ret_name ? 0
					  : err_sys(e, *ret_name ? errno : ENOMEM, "open the build context");
}

/* ---- names ---- */

/* The name of an image as it is always written. */
static char *familiar(const char *name)
{
	Reference ref = {0};
	char *s = reference_parse(name, &ref, NULL) < 0 ? NULL : reference_full(&ref);

	reference_done(&ref);
	return s;
}

const char *build_named_directory(const Build *b, const char *name)
{
	static const char *const others[] = {"docker-image://", "oci-layout://", "input:", "target:"};
	const char *value = build_named_context(b, name);

	for (size_t i = 0; value && i < ELEMENTSOF(others); i++)
		if (str_starts(value, others[i]))
			return NULL;
	return value;
}

int build_input(Build *b, const char *key, BuildResult **ret, Err *e)
{
	*ret = b->rq->client->input ? b->rq->client->input(b->rq->client->user, key) : NULL;
	return *ret ? 0 : err_new(e, ERR_INVALID, "there is no result called %.200s to build from", key);
}

const char *build_named_context(const Build *b, const char *name)
{
	for (char *const *n = b->rq->named_contexts; n && *n; n++) {
		size_t len = strcspn(*n, "=");
		_cleanup_free_ char *own = strndup(*n, len), *a = NULL, *c = NULL;

		if (!own || !(*n)[len])
			continue;
		if (strcasecmp(own, name) == 0)
			return *n + len + 1;
		a = familiar(own);
		c = familiar(name);
		if (a && c && streq(a, c))
			return *n + len + 1;
	}
	return NULL;
}
