/* SPDX-License-Identifier: Apache-2.0 */
/* build --check and --call: what is to be said of a Dockerfile without building it. The engine is asked for base images only, and need not be there. */
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "build.h"
#include "client.h"
#include "dockerfile/check.h"

#include <fcntl.h>

#define IMAGE_PLATFORM_MAX 64

/* What the engine knows of an image that it has. */
static int base_image(void *user, const char *image, const char *platform _unused_, DockerfileBase *ret)
{
	Cli *cli = user;
	_cleanup_json_ json_t *doc = NULL;
	_cleanup_free_ char *path = api_path("images", image, "/json", NULL);

	if (!path || api_get(cli, path, &doc, NULL) < 0)
		return 0;
	const json_t *config = json_object_get(doc, "Config");
	const char *os = json_get_str(doc, "Os"), *arch = json_get_str(doc, "Architecture"),
		   *variant = json_get_str(doc, "Variant");
	DockerfileBase base = {.has_shell = json_array_size(json_object_get(config, "Shell")) > 0};

	if (json_to_strv(json_object_get(config, "Env"), &base.env) < 0)
		return 0;
	if (os && arch)
		base.platform =
		    strf("%s/%s%s%s", os, arch, str_empty(variant) ? "" : "/", variant ? variant : "");
	*ret = base;
	return 1;
}

static int read_text(const BuildPlan *p, char **ret, size_t *ret_len, Err *e)
{
	const Context *c = &p->context;

	if (c->text) {
		*ret = strndup(c->text, c->text_len);
		*ret_len = *ret ? strlen(*ret) : 0;
		return *ret ? 0 : err_oom(e);
	}
	if (c->fd < 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "--call and --check are for a Dockerfile at hand: a directory, or -f FILE");
	_cleanup_close_ int fd = path_open_in_root(c->fd, c->dockerfile, O_RDONLY, 0);
	int r = fd < 0 ? fd : fd_read_all(fd, DOCKERFILE_MAX, ret, ret_len);
	return r < 0 ? err_sys(e, r, "read %s", c->dockerfile) : 0;
}

static int describe(const char *method, const char *text, size_t len, const char *name,
		    const DockerfileCheckInput *in, DockerfileReport *ret, Err *e)
{
	if (streq(method, "check") || streq(method, "lint"))
		return dockerfile_lint(text, len, name, in, ret, e);
	if (streq(method, "outline"))
		return dockerfile_outline(text, len, name, in, ret, e);
	if (streq(method, "targets"))
		return dockerfile_targets(text, len, name, ret, e);
	return err_new(e, ERR_INVALID, "unknown --call %s: expected build, check, outline or targets",
		       method);
}

int build_call(Call *call, const BuildPlan *p, const char *wanted, Err *e)
{
	_cleanup_free_ char *method = strndup(wanted, strcspn(wanted, ",")), *text = NULL;
	const char *format = strchr(wanted, ',') ? strchr(wanted, ',') + 1 : "";
	const char *name = p->context.dockerfile;
	_cleanup_strv_ char **args = NULL;
	_cleanup_(dockerfile_report_done) DockerfileReport report = {0};
	bool json = streq(format, "format=json");
	size_t len = 0;
	int r = method ? read_text(p, &text, &len, e) : err_oom(e);

	if (r >= 0 && *format && !json && !streq(format, "format=text"))
		r = err_new(e, ERR_INVALID, "--call %s: expected format=text or format=json", wanted);
	if (r >= 0)
		r = build_args(p->o, &args, e);
	if (r < 0)
		return r;
	if (p->context.text)
		name = p->o->file && !streq(p->o->file, "-") ? p->o->file : "Dockerfile";
	const DockerfileCheckInput in = {.build_args = args,
					 .ignore = p->context.fd >= 0 ? &p->context.ignore : NULL,
					 .platform = p->platform,
					 .target = p->o->target,
					 .base = base_image,
					 .user = call->cli};
	r = describe(method, text, len, name, &in, &report, e);
	if (r < 0)
		return r;
	(void)fputs(json ? report.json : report.text, stdout);
	if (json)
		(void)fputc('\n', stdout);
	return report.status;
}
