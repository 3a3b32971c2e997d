/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors and whole files. Every descriptor made here is O_CLOEXEC. Reads of files have a byte
 * budget, because most of what we read may have been written by somebody else.
 */
#pragma once

#include "base/err.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Writes all of it, resuming after short writes and EINTR. 0 or -errno. */
int fd_write_all(int fd, const void *buf, size_t len);
/* Reads until len or end of file; the number of bytes, or -errno. */
ssize_t fd_read_full(int fd, void *buf, size_t len);
/* The same at a place in a file. */
int fd_pwrite_all(int fd, const void *buf, size_t len, off_t at);
ssize_t fd_pread_full(int fd, void *buf, size_t len, off_t at);
/* Everything up to end of file, NUL-terminated; -EFBIG past max bytes. ret_len may be NULL. */
int fd_read_all(int fd, size_t max, char **ret, size_t *ret_len);
/* Copies until end of file (copy_file_range, splice or read/write). Bytes copied or -errno. */
int64_t fd_copy(int from, int to);
/* Opens /dev/null in the place of those of 0 to 2 that are closed, before a file of ours gets such a number and is
 * taken for one of them. 0 or -errno. */
int fd_fill_stdio(void);
/* Takes the lock of a file whose text is the pid of who has it, and writes ours. -EWOULDBLOCK if somebody else has it, with
 * what the file says in *ret_holder. A holder that was killed leaves its lock for a moment to the children that it had just forked and
 * that have not executed a program yet; that is waited for. */
int fd_lock_as_owner(int fd, char **ret_holder);
int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);

/* Opens (O_PATH) the directory that holds `path` and points *ret_name at its last component, inside path. The fd, or
 * -errno; -EINVAL if that component is empty, "." or "..". For names of our own; see path.h for others'. */
int file_open_parent_at(int dirfd, const char *path, const char **ret_name);
/* name is looked up at dirfd (AT_FDCWD allowed). */
int file_read_at(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len);
/* One open, one write: what /proc and /sys files need. No creation. */
int file_write_at(int dirfd, const char *name, const char *text);
/* Replaces name whole: temporary file beside it, rename. With `sync`, the data and the directory
 * are on disk when it returns. */
int file_replace_at(int dirfd, const char *name, const void *data, size_t len, mode_t mode, bool sync);
/* Removes what file_replace_at() of processes that were killed has left in the directory: files that nobody has written to since `before`,
 * in seconds of the time of day. */
void file_replace_sweep(int dirfd, time_t before);
DEFINE_CLEANUP(DIR *, closedir)
/* mkdir -p relative to dirfd; existing directories are left as they are. `mode` is subject to the umask. */
int mkdir_parents_at(int dirfd, const char *path, mode_t mode);
/* Removes name and everything below it without following symlinks or crossing into mounts
 * (a mount point fails with -EBUSY). A missing name is success; -EINVAL for ".", ".." and a trailing slash. */
int remove_tree_at(int dirfd, const char *name);

/* Unix sockets whose path may exceed sun_path: bound and connected through /proc/self/fd.
 * type is SOCK_STREAM or SOCK_SEQPACKET; 108 bytes are no limit. An existing socket file that nobody listens
 * on is replaced by unix_listen (-EADDRINUSE when somebody does). */
int unix_listen(const char *path, int type, mode_t mode);
int unix_connect(const char *path, int type);

#define FDS_MAX 32
/* One message with up to FDS_MAX descriptors. Received descriptors are CLOEXEC. recv returns the
 * length, 0 at end, or -errno; -EMSGSIZE when the message or its descriptors did not fit (what arrived is closed).
 * *n_fds is in/out: capacity, then count (0 on failure); NULL for none. An empty message cannot be sent (-EINVAL). */
ssize_t fd_send_msg(int sock, const void *buf, size_t len, const int *fds, size_t n_fds);
ssize_t fd_recv_msg(int sock, void *buf, size_t cap, int *fds, size_t *n_fds);
