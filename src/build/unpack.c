/* SPDX-License-Identifier: Apache-2.0 */
/* ADD of archives. What they have in them is read by the store's sandbox alone. */
#include "build/copy.h"
#include "build/memo.h"

static int go_on(void *user, int64_t bytes_read, Err *e)
{
	return build_is_over(user) ? build_cancelled(e) : 0;
}

int unpack_fd(Build *b, int fd, int to_root, const char *dest, const TreeCopy *how, bool keep_owner, Err *e)
{
	_cleanup_close_ int dir = place_directory(to_root, dest, how, e);
	const ArchiveExtract x = {.fd = fd,
				  .dir_fd = dir,
				  .keep_owner = keep_owner,
				  .uid = how->uid,
				  .gid = how->gid,
				  .allow_devices = true,
				  .go_on = go_on,
				  .user = b};

	return dir < 0 ? dir : store_archive_extract(b->store, &x, e);
}

int unpack_into(Build *b, int from, const char *path, int to_root, const char *dest, TreeCopy *how,
		bool keep_owner, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(from, path, O_RDONLY | O_NONBLOCK, 0);
	bool archive = false;
	struct stat st, after;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, fd < 0 ? fd : errno, "open %.500s", path);
	if (!S_ISREG(st.st_mode))
		return 0;
	r = store_archive_recognise(b->store, fd, &archive, e);
	if (r >= 0 && archive)
		r = unpack_fd(b, fd, to_root, dest, how, keep_owner, e);
	if (r >= 0 && archive) {
		MemoKey key = memo_key_of_file(&st), then;

		if (fstat(fd, &after) < 0)
			return err_sys(e, errno, "look at %.500s", path);
		then = memo_key_of_file(&after);
		how->state += memo_keys_equal(&key, &then) ? memo_key_mix(&key) : 1;
	}
	return r < 0 ? err_ctx(e, r, "unpack %.500s", path) : archive;
}
