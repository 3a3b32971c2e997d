/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup of a container and what the container made below it: its processes, signals to them, its removal.
 *
 * The shape of that tree is the container's, so neither its depth nor its size is trusted: one directory is open at a time,
 * the way back is "..", which in a cgroup filesystem leads to the parent always (a cgroup cannot be moved), and only names are
 * kept.
 *
 * A number in cgroup.procs may be another process's by the time it is signalled. So a signal goes through a pidfd, and only if the
 * number was still listed after the pidfd had been opened: whatever the pidfd refers to was then in the cgroup, or is
 * dead. Processes outside our pid namespace are listed as 0, which to kill(2) would be ourselves.
 */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define PROCS_MAX (16u << 20)
#define NODES_MAX (1u << 20)
#define BATCH     256 /* pidfds open at once */

typedef struct Pids {
	pid_t *items;
	size_t n, cap;
} Pids;

static int add_pid(Pids *p, pid_t pid)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 16;
		pid_t *more = reallocarray(p->items, cap, sizeof(pid_t));

		if (!more)
			return -ENOMEM;
		p->items = more;
		p->cap = cap;
	}
	p->items[p->n++] = pid;
	return 0;
}

static int add_pids(int dirfd, Pids *p)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r = file_read_at(dirfd, "cgroup.procs", PROCS_MAX, &text, NULL);

	/* A directory that has just been removed (ENODEV, ENOENT) or is threaded (EOPNOTSUPP) has none. */
	if (r == -ENOENT || r == -ENODEV || r == -EOPNOTSUPP)
		return 0;
	for (char *line = r == 0 ? strtok_r(text, "\n", &save) : NULL; line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		int pid = atoi(line);

		if (pid > 0)
			r = add_pid(p, pid);
	}
	return r;
}

typedef struct Frame {
	char **names; /* of the directories in this one */
	size_t at;    /* the one that is being visited */
} Frame;

typedef struct Walk {
	int dir; /* where we are */
	Frame *frames;
	size_t depth, cap, nodes;
	Pids *pids; /* to be filled; NULL: what is visited is removed */
} Walk;

static void walk_done(Walk *w)
{
	while (w->depth > 0)
		strv_free(w->frames[--w->depth].names);
	free(w->frames);
	close_fd(&w->dir);
}

/* A directory has a link more for each one in it, so that where there is none, as is usual, nothing is listed. */
static int list_directories(int dirfd, char ***ret)
{
	struct stat st;
	DIR *d;
	int fd, r = 0;

	if (fstat(dirfd, &st) == 0 && st.st_nlink == 2)
		return 0;
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		r = -errno;
		closep(&fd);
		return r;
	}
	for (struct dirent *de; r == 0 && (de = readdir(d));)
		if (de->d_type == DT_DIR && !streq(de->d_name, ".") && !streq(de->d_name, ".."))
			r = strv_add(ret, de->d_name);
	closedir(d);
	return r;
}

/* Has just come into w->dir. */
static int arrive(Walk *w)
{
	int r = w->pids ? add_pids(w->dir, w->pids) : 0;

	if (r == 0 && ++w->nodes > NODES_MAX)
		r = -E2BIG;
	if (r == 0 && w->depth == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		Frame *more = reallocarray(w->frames, cap, sizeof(*more));

		if (more) {
			w->frames = more;
			w->cap = cap;
		} else
			r = -ENOMEM;
	}
	if (r < 0)
		return r;
	w->frames[w->depth++] = (Frame){0};
	r = list_directories(w->dir, &w->frames[w->depth - 1].names);
	return r == -ENOENT ? 0 : r;
}

static int leave(Walk *w)
{
	int up;
	Frame *f;

	strv_free(w->frames[--w->depth].names);
	if (w->depth == 0)
		return 0;
	up = openat(w->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (up < 0)
		return -errno;
	close(w->dir);
	w->dir = up;
	f = &w->frames[w->depth - 1];
	if (!w->pids && unlinkat(up, f->names[f->at], AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	f->at++;
	return 0;
}

static int step(Walk *w)
{
	Frame *f = &w->frames[w->depth - 1];
	int sub;

	if (!f->names || !f->names[f->at])
		return leave(w);
	sub = openat(w->dir, f->names[f->at], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (sub < 0) { /* removed meanwhile */
		f->at++;
		return 0;
	}
	close(w->dir);
	w->dir = sub;
	return arrive(w);
}

/* Depth first, below and including the directory; with `pids` NULL all below it is removed. -ENOENT if there is none. */
static int walk(const char *dir, Pids *pids)
{
	Walk w = {.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .pids = pids};
	int r;

	if (w.dir < 0)
		return -errno;
	r = arrive(&w);
	while (r == 0 && w.depth > 0)
		r = step(&w);
	walk_done(&w);
	return r;
}

/* The hierarchy in which processes are counted: the unified one if there is one. */
static const char *tracking_dir(const Cgroup *c)
{
	const char *freezer;

	for (size_t i = 0; i < c->n; i++)
		if (c->dirs[i].name[0] == '\0')
			return c->dirs[i].path;
	freezer = c->n > 0 ? cgroup_dir(c, "freezer") : NULL;
	return freezer ? freezer : c->n ? c->dirs[0].path : NULL;
}

int cgroup_pids(const Cgroup *c, pid_t **ret, size_t *ret_n, Err *e)
{
	const char *dir = tracking_dir(c);
	Pids p = {0};
	int r;

	if (!dir)
		return err_new(e, ERR_UNSUPPORTED, "the container has no cgroup");
	r = walk(dir, &p);
	if (r < 0 && r != -ENOENT) {
		free(p.items);
		return err_sys(e, r, "read the processes of cgroup %s", dir);
	}
	*ret = p.items;
	*ret_n = p.n;
	return 0;
}

/* cgroup.kill (5.14) takes everything at once, forks in flight too. */
static bool kill_unified(const char *dir)
{
	char path[PATH_MAX];
	struct statfs fs;

	snprintf(path, sizeof(path), "%s/cgroup.kill", dir);
	return statfs(dir, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC &&
	       file_write_at(AT_FDCWD, path, "1") == 0;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static int signal_listed(const Cgroup *c, const pid_t *pids, const int *pidfds, size_t n, int signal, Err *e)
{
	_cleanup_free_ pid_t *now = NULL;
	size_t n_now = 0;
	int r = cgroup_pids(c, &now, &n_now, e);

	if (r == 0 && n_now > 1)
		qsort(now, n_now, sizeof(*now), by_number);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (pidfds[i] < 0 || !now || !bsearch(&pids[i], now, n_now, sizeof(*now), by_number))
			continue;
		r = process_signal(pidfds[i], signal);
		r = r == -ESRCH ? 0 : r < 0 ? err_sys(e, r, "signal process %d", (int)pids[i]) : 0;
	}
	return r;
}

static int signal_each(const Cgroup *c, int signal, size_t *ret_n, Err *e)
{
	_cleanup_free_ pid_t *pids = NULL;
	int r = cgroup_pids(c, &pids, ret_n, e);

	for (size_t i = 0; r == 0 && i < *ret_n; i += BATCH) {
		size_t n = MIN2(*ret_n - i, (size_t)BATCH);
		int pidfds[BATCH];

		for (size_t k = 0; k < n; k++)
			pidfds[k] = process_pidfd(pids[i + k]);
		r = signal_listed(c, pids + i, pidfds, n, signal, e);
		for (size_t k = 0; k < n; k++)
			closep(&pidfds[k]);
	}
	return r;
}

int cgroup_signal(const Cgroup *c, int signal, Err *e)
{
	const char *dir = tracking_dir(c);
	size_t n = 0;
	int r = 0;

	if (!dir)
		return 0;
	if (signal == SIGKILL && kill_unified(dir))
		return 0;
	/* What forks between two looks is met by the next one; frozen processes take SIGKILL when thawed. */
	for (int i = 0; i < (signal == SIGKILL ? 50 : 1) && r == 0; i++) {
		r = signal_each(c, signal, &n, e);
		if (n == 0)
			break;
		if (signal == SIGKILL)
			nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	}
	return r;
}

static bool try_remove(const char *path)
{
	int r;

	if (rmdir(path) == 0 || errno == ENOENT)
		return true;
	r = walk(path, NULL);
	return r == -ENOENT || (r == 0 && (rmdir(path) == 0 || errno == ENOENT));
}

bool cgroup_remove_empty(const Cgroup *c)
{
	const char *dir = tracking_dir(c);

	return dir && rmdir(dir) == 0;
}

int cgroup_remove(Cgroup *c, Err *e)
{
	int r = 0;

	for (size_t i = 0; i < c->n; i++)
		if (!cgroup_wait(try_remove, c->dirs[i].path))
			r = err_new_no(e, ERR_CONFLICT, EBUSY, "cgroup %s still has processes in it",
				       c->dirs[i].path);
	return r;
}

void cgroup_undo(Cgroup *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->dirs[i].made)
			(void)cgroup_wait(try_remove, c->dirs[i].path);
		c->dirs[i].made = false;
	}
}
