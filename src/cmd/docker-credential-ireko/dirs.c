/* SPDX-License-Identifier: Apache-2.0 */
/* See dirs.h. */
#include "dirs.h"
#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <time.h>

/* Without $HOME, what the system knows of the user. */
static char *home(void)
{
	const char *h = getenv("HOME");

	if (!str_empty(h) && *h == '/')
		return strdup(h);

	struct passwd pw, *found = NULL;
	char buf[4096];
	bool known = getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) == 0 && found && *pw.pw_dir == '/';
	return strdup(known ? pw.pw_dir : "/nonexistent");
}

static char *folder(const char *variable, const char *otherwise)
{
	const char *base = getenv(variable);
	_cleanup_free_ char *h = NULL;

	if (!str_empty(base) && *base == '/')
		return strf("%s/ireko", base);
	h = home();
	return h ? strf("%s/%s/ireko", h, otherwise) : NULL;
}

static char *data_folder(void)
{
	return folder("XDG_DATA_HOME", ".local/share");
}

static char *state_folder(void)
{
	return folder("XDG_STATE_HOME", ".local/state");
}

static char *file_in(char *dir, const char *name)
{
	char *s = dir ? strf("%s/%s", dir, name) : NULL;

	free(dir);
	return s;
}

char *dirs_data_file(const char *name)
{
	return file_in(data_folder(), name);
}

char *dirs_state_file(const char *name)
{
	return file_in(state_folder(), name);
}

static int make(const char *dir, Err *e)
{
	int r = mkdir_parents_at(AT_FDCWD, dir, 0700);

	return r < 0 ? err_sys(e, r, "make the folder %s", dir) : 0;
}

int dirs_make_state(Err *e)
{
	_cleanup_free_ char *dir = state_folder();

	return dir ? make(dir, e) : err_oom(e);
}

int dirs_open_data(bool making, Err *e)
{
	_cleanup_free_ char *dir = data_folder();
	int r = !dir ? err_oom(e) : making ? make(dir, e) : 0;

	if (r < 0)
		return r;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR) && !making)
		return err_new(e, ERR_NOT_FOUND, "%s: nothing is kept there", dir);
	return fd < 0 ? err_sys(e, errno, "open the folder %s", dir) : fd;
}

void dirs_sweep(int data)
{
	_cleanup_free_ char *state = state_folder();
	_cleanup_close_ int fd = -1;
	time_t now = time(NULL);

	file_replace_sweep(data, now);
	fd = state ? open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0)
		file_replace_sweep(fd, now - 60);
}
