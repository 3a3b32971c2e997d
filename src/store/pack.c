/* SPDX-License-Identifier: Apache-2.0 */
/* A tar of something inside a container or volume (docker cp out of it). */
#include "base/path.h"
#include "base/str.h"
#include "store/store.h"
#include "store/tar-walk.h"

#include <fcntl.h>

int store_archive_pack(int dir_fd, const char *name, const char *as, const StoreIds *ids, int out_fd, Err *e)
{
	_cleanup_(tar_writer_freep) TarWriter *w = NULL;
	_cleanup_close_ int parent = -1;
	_cleanup_free_ char *clean = NULL;
	const char *last;
	int r;

	clean = path_clean(*name == '/' ? name : "/");
	if (*name != '/') {
		free(clean);
		clean = path_join_clean("/", name);
	}
	if (!clean)
		return err_oom(e);
	parent = path_open_parent_in_root(dir_fd, clean, false, &last);
	if (parent == -ENOENT)
		return err_new(e, ERR_NOT_FOUND, "no such file or directory: %s", name);
	if (parent < 0)
		return err_sys(e, parent, "open %s", name);
	r = tar_writer_new(out_fd, NULL, &w, e);
	if (r >= 0 && ids)
		tar_writer_name_ids(w, ids);
	if (r >= 0)
		r = tar_walk_name(w, parent, last, as, 0, e);
	if (r >= 0)
		r = tar_writer_end(w, e);
	return r < 0 ? err_ctx(e, r, "pack %s", name) : 0;
}
