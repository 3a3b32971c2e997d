/* SPDX-License-Identifier: Apache-2.0 */
/* Looking through layers; the model is in merged.h. */
#include "store/merged.h"

#include "base/str.h"
#include "store/dir.h"

#include <fcntl.h>
#include <sys/xattr.h>

void merged_done(Merged *m)
{
	for (size_t i = 0; i < m->n; i++)
		closep(&m->fds[i]);
	free(m->fds);
	*m = (Merged){0};
}

static int add(Merged *m, int fd, Err *e)
{
	int *grown = reallocarray(m->fds, m->n + 1, sizeof(*grown));

	if (!grown) {
		closep(&fd);
		return err_oom(e);
	}
	m->fds = grown;
	m->fds[m->n++] = fd;
	return 0;
}

int merged_open(char *const *layers, Merged *ret, Err *e)
{
	_cleanup_merged_ Merged m = {0};

	for (char *const *l = layers; l && *l; l++) {
		int fd = open(*l, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int r = fd < 0 ? err_sys(e, errno, "open the layer %s", *l) : add(&m, fd, e);

		if (r < 0)
			return r;
	}
	*ret = m;
	m = (Merged){0};
	return 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static bool is_opaque(int fd)
{
	char mark = 0;

	return fgetxattr(fd, "trusted.overlay.opaque", &mark, 1) == 1 && mark == 'y';
}

/* Adds the directory of one layer: 1 if nothing below it counts. */
static int add_dir(Merged *m, int dir_fd, const char *name, Err *e)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;
	bool last;

	if (fd < 0)
		return err_sys(e, errno, "open the directory %s of a layer", name);
	last = is_opaque(fd);
	r = add(m, fd, e);
	return r < 0 ? r : last;
}

int merged_find(const Merged *m, const char *name, size_t *ret_layer, struct stat *ret_st, Merged *ret_dir,
		Err *e)
{
	_cleanup_merged_ Merged dir = {0};
	bool found = false;

	for (size_t i = 0; i < m->n; i++) {
		struct stat st;
		int r;

		if (fstatat(m->fds[i], name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				continue;
			return err_sys(e, errno, "examine %s in a layer", name);
		}
		if (is_whiteout(&st) || (found && !S_ISDIR(st.st_mode)))
			break;
		if (!found) {
			found = true;
			*ret_layer = i;
			*ret_st = st;
		}
		if (!S_ISDIR(st.st_mode) || !ret_dir)
			break;
		r = add_dir(&dir, m->fds[i], name, e);
		if (r < 0)
			return r;
		if (r > 0)
			break;
	}
	if (ret_dir) {
		*ret_dir = dir;
		dir = (Merged){0};
	}
	return found;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once. */
static void sort_names(char **v)
{
	size_t n = strv_len(v), kept = 0;

	if (n == 0)
		return;
	qsort(v, n, sizeof(*v), by_text);
	for (size_t i = 1; i < n; i++) {
		if (streq(v[kept], v[i]))
			free(v[i]);
		else
			v[++kept] = v[i];
	}
	v[kept + 1] = NULL;
}

int merged_names(const Merged *m, char ***ret, Err *e)
{
	_cleanup_strv_ char **all = NULL;
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		char **names = NULL, **grown;
		size_t more;
		int r = dir_names(m->fds[i], &names);

		if (r < 0)
			return err_sys(e, r, "read the directory of a layer");
		more = strv_len(names);
		if (more == 0)
			continue;
		grown = reallocarray(all, n + more + 1, sizeof(*all));
		if (!grown) {
			strv_free(names);
			return err_oom(e);
		}
		all = grown;
		memcpy(all + n, names, (more + 1) * sizeof(*all));
		free(names);
		n += more;
	}
	sort_names(all);
	*ret = take_ptr(all);
	return 0;
}
