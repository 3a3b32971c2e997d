/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --userns-remap: containers in user namespaces, where root is a user of the host that may do nothing.
 *
 * Every container has a user namespace of its own, made before it and handed on by descriptor, with the ranges of ids that subuid(5) and
 * subgid(5) give. Its network namespace belongs to it. What is on disk keeps the ids that it has in the image: layers, the writable layer, volumes
 * and the files in /etc are shown through mounts that shift them, so images, volumes and data roots are the same with the option and without.
 * A container that joins the namespaces of another joins its user namespace too.
 *
 * A pod may ask for a user namespace with ids of its own, whatever the option says: it is the sandbox's, which all containers of the pod join.
 */
#include "engine/engine-internal.h"
#include "engine/subid.h"
#include "kernel/mount.h"

#define DEFAULT_USER "dockremap"
#define TABLE_MAX    (1u << 20)

static int load_table(const char *file, const char *user, NamespaceIdMap **ret, size_t *ret_n, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read_at(AT_FDCWD, file, TABLE_MAX, &text, NULL);

	if (r < 0 && r != -ENOENT)
		return err_sys(e, r, "read %s", file);
	r = subid_maps(text ? text : "", user, ret, ret_n, e);
	if (r < 0 && e && e->kind == ERR_NOT_FOUND)
		return err_new(
		    e, ERR_INVALID,
		    "%s has no ids for \"%s\": add a line like \"%s:100000:65536\" to /etc/subuid and "
		    "to /etc/subgid",
		    file, user, user);
	return err_ctx(e, r, "%s", file);
}

/* Told now rather than with the first container. */
static int check_data_root(Engine *en, Err *e)
{
	_cleanup_close_ int userns = -1, fd = -1;
	int r = namespace_new_user(en->remap.uids, en->remap.n_uids, en->remap.gids, en->remap.n_gids,
				   &userns, e);

	if (r < 0)
		return r;
	fd = mount_clone(AT_FDCWD, en->options.data_root, false);
	r = fd < 0 ? fd : mount_change(fd, "", &(MountChange){.set = MOUNT_ATTR_IDMAP, .userns_fd = userns});
	return r < 0
		   ? err_sys(e, r, "%s: the kernel cannot map ids on this file system", en->options.data_root)
		   : 0;
}

int remap_load(Engine *en, Err *e)
{
	const char *option = en->options.userns_remap;
	_cleanup_free_ char *user = NULL;
	const char *group;
	int r;

	if (str_empty(option))
		return 0;
	if (streq(option, "default"))
		option = DEFAULT_USER;
	user = strndup(option, strcspn(option, ":"));
	if (!user)
		return err_oom(e);
	group = strchr(option, ':') ? strchr(option, ':') + 1 : user;
	r = load_table("/etc/subuid", user, &en->remap.uids, &en->remap.n_uids, e);
	if (r >= 0)
		r = load_table("/etc/subgid", group, &en->remap.gids, &en->remap.n_gids, e);
	if (r >= 0)
		r = check_data_root(en, e);
	en->remap.on = r >= 0;
	return err_ctx(e, r, "--userns-remap %s", en->options.userns_remap);
}

void remap_done(Engine *en)
{
	free(en->remap.uids);
	free(en->remap.gids);
}

bool remap_applies(const Engine *en, const ContainerConfig *k)
{
	return k->pod.id ? strv_len(k->pod.user_maps) > 0
			 : en->remap.on && !streq0(k->host.userns_mode, "host");
}

int remap_of(const Engine *en, const ContainerConfig *k, NamespaceIdMap buf[2], UserRemap *ret, Err *e)
{
	bool have[2] = {false, false};

	*ret = (UserRemap){0};
	if (!remap_applies(en, k))
		return 0;
	if (!k->pod.id) {
		*ret = en->remap;
		return 0;
	}
	for (char *const *m = k->pod.user_maps; *m; m++) {
		size_t kind = (*m)[0] == 'g';
		unsigned inside, outside, count;

		if (sscanf(*m + 1, ":%u:%u:%u", &inside, &outside, &count) != 3 || have[kind] || count == 0)
			return err_new(e, ERR_INVALID, "\"%.60s\" is no mapping of a pod's ids", *m);
		have[kind] = true;
		buf[kind] = (NamespaceIdMap){inside, outside, count};
	}
	if (!have[0] || !have[1])
		return err_new(e, ERR_INVALID, "a user namespace needs mappings of users and of groups");
	*ret = (UserRemap){.on = true, .uids = &buf[0], .gids = &buf[1], .n_uids = 1, .n_gids = 1};
	return 0;
}

bool engine_remaps_users(Engine *en)
{
	return en->remap.on;
}

int remap_check(const Engine *en, const ContainerConfig *k, Err *e)
{
	const ContainerHost *h = &k->host;

	if (!remap_applies(en, k))
		return 0;
	/* Docker's rule. In a pod, whose kubelet asked for both, it has every capability there, and none over the host. */
	if (h->privileged && !k->pod.id)
		return err_new(
		    e, ERR_INVALID,
		    "privileged mode is incompatible with user namespaces.  You must run the container in "
		    "the host namespace when running privileged mode");
	if (streq0(h->network_mode, "host"))
		return err_new(e, ERR_INVALID,
			       "cannot share the host's network namespace when user namespaces are enabled");
	if (streq0(h->pid_mode, "host"))
		return err_new(e, ERR_INVALID,
			       "cannot share the host PID namespace when user namespaces are enabled");
	return 0;
}

/* Of the container whose namespaces this one joins; NULL: it joins none. */
static const char *joined_ref(const ContainerHost *h)
{
	const char *const modes[] = {h->network_mode, h->ipc_mode, h->pid_mode};

	for (size_t i = 0; i < ELEMENTSOF(modes); i++)
		if (modes[i] && str_starts(modes[i], "container:"))
			return modes[i] + strlen("container:");
	return NULL;
}

static int open_joined(Engine *en, const char *ref, int *ret_fd, Err *e)
{
	_cleanup_container_ Container *other = NULL;
	_cleanup_free_ char *path = NULL;
	int r = container_find(en, ref, &other, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&other->state);
	pid_t pid = other->pid;
	pthread_mutex_unlock(&other->state);
	if (pid <= 0)
		return err_new(e, ERR_CONFLICT, "container %s is not running", other->id);
	if (!remap_applies(en, &other->config))
		return err_new(
		    e, ERR_CONFLICT,
		    "cannot join namespaces of container %s, which is in the host's user namespace",
		    other->id);
	path = strf("/proc/%d/ns/user", (int)pid);
	if (!path)
		return err_oom(e);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, errno, "open %s", path) : 0;
}

int remap_open(Engine *en, const ContainerConfig *k, const UserRemap *map, int *ret_user, int *ret_net,
	       Err *e)
{
	const ContainerHost *h = &k->host;
	const char *ref = joined_ref(h);
	bool own_network = !h->network_mode || !str_starts(h->network_mode, "container:");
	int r;

	if (!map->on)
		return 0;
	if (ref && own_network)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "with --userns-remap a container that joins namespaces of another has to join its "
		    "network too: use --network container:%s",
		    ref);
	if (ref)
		return open_joined(en, ref, ret_user, e);
	r = namespace_new_user_net(map->uids, map->n_uids, map->gids, map->n_gids, ret_user, ret_net, e);
	return r < 0 ? r : network_namespace_adopt(*ret_net, e);
}
