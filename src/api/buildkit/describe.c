/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about a Dockerfile instead of for a build: docker build --call=check, outline, targets. */
#include "api/buildkit/door-internal.h"

#include "base/path.h"
#include "dockerfile/check.h"
#include "oci/image.h"

#include <fcntl.h>
#include <jansson.h>

#define VERSION "1.0.0"

static int read_text(int dir, const char *path, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(dir, path, O_RDONLY | O_NONBLOCK, 0);
	int r = fd < 0 ? fd : fd_read_all(fd, DOCKERFILE_MAX, ret, ret_len);

	return r == -ENOENT ? r : r < 0 ? err_sys(e, r, "read %.300s", path) : 0;
}

static int open_directory(ClientState *c, const char *name, const char *first, const char *second, int *ret,
			  Err *e)
{
	char *follow[] = {(char *)first, (char *)second, NULL};
	const BuildFiles files = {.follow = follow};

	return c->client.directory(c->client.user, name, &files, NULL, ret, e);
}

/* The rules for the context: beside the Dockerfile under its own name, or the context's. */
static int read_ignore(ClientState *c, int dir, const char *own, Ignore *ret, Err *e)
{
	_cleanup_close_ int context = -1;
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = read_text(dir, own, &text, &len, e);

	if (r == -ENOENT)
		r = open_directory(c, "context", ".dockerignore", NULL, &context, e);
	if (r >= 0 && context >= 0)
		r = read_text(context, ".dockerignore", &text, &len, e);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : ignore_parse(text, ret, e);
}

/* What is here of a base image. One that is not here is not fetched to be looked at. */
static int base_of(void *user, const char *name, const char *platform, DockerfileBase *ret)
{
	const ClientState *c = user;
	Store *store = engine_store(c->job->door->engine);
	StoreImage image = {0};
	ImageConfig config = {0};
	int known = 0;

	(void)platform;
	if (store_image_find(store, name, &image, NULL) < 0)
		return 0;
	if (store_image_config(store, image.id, &config, NULL) >= 0) {
		*ret = (DockerfileBase){.env = strv_dup(config.run.env),
					.platform = image_platform_text(&config.platform),
					.has_shell = config.run.shell != NULL};
		known = 1;
	}
	image_config_done(&config);
	store_image_done(&image);
	return known;
}

static int add(Answer *a, const char *key, char *value, Err *e)
{
	if (!value || a->n == ELEMENTSOF(a->keys)) {
		free(value);
		return err_oom(e);
	}
	a->keys[a->n] = key;
	a->values[a->n++] = value;
	return 0;
}

static int report(Answer *a, DockerfileReport *rp, bool status, Err *e)
{
	int r = add(a, "result.json", take_ptr(rp->json), e);

	if (r >= 0)
		r = add(a, "result.txt", take_ptr(rp->text), e);
	if (r >= 0 && status)
		r = add(a, "result.statuscode", strf("%d", rp->status), e);
	return r < 0 ? r : add(a, "version", strdup(VERSION), e);
}

static const struct {
	const char *name, *description;
} requests[] = {
    {"frontend.outline", "List all parameters current build target supports"},
    {"frontend.targets", "List all targets current build supports"},
    {"frontend.lint", "Lint a Dockerfile"},
    {"frontend.subrequests.describe", "List available subrequest types"},
};

static int describe(Answer *a, Err *e)
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	_cleanup_strbuf_ StrBuf text = {0};
	int r;

	for (size_t i = 0; i < ELEMENTSOF(requests); i++) {
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", requests[i].name,
						      "version", VERSION, "type", "rpc", "description",
						      requests[i].description));
		strbuf_addf(&text, "%-30s %-8s %s\n", requests[i].name, VERSION, requests[i].description);
	}
	r = add(a, "result.json", json_dumps(list, JSON_COMPACT), e);
	if (r >= 0)
		r = add(a, "result.txt", strbuf_steal(&text), e);
	return r < 0 ? r : add(a, "version", strdup(VERSION), e);
}

static int about(ClientState *c, const char *request, const BuildRequest *rq, int dir, const char *text,
		 size_t len, Answer *ret, Err *e)
{
	_cleanup_free_ char *own = strf("%s.dockerignore", c->filename);
	_cleanup_(dockerfile_report_done) DockerfileReport rp = {0};
	Ignore ignore = {0};
	DockerfileCheckInput in = {.build_args = rq->args,
				   .platform = rq->platform,
				   .target = rq->target,
				   .ignore = &ignore,
				   .base = base_of,
				   .user = c};
	int r = own ? read_ignore(c, dir, own, &ignore, e) : err_oom(e);

	if (r >= 0 && streq(request, "frontend.outline"))
		r = dockerfile_outline(text, len, c->filename, &in, &rp, e);
	else if (r >= 0 && streq(request, "frontend.targets"))
		r = dockerfile_targets(text, len, c->filename, &rp, e);
	else if (r >= 0)
		r = dockerfile_lint(text, len, c->filename, &in, &rp, e);
	if (r >= 0)
		r = report(ret, &rp, streq(request, "frontend.lint"), e);
	ignore_done(&ignore);
	return r;
}

static bool is_known(const char *request)
{
	for (size_t i = 0; i < ELEMENTSOF(requests); i++)
		if (streq(requests[i].name, request))
			return true;
	return false;
}

int describe_run(ClientState *c, const char *request, const BuildRequest *rq, Answer *ret, Err *e)
{
	_cleanup_free_ char *ignore = strf("%s.dockerignore", c->filename), *text = NULL;
	_cleanup_close_ int dir = -1;
	size_t len = 0;
	int r;

	if (!is_known(request))
		return err_new(e, ERR_UNSUPPORTED, "request %.100s is not offered", request);
	if (streq(request, "frontend.subrequests.describe"))
		return describe(ret, e);
	if (rq->context)
		return err_new(e, ERR_UNSUPPORTED, "request %s: of a remote context it is not offered",
			       request);
	r = ignore ? open_directory(c, "dockerfile", c->filename, ignore, &dir, e) : err_oom(e);
	if (r >= 0)
		r = read_text(dir, c->filename, &text, &len, e);
	if (r == -ENOENT)
		return err_new(e, ERR_NOT_FOUND,
			       "failed to read dockerfile: open %.300s: no such file or directory",
			       c->filename);
	return r < 0 ? r : about(c, request, rq, dir, text, len, ret, e);
}

void answer_done(Answer *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->values[i]);
	kept_unref(a->kept);
}
