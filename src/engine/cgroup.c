/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroups of containers: which one each has, and who makes it.
 *
 * Either the runtime does, below a parent that is made as well if it is missing; or systemd does ("systemd" among drivers of cgroups): each container is a scope in a slice, so that what
 * systemd says of a machine's resources includes containers. Then a parent is a slice; whoever writes it as a path, as kubelets do, means the last one.
 */
#include "engine/engine-internal.h"
#include "kernel/cgroup-systemd.h"

#define PREFIX "ireko" /* of the names of scopes */

static const char *parent_of(const Engine *en, const Container *c)
{
	const char *own = c->config.host.cgroup_parent;

	return !str_empty(own) ? own : en->options.systemd_cgroup ? "" : en->cgroup_parent;
}

int cgroup_driver_check(const Engine *en, Err *e)
{
	_cleanup_free_ char *program = NULL;

	if (!en->options.systemd_cgroup)
		return 0;
	if (access("/run/systemd/system", F_OK) < 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "cgroup-driver systemd: systemd is not the init here: leave it out, or say "
			       "cgroupfs (and the same to the kubelet)");
	program = strf("%s/ireko-scope", en->options.helper_dir);
	if (!program)
		return err_oom(e);
	return access(program, X_OK) == 0
		   ? 0
		   : err_new(e, ERR_UNAVAILABLE,
			     "cgroup-driver systemd: %s cannot be executed: is ireko installed whole?",
			     program);
}

int cgroup_parent_check(const Engine *en, const char *parent, Err *e)
{
	_cleanup_free_ char *path = NULL;

	if (!en->options.systemd_cgroup || str_empty(parent))
		return 0;
	if (!str_ends(parent, ".slice"))
		return err_new(e, ERR_INVALID,
			       "cgroup-parent %.200s: for systemd cgroup it should be a valid slice named as "
			       "\"xxx.slice\"",
			       parent);
	return cgroup_slice_expand(path_base(parent), &path, e);
}

char *container_cgroup_path(const Engine *en, const Container *c)
{
	const char *parent = parent_of(en, c);

	return en->options.systemd_cgroup ? strf("%s:" PREFIX ":%s", path_base(parent), c->id)
					  : strf("%s%s/%s", *parent == '/' ? "" : "/", parent, c->id);
}

/* The cgroup that systemd itself counts from: the top, unless it is the init of a container. */
static int manager_root(char **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read_at(AT_FDCWD, "/proc/1/cgroup", 65536, &text, NULL);
	char *at = NULL;

	if (r < 0)
		return err_sys(e, r, "read /proc/1/cgroup");
	for (char *line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		char *path = strstr(line, ":name=systemd:") ? strrchr(line, ':')
			     : str_starts(line, "0::")      ? line + 2
							    : NULL;

		if (!path)
			continue;
		if (str_ends(path, "/init.scope"))
			path[strlen(path) - strlen("/init.scope")] = '\0';
		*ret = strdup(streq(path + 1, "/") ? "" : path + 1);
		return *ret ? 0 : err_oom(e);
	}
	*ret = strdup("");
	return *ret ? 0 : err_oom(e);
}

/* Where the scope of that cgroupsPath is in the hierarchies. */
static int scope_dir(const char *path, const char *id, char **ret, Err *e)
{
	_cleanup_free_ char *root = NULL;
	CgroupUnit unit = {0};
	int r = manager_root(&root, e);

	if (r >= 0)
		r = cgroup_unit_parse(path, id, false, &unit, e);
	if (r >= 0)
		r = cgroup_unit_path(&unit, root, ret, e);
	cgroup_unit_done(&unit);
	return r;
}

int container_cgroup_dir(const Engine *en, const Container *c, char **ret, Err *e)
{
	char *path = container_cgroup_path(en, c);
	int r = 0;

	if (!path)
		return err_oom(e);
	if (!en->options.systemd_cgroup) {
		*ret = path;
		return 0;
	}
	r = scope_dir(path, c->id, ret, e);
	free(path);
	return r;
}

/* Our runtime knows where a scope is; of other runtimes nobody is asked. */
int container_usage(Engine *en, const Container *c, json_t **ret, Err *e)
{
	_cleanup_free_ char *path = container_cgroup_path(en, c), *dir = NULL;
	const RuntimeOptions own = {.root = en->runtime_root};
	const char *program = NULL;
	int r;

	if (!path)
		return err_oom(e);
	if (!en->options.systemd_cgroup)
		return runtime_stats_at(path, ret, e);
	r = runtime_find(en, c->config.host.runtime, &program, e);
	if (r >= 0 && !program)
		return runtime_stats(&own, c->id, ret, e);
	if (r >= 0)
		r = scope_dir(path, c->id, &dir, e);
	return r < 0 ? r : runtime_stats_at(dir, ret, e);
}
