/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of a container: nodes in its /dev and rules of its devices cgroup.
 *
 * What is asked for is a path of the host: a device, a symbolic link to one, or a directory, whose devices come along under the same names.
 * A privileged container gets every device of the host but what its own /dev has in that place.
 */
#include "engine/engine-internal.h"

#include <dirent.h>
#include <sys/sysmacros.h>

#define DEVICES_MAX 16384 /* of one container */
#define DEPTH_MAX   16

typedef struct Devices {
	json_t *nodes, *rules;
	const char *access;
} Devices;

static json_t *device_rule(bool allow, const char *type, int64_t major, int64_t minor, const char *access)
{
	json_t *o = json_pack("{s:b, s:s, s:s}", "allow", allow, "type", type, "access", access);

	if (major >= 0)
		json_object_set_new(o, "major", json_integer(major));
	if (minor >= 0)
		json_object_set_new(o, "minor", json_integer(minor));
	return o;
}

static json_t *default_device_rules(void)
{
	/* null zero full random urandom tty console ptmx pts/N tun is not among them */
	static const int nodes[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},   {1, 9},
				       {5, 0}, {5, 1}, {5, 2}, {136, -1}};
	json_t *a = json_array();

	json_array_append_new(a, device_rule(false, "a", -1, -1, "rwm"));
	json_array_append_new(a, device_rule(true, "c", -1, -1, "m"));
	json_array_append_new(a, device_rule(true, "b", -1, -1, "m"));
	for (size_t i = 0; i < ELEMENTSOF(nodes); i++)
		json_array_append_new(a, device_rule(true, "c", nodes[i][0], nodes[i][1], "rwm"));
	return a;
}

static bool is_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
}

static int node_add(Devices *d, const char *path, const struct stat *st, Err *e)
{
	const char *type = S_ISCHR(st->st_mode) ? "c" : "b";

	if (json_array_size(d->nodes) >= DEVICES_MAX)
		return err_new(e, ERR_INVALID, "more than %d devices in one container", DEVICES_MAX);
	json_t *node = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "path", path, "type", type, "major",
				 (json_int_t)major(st->st_rdev), "minor", (json_int_t)minor(st->st_rdev),
				 "fileMode", (json_int_t)(st->st_mode & 07777), "uid", (json_int_t)st->st_uid,
				 "gid", (json_int_t)st->st_gid);
	if (!node)
		return err_new(e, ERR_INVALID, "device %s: its path is not valid UTF-8", path);
	json_array_append_new(d->nodes, node);
	if (d->access)
		json_array_append_new(d->rules, device_rule(true, type, major(st->st_rdev),
							    minor(st->st_rdev), d->access));
	return 0;
}

/* What a container's own /dev has. */
static bool is_own_place(const char *name)
{
	static const char *const own[] = {"pts",         "shm",     "fd",      "mqueue", ".lxc",
					  ".lxd-mounts", ".udev",   "stdin",   "stdout", "stderr",
					  "core",        "console", "initctl", "ptmx"};

	for (size_t i = 0; i < ELEMENTSOF(own); i++)
		if (streq(own[i], name))
			return true;
	return false;
}

/* All below a directory; what goes away meanwhile or cannot be looked at is left out, as dockerd does. Links are not followed. */
static int dir_add(Devices *d, int dir_fd, const char *inside, int depth, bool whole_dev, Err *e)
{
	DIR *dir = fdopendir(dir_fd);
	struct dirent *de;
	int r = 0;

	if (!dir) {
		close_fd(&dir_fd);
		return err_oom(e);
	}
	while (r >= 0 && (de = readdir(dir))) {
		_cleanup_free_ char *path = NULL;
		struct stat st;
		int sub;

		if (streq(de->d_name, ".") || streq(de->d_name, "..") ||
		    (whole_dev && is_own_place(de->d_name)) ||
		    fstatat(dirfd(dir), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		path = strf("%s/%s", inside, de->d_name);
		if (!path)
			r = err_oom(e);
		else if (is_device(&st))
			r = node_add(d, path, &st, e);
		else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX &&
			 (sub = openat(dirfd(dir), de->d_name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) >= 0)
			r = dir_add(d, sub, path, depth + 1, false, e);
	}
	closedir(dir);
	return r;
}

static int gathering_failed(const ContainerDevice *d, const char *why, Err *e)
{
	return err_new(e, ERR_INVALID,
		       "error gathering device information while adding custom device \"%s\": %s",
		       d->path_on_host ?: "", why);
}

static int device_add(const ContainerDevice *d, Devices *all, Err *e)
{
	const char *inside = str_empty(d->path_in_container) ? d->path_on_host : d->path_in_container;
	size_t before = json_array_size(all->nodes);
	struct stat st;
	int fd, r;

	if (str_empty(d->path_on_host) || stat(d->path_on_host, &st) < 0)
		return gathering_failed(d, "no such file or directory", e);
	if (all->access)
		all->access = str_empty(d->cgroup_permissions) ? "rwm" : d->cgroup_permissions;
	if (is_device(&st))
		return node_add(all, inside, &st, e);
	if (!S_ISDIR(st.st_mode))
		return gathering_failed(d, "not a device node", e);
	fd = open(d->path_on_host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return gathering_failed(d, strerror(errno), e);
	r = dir_add(all, fd, inside, 0, false, e);
	if (r >= 0 && json_array_size(all->nodes) == before)
		r = gathering_failed(d, "not a device node", e);
	return r;
}

int device_rule_parse(const char *s, json_t *rules, Err *e)
{
	char type, major_s[16], minor_s[16], access[8];
	int64_t major_n = -1, minor_n = -1;
	int end = 0;

	if (sscanf(s, "%c %15[0-9*]:%15[0-9*] %3[rwm]%n", &type, major_s, minor_s, access, &end) != 4 ||
	    s[end] || !strchr("acb", type) || (!streq(major_s, "*") && str_to_i64(major_s, &major_n) < 0) ||
	    (!streq(minor_s, "*") && str_to_i64(minor_s, &minor_n) < 0))
		return err_new(e, ERR_INVALID, "invalid device cgroup rule format: '%.100s'", s);
	if (rules)
		json_array_append_new(rules,
				      device_rule(true, (char[]){type, '\0'}, major_n, minor_n, access));
	return 0;
}

/* All of the host's, and those that the user wants under another name. */
static int privileged_devices(const ContainerHost *h, Devices *d, Err *e)
{
	int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? err_sys(e, errno, "open /dev") : dir_add(d, fd, "/dev", 0, true, e);

	for (size_t i = 0; r >= 0 && i < h->n_devices; i++)
		if (!str_empty(h->devices[i].path_in_container) &&
		    !streq0(h->devices[i].path_on_host, h->devices[i].path_in_container))
			r = device_add(&h->devices[i], d, e);
	return r;
}

int spec_devices(const ContainerHost *h, json_t **ret_nodes, json_t **ret_rules, Err *e)
{
	Devices d = {json_array(), default_device_rules(), h->privileged ? NULL : "rwm"};
	int r = 0;

	if (h->privileged) {
		json_array_append_new(d.rules, device_rule(true, "a", -1, -1, "rwm"));
		r = privileged_devices(h, &d, e);
	}
	for (size_t i = 0; r >= 0 && !h->privileged && i < h->n_devices; i++)
		r = device_add(&h->devices[i], &d, e);
	for (size_t i = 0; r >= 0 && h->device_cgroup_rules && h->device_cgroup_rules[i]; i++)
		r = device_rule_parse(h->device_cgroup_rules[i], d.rules, e);
	*ret_nodes = d.nodes;
	*ret_rules = d.rules;
	return r;
}
