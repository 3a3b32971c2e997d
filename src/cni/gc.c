/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nobody needs any more: attachments on record whose owner is ours and does not know them, and whatever plugins of 1.1.0 have beside those that are kept.
 *
 * The directory and its networks may be shared. Another owner's records are neither taken down nor withheld from plugins, which would release what they are
 * not told of.
 */
#include "cni/cni-internal.h"

#include "base/log.h"

#define GC_TIMEOUT_MS 10000

struct CniStale {
	Cni *c;
	CniRecord *v;
	size_t n;
};

static void stale_free(CniStale *s)
{
	for (size_t i = 0; s && i < s->n; i++)
		cni_record_done(&s->v[i]);
	if (s)
		free(s->v);
	free(s);
}

/* ---- attachments that nobody needs ---- */

typedef struct Search {
	CniStale *stale;
	char *const *keep;
} Search;

/* The record's parts change hands. */
static int add_stale(CniStale *s, CniRecord *r)
{
	CniRecord *more = reallocarray(s->v, s->n + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	s->v = more;
	s->v[s->n++] = *r;
	*r = (CniRecord){0};
	return 0;
}

static int look_at(CniRecord *r, void *user, Err *e)
{
	const Search *s = user;
	_cleanup_free_ char *key = strf("%s %s", r->container_id, r->ifname);

	if (!key)
		return err_oom(e);
	if (!streq(r->owner, s->stale->c->owner) || strv_has(s->keep, key))
		return 0;
	return add_stale(s->stale, r) < 0 ? err_oom(e) : 0;
}

int cni_stale_find(Cni *c, char *const *keep, CniStale **ret, Err *e)
{
	Search s = {.stale = calloc(1, sizeof(CniStale)), .keep = keep};
	int r;

	if (!s.stale)
		return err_oom(e);
	s.stale->c = c;
	r = cni_record_each(c->cache_dir, look_at, &s, e);
	if (r < 0) {
		stale_free(s.stale);
		return r;
	}
	cni_record_sweep(c->cache_dir);
	*ret = s.stale;
	return 0;
}

void cni_stale_release(CniStale *s, void (*gone)(const char *netns, void *user), void *user)
{
	for (size_t i = 0; s && i < s->n; i++) {
		const CniRecord *r = &s->v[i];
		_cleanup_free_ char *subject = strf("container %s, which is gone", r->container_id);
		Err e = {0};

		if (cni_del_record(s->c, r, r->netns, subject ?: "a container that is gone", &e) < 0)
			log_warn("clean-up: %s", e.msg);
		else if (gone && !str_empty(r->netns))
			gone(r->netns, user);
	}
	stale_free(s);
}

/* ---- what plugins are told ---- */

typedef struct Valid {
	const Cni *c;
	const CniList *list;
	json_t *attachments;
} Valid;

static int add_valid(json_t *valid, const char *container_id, const char *ifname)
{
	return json_array_append_new(valid,
				     json_pack("{s:s, s:s}", "containerID", container_id, "ifname", ifname));
}

static int add_of_others(CniRecord *r, void *user, Err *e)
{
	const Valid *v = user;

	if (streq(r->owner, v->c->owner) || !streq0(r->network, v->list->name))
		return 0;
	return add_valid(v->attachments, r->container_id, r->ifname) < 0 ? err_oom(e) : 0;
}

static int add_kept(const Valid *v, char *const *keep, Err *e)
{
	for (char *const *k = keep; k && *k; k++) {
		_cleanup_strv_ char **parts = strv_split(*k, ' ');

		if (!parts)
			return err_oom(e);
		if (strv_len(parts) != 2 || !cni_name_is_plain(parts[0]) || !cni_ifname_is_good(parts[1]))
			return err_new(
			    e, ERR_INVALID,
			    "\"%.100s\" is no attachment: a container id, a blank and an interface", *k);
		if (add_valid(v->attachments, parts[0], parts[1]) < 0)
			return err_oom(e);
	}
	return 0;
}

/* The name that the specification has, and the one that it had by mistake before. */
static json_t *extra_of(const Valid *v)
{
	return json_pack("{s:O, s:O}", "cni.dev/valid-attachments", v->attachments, "cni.dev/attachments",
			 v->attachments);
}

static void tell_plugins(Cni *c, const Valid *v)
{
	_cleanup_json_ json_t *extra = extra_of(v);
	_cleanup_chain_ CniChain h = {.c = c, .list = v->list, .alive_fd = -1, .timeout_ms = GC_TIMEOUT_MS};
	Err e = {0};
	int r = extra ? cni_chain_init(&h, &e) : err_oom(&e);

	for (size_t i = 0; r >= 0 && i < json_array_size(v->list->plugins); i++) {
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
	_cleanup_json_ json_t *attachments = json_array();
	_cleanup_list_ CniList *l = NULL;
	Valid v = {.c = c, .attachments = attachments};
	int r;

	if (cni_config_get(c, &l, NULL) < 0 || l->version < CNI_1_1_0 || l->disable_gc)
		return 0;
	v.list = l;
	r = attachments ? add_kept(&v, keep, e) : err_oom(e);
	if (r >= 0)
		r = cni_record_each(c->cache_dir, add_of_others, &v, e);
	if (r >= 0)
		tell_plugins(c, &v);
	return r;
}
