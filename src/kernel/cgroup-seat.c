/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seats in a cgroup: descriptors by which a process moves itself there (v1), or is born there (v2). See cgroup.h.
 *
 * A seat may be in a sub-cgroup that the container made, for all hierarchies or for some of v1's. Such a path comes from
 * the user of exec; it may not lead out, and nothing is made for it.
 */
#include "kernel/cgroup-internal.h"

#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>

static bool leads_out(const char *path)
{
	_cleanup_strv_ char **parts = strv_split(path, '/');

	return !parts || strv_has(parts, "..");
}

/* Splits "memory,cpu:a/b" or "a/b"; *ret_path points into sub. */
static int split_sub(const Cgroup *c, const char *sub, char ***ret_controllers, const char **ret_path, Err *e)
{
	const char *colon = strchr(sub, ':');
	_cleanup_free_ char *list = NULL;
	_cleanup_strv_ char **controllers = NULL;

	*ret_path = colon ? colon + 1 : sub;
	if (leads_out(*ret_path))
		return err_new(e, ERR_INVALID, "bad sub cgroup path: %s is not a sub cgroup path", *ret_path);
	if (!colon)
		return 0;
	if (cgroup_is_unified(c))
		return err_new(e, ERR_INVALID,
			       "sub cgroup %s: on cgroup v2 there are no controllers to choose from", sub);
	list = strndup(sub, (size_t)(colon - sub));
	controllers = list ? strv_split(list, ',') : NULL;
	if (!controllers)
		return err_oom(e);
	for (size_t i = 0; controllers[i]; i++)
		if (!*controllers[i] || !cgroup_dir(c, controllers[i]))
			return err_new(e, ERR_INVALID, "unknown controller %s in sub cgroup %s",
				       controllers[i], sub);
	*ret_controllers = take_ptr(controllers);
	return 0;
}

/* The last of subs that is about this hierarchy: the directory below its own, or "". */
static int choose_sub(const Cgroup *c, const CgroupDir *d, char *const *subs, char **ret, Err *e)
{
	_cleanup_free_ char *chosen = strdup("");

	for (size_t i = 0; chosen && subs && subs[i]; i++) {
		_cleanup_strv_ char **controllers = NULL;
		const char *path;
		bool mine = false;
		int r = split_sub(c, subs[i], &controllers, &path, e);

		if (r < 0)
			return r;
		for (size_t k = 0; controllers && controllers[k]; k++)
			mine |= cgroup_dir(c, controllers[k]) == d->path;
		if (!controllers || mine) {
			free(chosen);
			chosen = path_clean(path);
		}
	}
	*ret = take_ptr(chosen);
	return *ret ? 0 : err_oom(e);
}

/* The words are runc's, which callers look for. */
static int cannot_join(const char *dir, int no, Err *e)
{
	if (no == ENOENT)
		return err_new_no(e, ERR_NOT_FOUND, ENOENT,
				  "adding pid 0 to cgroups: open %s/cgroup.procs: no such file or directory",
				  dir);
	return err_sys(e, no, "open cgroup %s", dir);
}

static int open_unified(const Cgroup *c, const CgroupDir *d, const char *sub, CgroupSeat *s, Err *e)
{
	_cleanup_free_ char *dir = strf("%s/%s", d->path, sub);

	if (!dir)
		return err_oom(e);
	s->born_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* Beside v1 controllers the unified tree only tracks: a sub-cgroup need not exist there. */
	if (s->born_fd < 0 && errno == ENOENT && !cgroup_is_unified(c))
		s->born_fd = open(d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->born_fd < 0 ? cannot_join(dir, errno, e) : 0;
}

static int open_v1(const CgroupDir *d, const char *sub, CgroupSeat *s, Err *e)
{
	_cleanup_free_ char *dir = strf("%s/%s", d->path, sub), *tasks = dir ? strf("%s/tasks", dir) : NULL;
	int fd;

	if (!tasks)
		return err_oom(e);
	fd = open(tasks, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return cannot_join(dir, errno, e);
	s->tasks[s->n++] = fd;
	return 0;
}

int cgroup_seat_open(const Cgroup *c, char *const *subs, CgroupSeat *ret, Err *e)
{
	CgroupSeat s = {.born_fd = -1};
	int r = 0;

	for (size_t i = 0; i < c->n && r == 0; i++) {
		const CgroupDir *d = &c->dirs[i];
		_cleanup_free_ char *sub = NULL;

		r = choose_sub(c, d, subs, &sub, e);
		if (r == 0)
			r = d->name[0] == '\0' ? open_unified(c, d, sub, &s, e) : open_v1(d, sub, &s, e);
	}
	if (r < 0)
		cgroup_seat_done(&s);
	else
		*ret = s;
	return r;
}

void cgroup_seat_done(CgroupSeat *s)
{
	for (size_t i = 0; i < s->n; i++)
		close_fd(&s->tasks[i]);
	s->n = 0;
	close_fd(&s->born_fd);
}

int cgroup_seat_take(const CgroupSeat *s, Err *e)
{
	for (size_t i = 0; i < s->n; i++)
		if (write(s->tasks[i], "0", 1) != 1)
			return err_sys(e, errno, "enter the cgroup");
	return 0;
}
