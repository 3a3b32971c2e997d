/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a killed engine's builds have left below DATA/build.
 *
 * Names that images have only on their way to or from a cache. Each is on record in DATA/build/passing while it stands, a file for a name, so that those of an
 * engine that was killed go at the next start: a name that stayed would be taken for an image of the user's.
 */
#include "build/solve.h"

#include "base/json.h"
#include "base/log.h"
#include "base/sha256.h"
#include "store/dir.h"

#include <sys/stat.h>

#define FOLDER     "build/passing"
#define NAME_BYTES 4096

static char *path_of(const char *name)
{
	return strf(FOLDER "/%s", sha256_hex(name, strlen(name)).s);
}

int passing_begin(Store *s, const char *name, Err *e)
{
	_cleanup_free_ char *path = path_of(name);
	int r = path ? mkdir_parents_at(store_root_fd(s), FOLDER, 0700) : -ENOMEM;

	if (r >= 0)
		r = file_replace_at(store_root_fd(s), path, name, strlen(name), 0600, false);
	return r < 0 ? err_sys(e, r, "note the name %.200s of a cache", name) : 0;
}

void passing_end(Engine *en, const char *name)
{
	_cleanup_free_ char *path = path_of(name);
	json_t *said = NULL;
	Err err = {0};
	int r = engine_image_remove(en, name, false, false, &said, &err);

	json_decref(said);
	if (r < 0 && err.kind != ERR_NOT_FOUND)
		log_warn("build cache: the name %s stays until the next start: %s", name, err_msg(&err, r));
	else if (path)
		(void)unlinkat(store_root_fd(engine_store(en)), path,
			       0); /* the next start finds no such name */
}

/* Files that were being replaced (file_replace_at). */
static int sweep_files(int at, const char *folder, char ***ret_names, Err *e)
{
	_cleanup_close_ int dir = openat(at, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, errno, "open %s", folder);
	r = dir_names(dir, ret_names);
	for (char **f = *ret_names; r >= 0 && f && *f; f++)
		if (str_starts(*f, ".tmp-") && unlinkat(dir, *f, 0) < 0 && errno != ENOENT)
			r = -errno;
	return r < 0 ? err_sys(e, r, "remove what the last run left in %s", folder) : 0;
}

static int sweep_caches(int root, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = sweep_files(root, "build/caches", &names, e);

	for (char **n = names; r >= 0 && n && *n; n++) {
		_cleanup_free_ char *folder = strf("build/caches/%s", *n);
		_cleanup_strv_ char **files = NULL;

		r = folder ? sweep_files(root, folder, &files, e) : err_oom(e);
	}
	return r;
}

static int sweep_names(Engine *en, int root, Err *e)
{
	_cleanup_strv_ char **files = NULL;
	int r = sweep_files(root, FOLDER, &files, e);

	for (char **f = files; r >= 0 && f && *f; f++) {
		_cleanup_free_ char *path = strf(FOLDER "/%s", *f), *name = NULL;
		size_t len;

		if (path && file_read_at(root, path, NAME_BYTES, &name, &len) >= 0)
			passing_end(en, name);
	}
	return r;
}

int passing_sweep(Engine *en, Err *e)
{
	_cleanup_strv_ char **top = NULL, **manifests = NULL;
	int root = store_root_fd(engine_store(en));
	int r = sweep_files(root, "build", &top, e);

	if (r >= 0)
		r = sweep_files(root, "build/manifests", &manifests, e);
	if (r >= 0)
		r = sweep_caches(root, e);
	return r < 0 ? r : sweep_names(en, root, e);
}
