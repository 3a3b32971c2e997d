/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a cgroup's directories somebody without privilege may use.
 *
 * Whether a directory can be made is a question to its deepest ancestor that exists. In the unified tree a process may
 * moreover enter it only if it may write cgroup.procs of the directory that holds both where it is and where it
 * goes (cgroup-v2.rst, "Delegation Containment").
 */
#include "kernel/cgroup-internal.h"

#include "base/str.h"

#include <fcntl.h>
#include <limits.h>

static bool may_write(const char *dir, const char *file)
{
	char path[PATH_MAX];

	return (size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) < sizeof(path) &&
	       faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* A new directory is ours, with all that is in it. */
static bool may_make_or_use(const CgroupDir *d)
{
	_cleanup_free_ char *at = strdup(d->path);

	if (!at)
		return false;
	if (faccessat(AT_FDCWD, at, F_OK, AT_EACCESS) == 0)
		return may_write(at, d->name[0] == '\0' ? "cgroup.procs" : "tasks");
	for (char *cut; (cut = strrchr(at, '/')) && cut != at;) {
		*cut = '\0';
		if (faccessat(AT_FDCWD, at, F_OK, AT_EACCESS) == 0)
			return may_write(at, "");
	}
	return false;
}

/* The directory of the unified tree that this process is in; caller frees. */
static char *own_unified_dir(void)
{
	Cgroup below = {0};
	char *found = NULL;

	/* A relative path counts from the own cgroup. */
	if (cgroup_resolve("@", &below, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < below.n && !found; i++)
		if (below.dirs[i].name[0] == '\0')
			found = strndup(below.dirs[i].path, strlen(below.dirs[i].path) - strlen("/@"));
	cgroup_done(&below);
	return found;
}

static bool may_move_to(const char *dir)
{
	_cleanup_free_ char *own = own_unified_dir();
	size_t common = 0;

	if (!own)
		return false;
	for (size_t i = 0;; i++) {
		bool own_ends = own[i] == '/' || own[i] == '\0', dir_ends = dir[i] == '/' || dir[i] == '\0';

		if (own_ends && dir_ends)
			common = i;
		if (own[i] != dir[i] || own[i] == '\0')
			break;
	}
	own[common] = '\0';
	return may_write(own, "cgroup.procs");
}

int cgroup_drop_denied(Cgroup *c, char ***ret_denied, Err *e)
{
	_cleanup_strv_ char **denied = NULL;
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < c->n; i++) {
		CgroupDir *d = &c->dirs[i];

		if (may_make_or_use(d) && (d->name[0] || may_move_to(d->path))) {
			CgroupDir keep = *d;

			c->dirs[kept++] = keep;
			continue;
		}
		if (strv_add(&denied, d->name) < 0)
			r = err_oom(e);
		free(d->path);
		*d = (CgroupDir){0};
	}
	c->n = kept;
	/* As cgroup_from_strv() will see it. */
	c->ops = kept == 1 && c->dirs[0].name[0] == '\0' ? &cgroup_ops_v2 : &cgroup_ops_v1;
	if (r == 0)
		*ret_denied = take_ptr(denied);
	return r;
}
