/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory for the container's notifications (sd_notify(3)): <root>/<id>/notify on the host, /run/notify in the container,
 * bound by a mount that is added to the spec. Whoever starts the container puts the socket into it. The mount is read-only, which is no hindrance for
 * sending to a socket: a container could fill the host's /run, or leave a link there for us to follow.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>

#define DIR_NAME "notify"
#define INSIDE   "/run/notify"

static int fill_mount(OciMount *m, const char *source)
{
	static const char *const options[] = {"bind", "ro", "nosuid", "noexec", "nodev", "rprivate"};

	m->destination = strdup(INSIDE);
	m->type = strdup("bind");
	m->source = strdup(source);
	if (!m->destination || !m->type || !m->source)
		return -ENOMEM;
	for (size_t i = 0; i < ELEMENTSOF(options); i++)
		if (strv_add(&m->options, options[i]) < 0)
			return -ENOMEM;
	return 0;
}

int notify_add(const RuntimeOptions *o, const char *id, int dirfd, OciSpec *spec, Err *e)
{
	_cleanup_free_ char *source = strf("%s/%s/" DIR_NAME, o->root, id);
	OciMount *more = reallocarray(spec->mounts, spec->n_mounts + 1, sizeof(*more));

	if (more)
		spec->mounts = more;
	if (!source || !more)
		return err_oom(e);
	if (mkdirat(dirfd, DIR_NAME, 0755) < 0)
		return err_sys(e, errno, "make %s", source);
	more[spec->n_mounts++] = (OciMount){0};
	if (fill_mount(&more[spec->n_mounts - 1], source) < 0 ||
	    strv_env_set(&spec->process.env, "NOTIFY_SOCKET=" INSIDE "/notify.sock") < 0)
		return err_oom(e);
	return 0;
}

int runtime_notify_dir(const RuntimeOptions *o, const char *id, int *ret, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	int r = state_load(o, id, &s, e);

	if (r < 0)
		return r;
	*ret = openat(s.dirfd, DIR_NAME, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret < 0 && errno != ENOENT
		   ? err_sys(e, errno, "open the notify directory of container %s", id)
		   : 0;
}
