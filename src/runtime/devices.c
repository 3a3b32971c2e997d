/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev of the container: the default nodes, those of the spec, and the usual links. A name in /dev is
 * handled through the descriptor of its directory and never followed; what is in the way and is not the
 * device itself is removed (the image may have put it there).
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/namespace.h"

#include <sys/sysmacros.h>

const OciDevice devices_default[] = {
    {.path = (char *)"/dev/null", .type = (char *)"c", .major = 1, .minor = 3, .file_mode = 0666},
    {.path = (char *)"/dev/zero", .type = (char *)"c", .major = 1, .minor = 5, .file_mode = 0666},
    {.path = (char *)"/dev/full", .type = (char *)"c", .major = 1, .minor = 7, .file_mode = 0666},
    {.path = (char *)"/dev/random", .type = (char *)"c", .major = 1, .minor = 8, .file_mode = 0666},
    {.path = (char *)"/dev/urandom", .type = (char *)"c", .major = 1, .minor = 9, .file_mode = 0666},
    {.path = (char *)"/dev/tty", .type = (char *)"c", .major = 5, .minor = 0, .file_mode = 0666},
};
const size_t devices_n_default = ELEMENTSOF(devices_default);

static const struct {
	const char *name, *target;
} links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},         {"core", "/proc/kcore"},
};

static mode_t node_type(const OciDevice *d)
{
	switch (d->type ? d->type[0] : 0) {
	case 'b':
		return S_IFBLK;
	case 'c':
	case 'u':
		return S_IFCHR;
	case 'p':
		return S_IFIFO;
	default:
		return 0;
	}
}

static bool is_node(int dir, const char *name, mode_t type, dev_t dev)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type &&
	       (type == S_IFIFO || st.st_rdev == dev);
}

static int make_node(int dir, const char *name, const OciDevice *d, Err *e)
{
	mode_t type = node_type(d), mode = d->file_mode < 0 ? 0666 : (mode_t)d->file_mode & 07777;
	dev_t dev = type == S_IFIFO ? 0 : makedev((unsigned)d->major, (unsigned)d->minor);

	if (!type)
		return err_new(e, ERR_INVALID, "unknown device type \"%s\"", d->type ? d->type : "");
	/* The umask is 0 here. */
	if (mknodat(dir, name, type | mode, dev) < 0) {
		if (errno != EEXIST)
			return err_sys(e, errno, "make the node");
		if (is_node(dir, name, type, dev))
			return 0;
		if (unlinkat(dir, name, 0) < 0)
			return err_sys(e, errno, "remove what is in its place");
		if (mknodat(dir, name, type | mode, dev) < 0)
			return err_sys(e, errno, "make the node");
	}
	if ((d->uid || d->gid) && fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "set its owner");
	return 0;
}

/* In a user namespace: the host's node, bound over an empty file. */
static int bind_node(int dir, const char *name, int node, Err *e)
{
	_cleanup_close_ int target = -1;
	int r;

	if (mknodat(dir, name, S_IFREG | 0666, 0) < 0 && errno != EEXIST)
		return err_sys(e, errno, "make a place for it");
	target = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (target < 0)
		return err_sys(e, errno, "open its place");
	r = mount_attach(node, target);
	return r < 0 ? err_sys(e, r, "bind it") : 0;
}

/* What is below /dev is looked up from its descriptor and cannot leave it. */
static int make_device(Init *in, const OciDevice *d, size_t index, Err *e)
{
	const char *name = d->path ? str_after(d->path, "/dev/") : NULL;
	_cleanup_close_ int other = -1;
	int dir = in->dev;

	if (!d->path || d->path[0] != '/')
		return err_new(e, ERR_INVALID, "its path must be absolute");
	if (in->dev < 0 || str_empty(name) || strchr(name, '/') || name[0] == '.') {
		bool below = in->dev >= 0 && !str_empty(name);

		other =
		    path_open_parent_in_root(below ? in->dev : in->root, below ? name : d->path, true, &name);
		if (other < 0)
			return err_sys(e, other, "open its directory");
		dir = other;
	}
	if (in->sources.devices && in->sources.devices[index] >= 0)
		return bind_node(dir, name, in->sources.devices[index], e);
	return make_node(dir, name, d, e);
}

static int make_link(int dev, const char *name, const char *target, Err *e)
{
	char had[64];
	ssize_t n;

	if (symlinkat(target, dev, name) == 0)
		return 0;
	if (errno != EEXIST)
		return err_sys(e, errno, "make /dev/%s", name);
	n = readlinkat(dev, name, had, sizeof(had));
	if (n == (ssize_t)strlen(target) && memcmp(had, target, (size_t)n) == 0)
		return 0;
	/* A mount point of the spec's own (/dev/ptmx bound by the user) is left alone: it cannot be removed. */
	if (unlinkat(dev, name, 0) < 0)
		return errno == EBUSY || errno == EISDIR ? 0 : err_sys(e, errno, "remove /dev/%s", name);
	return symlinkat(target, dev, name) < 0 ? err_sys(e, errno, "make /dev/%s", name) : 0;
}

bool devices_are_bound(const Init *in)
{
	for (size_t i = 0; i < in->spec->n_mounts; i++) {
		const char *d = in->spec->mounts[i].destination;

		if (in->sources.options[i].bind && (streq(d, "/dev") || streq(d, "/dev/")))
			return true;
	}
	return false;
}

static int is_in_spec(const OciSpec *spec, const char *path)
{
	for (size_t i = 0; i < spec->n_devices; i++)
		if (streq0(spec->devices[i].path, path))
			return true;
	return false;
}

int devices_make(Init *in, Err *e)
{
	const OciSpec *spec = in->spec;
	bool bound = devices_are_bound(in);
	int r = 0;

	if (bound)
		close_fd(&in->dev);
	else if (in->dev < 0) {
		in->dev = mounts_open_strict(in->root, "/dev", e);
		if (in->dev < 0)
			return err_ctx(e, in->dev, "/dev");
	}
	for (size_t i = 0; i < spec->n_devices + devices_n_default && r == 0; i++) {
		bool own = i < spec->n_devices;
		const OciDevice *d = own ? &spec->devices[i] : &devices_default[i - spec->n_devices];

		if (!own && is_in_spec(spec, d->path))
			continue;
		/* A /dev of the host has its nodes. */
		if (bound && str_starts(d->path ? d->path : "", "/dev/"))
			continue;
		r = make_device(in, d, i, e);
		if (r < 0)
			return err_ctx(e, r, "device %s", d->path ? d->path : "");
	}
	if (bound)
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(links) && r == 0; i++)
		r = make_link(in->dev, links[i].name, links[i].target, e);
	return r;
}
