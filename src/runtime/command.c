/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the command in the container, before anything is reported as ready.
 *
 * The texts are those that Docker's command line looks for to choose between exit status 127 (not found) and 126
 * (found, but cannot be executed).
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* 0, or -errno as execve would have it: -EACCES also for a directory or another thing that is no file. */
static int check_runnable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EACCES;
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return errno == ENOSYS || errno == EPERM ? 0 : -errno; /* execve will tell */
	return 0;
}

static int find_by_path(const char *file, char **ret, Err *e)
{
	int r = check_runnable(file);

	switch (r) {
	case 0:
		*ret = strdup(file);
		return *ret ? 0 : err_oom(e);
	case -ENOENT:
		return err_new(e, ERR_NO_COMMAND, "exec: \"%s\": stat %s: no such file or directory", file,
			       file);
	case -ENOTDIR:
		return err_new(e, ERR_NOT_RUNNABLE, "exec: \"%s\": stat %s: not a directory", file, file);
	case -EISDIR:
		return err_new(e, ERR_NOT_RUNNABLE, "exec: \"%s\": is a directory: permission denied", file);
	case -EACCES:
		return err_new(e, ERR_NOT_RUNNABLE, "exec: \"%s\": permission denied", file);
	default:
		return err_kind(e, err_sys(e, r, "exec: \"%s\": stat %s", file, file), ERR_NOT_RUNNABLE);
	}
}

int command_find(const char *file, char *const *env, char **ret, Err *e)
{
	const char *search = strv_env_get(env, "PATH");
	bool denied = false;

	if (strchr(file, '/'))
		return find_by_path(file, ret, e);
	if (!search)
		search = PATH_DEFAULT;
	while (*file && *search) {
		size_t n = strcspn(search, ":");
		_cleanup_free_ char *path = n ? strf("%.*s/%s", (int)n, search, file) : strf("./%s", file);

		if (!path)
			return err_oom(e);
		int r = check_runnable(path);

		if (r == 0) {
			*ret = take_ptr(path);
			return 0;
		}
		denied |= r == -EACCES;
		search += n + (search[n] == ':');
	}
	if (denied)
		return err_new(e, ERR_NOT_RUNNABLE, "exec: \"%s\": permission denied", file);
	return err_new(e, ERR_NO_COMMAND, "exec: \"%s\": executable file not found in $PATH", file);
}

int command_exec_failed(const char *path, int no, Err *e)
{
	switch (no) {
	case ENOENT: /* the file is there: it is its interpreter that is not */
		return err_new_no(e, ERR_NO_COMMAND, no, "exec %s: no such file or directory", path);
	case EACCES:
	case EPERM:
		return err_new_no(e, ERR_NOT_RUNNABLE, no, "exec %s: permission denied", path);
	case ENOEXEC:
		return err_new_no(e, ERR_NOT_RUNNABLE, no, "exec %s: exec format error", path);
	case E2BIG:
		return err_new_no(e, ERR_NOT_RUNNABLE, no, "exec %s: argument list too long", path);
	default:
		return err_kind(e, err_sys(e, no, "exec %s", path), ERR_NOT_RUNNABLE);
	}
}

int command_exit_status(const Err *e)
{
	return e->kind == ERR_NO_COMMAND ? 127 : 126;
}
