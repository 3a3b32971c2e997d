/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel parameters of the container. Only those that a namespace of its own keeps apart from the host's may be
 * set, and they are written through a procfs that we mounted.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"

#include <linux/openat2.h>
#include <sys/syscall.h>

static const char *const ipc_names[] = {
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
    "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced",
};

/* "net.ipv4.ip_forward" to its path. A name that has slashes is a path already, with dots of its own
 * ("net/ipv4/conf/eth0.1/forwarding"). */
static char *path_of(const char *name, size_t len)
{
	char *path = strndup(name, len);

	if (path && !strchr(path, '/'))
		for (char *p = path; *p; p++)
			if (*p == '.')
				*p = '/';
	return path;
}

/* The namespace that keeps it apart, 0 if none does. */
static int namespace_of(const char *path)
{
	if (str_starts(path, "net/"))
		return CLONE_NEWNET;
	if (str_starts(path, "fs/mqueue/"))
		return CLONE_NEWIPC;
	if (streq(path, "kernel/domainname") || streq(path, "kernel/hostname"))
		return CLONE_NEWUTS;
	for (size_t i = 0; i < ELEMENTSOF(ipc_names); i++)
		if (streq(ipc_names[i], path))
			return CLONE_NEWIPC;
	return 0;
}

int sysctl_check(const OciSpec *spec, uint64_t own_namespaces, Err *e)
{
	for (size_t i = 0; spec->sysctl && spec->sysctl[i]; i++) {
		size_t len = strcspn(spec->sysctl[i], "=");
		_cleanup_free_ char *path = path_of(spec->sysctl[i], len);
		int ns;

		if (!path)
			return err_oom(e);
		ns = namespace_of(path);
		if (!ns || strstr(path, ".."))
			return err_new(e, ERR_INVALID,
				       "sysctl %.*s is not kept apart by a namespace, so it is not for a "
				       "container to set",
				       (int)len, spec->sysctl[i]);
		if (!(own_namespaces & (uint64_t)ns))
			return err_new(e, ERR_INVALID,
				       "sysctl %.*s needs a %s namespace of the container's own", (int)len,
				       spec->sysctl[i], namespace_file(ns));
	}
	return 0;
}

static int write_one(int proc, const char *path, const char *value, Err *e)
{
	_cleanup_free_ char *below = strf("sys/%s", path);
	struct open_how how = {
	    .flags = O_WRONLY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	_cleanup_close_ int fd = -1;
	int r;

	if (!below)
		return err_oom(e);
	fd = (int)syscall(SYS_openat2, proc, below, &how, sizeof(how));
	if (fd < 0)
		return err_sys(e, errno, "open /proc/%s", below);
	r = fd_write_all(fd, value, strlen(value));
	return r < 0 ? err_sys(e, r, "write \"%s\" to /proc/%s", value, below) : 0;
}

int sysctl_apply(Init *in, Err *e)
{
	_cleanup_close_ int own = -1;
	int proc = in->proc, r = 0;

	if (!in->spec->sysctl || !in->spec->sysctl[0])
		return 0;
	if (proc < 0) {
		r = mount_new_fs("proc", "proc", NULL, 0, &own, e);
		proc = own;
	}
	for (size_t i = 0; r == 0 && in->spec->sysctl[i]; i++) {
		const char *entry = in->spec->sysctl[i];
		size_t len = strcspn(entry, "=");
		_cleanup_free_ char *path = path_of(entry, len);

		r = path ? write_one(proc, path, entry[len] ? entry + len + 1 : "", e) : err_oom(e);
	}
	return r < 0 ? err_ctx(e, r, "sysctl") : 0;
}
