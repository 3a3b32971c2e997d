/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a pod: run, stop, remove, and what the next engine makes of one that was cut short.
 *
 * Order of a run: the sandbox's row, which says that its network may be there; the namespace and its attachment, beside the process; the row that it runs. One that was
 * never told to its kubelet (its sandbox has not been started) goes at the next start, with its network.
 * A stop works on members and sandbox without holding a lock of theirs while it waits for their ends; the network is released under the sandbox's `life`, so two stops release it once.
 */
#include "engine/pod-internal.h"

#include <signal.h>

#define LABEL_POD       "io.kubernetes.pod.name"
#define LABEL_NAMESPACE "io.kubernetes.pod.namespace"

/* ---- finding ---- */

static int pod_find(Engine *en, const char *id, Container **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, id, &c, NULL);

	if (r < 0 || !container_is_sandbox(c))
		return err_new(e, ERR_NOT_FOUND, "No such pod: %s", id);
	*ret = take_ptr(c);
	return 0;
}

static int member_find(Engine *en, const char *id, Container **ret, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, id, &c, e);

	if (r < 0)
		return r;
	if (!container_is_member(c))
		return err_new(e, ERR_NOT_FOUND, "No such container in a pod: %s", id);
	*ret = take_ptr(c);
	return 0;
}

typedef struct Members {
	Container **v;
	unsigned *exits;
	size_t n;
} Members;

static void members_done(Members *m)
{
	for (size_t i = 0; i < m->n; i++)
		container_unref(m->v[i]);
	free(m->v);
	free(m->exits);
}

static int members_of(Engine *en, const Container *pod, Members *ret, Err *e)
{
	size_t n = 0, kept = 0;
	Container **all = containers_all(en, &n);

	if (!all)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		if (container_is_member(all[i]) && streq(all[i]->config.pod.id, pod->id))
			all[kept++] = all[i];
		else
			container_unref(all[i]);
	*ret = (Members){all, calloc(kept + 1, sizeof(unsigned)), kept};
	return ret->exits ? 0 : err_oom(e);
}

void pod_members_await(Engine *en, const Container *c)
{
	_cleanup_(members_done) Members m = {0};
	ContainerEnd end = {0};

	if (!container_is_sandbox(c) || members_of(en, c, &m, NULL) < 0)
		return;
	for (size_t i = 0; i < m.n; i++) {
		(void)engine_container_wait(en, m.v[i]->id, WAIT_NOT_RUNNING, NULL, NULL, -1, &end, NULL);
		free(take_ptr(end.error));
	}
}

/* ---- what a member is ---- */

static int replace_text(char **field, char *with)
{
	free(*field);
	*field = with;
	return with ? 0 : -ENOMEM;
}

/* "pod" is to join the sandbox. */
static int settle_mode(char **mode, const char *id)
{
	return streq0(*mode, "pod") ? replace_text(mode, strf("container:%s", id)) : 0;
}

/* Whose pid namespace it is to see: nobody's outside of the pod. */
static int target_check(Engine *en, const Container *c, Err *e)
{
	const char *mode = c->config.host.pid_mode, *ref = mode ? str_after(mode, "container:") : NULL;
	_cleanup_container_ Container *target = NULL;

	if (!ref)
		return 0;
	if (container_find(en, ref, &target, NULL) < 0 || !container_in_pod(target) ||
	    !streq(target->config.pod.id, c->config.pod.id))
		return err_new(e, ERR_INVALID,
			       "pid namespace of container %s: the pod %.12s has no such container", ref,
			       c->config.pod.id);
	return container_status(target) == CONTAINER_RUNNING
		   ? 0
		   : err_new(e, ERR_CONFLICT, "pid namespace of container %.12s: it does not run",
			     target->id);
}

int pod_settle(Engine *en, Container *c, Err *e)
{
	_cleanup_container_ Container *pod = NULL;
	ContainerHost *h = &c->config.host;
	int r;

	if (!container_is_member(c))
		return 0;
	r = pod_find(en, c->config.pod.id, &pod, e);
	if (r < 0)
		return r;
	if (container_status(pod) != CONTAINER_RUNNING)
		return err_new(e, ERR_CONFLICT, "pod %.12s is not ready", pod->id);
	/* It may have been named by a piece of it. */
	if (replace_text(&c->config.pod.id, strdup(pod->id)) < 0 ||
	    (streq0(pod->config.host.uts_mode, "host") && replace_text(&h->uts_mode, strdup("host")) < 0) ||
	    settle_mode(&h->network_mode, pod->id) < 0 || settle_mode(&h->pid_mode, pod->id) < 0 ||
	    settle_mode(&h->ipc_mode, pod->id) < 0)
		return err_oom(e);
	return target_check(en, c, e);
}

int pod_guard(const Container *c, const char *verb, Err *e)
{
	char *const *labels = c->config.labels;
	const char *name = strv_env_get(labels, LABEL_POD), *of = strv_env_get(labels, LABEL_NAMESPACE);

	if (!container_in_pod(c))
		return 0;
	return err_new(
	    e, ERR_CONFLICT,
	    "cannot %s container %.12s: it belongs to the pod %s/%s, which a kubelet keeps: delete the "
	    "pod there (kubectl delete pod), or with crictl stopp and crictl rmp %.13s",
	    verb, c->id, of ?: "?", name ?: "?", c->config.pod.id);
}

char *pod_shim_dir(Engine *en, const Container *member)
{
	return strf("%s/%s", en->containers_run, member->config.pod.id);
}

/* ---- run ---- */

static void drop(Engine *en, Container *c)
{
	Err err = {0};
	int r = pod_network_release(en, c, &err);

	/* Its row says so, and the next start of an engine tries again. */
	if (r < 0) {
		log_error("pod %.12s has not started, and its network stays: %s", c->id, err_msg(&err, r));
		return;
	}
	r = container_remove_locked(en, c, false, &err);
	if (r < 0)
		log_warn("pod %.12s: %s", c->id, err_msg(&err, r));
}

int engine_pod_run(Engine *en, const EnginePod *p, int alive_fd, char ret_id[65], Err *e)
{
	const PodAsked asked = {.network = p->network, .alive_fd = alive_fd};
	_cleanup_container_ Container *c = NULL;
	int r = container_create_sandbox(en, p->container_name, p->config, &c, e);

	if (r < 0)
		return r;
	container_lock(c);
	c->pod_asked = &asked;
	r = c->removed ? err_new(e, ERR_CONFLICT, "pod %.12s was removed meanwhile", c->id)
		       : container_start_anew_locked(en, c, e);
	c->pod_asked = NULL;
	if (r < 0 && !c->removed)
		drop(en, c);
	pthread_mutex_unlock(&c->life);
	if (r >= 0)
		memcpy(ret_id, c->id, sizeof(c->id));
	return r;
}

/* ---- stop and remove ---- */

static int members_kill(Engine *en, Members *m, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < m->n; i++)
		r = container_kill_begin(en, m->v[i], &m->exits[i], e);
	for (size_t i = 0; r >= 0 && i < m->n; i++)
		r = container_kill_end(m->v[i], m->exits[i], e);
	return r;
}

static int release(Engine *en, Container *c, Err *e)
{
	int r;

	container_lock(c);
	r = c->removed ? 0 : pod_network_release(en, c, e);
	pthread_mutex_unlock(&c->life);
	return r;
}

/* The sandbox ends beside the plugins' work; the name of the namespace keeps that. */
static int stop(Engine *en, Container *c, Members *m, Err *e)
{
	unsigned exits = 0;
	Err end = {0};
	int r = members_kill(en, m, e), killed, ended;

	if (r < 0)
		return r;
	killed = container_kill_begin(en, c, &exits, &end);
	r = release(en, c, e);
	ended = killed < 0 ? killed : container_kill_end(c, exits, &end);
	if (r >= 0 && ended < 0)
		r = err_new_no(e, end.kind, -ended, "%s", err_msg(&end, ended));
	return r;
}

int engine_pod_stop(Engine *en, const char *id, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(members_done) Members m = {0};
	int r = pod_find(en, id, &c, e);

	if (r >= 0)
		r = members_of(en, c, &m, e);
	return r < 0 ? r : stop(en, c, &m, e);
}

/* With the volumes that its image has declared: nobody knows their names. */
static int remove_one(Engine *en, Container *c, Err *e)
{
	int r = container_remove(en, c, c->id, true, true, e);

	/* Somebody else is at it, or was. */
	return r < 0 && c->removed ? 0 : r;
}

int engine_pod_remove(Engine *en, const char *id, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_(members_done) Members m = {0};
	int r = pod_find(en, id, &c, e);

	if (r >= 0)
		r = members_of(en, c, &m, e);
	if (r >= 0)
		r = stop(en, c, &m, e);
	for (size_t i = 0; r >= 0 && i < m.n; i++)
		r = remove_one(en, m.v[i], e);
	return r < 0 ? r : remove_one(en, c, e);
}

/* ---- members ---- */

int pod_ran_before(const Container *c, Err *e)
{
	return err_new(e, ERR_CONFLICT, "container %.12s has been started before: it runs once", c->id);
}

int engine_pod_container_start(Engine *en, const char *id, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = member_find(en, id, &c, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&c->state);
	bool ran = c->started_ns || c->status != CONTAINER_CREATED;
	pthread_mutex_unlock(&c->state);
	return ran ? pod_ran_before(c, e) : container_start(en, c, id, e);
}

int engine_pod_container_remove(Engine *en, const char *id, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = member_find(en, id, &c, e);

	return r < 0 ? r : remove_one(en, c, e);
}

int engine_pod_container_update(Engine *en, const char *id, const ContainerConfig *changes, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, id, &c, e);

	if (r >= 0 && !container_in_pod(c))
		r = err_new(e, ERR_NOT_FOUND, "No such container in a pod: %s", id);
	return r < 0 ? r : container_update(en, c, &changes->host, &changes->pod, e);
}

/* ---- the next engine ---- */

static bool was_cut_short(Container *c)
{
	bool cut;

	pthread_mutex_lock(&c->state);
	cut = container_is_sandbox(c) && !c->started_ns && c->status != CONTAINER_RUNNING;
	pthread_mutex_unlock(&c->state);
	return cut;
}

typedef struct Recovery {
	Engine *en;
	Container **v; /* those that were cut short */
	size_t n;
} Recovery;

/* Plugins may take their time: nobody waits for this. */
static void recover(void *arg)
{
	Recovery *x = arg;

	for (size_t i = 0; i < x->n; i++) {
		container_lock(x->v[i]);
		if (!x->v[i]->removed)
			drop(x->en, x->v[i]);
		pthread_mutex_unlock(&x->v[i]->life);
		container_unref(x->v[i]);
	}
	pods_networks_sweep(x->en);
	free(x->v);
	free(x);
}

void pods_recover(Engine *en)
{
	Recovery *x = en->pods.cni ? calloc(1, sizeof(*x)) : NULL;
	size_t n = 0;

	if (!x)
		return;
	x->en = en;
	x->v = containers_all(en, &n);
	for (size_t i = 0; x->v && i < n; i++)
		if (was_cut_short(x->v[i]))
			x->v[x->n++] = x->v[i];
		else
			container_unref(x->v[i]);
	if (background_run(en->background, recover, x) < 0)
		recover(x);
}
