/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See plugin.h. A plugin finds its engine as docker does, so that only what is particular to us has to be told: the
 * address that "default" stands for.
 */
#include "plugin.h"
#include "base/str.h"
#include "config.h"
#include "context-store.h"
#include "endpoint.h"

#include <ctype.h>

static bool is_plugin_name(const char *name)
{
	if (!islower((unsigned char)*name))
		return false;
	for (; *name; name++)
		if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name))
			return false;
	return true;
}

static int folders(Cli *cli, char ***ret, Err *e)
{
	static const char *const system[] = {"/usr/local/lib/docker/cli-plugins",
					     "/usr/local/libexec/docker/cli-plugins",
					     "/usr/lib/docker/cli-plugins",
					     "/usr/libexec/docker/cli-plugins"};
	_cleanup_free_ char *dir = config_dir(cli);
	json_t *config = NULL;
	int r = dir ? config_load(cli, &config, e) : err_oom(e);

	if (r < 0)
		return r;
	const json_t *extra = json_object_get(config, "cliPluginsExtraDirs");
	for (size_t i = 0; i < json_array_size(extra); i++) {
		const char *s = json_string_value(json_array_get(extra, i));

		if (s && strv_add(ret, s) < 0)
			return err_oom(e);
	}
	if (strv_take(ret, strf("%s/cli-plugins", dir)) < 0)
		return err_oom(e);
	for (size_t i = 0; i < ELEMENTSOF(system); i++)
		if (strv_add(ret, system[i]) < 0)
			return err_oom(e);
	return 0;
}

static int find(Cli *cli, const char *name, char **ret, Err *e)
{
	_cleanup_strv_ char **dirs = NULL;
	int r = folders(cli, &dirs, e);

	for (size_t i = 0; r == 0 && dirs[i] && !*ret; i++) {
		_cleanup_free_ char *path = strf("%s/docker-%s", dirs[i], name);

		if (!path)
			return err_oom(e);
		if (access(path, X_OK) == 0)
			*ret = take_ptr(path);
	}
	return r;
}

static int tell_engine(Cli *cli, Err *e)
{
	_cleanup_free_ char *context = NULL;
	int r = endpoint_context(cli, &context, e);

	if (r < 0 || cli->host || !streq(context, CONTEXT_DEFAULT))
		return r;
	return setenv("DOCKER_HOST", endpoint_default_host(cli), 1) < 0 ? err_oom(e) : 0;
}

int plugin_run(Cli *cli, const char *name, char **argv, Err *e)
{
	_cleanup_free_ char *path = NULL;

	if (!is_plugin_name(name))
		return 0;
	int r = find(cli, name, &path, e);
	if (r < 0 || !path)
		return r;
	r = tell_engine(cli, e);
	if (r < 0)
		return r;
	if (setenv("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", argv[0], 1) < 0)
		return err_oom(e);
	argv[0] = path;
	(void)execv(path, argv);
	return err_sys(e, errno, "run the plugin %s", path);
}
