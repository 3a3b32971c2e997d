/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of cgroup2, kept over a run of criu.
 *
 * There is one cgroup2 for all mounts of it, and each mount(2) in the first cgroup namespace sets its options anew. criu mounts it, to look at
 * cgroups, without any: nsdelegate and memory_recursiveprot, which systemd has set for the whole machine, are gone then.
 */
#include "runtime/criu-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>

#define MOUNTINFO_MAX (16u << 20)

/* Of a line of mountinfo, what follows the name and the source of the filesystem; NULL if it is another one. */
static const char *options_of(const char *line)
{
	const char *p = strstr(line, " - cgroup2 ");

	p = p ? strchr(p + strlen(" - cgroup2 "), ' ') : NULL;
	return p ? p + 1 : NULL;
}

char *criu_cgroup_options(void)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (file_read_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL) < 0)
		return NULL;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *options = options_of(line);

		if (options)
			return strdup(options);
	}
	return NULL;
}

int criu_cgroup_restore_options(const char *before, Err *e)
{
	_cleanup_free_ char *now = criu_cgroup_options();
	_cleanup_strv_ char **all = NULL, **params = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (!before || !now || streq(before, now))
		return 0;
	all = strv_split(before, ',');
	for (size_t i = 0; all && all[i]; i++)
		if (!streq(all[i], "rw") && !streq(all[i], "ro") && strv_add(&params, all[i]) < 0)
			return err_oom(e);
	if (!all)
		return err_oom(e);
	r = mount_new_fs("cgroup2", "cgroup2", params, 0, &fd, e);
	return r < 0 ? err_ctx(e, r, "give cgroup2 its options %s back, which criu has changed", before) : 0;
}
