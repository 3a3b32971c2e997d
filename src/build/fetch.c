/* SPDX-License-Identifier: Apache-2.0 */
/* Where what is fetched lies; see fetch.h. What a crash leaves there the next engine removes. */
#include "build/fetch.h"

int fetch_room(Build *b, char **ret_path, int *ret_dir, Err *e)
{
	_cleanup_free_ char *path = NULL;
	char name[33];
	int root = store_root_fd(b->store), r;

	id_random_hex(name, 32);
	path = strf("tmp/build-fetch-%s", name);
	if (!path)
		return err_oom(e);
	r = mkdir_parents_at(root, path, 0700);
	if (r < 0)
		return err_sys(e, r, "make %s", path);
	*ret_dir = openat(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_dir < 0)
		return err_sys(e, errno, "open %s", path);
	*ret_path = take_ptr(path);
	return 0;
}

void fetch_room_done(Build *b, char **path, int *dir)
{
	close_fd(dir);
	if (*path)
		(void)!remove_tree_at(store_root_fd(b->store),
				      *path); /* the next engine removes what is left */
	free(take_ptr(*path));
}

int fetch_init(Fetch *f, Build *b, const char *url, bool context, Err *e)
{
	int r;

	*f = (Fetch){.b = b, .dir = -1};
	r = git_ref_parse(url, context, &f->git, e);
	if (r < 0)
		return r;
	f->is_git = r > 0;
	f->url = strdup(url);
	if (!f->url)
		return err_oom(e);
	if (!f->is_git && !str_starts(url, "http://") && !str_starts(url, "https://"))
		return err_new(e, ERR_INVALID,
			       "%.200s: only http and https URLs and git repositories can be fetched", url);
	f->keep_git_dir = f->git.keep_git_dir;
	return 0;
}

void fetch_done(Fetch *f)
{
	if (f->b)
		fetch_room_done(f->b, &f->path, &f->dir);
	git_ref_done(&f->git);
	free(f->url);
	free(f->checksum);
	free(f->commit);
	free(f->file);
	*f = (Fetch){.dir = -1};
}

int fetch_identify(Fetch *f, Err *e)
{
	int r;

	if (*f->content)
		return 0;
	r = f->is_git ? fetch_git_identify(f, e) : fetch_http_identify(f, e);
	if (r < 0)
		return r;
	return f->is_git ? material_add_url(f->b, f->url, "sha1", f->commit, e)
			 : material_add_url(f->b, f->url, "sha256", digest_hex(f->content), e);
}

int fetch_get(Fetch *f, Err *e)
{
	if (f->dir >= 0)
		return 0;
	return f->is_git ? fetch_git_get(f, e) : fetch_http_get(f, e);
}
