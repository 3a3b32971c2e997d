/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a bundle, checked for what a table of fields cannot say. */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <limits.h>

void bundle_done(Bundle *b)
{
	oci_spec_done(&b->spec);
	free(b->dir);
	free(b->rootfs);
	json_decref(b->hooks);
	*b = (Bundle){0};
}

/* To the kernel it is "leave it as it is", which is root. */
static int no_id(const char *member, Err *e)
{
	return err_new(e, ERR_INVALID, "process.user.%s: 4294967295 is no id", member);
}

int bundle_check_process(const OciProcess *p, Err *e)
{
	if (!p->args || !p->args[0])
		return err_new(e, ERR_INVALID, "process.args: must not be empty");
	if (!p->args[0][0])
		return err_new(e, ERR_NO_COMMAND, "exec: \"\": executable file not found in $PATH");
	if (!p->cwd || p->cwd[0] != '/')
		return err_new(e, ERR_INVALID, "process.cwd: \"%s\" must be an absolute path",
			       p->cwd ? p->cwd : "");
	if (p->console_width > UINT16_MAX || p->console_height > UINT16_MAX)
		return err_new(e, ERR_INVALID, "process.consoleSize: %u x %u is larger than 65535 x 65535",
			       p->console_width, p->console_height);
	if (p->user.umask < -1 || p->user.umask > 0777)
		return err_new(e, ERR_INVALID, "process.user.umask: %lld is not from 0 to 0777",
			       (long long)p->user.umask);
	for (size_t i = 0; i < p->user.n_additional_gids; i++)
		if (p->user.additional_gids[i] == UINT32_MAX)
			return no_id("additionalGids", e);
	if (p->user.uid == UINT32_MAX || p->user.gid == UINT32_MAX)
		return no_id(p->user.uid == UINT32_MAX ? "uid" : "gid", e);
	for (size_t i = 0; p->env && p->env[i]; i++)
		if (!strchr(p->env[i], '='))
			return err_new(e, ERR_INVALID, "process.env[%zu]: \"%s\" has no '='", i, p->env[i]);
	return 0;
}

static int check_root(const OciSpec *s, Err *e)
{
	if (str_empty(s->root_path))
		return err_new(e, ERR_INVALID, "root.path: is missing");
	return 0;
}

/* Those that run later, possibly after the bundle is gone. */
static int keep_hooks(const json_t *config, Bundle *b, Err *e)
{
	const json_t *hooks = json_object_get(config, "hooks");
	json_t *start = json_object_get(hooks, "poststart"), *stop = json_object_get(hooks, "poststop");

	if (!json_array_size(start) && !json_array_size(stop))
		return 0;
	b->hooks = json_object();
	if (!b->hooks || (start && json_object_set(b->hooks, "poststart", start) < 0) ||
	    (stop && json_object_set(b->hooks, "poststop", stop) < 0))
		return err_oom(e);
	return 0;
}

static int read_config(const char *dir, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL, *path = strf("%s/config.json", dir);
	size_t len;
	int r;

	if (!path)
		return err_oom(e);
	r = file_read_at(AT_FDCWD, path, CONFIG_MAX, &text, &len);
	if (r == -EFBIG)
		return err_new_no(e, ERR_INVALID, EFBIG, "%s: larger than %u bytes", path, CONFIG_MAX);
	if (r < 0)
		return err_kind(e, err_sys(e, r, "open %s", path),
				r == -ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL);
	return oci_json_parse(text, len, "config.json", ret, e);
}

static int absolute(const char *path, char **ret, Err *e)
{
	char cwd[PATH_MAX];

	if (path[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_sys(e, errno, "find the current directory");
	*ret = path_join_clean(path[0] == '/' ? "/" : cwd, path);
	return *ret ? 0 : err_oom(e);
}

/* A destination may be written as the host sees it; what is meant is the path inside. */
static int strip_root(Bundle *b, Err *e)
{
	for (size_t i = 0; i < b->spec.n_mounts; i++) {
		char **d = &b->spec.mounts[i].destination;
		const char *rest = *d && !streq(b->rootfs, "/") ? str_after(*d, b->rootfs) : NULL;
		char *inside;

		if (!rest || *rest != '/')
			continue;
		inside = strdup(rest);
		if (!inside)
			return err_oom(e);
		free(*d);
		*d = inside;
	}
	return 0;
}

static int load(const char *dir, Bundle *b, Err *e)
{
	_cleanup_json_ json_t *config = NULL;
	int r = absolute(dir, &b->dir, e);

	if (r == 0)
		r = read_config(b->dir, &config, e);
	if (r == 0)
		r = oci_spec_decode(config, &b->spec, e);
	if (r == 0)
		r = check_root(&b->spec, e);
	if (r == 0)
		r = keep_hooks(config, b, e);
	if (r == 0 && b->spec.has_process)
		r = bundle_check_process(&b->spec.process, e);
	if (r == 0) {
		b->rootfs = path_join_clean(b->dir, b->spec.root_path);
		r = b->rootfs ? strip_root(b, e) : err_oom(e);
	}
	return r;
}

int bundle_load(const char *dir, Bundle *ret, Err *e)
{
	Bundle b = {0};
	int r = load(dir, &b, e);

	if (r < 0) {
		bundle_done(&b);
		return err_ctx(e, r, "bundle %s", dir);
	}
	*ret = b;
	return 0;
}
