/* SPDX-License-Identifier: Apache-2.0 */
/* See open-files.h. The links are read, not followed: what they lead to may be on a file system that does not answer. */
#include "kernel/open-files.h"

#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET "socket:"

static bool is_socket(int dir, const char *name)
{
	char target[sizeof(SOCKET)];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	return n == sizeof(SOCKET) - 1 && memcmp(target, SOCKET, sizeof(SOCKET) - 1) == 0;
}

/* False if there were too many. */
static bool look(int dir, OpenFiles *sum, uint64_t *ret_descriptors, uint64_t *ret_sockets)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = getdents64(dir, buf, sizeof(buf))) > 0) {
		const struct dirent64 *de;

		for (ssize_t at = 0; at < n; at += de->d_reclen) {
			de = (const struct dirent64 *)(const void *)(buf + at);
			if (de->d_name[0] == '.')
				continue;
			if (sum->looked_at == OPEN_FILES_MAX)
				return false;
			sum->looked_at++;
			++*ret_descriptors;
			*ret_sockets += is_socket(dir, de->d_name);
		}
	}
	return true;
}

static void count(uint64_t *sum, bool known, uint64_t n)
{
	*sum = known && *sum != OPEN_FILES_UNKNOWN ? *sum + n : OPEN_FILES_UNKNOWN;
}

void open_files_add(OpenFiles *sum, pid_t pid)
{
	_cleanup_close_ int dir = -1;
	uint64_t descriptors = 0, sockets = 0;
	bool told, seen = false;
	struct stat st;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return;
	told = fstat(dir, &st) == 0 && st.st_size > 0;
	if (!told || (uint64_t)st.st_size <= OPEN_FILES_MAX - sum->looked_at)
		seen = look(dir, sum, &descriptors, &sockets);
	/* What was seen is better: the size has numbers that are taken while a file is still to come, as in a call of accept(). */
	count(&sum->descriptors, told || seen, seen ? descriptors : (uint64_t)st.st_size);
	count(&sum->sockets, seen, sockets);
}
