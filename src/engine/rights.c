/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading for somebody with his rights and no more.
 *
 * An overlay looks at what lies below with the credentials of who mounted it, beside those of who asks. So the view is mounted by a thread that
 * has taken on the user's ids and groups for file access, which takes the capabilities that pass over permissions away from it, and whatever
 * thread of ours reads through it later is refused what the user would be. The thread ends with that: no rights need be taken back.
 */
#include "engine/engine-internal.h"

#include "base/fd.h"
#include "base/path.h"
#include "kernel/mount.h"

#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

typedef struct View {
	const EngineUser *user;
	int dir_fd, empty_fd; /* an overlay without an upper directory has two lower ones at least */
	int ret_fd, r;
	Err *e;
} View;

/* Of this thread alone: the C library's setgroups(3) would do it to all of them. */
static int take_ids(const EngineUser *u, Err *e)
{
	if (syscall(SYS_setgroups, u->n_groups, u->groups) < 0)
		return err_sys(e, errno, "take on the groups of user %u", u->uid);
	(void)setfsgid(u->gid);
	(void)setfsuid(u->uid);
	/* These say the previous id and never that they failed; -1 changes nothing. */
	if ((gid_t)setfsgid((gid_t)-1) != u->gid || (uid_t)setfsuid((uid_t)-1) != u->uid)
		return err_new(e, ERR_INTERNAL, "the ids of user %u could not be taken on", u->uid);
	return 0;
}

static void *make_view(void *arg)
{
	View *v = arg;
	FdPath dir = path_of_fd(v->dir_fd), empty = path_of_fd(v->empty_fd);
	char *lower[] = {dir.s, empty.s, NULL};

	v->r = take_ids(v->user, v->e);
	if (v->r >= 0)
		v->r = mount_overlay(lower, NULL, NULL, &v->ret_fd, v->e);
	return NULL;
}

int engine_directory_as(int dir_fd, const EngineUser *user, int *ret_fd, Err *e)
{
	_cleanup_close_ int empty = -1;
	char *params[] = {(char *)"mode=0755", (char *)"size=4k", NULL};
	Err own = {0};
	View v = {.user = user, .dir_fd = dir_fd, .ret_fd = -1, .e = &own};
	pthread_t thread;
	int r = mount_new_fs("tmpfs", "empty", params, MOUNT_ATTR_RDONLY, &empty, e);

	if (r < 0)
		return r;
	v.empty_fd = empty;
	r = pthread_create(&thread, NULL, make_view, &v);
	if (r != 0)
		return err_sys(e, r, "start a thread");
	pthread_join(thread, NULL);
	if (v.r < 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "a directory cannot be shown with the rights of user %u: %s", user->uid,
			       own.msg);
	*ret_fd = v.ret_fd;
	return 0;
}
