/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which namespaces a pod has of its own, and which of them its containers join.
 *
 * A user namespace is the pod's. CRI takes one range of each kind, and root must be in it.
 */
#include "api/cri/config-internal.h"

#define IDS_END UINT32_MAX /* the last number is no id */

static int bad_mode(const char *what, Cri__NamespaceMode mode, const char *use, Err *e)
{
	const ProtobufCEnumValue *v =
	    protobuf_c_enum_descriptor_get_value(&cri__namespace_mode__descriptor, (int)mode);

	return v ? err_new(e, ERR_INVALID, "namespace_options.%s: %s is not offered: use %s", what, v->name,
			   use)
		 : err_new(e, ERR_INVALID, "namespace_options.%s: there is no mode %d: use %s", what,
			   (int)mode, use);
}

static int set_text(char **field, const char *value, Err *e)
{
	free(*field);
	*field = strdup(value);
	return *field ? 0 : err_oom(e);
}

/* ---- user namespaces ---- */

static int add_map(const char *kind, Cri__IDMapping *const *maps, size_t n, char ***to, Err *e)
{
	if (n != 1)
		return err_new(e, ERR_INVALID,
			       "userns_options.%sids: %zu mappings, a user namespace of a pod has one", kind,
			       n);
	const Cri__IDMapping *m = maps[0];
	if (m->container_id != 0 || m->length == 0)
		return err_new(
		    e, ERR_INVALID,
		    "userns_options.%sids: the mapping has to begin with the container's id 0, and not "
		    "be empty",
		    kind);
	if ((uint64_t)m->host_id + m->length > IDS_END)
		return err_new(e, ERR_INVALID,
			       "userns_options.%sids: %u ids from %u on are more than there are", kind,
			       m->length, m->host_id);
	return strv_take(to, strf("%s:%u:%u:%u", kind, m->container_id, m->host_id, m->length)) < 0
		   ? err_oom(e)
		   : 0;
}

static int user_maps(const Cri__UserNamespace *u, char ***to, Err *e)
{
	int r;

	if (!u)
		return 0;
	if (u->mode == CRI__NAMESPACE_MODE__NODE)
		return u->n_uids + u->n_gids == 0
			   ? 0
			   : err_new(e, ERR_INVALID,
				     "userns_options: the host's user namespace (NODE) takes no mappings");
	if (u->mode != CRI__NAMESPACE_MODE__POD)
		return bad_mode("userns_options", u->mode, "POD or NODE", e);
	r = add_map("u", u->uids, u->n_uids, to, e);
	return r < 0 ? r : add_map("g", u->gids, u->n_gids, to, e);
}

/* What the kernel would refuse the container's root on the way, in words that name the cause. */
static int check_with_user_namespace(const ContainerConfig *k, Err *e)
{
	const struct {
		const char *mode, *what;
	} shared[] = {{k->host.network_mode, "network"},
		      {k->host.pid_mode, "pid"},
		      {k->host.ipc_mode, "ipc"}};

	for (size_t i = 0; k->pod.user_maps && i < ELEMENTSOF(shared); i++)
		if (streq0(shared[i].mode, "host"))
			return err_new(
			    e, ERR_INVALID,
			    "namespace_options.%s: NODE is not offered in a user namespace of the pod",
			    shared[i].what);
	return 0;
}

/* ---- the pod ---- */

/* POD and CONTAINER are the same to the sandbox: a namespace of its own. */
static int own_or_host(const char *what, Cri__NamespaceMode mode, bool container, const char *own,
		       char **field, Err *e)
{
	if (mode == CRI__NAMESPACE_MODE__NODE)
		return set_text(field, "host", e);
	if (mode == CRI__NAMESPACE_MODE__POD || (container && mode == CRI__NAMESPACE_MODE__CONTAINER))
		return set_text(field, own, e);
	return bad_mode(what, mode, "POD or NODE", e);
}

int cri_pod_namespaces(const Cri__NamespaceOption *given, ContainerConfig *ret, Err *e)
{
	static const Cri__NamespaceOption none = CRI__NAMESPACE_OPTION__INIT;
	const Cri__NamespaceOption *o = given ? given : &none;
	int r = own_or_host("network", o->network, false, "pod", &ret->host.network_mode, e);

	/* The name of a machine belongs to its network. */
	if (r >= 0 && o->network == CRI__NAMESPACE_MODE__NODE)
		r = set_text(&ret->host.uts_mode, "host", e);
	if (r >= 0)
		r = own_or_host("pid", o->pid, true, "", &ret->host.pid_mode, e);
	if (r >= 0)
		r = own_or_host("ipc", o->ipc, true, "", &ret->host.ipc_mode, e);
	if (r >= 0)
		r = user_maps(o->userns_options, &ret->pod.user_maps, e);
	return r < 0 ? r : check_with_user_namespace(ret, e);
}

/* ---- a member ---- */

static bool same_strings(char *const *a, char *const *b)
{
	if (strv_len(a) != strv_len(b))
		return false;
	for (size_t i = 0; a && a[i]; i++)
		if (!streq(a[i], b[i]))
			return false;
	return true;
}

static int pid_mode(const Cri__NamespaceOption *o, char **ret, Err *e)
{
	switch (o->pid) {
	case CRI__NAMESPACE_MODE__POD:
		return set_text(ret, "pod", e);
	case CRI__NAMESPACE_MODE__CONTAINER:
		return set_text(ret, "", e);
	case CRI__NAMESPACE_MODE__NODE:
		return set_text(ret, "host", e);
	case CRI__NAMESPACE_MODE__TARGET:
		if (str_empty(o->target_id))
			return err_new(e, ERR_INVALID,
				       "namespace_options.pid: TARGET needs the target_id of a container");
		free(*ret);
		*ret = strf("container:%s", o->target_id);
		return *ret ? cri_text_check(*ret, "namespace_options.target_id", e) : err_oom(e);
	default:
		return bad_mode("pid", o->pid, "POD, CONTAINER, NODE or TARGET", e);
	}
}

/* The sandbox's maps are those of its request: a member that names others would run with ids that nobody asked for. */
static int check_user_maps(const Cri__NamespaceOption *o, const ContainerConfig *sandbox, Err *e)
{
	_cleanup_strv_ char **maps = NULL;
	int r = user_maps(o->userns_options, &maps, e);

	if (r >= 0 && !same_strings(maps, sandbox->pod.user_maps))
		r = err_new(e, ERR_INVALID,
			    "userns_options: the container's user namespace is not that of its pod");
	return r;
}

int cri_container_namespaces(const Cri__NamespaceOption *given, const ContainerConfig *sandbox,
			     ContainerConfig *ret, Err *e)
{
	static const Cri__NamespaceOption none = CRI__NAMESPACE_OPTION__INIT;
	const Cri__NamespaceOption *o = given ? given : &none;
	int r = pid_mode(o, &ret->host.pid_mode, e);

	/* The network is the pod's whatever it is: a client that says NODE means a pod of the host's network. */
	if (r >= 0 && o->network != CRI__NAMESPACE_MODE__POD && o->network != CRI__NAMESPACE_MODE__NODE)
		r = bad_mode("network", o->network, "POD or NODE", e);
	if (r >= 0)
		r = set_text(&ret->host.network_mode, "pod", e);
	if (r >= 0)
		r = own_or_host("ipc", o->ipc, false, "pod", &ret->host.ipc_mode, e);
	if (r >= 0)
		r = check_user_maps(o, sandbox, e);
	if (r < 0 || !sandbox->pod.user_maps)
		return r;
	ret->pod.user_maps = strv_dup(sandbox->pod.user_maps);
	return ret->pod.user_maps ? check_with_user_namespace(ret, e) : err_oom(e);
}
