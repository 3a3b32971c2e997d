/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of cgroups, as a config (cgroupsPath), the user of exec (--cgroup) and a state have them. Whatever a path is made of, the
 * directory lies below the mount of its hierarchy, and a state gives back what it was given.
 */
#include "kernel/cgroup.h"

#include "base/str.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool leads_out(const char *path)
{
	_cleanup_strv_ char **parts = strv_split(path, '/');

	return !parts || strv_has(parts, "..") || !str_starts(path, "/sys/fs/cgroup/");
}

static void check_resolved(const char *text)
{
	_cleanup_(cgroup_done) Cgroup c = {0}, again = {0};
	_cleanup_strv_ char **kept = NULL;
	Err e = {0};

	if (cgroup_resolve(text, &c, &e) < 0)
		return;
	for (size_t i = 0; i < c.n; i++)
		if (leads_out(c.dirs[i].path))
			abort();
	kept = cgroup_to_strv(&c);
	if (!kept || cgroup_from_strv(kept, &again, &e) < 0 || again.n != c.n)
		abort();
	for (size_t i = 0; i < c.n; i++)
		if (!streq(c.dirs[i].path, again.dirs[i].path) || !streq(c.dirs[i].name, again.dirs[i].name))
			abort();
}

/* In a cgroup that is not there no seat can be had, but all is read until that is found out. */
static void check_seats(char *const *subs)
{
	char *const kept[] = {(char *)"memory%/nowhere/memory", (char *)"cpu,cpuacct%/nowhere/cpu", NULL};
	_cleanup_(cgroup_done) Cgroup c = {0};
	CgroupSeat seat;
	Err e = {0};

	if (cgroup_from_strv(kept, &c, &e) < 0 || cgroup_seat_open(&c, subs, &seat, &e) == 0 || !e.msg[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	_cleanup_strv_ char **lines = text ? strv_split(text, '\n') : NULL;
	_cleanup_(cgroup_done) Cgroup c = {0};

	if (!lines)
		return 0;
	check_resolved(text);
	check_seats(lines);
	(void)cgroup_from_strv(lines, &c, NULL);
	return 0;
}
