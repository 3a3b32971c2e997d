/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of configurations: which file counts, and whether it has changed.
 *
 * The first file by name with a suffix that is known counts, and no other: if it cannot be used, there is no network until it can (as with containerd; a
 * node that silently took the next one would join pods to a network that nobody meant). The plugins of its folder are part of it.
 *
 * Nothing waits for changes. An inotify descriptor collects them, and whoever needs the configuration looks into it first: one read(2) that finds nothing. After any change
 * all of it is read anew, watches first, so that what changes meanwhile is found the next time. While the directory does not exist, the nearest one above it
 * is watched.
 */
#include "cni/cni-internal.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/inotify.h>

#define CHANGES                                                                                              \
	(IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF |             \
	 IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR)
#define COMING (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* ---- watching ---- */

/* The nearest directory above that exists. */
static void watch_above(int fd, const char *dir)
{
	_cleanup_free_ char *path = strdup(dir);
	char *slash;

	while (path && (slash = strrchr(path, '/'))) {
		slash[slash == path] = '\0';
		if (inotify_add_watch(fd, path, COMING) >= 0 || path[1] == '\0')
			return;
	}
}

/* True if it is there and watched. */
static bool watch_dir(int fd, const char *dir)
{
	return inotify_add_watch(fd, dir, CHANGES) >= 0;
}

static void watch_again(Cni *c)
{
	close_fd(&c->watch);
	c->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (c->watch < 0 || watch_dir(c->watch, c->conf_dir))
		return;
	watch_above(c->watch, c->conf_dir);
	/* It may have come in between. What else can be in the way of a watch (their number, a directory that cannot be read) is no change that is awaited. */
	if (!watch_dir(c->watch, c->conf_dir) && errno != ENOENT)
		close_fd(&c->watch);
}

static bool has_changed(const Cni *c)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool changed = c->watch < 0;

	while (c->watch >= 0 && read(c->watch, buf, sizeof(buf)) > 0)
		changed = true;
	return changed;
}

/* ---- reading ---- */

static bool has_suffix(const char *name, const char *const *suffixes)
{
	for (size_t i = 0; suffixes[i]; i++)
		if (str_ends(name, suffixes[i]))
			return true;
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of files in their order; -ENOENT if there is no directory. */
static int list_files(const char *path, const char *const *suffixes, char ***ret)
{
	_cleanup_dir_ DIR *d = opendir(path);
	_cleanup_strv_ char **names = NULL;
	size_t n = 0;
	struct dirent *de;

	if (!d)
		return -errno;
	while ((de = readdir(d))) {
		if (de->d_type == DT_DIR || !has_suffix(de->d_name, suffixes))
			continue;
		if (++n > CNI_FILES_MAX)
			return -E2BIG;
		if (strv_add(&names, de->d_name) < 0)
			return -ENOMEM;
	}
	if (names)
		qsort(names, n, sizeof(*names), by_name);
	*ret = take_ptr(names);
	return 0;
}

static int read_folder(Cni *c, CniList *l, Err *e)
{
	static const char *const suffixes[] = {".conf", NULL};
	_cleanup_free_ char *dir = strf("%s/%s", c->conf_dir, l->name);
	_cleanup_strv_ char **names = NULL;
	int r;

	if (!dir)
		return err_oom(e);
	if (c->watch >= 0)
		(void)watch_dir(c->watch, dir); /* its coming is seen in the directory above */
	r = list_files(dir, suffixes, &names);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return err_sys(e, r, "read %s", dir);
	for (char **n = names; n && *n; n++) {
		_cleanup_free_ char *path = strf("%s/%s", dir, *n), *text = NULL;
		size_t len = 0;

		if (!path)
			return err_oom(e);
		r = cni_file_read(AT_FDCWD, path, CNI_CONFIG_MAX, true, &text, &len, e);
		if (r >= 0)
			r = cni_list_add(l, text, len, path, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_file(Cni *c, const char *name, CniList **ret, Err *e)
{
	_cleanup_free_ char *path = strf("%s/%s", c->conf_dir, name), *text = NULL;
	_cleanup_list_ CniList *l = NULL;
	size_t len = 0;
	int r;

	if (!path)
		return err_oom(e);
	r = cni_file_read(AT_FDCWD, path, CNI_CONFIG_MAX, true, &text, &len, e);
	if (r >= 0)
		r = cni_list_parse(text, len, path, str_ends(name, ".conflist"), &l, e);
	if (r >= 0 && !l->inlined_only)
		r = read_folder(c, l, e);
	if (r >= 0)
		r = cni_list_finish(l, e);
	if (r < 0)
		return r;
	*ret = take_ptr(l);
	return 0;
}

static int read_first(Cni *c, CniList **ret, Err *e)
{
	static const char *const suffixes[] = {".conflist", ".conf", ".json", NULL};
	_cleanup_strv_ char **names = NULL;
	int r = list_files(c->conf_dir, suffixes, &names);

	if (r == -E2BIG)
		return err_new(e, ERR_UNAVAILABLE, "more than %d CNI configurations in %s", CNI_FILES_MAX,
			       c->conf_dir);
	if (r < 0 && r != -ENOENT)
		return err_kind(e, err_sys(e, r, "read %s", c->conf_dir), ERR_UNAVAILABLE);
	if (!names)
		return err_new(
		    e, ERR_UNAVAILABLE,
		    "no CNI configuration in %s: put a *.conflist there (a cluster's network add-on does)",
		    c->conf_dir);
	r = read_file(c, names[0], ret, e);
	return r < 0 ? err_kind(e, err_ctx(e, r, "CNI configuration cannot be used"), ERR_UNAVAILABLE) : 0;
}

static void refresh(Cni *c)
{
	_cleanup_list_ CniList *old = NULL;

	/* Without one it is read again each time: what was in the way may be gone without a change here. */
	if (c->list && !has_changed(c))
		return;
	old = take_ptr(c->list);
	c->error = (Err){0};
	watch_again(c);
	(void)read_first(c, &c->list, &c->error);
}

int cni_config_get(Cni *c, CniList **ret, Err *e)
{
	int r = 0;

	(void)pthread_mutex_lock(&c->lock);
	refresh(c);
	if (c->list)
		*ret = cni_list_ref(c->list);
	else {
		r = -c->error.no;
		if (e)
			*e = c->error;
	}
	(void)pthread_mutex_unlock(&c->lock);
	return r;
}

void cni_config_done(Cni *c)
{
	close_fd(&c->watch);
	cni_list_unref(take_ptr(c->list));
}
