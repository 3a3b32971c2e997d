/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container whose cgroup is a unit of systemd (--systemd-cgroup): what limits.c does with directories is asked of systemd
 * first, and then done with directories all the same, since systemd knows neither all controllers nor all limits.
 *
 *   plan      a name, and the directories that the unit is going to have, before anything is made: they are in the state
 *             when somebody has to clean up after us;
 *   start     the unit with its limits. A scope has ireko-scope in it (kernel/cgroup-systemd.h);
 *   settled   the container's process is in: ireko-scope goes. A user's process, which may not go from its session to where the
 *             user's systemd has its units, is moved there by that systemd;
 *   set, stop in the life of the container.
 */
#include "runtime/runtime-internal.h"

#include "base/path.h"
#include "base/str.h"

#include <limits.h>
#include <unistd.h>

static bool has_scope_program(const char *dir)
{
	char path[PATH_MAX];

	return (size_t)snprintf(path, sizeof(path), "%s/ireko-scope", dir) < sizeof(path) &&
	       access(path, X_OK) == 0;
}

/* A program that has executed a copy of itself has no place, but it was called by a name. */
static char *helper_dir(const RuntimeOptions *o)
{
	char own[PATH_MAX], *cut;
	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);

	if (n > 0) {
		own[n] = '\0';
		cut = strrchr(own, '/');
		*cut = '\0';
		if (has_scope_program(own))
			return strdup(own);
	}
	if (o->called_as && strchr(o->called_as, '/')) {
		_cleanup_free_ char *dir =
		    strndup(o->called_as, (size_t)(strrchr(o->called_as, '/') - o->called_as));

		if (dir && has_scope_program(dir))
			return take_ptr(dir);
	}
	return strdup(o->helper_dir ? o->helper_dir : "");
}

static int open_link(const RuntimeOptions *o, bool user, CgroupScope *ret, char **ret_root, Err *e)
{
	_cleanup_free_ char *dir = helper_dir(o);

	return dir ? cgroup_scope_open(dir, user, ret, ret_root, e) : err_oom(e);
}

void scope_done(Scope *s)
{
	cgroup_scope_close(&s->link);
	cgroup_unit_done(&s->unit);
	json_decref(s->properties);
	*s = (Scope)SCOPE_INIT;
}

int scope_plan(const RuntimeOptions *o, const OciSpec *spec, const char *id, Scope *s, Cgroup *ret, Err *e)
{
	_cleanup_free_ char *root = NULL, *path = NULL;
	int r;

	s->user = cgroup_scope_is_users();
	s->properties = json_array();
	if (!s->properties)
		return err_oom(e);
	r = cgroup_unit_parse(spec->cgroups_path, id, s->user, &s->unit, e);
	if (r == 0)
		r = cgroup_unit_annotations(spec->annotations, s->properties, e);
	if (r == 0)
		r = open_link(o, s->user, &s->link, &root, e);
	/* At the top it is "/" or nothing. */
	if (r == 0)
		r = cgroup_unit_path(&s->unit, streq(root, "/") ? "" : root, &path, e);
	if (r == 0)
		r = cgroup_resolve(path, ret, e);
	if (r < 0)
		return r;
	if (s->user && !cgroup_is_unified(ret)) {
		cgroup_done(ret);
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "without privilege the systemd cgroup manager needs cgroup v2, and this machine "
		    "has the controllers of v1: leave out --systemd-cgroup");
	}
	return 0;
}

int scope_start(Scope *s, const Cgroup *c, const char *id, CgroupLimits *l, Err *e)
{
	_cleanup_free_ char *description = strf("ireko container %s", id);
	_cleanup_json_ json_t *all = json_array();
	int r = description && all ? cgroup_unit_limits(l, cgroup_is_unified(c), all, e) : err_oom(e);

	if (r == 0 && !cgroup_is_unified(c))
		r = cgroup_unit_devices(l, all, e);
	/* What is said in annotations is said last: it overrides. */
	if (r == 0 && json_array_extend(all, s->properties) < 0)
		r = err_oom(e);
	if (r == 0)
		r = cgroup_scope_start(&s->link, &s->unit, description, all, e);
	s->started = r == 0;
	if (s->unit.is_slice && !s->user)
		cgroup_scope_close(&s->link);
	return r;
}

/* ireko-scope is counted too, and fork(2) obeys this limit. */
int64_t scope_pids_limit(const Scope *s, int64_t limit)
{
	return s->link.pid > 0 && limit > 0 && limit < INT64_MAX ? limit + 1 : limit;
}

void scope_take_seat(const Scope *s, CgroupSeat *seat)
{
	if (s->user)
		close_fd(&seat->born_fd);
}

int scope_settled(Scope *s, const Cgroup *c, const OciResources *res, pid_t pid, Err *e)
{
	CgroupLimits l = CGROUP_LIMITS_NONE;
	int r = s->user ? cgroup_scope_attach(&s->link, s->unit.name, pid, e) : 0;

	if (r < 0 || s->link.pid <= 0)
		return r;
	cgroup_scope_close(&s->link);
	if (res->pids_limit <= 0)
		return 0;
	l.pids_limit = res->pids_limit;
	return cgroup_apply(c, &l, e);
}

int scope_set(const RuntimeOptions *o, const State *s, const Cgroup *c, CgroupLimits *l, Err *e)
{
	_cleanup_json_ json_t *all = json_array();
	CgroupScope link = CGROUP_SCOPE_INIT;
	_cleanup_free_ char *root = NULL;
	int r = all ? cgroup_unit_limits(l, cgroup_is_unified(c), all, e) : err_oom(e);

	if (r == 0 && !cgroup_is_unified(c))
		r = cgroup_unit_devices(l, all, e);
	if (r < 0 || json_array_size(all) == 0)
		return r;
	r = open_link(o, s->user_manager, &link, &root, e);
	if (r == 0)
		r = cgroup_scope_set(&link, s->unit, all, e);
	cgroup_scope_close(&link);
	return r;
}

int scope_stop(const RuntimeOptions *o, const State *s, Err *e)
{
	CgroupScope link = CGROUP_SCOPE_INIT;
	_cleanup_free_ char *root = NULL;
	int r;

	if (!s->unit)
		return 0;
	r = open_link(o, s->user_manager, &link, &root, e);
	if (r == 0)
		r = cgroup_scope_stop(&link, s->unit, e);
	cgroup_scope_close(&link);
	return r;
}
