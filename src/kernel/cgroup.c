/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both kinds of cgroup have in common: finding the directories and making them. What the container has made below
 * is cgroup-tree.c's. See cgroup.h.
 */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <time.h>

#define PROC_FILE_MAX (4u << 20)

bool cgroup_is_unified(const Cgroup *c)
{
	return c->ops && c->ops->unified;
}

void cgroup_done(Cgroup *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->dirs[i].path);
	*c = (Cgroup){0};
}

const char *cgroup_dir(const Cgroup *c, const char *controller)
{
	for (size_t i = 0; i < c->n; i++) {
		const char *p = c->dirs[i].name;
		size_t len = strlen(controller);

		if (c->ops->unified || streq(p, controller))
			return c->dirs[i].path;
		/* "cpu,cpuacct" holds both. */
		for (; *p && len; p += strcspn(p, ","), p += *p == ',')
			if (strncmp(p, controller, len) == 0 && (p[len] == ',' || p[len] == '\0'))
				return c->dirs[i].path;
	}
	return NULL;
}

static int add_dir(Cgroup *c, const char *name, const char *path, Err *e)
{
	if (c->n == CGROUP_MAX || strlen(name) >= sizeof(c->dirs[0].name))
		return err_new(e, ERR_UNSUPPORTED, "more than %d cgroup hierarchies", CGROUP_MAX);
	CgroupDir *d = &c->dirs[c->n];

	*d = (CgroupDir){.path = strdup(path)};
	if (!d->path)
		return err_oom(e);
	snprintf(d->name, sizeof(d->name), "%s", name);
	c->n++;
	return 0;
}

static bool is_fs(const char *path, long magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == magic;
}

/* Where the hierarchy with these controllers is mounted, or NULL; caller frees. */
static char *mount_of(const char *name)
{
	const char *dir = str_after(name, "name=");
	_cleanup_free_ char *path = strf(CGROUP_ROOT "/%s", *name == '\0' ? "unified" : dir ? dir : name);

	if (path && is_fs(path, *name == '\0' ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
		return take_ptr(path);
	return NULL;
}

/* The part of our own path that the hierarchy's mount shows: in a container without a cgroup namespace, the
 * mount's root is not "/" but the container's cgroup (mountinfo, field 4). */
static char *below_mount_root(const char *own, const char *mount_point)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	struct stat st;

	/* A hierarchy's root is always number 1 in it. The mount table may be long. */
	if (streq(own, "/") || (stat(mount_point, &st) == 0 && st.st_ino == 1) ||
	    file_read_at(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &text, NULL) < 0)
		return strdup(own);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char root[512], point[512];

		if (sscanf(line, "%*s %*s %*s %511s %511s", root, point) != 2 || !streq(point, mount_point) ||
		    streq(root, "/"))
			continue;
		const char *rest = str_after(own, root);

		if (rest && (*rest == '/' || *rest == '\0'))
			return strdup(*rest ? rest : "/");
	}
	return strdup(own);
}

static char *directory_for(const char *mount_point, const char *own, const char *path)
{
	_cleanup_free_ char *base = NULL, *clean = NULL;

	if (path[0] == '/') {
		clean = path_clean(path);
		return clean ? strf("%s%s", mount_point, clean) : NULL;
	}
	base = below_mount_root(own, mount_point);
	clean = path_clean(path);
	return base && clean ? strf("%s%s%s%s", mount_point, base, streq(base, "/") ? "" : "/", clean) : NULL;
}

static int check_path(const char *path, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(path, '/');

	if (!parts)
		return err_oom(e);
	if (str_empty(path) || strspn(path, "/.") == strlen(path) || strv_has(parts, ".."))
		return err_new(e, ERR_INVALID, "cgroupsPath \"%s\" names no cgroup of its own", path);
	return 0;
}

/* One line of /proc/self/cgroup: "4:memory:/path". Lines of hierarchies that are not mounted are passed over. */
static int add_line(Cgroup *c, char *line, const char *path, Err *e)
{
	char *name = strchr(line, ':'), *own = name ? strchr(name + 1, ':') : NULL;
	_cleanup_free_ char *mount_point = NULL, *dir = NULL;

	if (!own)
		return 0;
	*own++ = '\0';
	name++;
	mount_point = mount_of(name);
	if (!mount_point)
		return 0;
	dir = directory_for(mount_point, own, path);
	return dir ? add_dir(c, name, dir, e) : err_oom(e);
}

static int resolve_v1(const char *text_path, char *text, Cgroup *c, Err *e)
{
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = add_line(c, line, text_path, e);
	if (r == 0 && c->n == 0)
		return err_new(e, ERR_UNSUPPORTED, "no cgroup hierarchy is mounted below " CGROUP_ROOT);
	return r;
}

static int resolve_v2(const char *path, char *text, Cgroup *c, Err *e)
{
	char *own = text ? (char *)str_after(text, "0::") : NULL;
	_cleanup_free_ char *dir = NULL;

	if (own)
		text[strcspn(text, "\n")] = '\0';
	/* The parent of our own: ours has processes in it, so its sub-cgroups could have no limits. */
	if (own && strrchr(own, '/') > own)
		*strrchr(own, '/') = '\0';
	else
		own = (char *)"/";
	dir = directory_for(CGROUP_ROOT, own, path);
	return dir ? add_dir(c, "", dir, e) : err_oom(e);
}

int cgroup_resolve(const char *path, Cgroup *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	Cgroup c = {0};
	int r = check_path(path, e);
	bool unified = is_fs(CGROUP_ROOT, CGROUP2_SUPER_MAGIC);

	if (r < 0)
		return r;
	/* It names the hierarchies of v1, and where a relative path begins. */
	r = unified && path[0] == '/'
		? 0
		: file_read_at(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &text, NULL);
	if (r < 0)
		return err_sys(e, r, "read /proc/self/cgroup");
	if (unified) {
		c.ops = &cgroup_ops_v2;
		r = resolve_v2(path, text, &c, e);
	} else {
		c.ops = &cgroup_ops_v1;
		r = resolve_v1(path, text, &c, e);
	}
	if (r < 0)
		cgroup_done(&c);
	else
		*ret = c;
	return r;
}

char **cgroup_to_strv(const Cgroup *c)
{
	char **v = calloc(1, sizeof(*v));

	for (size_t i = 0; v && i < c->n; i++) {
		if (strv_take(&v, strf("%s%%%s", c->dirs[i].name, c->dirs[i].path)) < 0) {
			strv_free(v);
			return NULL;
		}
	}
	return v;
}

/* '%' divides: hierarchy names have '=' in them ("name=systemd"). */
int cgroup_from_strv(char *const *v, Cgroup *ret, Err *e)
{
	Cgroup c = {.ops = &cgroup_ops_v1};
	int r = 0;

	for (size_t i = 0; v && v[i] && r == 0; i++) {
		const char *cut = strchr(v[i], '%');
		_cleanup_free_ char *name = cut ? strndup(v[i], (size_t)(cut - v[i])) : NULL;

		if (!cut || cut[1] != '/')
			r = err_new(e, ERR_INVALID, "\"%s\" is no cgroup directory", v[i]);
		else if (!name)
			r = err_oom(e);
		else
			r = add_dir(&c, name, cut + 1, e);
	}
	if (r < 0) {
		cgroup_done(&c);
		return r;
	}
	if (c.n == 1 && c.dirs[0].name[0] == '\0')
		c.ops = &cgroup_ops_v2;
	*ret = c;
	return 0;
}

bool cgroup_wait(bool (*is_done)(const char *dir), const char *dir)
{
	for (int i = 0; i < 200; i++) {
		if (is_done(dir))
			return true;
		/* 0.1 ms first, because mostly it is a matter of microseconds; about a second in all. */
		nanosleep(&(struct timespec){.tv_nsec = i < 20 ? 100000 : 5500000}, NULL);
	}
	return is_done(dir);
}

/* Makes one directory; its parents only if it turns out that they are missing. */
static int make_dir(const Cgroup *c, CgroupDir *d, Err *e)
{
	char path[PATH_MAX];
	size_t root = strlen(CGROUP_ROOT);
	int r;

	if (strlen(d->path) >= sizeof(path))
		return err_sys(e, ENAMETOOLONG, "cgroup %s", d->path);
	strcpy(path, d->path);
	r = c->ops->make(d, path);
	if (r == 0) {
		d->made = true;
		return c->ops->prepare(d, path, e);
	}
	if (r != -ENOENT && r != -EEXIST)
		return err_sys(e, r, "make cgroup %s", path);
	/* In the unified tree whoever made it may have enabled fewer controllers on the way to it. */
	if (r == -EEXIST && !c->ops->unified)
		return c->ops->prepare(d, path, e);
	for (char *p = path + root + 1; p;) {
		p = strchr(p + 1, '/');
		if (p)
			*p = '\0';
		bool made = mkdir(path, 0755) == 0;

		if (!made && errno != EEXIST)
			return err_sys(e, errno, "make cgroup %s", path);
		d->made = made;
		r = made || c->ops->unified ? c->ops->prepare(d, path, e) : 0;
		if (r < 0)
			return r;
		if (p)
			*p = '/';
	}
	return 0;
}

static bool reads_as(const char *dir, const char *file, const char *word)
{
	_cleanup_free_ char *path = strf("%s/%s", dir, file), *text = NULL;

	return path && file_read_at(AT_FDCWD, path, 64, &text, NULL) == 0 && str_starts(text, word);
}

static bool is_alone(const char *pids, pid_t pid)
{
	char line[24];

	snprintf(line, sizeof(line), "%d\n", (int)pid);
	return streq(pids, line);
}

/* One that was there before: processes in it would share the limits, and a frozen one would never run what is put into it. */
static int check_unused(const CgroupDir *d, pid_t known, Err *e)
{
	_cleanup_free_ char *path = strf("%s/cgroup.procs", d->path), *pids = NULL;

	if (!path)
		return err_oom(e);
	if (file_read_at(AT_FDCWD, path, PROC_FILE_MAX, &pids, NULL) == 0 && *pids && !is_alone(pids, known))
		return err_new(e, ERR_CONFLICT,
			       "container's cgroup is not empty: process %.*s is in %s (give it a "
			       "cgroupsPath of its own)",
			       (int)strcspn(pids, "\n"), pids, d->path);
	if (reads_as(d->path, "freezer.state", "FR") || reads_as(d->path, "cgroup.freeze", "1"))
		return err_new(e, ERR_CONFLICT, "container's cgroup unexpectedly frozen: %s", d->path);
	return 0;
}

int cgroup_create(Cgroup *c, pid_t known, Err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		int r = make_dir(c, &c->dirs[i], e);

		if (r == 0 && !c->dirs[i].made)
			r = check_unused(&c->dirs[i], known, e);
		if (r < 0) {
			cgroup_undo(c);
			return r;
		}
	}
	return 0;
}

bool cgroup_machine_is_unified(void)
{
	return is_fs(CGROUP_ROOT, CGROUP2_SUPER_MAGIC);
}

int cgroup_complete(const Cgroup *c, CgroupLimits *l, Err *e)
{
	return c->ops->complete(c, l, e);
}

int cgroup_apply(const Cgroup *c, const CgroupLimits *l, Err *e)
{
	return c->ops->apply(c, l, e);
}

int cgroup_freeze(const Cgroup *c, bool freeze, Err *e)
{
	return c->ops->freeze(c, freeze, e);
}

bool cgroup_is_frozen(const Cgroup *c)
{
	return c->ops->is_frozen(c);
}

int cgroup_read(const Cgroup *c, const char *controller, const char *file, char **ret, Err *e)
{
	const char *dir = cgroup_dir(c, controller);
	char path[PATH_MAX];
	int r;

	if (!dir)
		return err_new(e, ERR_UNSUPPORTED, "this machine has no %s cgroup controller", controller);
	if (strchr(file, '/'))
		return err_new(e, ERR_INVALID, "\"%s\" is no cgroup file", file);
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	r = file_read_at(AT_FDCWD, path, PROC_FILE_MAX, ret, NULL);
	return r < 0 ? err_sys(e, r, "read %s", path) : 0;
}

uint64_t cgroup_oom_kills(const Cgroup *c)
{
	return c->ops->oom_kills(c);
}
