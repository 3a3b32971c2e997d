/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `system check`: the store's own check (store/check.h), and beyond it what the engine knows: which layers running containers
 * stand on, which snapshots belong to containers, where an image can be pulled again, and what CNI's plugins find of pods' networks.
 *
 * Repair pulls an image under the digest that it was pulled by before, so that exactly the same bytes come back; whatever of
 * it is whole is not downloaded. A layer under a running container is not replaced below it.
 */
#include "engine/image-internal.h"
#include "engine/pod-internal.h"

#include <poll.h>

typedef struct Checking {
	Engine *en;
	const EngineCheck *c;
} Checking;

static void on_progress(void *user, const char *what, int64_t done, int64_t total)
{
	const Checking *x = user;

	if (x->c->progress)
		x->c->progress(x->c->user, "check", what, done, total);
}

static bool is_cancelled(void *user)
{
	const Checking *x = user;
	struct pollfd p = {.fd = x->c->alive_fd};

	return x->c->alive_fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* Top layers of containers that run. */
static int busy_layers(Engine *en, char ***ret, Err *e)
{
	Container *c, *tmp;
	int r = 0;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp) {
		ContainerStatus s = container_status(c);
		bool runs = s == CONTAINER_RUNNING || s == CONTAINER_PAUSED || s == CONTAINER_RESTARTING;

		if (r >= 0 && runs && c->chain_id)
			r = strv_add(ret, c->chain_id);
	}
	pthread_mutex_unlock(&en->lock);
	return r < 0 ? err_oom(e) : 0;
}

/* ---- containers ---- */

static int add_finding(StoreReport *report, const char *kind, const char *id, const char *problem,
		       const char *remedy, Err *e)
{
	StoreFinding *f = store_report_add(report, kind, id, problem);

	return f && store_finding_remedy(f, remedy) >= 0 ? 0 : err_oom(e);
}

/* Containers whose writable layer has no row. */
static int check_containers(Engine *en, StoreReport *report, Err *e)
{
	_cleanup_strv_ char **snapshots = NULL;
	ContainerInfo *v = NULL;
	size_t n = 0;
	int r = engine_container_list(en, &v, &n, e);

	if (r < 0)
		return r;
	r = store_snapshot_keys(en->store, &snapshots, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		_cleanup_container_ Container *c = NULL;

		/* One that is being made or removed is not looked at. */
		if (strv_has(snapshots, v[i].id) || container_find(en, v[i].id, &c, NULL) < 0 ||
		    pthread_mutex_trylock(&c->life) != 0)
			continue;
		bool there = !c->removed && !container_is_pause(c);
		pthread_mutex_unlock(&c->life);
		if (there)
			r = add_finding(report, "container", v[i].id, "its writable layer is missing",
					"remove the container", e);
	}
	container_infos_free(v, n);
	return r;
}

/* ---- pods ---- */

/* A plugin that hangs holds up the end of this one pod, as long as CNI gives it. */
static int check_pod(Checking *x, Container *c, StoreReport *report, Err *e)
{
	Err found = {0};
	int r;

	/* One that is being made or removed is not looked at. */
	if (pthread_mutex_trylock(&c->life) != 0)
		return 0;
	r = !c->removed && c->pod_attached && container_status(c) == CONTAINER_RUNNING
		? pod_network_check(x->en, c, x->c->alive_fd, &found)
		: 0;
	pthread_mutex_unlock(&c->life);
	if (is_cancelled(x))
		return err_new_no(e, ERR_CANCELLED, ECANCELED, "nobody waits for the check any more");
	/* A configuration of before 0.4.0 has no way to ask. */
	if (r >= 0 || found.kind == ERR_UNSUPPORTED)
		return 0;
	return add_finding(report, "pod", c->id, err_msg(&found, r),
			   "end the pod (crictl rmp -f): its kubelet makes it anew, with a network", e);
}

static int check_pods(Checking *x, StoreReport *report, Err *e)
{
	size_t n = 0;
	Container **all;
	int r;

	/* Without a door for a kubelet nobody can be asked, which is nothing wrong with the pods. */
	if (!x->en->pods.cni)
		return 0;
	all = containers_all(x->en, &n);
	r = all ? 0 : err_oom(e);
	for (size_t i = 0; all && i < n; i++) {
		if (r >= 0 && container_is_sandbox(all[i]))
			r = check_pod(x, all[i], report, e);
		container_unref(all[i]);
	}
	free(all);
	return r;
}

/* ---- repair from registries ---- */

/* The repository's name with the digest of the image's own manifest: what the image is known by may be an index, which means
 * another image on another machine. */
static char *exact_reference(const StoreImage *i, const char *digest_reference)
{
	const char *at = strrchr(digest_reference, '@');

	return at && i->manifest_digest
		   ? strf("%.*s@%s", (int)(at - digest_reference), digest_reference, i->manifest_digest)
		   : strdup(digest_reference);
}

static void fetch_from(const Checking *x, const StoreImage *i, const char *reference)
{
	EnginePull p = {.reference = reference,
			.progress = x->c->progress,
			.user = x->c->user,
			.alive_fd = x->c->alive_fd};
	char pulled[DIGEST_LEN + 1];
	Reference ref = {0};
	Err err = {0};
	int r;

	if (x->c->auth && reference_parse(reference, &ref, NULL) >= 0)
		x->c->auth(x->c->user, ref.domain, &p.auth);
	reference_done(&ref);
	r = engine_image_pull(x->en, &p, pulled, &err);

	if (r < 0)
		log_warn("repair of image %.19s from %s: %s", i->id, reference, err_msg(&err, r));
	else if (!strv_has(i->digests, reference))
		/* A name that only we have given it. */
		(void)store_tag_delete(x->en->store, reference, NULL);
}

/* Pulls the image from one of the repositories that it came from. */
static void fetch_image(const Checking *x, const char *id)
{
	StoreImage i = {0};

	if (store_image_get(x->en->store, id, &i, NULL) < 0)
		return;
	for (char **d = i.digests; d && *d && !store_image_is_whole(x->en->store, id); d++) {
		_cleanup_free_ char *reference = exact_reference(&i, *d);

		if (reference)
			fetch_from(x, &i, reference);
	}
	store_image_done(&i);
}

static int repair_by_pull(const Checking *x, const StoreCheck *sc, StoreReport *report, Err *e)
{
	_cleanup_strv_ char **images = NULL;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < report->n; i++)
		for (char **id = report->v[i].images; r >= 0 && report->v[i].refetch && id && *id; id++)
			if (!strv_has(images, *id))
				r = strv_add(&images, *id);
	if (r < 0)
		return err_oom(e);
	for (char **id = images; id && *id; id++)
		fetch_image(x, *id);
	for (size_t i = 0; r >= 0 && i < report->n; i++)
		if (report->v[i].refetch)
			r = store_check_again(x->en->store, sc, &report->v[i], e);
	return r < 0 ? r : store_check_unverified(x->en->store, sc, report, e);
}

/* Ids become what people call the images. */
static int name_images(Engine *en, StoreFinding *f, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = 0;

	for (char **id = f->images; r >= 0 && id && *id; id++) {
		StoreImage i = {0};
		_cleanup_free_ char *name = NULL;

		if (store_image_get(en->store, *id, &i, NULL) >= 0 && i.tags)
			name = image_familiar(i.tags[0]);
		else if (i.digests)
			name = image_familiar(i.digests[0]);
		store_image_done(&i);
		r = name ? strv_add(&names, name) : strv_take(&names, strf("%.12s", digest_hex(*id)));
	}
	if (r < 0)
		return err_oom(e);
	strv_free(f->images);
	f->images = take_ptr(names);
	return 0;
}

int engine_check(Engine *en, const EngineCheck *c, StoreReport *ret, Err *e)
{
	Checking x = {en, c};
	_cleanup_strv_ char **busy = NULL;
	StoreReport report = {0};
	StoreCheck sc = {.repair = c->repair, .progress = on_progress, .cancelled = is_cancelled, .user = &x};
	int r = busy_layers(en, &busy, e);

	sc.busy = busy;
	if (r >= 0)
		r = store_check(en->store, &sc, &report, e);
	if (r >= 0)
		r = check_containers(en, &report, e);
	if (r >= 0)
		r = check_pods(&x, &report, e);
	if (r >= 0 && c->repair)
		r = repair_by_pull(&x, &sc, &report, e);
	for (size_t i = 0; r >= 0 && i < report.n; i++)
		r = name_images(en, &report.v[i], e);
	if (r < 0) {
		store_report_done(&report);
		return r;
	}
	*ret = report;
	return 0;
}
