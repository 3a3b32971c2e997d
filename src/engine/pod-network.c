/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's network: a namespace that has a name in the file system, where CNI's plugins and others of their trade look for it, and an attachment.
 *
 * The name follows from the sandbox's id, and the row says that the pod is attached before anything is made, so whatever is cut short is found and released:
 * by the end of the pod, or by the next engine. A release is told in the row when all of it has succeeded; after that there is none.
 */
#include "engine/pod-internal.h"
#include "cni/cni.h"
#include "kernel/mount.h"

#include <poll.h>

#define POD_INTERFACE     "eth0"
#define ATTACHING_LOOK_MS 50

static char *netns_path(const Engine *en, const Container *c)
{
	const char *id = c->id;

	return strf("%s/cni-%.8s-%.4s-%.4s-%.4s-%.12s", en->options.pods.netns_dir, id, id + 8, id + 12,
		    id + 16, id + 20);
}

static int no_networks(Err *e)
{
	return err_new(e, ERR_UNAVAILABLE,
		       "pods have no networks: irekod was started without a door for a kubelet (--cri)");
}

int pods_open(Engine *en, Err *e)
{
	const EnginePods *o = &en->options.pods;
	const CniOptions cni = {.conf_dir = o->cni_conf_dir,
				.plugin_dirs = o->cni_plugin_dirs,
				.cache_dir = o->cni_cache_dir,
				.owner = en->id};

	return o->cni_conf_dir ? cni_new(&cni, &en->pods.cni, e) : 0;
}

static int netns_unname(const char *path, Err *e)
{
	int r = mount_detach(path);

	/* EINVAL: the file is there, but was not mounted on. */
	if (r < 0 && r != -ENOENT && r != -EINVAL)
		return err_sys(e, r, "unmount %s", path);
	return unlink(path) < 0 && errno != ENOENT ? err_sys(e, errno, "remove %s", path) : 0;
}

/* ---- networks that are nobody's: of a run that was cut short between two records, or of a pod whose row is lost ---- */

static int attached_pods(Engine *en, char ***ret, Err *e)
{
	size_t n = 0;
	Container **all = containers_all(en, &n);
	int r = all ? 0 : -ENOMEM;

	for (size_t i = 0; all && i < n; i++) {
		if (r >= 0 && all[i]->pod_attached)
			r = strv_take(ret, strf("%s " POD_INTERFACE, all[i]->id));
		container_unref(all[i]);
	}
	free(all);
	return r < 0 ? err_oom(e) : 0;
}

/* What is named so was named by us; others have names of that pattern in the same directory. */
static void unname_lost(const char *path, void *user)
{
	const Engine *en = user;
	const char *name = str_after(path, en->options.pods.netns_dir);
	Err e = {0};

	if (name && str_starts(name, "/cni-") && !strchr(name + 1, '/') && netns_unname(path, &e) < 0)
		log_warn("a pod that is no more: %s", e.msg);
}

/* No plugin runs while new pods wait, but for what 1.1.0 calls GC: who is told what is kept must be told all. */
static int find_lost(Engine *en, CniStale **ret, Err *e)
{
	_cleanup_strv_ char **keep = NULL;
	int r;

	pthread_rwlock_wrlock(&en->pods.attaching);
	r = attached_pods(en, &keep, e);
	if (r >= 0)
		r = cni_stale_find(en->pods.cni, keep, ret, e);
	pthread_rwlock_unlock(&en->pods.attaching);
	return r;
}

static int tell_what_is_kept(Engine *en, Err *e)
{
	_cleanup_strv_ char **keep = NULL;
	int r;

	pthread_rwlock_wrlock(&en->pods.attaching);
	r = attached_pods(en, &keep, e);
	if (r >= 0)
		r = cni_gc(en->pods.cni, keep, e);
	pthread_rwlock_unlock(&en->pods.attaching);
	return r;
}

void pods_networks_sweep(Engine *en)
{
	CniStale *lost = NULL;
	Err err = {0};
	int r;

	if (!en->pods.cni)
		return;
	r = find_lost(en, &lost, &err);
	cni_stale_release(lost, unname_lost, en);
	if (r >= 0)
		r = tell_what_is_kept(en, &err);
	if (r < 0)
		log_warn("networks of pods that are no more: %s", err_msg(&err, r));
}

/* Cancelled when nobody waits for the pod any more. */
static int attaching_begin(Engine *en, int alive_fd, Err *e)
{
	struct pollfd p = {.fd = alive_fd};

	while (pthread_rwlock_tryrdlock(&en->pods.attaching) != 0)
		if (poll(&p, 1, ATTACHING_LOOK_MS) > 0)
			return err_new_no(e, ERR_CANCELLED, ECANCELED, "nobody waits for the pod any more");
	return 0;
}

void pods_close(Engine *en)
{
	cni_free(en->pods.cni);
}

int engine_pod_network_status(Engine *en, Err *e)
{
	return en->pods.cni ? cni_status(en->pods.cni, e) : no_networks(e);
}

json_t *engine_pod_network_describe(Engine *en)
{
	return en->pods.cni ? cni_describe(en->pods.cni) : json_null();
}

static int netns_name(Engine *en, const char *path, int netns_fd, Err *e)
{
	_cleanup_close_ int file = -1, mount = -1;
	int r = mkdir_parents_at(AT_FDCWD, en->options.pods.netns_dir, 0755);

	if (r < 0)
		return err_sys(e, r, "make %s", en->options.pods.netns_dir);
	file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (file < 0)
		return err_sys(e, errno, "make %s", path);
	mount = mount_clone(netns_fd, "", false);
	r = mount < 0 ? mount : mount_attach(mount, file);
	return r < 0 ? err_sys(e, r, "name the network namespace %s", path) : 0;
}

static int enter_ips(Container *c, char **ips, Err *e)
{
	char **copy = strv_dup(ips);

	if (!copy)
		return err_oom(e);
	pthread_mutex_lock(&c->state);
	strv_free(c->pod_ips);
	c->pod_ips = copy;
	pthread_mutex_unlock(&c->state);
	return 0;
}

static int attach(Engine *en, Container *c, const char *path, Err *e)
{
	const EnginePodNetwork *n = c->pod_asked->network;
	_cleanup_free_ CniPort *ports = calloc(n->n_ports + 1, sizeof(*ports));
	_cleanup_cni_result_ CniResult result = {0};
	_cleanup_strv_ char **ranges = NULL;
	const ContainerHost *h = &c->config.host;
	CniAttachment a = {.container_id = c->id,
			   .netns = path,
			   .ifname = POD_INTERFACE,
			   .pod_name = n->name,
			   .pod_namespace = n->namespace_,
			   .pod_uid = n->uid,
			   .ports = ports,
			   .n_ports = n->n_ports,
			   .ingress_rate = n->ingress_rate,
			   .egress_rate = n->egress_rate,
			   .dns_servers = h->dns,
			   .dns_searches = h->dns_search,
			   .dns_options = h->dns_options,
			   .cgroup_path = str_empty(h->cgroup_parent) ? NULL : h->cgroup_parent,
			   .annotations = n->annotations};
	int r = ports ? pod_ranges(en, &ranges, e) : err_oom(e);

	a.ip_ranges = ranges;
	for (size_t i = 0; r >= 0 && i < n->n_ports; i++)
		ports[i] = (CniPort){n->ports[i].protocol, n->ports[i].host_ip, n->ports[i].host_port,
				     n->ports[i].container_port};
	if (r >= 0)
		r = attaching_begin(en, c->pod_asked->alive_fd, e);
	if (r < 0)
		return r;
	r = cni_add(en->pods.cni, &a, c->pod_asked->alive_fd, &result, e);
	pthread_rwlock_unlock(&en->pods.attaching);
	if (r >= 0 && strv_len(result.ips) == 0)
		r = err_new(e, ERR_UNAVAILABLE, "pod %s/%s: CNI's plugins gave its interface %s no address",
			    n->namespace_, n->name, POD_INTERFACE);
	return r < 0 ? r : enter_ips(c, result.ips, e);
}

/* What failed and was taken down again is not released once more. */
static void forget_attachment(Engine *en, Container *c, const char *path)
{
	const CniAttachment a = {.container_id = c->id, .ifname = POD_INTERFACE};

	if (cni_is_recorded(en->pods.cni, &a) || netns_unname(path, NULL) < 0)
		return;
	pthread_mutex_lock(&c->state);
	c->pod_attached = false;
	pthread_mutex_unlock(&c->state);
}

int pod_network_attach(Engine *en, Container *c, int netns_fd, Err *e)
{
	_cleanup_free_ char *path = netns_path(en, c);
	int r = path ? 0 : err_oom(e);

	if (r >= 0 && (!en->pods.cni || !c->pod_asked || !c->pod_asked->network))
		r = no_networks(e);
	if (r >= 0)
		r = netns_name(en, path, netns_fd, e);
	if (r < 0)
		return r;
	r = attach(en, c, path, e);
	if (r < 0)
		forget_attachment(en, c, path);
	return r;
}

/* What names it, without what was asked for: the record has that. */
static CniAttachment attachment_of(const Container *c, const char *path)
{
	return (CniAttachment){.container_id = c->id,
			       .netns = path,
			       .ifname = POD_INTERFACE,
			       .pod_name = strv_env_get(c->config.labels, "io.kubernetes.pod.name"),
			       .pod_namespace = strv_env_get(c->config.labels, "io.kubernetes.pod.namespace"),
			       .pod_uid = strv_env_get(c->config.labels, "io.kubernetes.pod.uid")};
}

int pod_network_check(Engine *en, Container *c, int alive_fd, Err *e)
{
	_cleanup_free_ char *path = netns_path(en, c);
	const CniAttachment a = attachment_of(c, path);

	if (!path)
		return err_oom(e);
	return en->pods.cni ? cni_check(en->pods.cni, &a, alive_fd, e) : no_networks(e);
}

/* The namespace may be gone, by a new start of the machine say: the plugins are told so. */
static int detach(Engine *en, Container *c, const char *path, Err *e)
{
	const CniAttachment a = attachment_of(c, path);

	if (!en->pods.cni)
		return no_networks(e);
	/* The record goes with the last DEL that succeeded, and after it the namespace's name: an engine that was killed in between does not say it twice. With both gone, it may as
	 * well be that the machine has lost the record. */
	return cni_netns_is_there(path) && !cni_is_recorded(en->pods.cni, &a) ? 0
									      : cni_del(en->pods.cni, &a, e);
}

int pod_network_release(Engine *en, Container *c, Err *e)
{
	_cleanup_free_ char *path = netns_path(en, c);
	int r = path ? 0 : err_oom(e);

	if (r < 0 || !c->pod_attached)
		return r;
	r = detach(en, c, path, e);
	if (r >= 0)
		r = netns_unname(path, e);
	if (r < 0)
		return err_ctx(e, r, "release the network of pod %.12s", c->id);
	pthread_mutex_lock(&c->state);
	c->pod_attached = false;
	pthread_mutex_unlock(&c->state);
	return container_save(en, c, e);
}

int engine_pod_connect(Engine *en, const char *id, uint16_t port, int *ret_fd, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int netns = -1;
	const char *network;
	int r = container_find(en, id, &c, e);

	if (r < 0)
		return r;
	if (!container_is_sandbox(c))
		return err_new(e, ERR_NOT_FOUND, "No such pod: %s", id);
	if (container_status(c) != CONTAINER_RUNNING)
		return err_new(e, ERR_CONFLICT, "pod %.12s is not ready", c->id);
	/* One that is released has no name any more. */
	if (net_mode(c, &network) == NET_POD) {
		path = netns_path(en, c);
		netns = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (netns < 0)
			return err_sys(e, path ? errno : ENOMEM, "open the network namespace of pod %.12s",
				       c->id);
	}
	r = network_connect_local(netns, port, ret_fd, e);
	return err_ctx(e, r, "pod %.12s", c->id);
}
