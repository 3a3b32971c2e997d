/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beginning of a container that is likely to be wanted: what takes long and needs nothing of it but its id, the shim's program and a
 * network namespace, comes up while something else is done.
 *
 * There is no row of it. A shim that was not told what to create ends with its engine, and the next one removes its directory as it does
 * with all that belong to no container (adopt.c).
 */
#include "engine/engine-internal.h"

#include <sys/wait.h>

struct EngineSpare {
	char id[ID_LEN + 1];
	char *run_dir;
	Shim *shim; /* and its directory; NULL once both were taken */
	pid_t shim_pid;
	NetworkNamespaceJob *netns; /* or NULL */
	bool alone;                 /* that namespace has no interface */
};

void engine_spare_drop(EngineSpare *s)
{
	int fd = -1;

	if (!s)
		return;
	if (s->shim) {
		shim_abandon(s->shim, s->shim_pid);
		shim_unref(s->shim);
		(void)remove_tree_at(AT_FDCWD, s->run_dir);
	}
	if (s->netns)
		(void)network_namespace_end(s->netns, &fd, NULL);
	close_fd(&fd);
	free(s->run_dir);
	free(s);
}

/* One that is joined, or made with a user namespace, is not made here. */
static bool has_own_namespace(const Engine *en, const char *network)
{
	return !streq(network, "host") && !str_starts(network, "container:") &&
	       !remap_applies(en, &(ContainerConfig){0});
}

static int begin(Engine *en, EngineSpare *s, const char *network, Err *e)
{
	int r = mkdir_parents_at(AT_FDCWD, s->run_dir, 0700);

	if (r < 0)
		return err_sys(e, r, "make %s", s->run_dir);
	s->alone = streq(network, "none");
	if (has_own_namespace(en, network))
		r = network_namespace_begin(s->alone, &s->netns, e);
	if (r >= 0)
		r = shim_spawn(en->shim_program, s->run_dir, s->id, &s->shim, &s->shim_pid, e);
	if (r < 0)
		(void)remove_tree_at(AT_FDCWD, s->run_dir);
	return r;
}

int engine_spare_make(Engine *en, const char *network, EngineSpare **ret, Err *e)
{
	EngineSpare *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return err_oom(e);
	id_random_hex(s->id, ID_LEN);
	s->run_dir = strf("%s/%s", en->containers_run, s->id);
	r = s->run_dir ? begin(en, s, network, e) : err_oom(e);
	if (r < 0)
		engine_spare_drop(s);
	else
		*ret = s;
	return r;
}

const char *spare_id(const EngineSpare *s)
{
	return s->id;
}

/* It may have waited for hours, in which anybody could have killed it. */
static bool lives(const EngineSpare *s)
{
	siginfo_t si = {0};

	return waitid(P_PID, (id_t)s->shim_pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0;
}

bool spare_take_shim(EngineSpare *s, Shim **ret, pid_t *ret_pid)
{
	if (!s || !s->shim || !lives(s))
		return false;
	*ret = take_ptr(s->shim);
	*ret_pid = s->shim_pid;
	return true;
}

NetworkNamespaceJob *spare_take_netns(EngineSpare *s, bool alone)
{
	return s && s->alone == alone ? take_ptr(s->netns) : NULL;
}
