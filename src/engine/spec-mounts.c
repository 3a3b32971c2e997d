/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mounts of a container's spec: Docker's defaults, the files of its network, and what the user asked for.
 *
 * Binds and volumes are found by the runtime at their source. What has no path of its own (part of a volume, an image) is a
 * detached mount that the shim is given (mount_is_made); its source is then a name in the bundle.
 */
#include "engine/pod-internal.h"
#include "engine/idmap.h"

#include <fcntl.h>
#include <sys/stat.h>

static json_t *mount_json(const char *destination, const char *type, const char *source, const char *options)
{
	_cleanup_strv_ char **o = strv_split(options, ',');

	return json_pack("{s:s, s:s, s:s, s:o}", "destination", destination, "type", type, "source", source,
			 "options", json_from_strv(o));
}

static void add_default_mounts(const SpecInput *in, json_t *mounts)
{
	const ContainerHost *h = &in->c->config.host;
	const char *ro = h->privileged ? "rw" : "ro";
	char sys[64], cgroup[64], shm[96];

	snprintf(sys, sizeof(sys), "nosuid,noexec,nodev,%s", ro);
	snprintf(cgroup, sizeof(cgroup), "%s,nosuid,noexec,nodev,relatime", ro);
	json_array_append_new(mounts, mount_json("/proc", "proc", "proc", "nosuid,noexec,nodev"));
	json_array_append_new(mounts, mount_json("/dev", "tmpfs", "tmpfs",
						 "nosuid,strictatime,mode=755,size=65536k"));
	json_array_append_new(mounts, mount_json("/dev/pts", "devpts", "devpts",
						 "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"));
	json_array_append_new(mounts, mount_json("/sys", "sysfs", "sysfs", sys));
	json_array_append_new(mounts, mount_json("/sys/fs/cgroup", "cgroup", "cgroup", cgroup));
	json_array_append_new(mounts, mount_json("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"));
	if (in->shm_host_path) {
		json_array_append_new(mounts,
				      mount_json("/dev/shm", "bind", in->shm_host_path, "rbind,rprivate"));
		return;
	}
	if (streq0(h->ipc_mode, "none"))
		return;
	snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%lld",
		 (long long)(h->shm_size > 0 ? h->shm_size : 64 << 20));
	json_array_append_new(mounts, mount_json("/dev/shm", "tmpfs", "shm", shm));
}

/* ---- propagation ---- */

/* The line of /proc/self/mountinfo of the mount that the path lies on: its mount point and its optional fields, in place. */
static int find_mount(const char *path, char *table, char **ret_point, char **ret_fields)
{
	struct statx sx;
	char *at = NULL;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &sx) < 0)
		return -errno;
	for (char *line = strtok_r(table, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		int point = 0, end = 0, fields = 0;
		unsigned long long id;

		if (sscanf(line, "%llu %*u %*s %*s %n%*s%n %*s %n", &id, &point, &end, &fields) != 1 ||
		    !fields || id != sx.stx_mnt_id)
			continue;
		line[end] = '\0';
		*ret_point = line + point;
		*ret_fields = line + fields;
		return 0;
	}
	return -ENOENT;
}

/* What is mounted later can only come along if the host's mount passes it on. */
static int check_propagation(const ContainerMountPoint *m, Err *e)
{
	bool shared = str_ends(m->propagation, "shared"), slave = str_ends(m->propagation, "slave");
	_cleanup_free_ char *table = NULL;
	char *point, *fields;
	int r;

	if (!shared && !slave)
		return 0;
	r = file_read_at(AT_FDCWD, "/proc/self/mountinfo", 64 << 20, &table, NULL);
	if (r >= 0)
		r = find_mount(m->source, table, &point, &fields);
	if (r < 0)
		return err_sys(e, r, "find the mount of %s", m->source);
	char *separator = strstr(fields, "- ");
	if (separator)
		*separator = '\0';
	if (strstr(fields, "shared:") || (slave && strstr(fields, "master:")))
		return 0;
	return err_new(e, ERR_INVALID, "path %s is mounted on %s but it is not a %s mount", m->source, point,
		       shared ? "shared" : "shared or slave");
}

/* ---- mounts of the user's ---- */

static json_t *id_mappings(const IdMap *m)
{
	json_t *a = json_array();

	for (size_t i = 0; i < m->n; i++)
		json_array_append_new(a,
				      json_pack("{s:I, s:I, s:I}", "containerID", (json_int_t)m->v[i].inside,
						"hostID", (json_int_t)m->v[i].outside, "size",
						(json_int_t)m->v[i].count));
	return a;
}

/* In a user namespace ids of the container are others of the host, root's too. */
static int map_into_namespace(const UserRemap *u, IdMaps *maps, Err *e)
{
	int r = 0;

	if (maps->uids.n + maps->gids.n == 0)
		r = idmap_resolve(IDMAP_SAME, 0, 0, maps, e);
	if (r >= 0)
		r = idmap_into_namespace(&maps->uids, u->uids, u->n_uids, e);
	return r < 0 ? r : idmap_into_namespace(&maps->gids, u->gids, u->n_gids, e);
}

static int add_idmap(const SpecInput *in, const ContainerMountPoint *m, json_t *mount, Err *e)
{
	struct stat st;
	IdMaps maps;
	int r;

	if (!m->idmap)
		return 0;
	if (stat(m->source, &st) < 0)
		return err_sys(e, errno, "bind source path %s", m->source);
	r = idmap_resolve(m->idmap, st.st_uid, st.st_gid, &maps, e);
	if (r >= 0 && in->userns_path)
		r = map_into_namespace(in->remap, &maps, e);
	if (r < 0 || maps.uids.n + maps.gids.n == 0)
		return r;
	json_object_set_new(mount, "uidMappings", id_mappings(&maps.uids));
	json_object_set_new(mount, "gidMappings", id_mappings(&maps.gids));
	json_array_append_new(json_object_get(mount, "options"), json_string("ridmap"));
	return 0;
}

/* A read-only bind is so with all that is mounted in it. Without a word a mount keeps what its source has: a volume that is mounted
 * read-only or nosuid stays so. */
static const char *access_of(const ContainerMountPoint *m)
{
	return m->rw ? "" : m->ro_non_recursive || m->non_recursive ? "ro," : "rro,";
}

static int add_bind(const SpecInput *in, const ContainerMountPoint *m, size_t *n_made, json_t *mounts, Err *e)
{
	_cleanup_free_ char *made = NULL, *options = NULL;
	_cleanup_json_ json_t *mount = NULL;
	int r = check_propagation(m, e);

	if (r < 0)
		return r;
	if (mount_is_made(m))
		made = strf("%s/" RUNTIME_MOUNTS "/%zu", in->bundle, (*n_made)++);
	options = strf("%s,%s%s", m->non_recursive ? "bind" : "rbind", access_of(m),
		       str_empty(m->propagation) ? "rprivate" : m->propagation);
	if (!options || (mount_is_made(m) && !made))
		return err_oom(e);
	mount = mount_json(m->destination, "bind", made ?: m->source, options);
	/* What a volume has belongs to it whoever uses it; a bind shows the host's files as they are. */
	if (mount && in->userns_path && streq(m->type, "volume"))
		json_array_append_new(json_object_get(mount, "options"), json_string("idmap"));
	r = mount ? add_idmap(in, m, mount, e)
		  : err_new(e, ERR_INVALID, "mount %s: a path is no UTF-8", m->destination);
	if (r >= 0)
		json_array_append(mounts, mount);
	return r;
}

static int add_tmpfs(const ContainerMountPoint *m, json_t *mounts, Err *e)
{
	_cleanup_free_ char *options =
	    strf("nosuid,nodev,noexec%s%s", str_empty(m->options) ? "" : ",", m->options ?: "");

	if (!options)
		return err_oom(e);
	json_array_append_new(mounts, mount_json(m->destination, "tmpfs", "tmpfs", options));
	return 0;
}

static int add_user_mounts(const SpecInput *in, json_t *mounts, Err *e)
{
	const Container *c = in->c;
	size_t n_made = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->n_mounts; i++) {
		const ContainerMountPoint *m = &c->mounts[i];

		r = streq(m->type, "tmpfs") ? add_tmpfs(m, mounts, e) : add_bind(in, m, &n_made, mounts, e);
	}
	return r;
}

static bool mounted_by_user(const Container *c, const char *path)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (streq(c->mounts[i].destination, path))
			return true;
	return false;
}

static void add_file_mounts(const SpecInput *in, json_t *mounts)
{
	const struct {
		const char *path, *source;
	} files[] = {
	    {"/etc/resolv.conf", in->resolv_file},
	    {"/etc/hostname", in->hostname_file},
	    {"/etc/hosts", in->hosts_file},
	};
	char options[64];

	/* Root's files are the container's root's. */
	snprintf(options, sizeof(options), "%s,%s,rprivate", in->userns_path ? "bind,idmap" : "rbind",
		 in->c->config.host.readonly_rootfs ? "ro" : "rw");
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		if (files[i].source && !mounted_by_user(in->c, files[i].path))
			json_array_append_new(mounts,
					      mount_json(files[i].path, "bind", files[i].source, options));
}

/* Parents before children, whatever order the user gave. */
static size_t depth_of(const json_t *mount)
{
	size_t n = 0;

	for (const char *p = json_get_str(mount, "destination"); p && *p; p++)
		n += *p == '/';
	return n;
}

static json_t *sorted_by_depth(json_t *mounts)
{
	json_t *out = json_array();

	for (size_t depth = 0; json_array_size(out) < json_array_size(mounts) && depth < 4096; depth++)
		for (size_t i = 0; i < json_array_size(mounts); i++)
			if (depth_of(json_array_get(mounts, i)) == depth)
				json_array_append(out, json_array_get(mounts, i));
	return out;
}

/* All that a sandbox without an image is used for: settings are written, and its /dev/shm is joined. */
static void add_sandbox_mounts(const SpecInput *in, json_t *mounts)
{
	char shm[96];

	snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%lld",
		 (long long)in->c->config.host.shm_size);
	json_array_append_new(mounts, mount_json("/proc", "proc", "proc", "nosuid,noexec,nodev"));
	json_array_append_new(mounts,
			      mount_json("/dev", "tmpfs", "tmpfs", "nosuid,noexec,mode=755,size=64k"));
	if (!in->shm_host_path)
		json_array_append_new(mounts, mount_json("/dev/shm", "tmpfs", "shm", shm));
}

/* A user's mount at /dev/shm, /sys or the like replaces the default one. */
int spec_mounts(const SpecInput *in, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *defaults = json_array(), *all = json_array();
	int r;

	if (container_is_pause(in->c)) {
		add_sandbox_mounts(in, all);
		*ret = take_ptr(all);
		return 0;
	}
	add_default_mounts(in, defaults);
	for (size_t i = 0; i < json_array_size(defaults); i++) {
		json_t *m = json_array_get(defaults, i);

		if (!mounted_by_user(in->c, json_get_str(m, "destination")))
			json_array_append(all, m);
	}
	add_file_mounts(in, all);
	if (in->init_program)
		json_array_append_new(all, mount_json(SPEC_INIT_PATH, "bind", in->init_program, "bind,ro"));
	r = add_user_mounts(in, all, e);
	if (r < 0)
		return r;
	*ret = sorted_by_depth(all);
	return *ret ? 0 : err_oom(e);
}
