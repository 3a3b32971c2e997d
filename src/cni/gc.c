/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nobody needs any more: attachments on record whose owner is ours and does not know them, and whatever plugins of 1.1.0 have beside those that are kept.
 *
 * The directory and its networks may be shared. Another owner's records are neither taken down nor withheld from plugins, which would release what they are
 * not told of.
 */
#include "cni/cni-internal.h"

#include "base/log.h"

typedef struct Sweep {
	Cni *c;
	char *const *keep;
	const char *network; /* today's, or NULL */
	json_t *valid;       /* of it */
	CniRecord *stale;
	size_t n_stale;
} Sweep;

static void sweep_done(Sweep *s)
{
	for (size_t i = 0; i < s->n_stale; i++)
		cni_record_done(&s->stale[i]);
	free(s->stale);
	json_decref(s->valid);
}

static int add_valid(json_t *valid, const char *container_id, const char *ifname)
{
	return json_array_append_new(valid,
				     json_pack("{s:s, s:s}", "containerID", container_id, "ifname", ifname));
}

/* The record's parts change hands. */
static int add_stale(Sweep *s, CniRecord *r)
{
	CniRecord *more = reallocarray(s->stale, s->n_stale + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	s->stale = more;
	s->stale[s->n_stale++] = *r;
	*r = (CniRecord){0};
	return 0;
}

static int sort_record(CniRecord *r, void *user, Err *e)
{
	Sweep *s = user;
	_cleanup_free_ char *key = strf("%s %s", r->container_id, r->ifname);
	int n = 0;

	if (!key)
		return err_oom(e);
	if (streq(r->owner, s->c->owner))
		n = strv_has(s->keep, key) ? 0 : add_stale(s, r);
	else if (streq0(s->network, r->network))
		n = add_valid(s->valid, r->container_id, r->ifname);
	return n < 0 ? err_oom(e) : 0;
}

static int add_kept(Sweep *s, Err *e)
{
	for (char *const *k = s->keep; k && *k; k++) {
		_cleanup_strv_ char **parts = strv_split(*k, ' ');

		if (!parts)
			return err_oom(e);
		if (strv_len(parts) != 2 || !cni_name_is_plain(parts[0]) || !cni_ifname_is_good(parts[1]))
			return err_new(
			    e, ERR_INVALID,
			    "\"%.100s\" is no attachment: a container id, a blank and an interface", *k);
		if (add_valid(s->valid, parts[0], parts[1]) < 0)
			return err_oom(e);
	}
	return 0;
}

static void take_down(const Sweep *s)
{
	for (size_t i = 0; i < s->n_stale; i++) {
		const CniRecord *r = &s->stale[i];
		_cleanup_free_ char *subject = strf("container %s, which is gone", r->container_id);
		Err e = {0};

		if (cni_del_record(s->c, r, r->netns, subject ?: "a container that is gone", &e) < 0)
			log_warn("clean-up: %s", e.msg);
	}
}

/* The name that the specification has, and the one that it had by mistake before. */
static json_t *extra_of(const Sweep *s)
{
	return json_pack("{s:O, s:O}", "cni.dev/valid-attachments", s->valid, "cni.dev/attachments",
			 s->valid);
}

static void tell_plugins(const Sweep *s, const CniList *l)
{
	_cleanup_json_ json_t *extra = extra_of(s);
	_cleanup_chain_ CniChain h = {.c = s->c, .list = l, .alive_fd = -1};
	Err e = {0};
	int r = extra ? cni_chain_init(&h, &e) : err_oom(&e);

	for (size_t i = 0; r >= 0 && i < json_array_size(l->plugins); i++) {
		Err one = {0};

		/* Each for itself: what one keeps is no reason for the next to keep its own. */
		if (cni_chain_run(&h, i, "GC", NULL, extra, NULL, &one) < 0)
			log_warn("clean-up: %s", one.msg);
	}
	if (r < 0)
		log_warn("clean-up: %s", e.msg);
}

int cni_gc(Cni *c, char *const *keep, Err *e)
{
	_cleanup_list_ CniList *l = NULL;
	_cleanup_(sweep_done) Sweep s = {.c = c, .keep = keep, .valid = json_array()};
	int r = s.valid ? 0 : err_oom(e);

	if (r >= 0 && cni_config_get(c, &l, NULL) >= 0)
		s.network = l->name;
	if (r >= 0)
		r = add_kept(&s, e);
	if (r >= 0)
		r = cni_record_each(c->cache_dir, sort_record, &s, e);
	if (r < 0)
		return r;
	cni_record_sweep(c->cache_dir);
	take_down(&s);
	if (l && l->version >= CNI_1_1_0 && !l->disable_gc)
		tell_plugins(&s, l);
	return 0;
}
