/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of profiles is read anew at each question: an administrator's tools load and remove them at any time (aa-remove-unknown(8) removes what
 * no file under /etc/apparmor.d speaks of). A line of it is "NAME (MODE)"; a profile within another one is "OUTER//INNER".
 */
#include "kernel/apparmor.h"
#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define POLICY        "/sys/kernel/security/apparmor"
#define FIRST_USER_NS 0xEFFFFFFDu /* PROC_USER_INIT_INO of linux/proc_ns.h */
#define WORD_MAX      4096

bool apparmor_enabled(void)
{
	_cleanup_free_ char *on = NULL;

	return file_read_at(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", WORD_MAX, &on, NULL) >= 0 &&
	       *on == 'Y' && access(POLICY "/profiles", F_OK) == 0;
}

/* Kernels since 5.1 tell LSMs apart; the older file may be another one's. */
static bool is_confined(void)
{
	_cleanup_free_ char *label = NULL;

	if (file_read_at(AT_FDCWD, "/proc/thread-self/attr/apparmor/current", WORD_MAX, &label, NULL) < 0 &&
	    file_read_at(AT_FDCWD, "/proc/thread-self/attr/current", WORD_MAX, &label, NULL) < 0)
		return true;
	return !str_starts(label, "unconfined");
}

bool apparmor_is_ours(void)
{
	struct stat st;

	return apparmor_enabled() && stat("/proc/self/ns/user", &st) == 0 && st.st_ino == FIRST_USER_NS &&
	       !is_confined();
}

int apparmor_has(const char *profile, Err *e)
{
	FILE *f = fopen(POLICY "/profiles", "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0, n = strlen(profile);
	int found = 0;

	if (!f)
		return err_sys(e, errno, "read " POLICY "/profiles");
	while (!found && getline(&line, &room, f) > 0)
		found = strncmp(line, profile, n) == 0 && str_starts(line + n, " (");
	if (!found && ferror(f))
		found = err_sys(e, errno, "read " POLICY "/profiles");
	fclose(f);
	return found;
}
