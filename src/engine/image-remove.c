/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing images, with Docker's rules.
 *
 * Named by reference, that reference goes; with the last one goes the image, unless containers use it: then it
 * stays, untagged. Named by id, the image goes with its references if they are all of one repository. Hard conflicts
 * (a running container, an image built upon it) cannot be forced; soft ones (a stopped container, several
 * repositories) can. With an image go its untagged ancestors that nothing else needs (builds without BuildKit leave them).
 */
#include "engine/image-internal.h"

enum { SOFT_CONFLICTS = 1, SOFT_REFERENCES = 2 };

typedef struct Removal {
	Engine *en;
	json_t *records;
	bool no_prune;
	int64_t freed; /* bytes of deleted layers and blobs */
} Removal;

/* ---- who needs an image ---- */

/* The id of a container of this image in a state that counts: "" if none. */
typedef struct UserId {
	char s[ID_LEN + 1];
} UserId;

static UserId container_using(Engine *en, const char *image_id, bool running)
{
	UserId found = {""};
	Container *c, *tmp;

	pthread_mutex_lock(&en->lock);
	HASH_ITER (hh, en->by_id, c, tmp) {
		ContainerStatus s = container_status(c);
		bool runs = s == CONTAINER_RUNNING || s == CONTAINER_PAUSED || s == CONTAINER_RESTARTING;

		if ((!running || runs) && container_uses_image(c, image_id)) {
			snprintf(found.s, sizeof(found.s), "%s", c->id);
			break;
		}
	}
	pthread_mutex_unlock(&en->lock);
	return found;
}

static int has_children(Engine *en, const char *image_id, Err *e)
{
	StoreImage *v = NULL;
	size_t n = 0;
	int r = store_image_list(en->store, &v, &n, e), found = 0;

	for (size_t i = 0; r >= 0 && i < n; i++)
		found = found || streq0(v[i].parent, image_id);
	store_images_free(v, n);
	return r < 0 ? r : found;
}

static int conflict(Err *e, const char *image_id, bool hard, const char *why, const char *who)
{
	return err_new(e, ERR_CONFLICT, "conflict: unable to delete %.12s (%s) - %s%.12s",
		       digest_hex(image_id), hard ? "cannot be forced" : "must be forced", why, who);
}

static int check_conflicts(Engine *en, const StoreImage *i, int soft, Err *e)
{
	int r = has_children(en, i->id, e);

	if (r < 0)
		return r;
	if (r > 0)
		return conflict(e, i->id, true, "image has dependent child images", "");
	UserId user = container_using(en, i->id, true);
	if (*user.s)
		return conflict(e, i->id, true, "image is being used by running container ", user.s);
	user = container_using(en, i->id, false);
	if ((soft & SOFT_CONFLICTS) && *user.s)
		return conflict(e, i->id, false, "image is being used by stopped container ", user.s);
	if ((soft & SOFT_REFERENCES) && (strv_len(i->tags) > 0 || strv_len(i->digests) > 0))
		return conflict(e, i->id, false, "image is referenced in multiple repositories", "");
	return 0;
}

/* ---- references ---- */

static char *repository_of(const char *reference)
{
	Reference ref = {0};
	char *s;

	if (reference_parse(reference, &ref, NULL) < 0)
		return strdup(reference);
	s = strf("%s/%s", ref.domain, ref.path);
	reference_done(&ref);
	return s;
}

static bool same_repository(const char *a, const char *b)
{
	_cleanup_free_ char *x = repository_of(a), *y = repository_of(b);

	return streq0(x, y);
}

/* At most one tag, and everything in one repository. */
static bool is_single_reference(const StoreImage *i)
{
	const char *first = i->tags && i->tags[0] ? i->tags[0] : i->digests ? i->digests[0] : NULL;

	if (strv_len(i->tags) > 1)
		return false;
	for (size_t k = 0; i->digests && i->digests[k]; k++)
		if (!same_repository(first, i->digests[k]))
			return false;
	return true;
}

static int untag(Removal *rm, const StoreImage *i, const char *reference, Err *e)
{
	_cleanup_free_ char *familiar = image_familiar(reference);
	int r = familiar ? store_tag_delete(rm->en->store, reference, e) : err_oom(e);

	if (r < 0)
		return r;
	image_event(rm->en, "untag", i->id, familiar);
	json_array_append_new(rm->records, json_pack("{s:s}", "Untagged", familiar));
	return 0;
}

static int untag_all(Removal *rm, const StoreImage *i, Err *e)
{
	int r = 0;

	for (size_t k = 0; r >= 0 && i->tags && i->tags[k]; k++)
		r = untag(rm, i, i->tags[k], e);
	for (size_t k = 0; r >= 0 && i->digests && i->digests[k]; k++)
		r = untag(rm, i, i->digests[k], e);
	return r;
}

/* ---- the image itself ---- */

static int delete_alone(Removal *rm, const StoreImage *i, Err *e)
{
	_cleanup_(store_freed_done) StoreFreed gone = {0};
	Err err = {0};
	int r = untag_all(rm, i, e);

	if (r < 0)
		return r;
	r = store_image_delete(rm->en->store, i->id, &gone, &err);
	/* A pull or a load has given it another name meanwhile: it stays. */
	if (r < 0 && err.kind == ERR_CONFLICT)
		return 0;
	if (r < 0) {
		if (e)
			*e = err;
		return r;
	}
	image_event(rm->en, "delete", i->id, NULL);
	json_array_append_new(rm->records, json_pack("{s:s}", "Deleted", i->id));
	for (size_t k = 0; gone.layers && gone.layers[k]; k++)
		json_array_append_new(rm->records, json_pack("{s:s}", "Deleted", gone.layers[k]));
	rm->freed += gone.bytes;
	return 0;
}

/* What it was built together with goes along, unless somebody has given it a name, uses it, or it is a part of another image too. */
static int delete_part(Removal *rm, const char *id, Err *e)
{
	_cleanup_(store_image_done) StoreImage i = {0};
	int r = store_image_get(rm->en->store, id, &i, NULL);

	if (r < 0)
		return 0; /* it went before */
	UserId user = container_using(rm->en, id, false);
	if (i.part || strv_len(i.tags) > 0 || strv_len(i.digests) > 0 || *user.s)
		return 0;
	r = has_children(rm->en, id, e);
	return r == 0 ? delete_alone(rm, &i, e) : MIN2(r, 0);
}

static int delete_image(Removal *rm, const StoreImage *i, Err *e)
{
	_cleanup_strv_ char **parts = NULL;
	int r = i->has_parts ? store_image_parts(rm->en->store, i->id, &parts, e) : 0;

	if (r >= 0)
		r = delete_alone(rm, i, e);
	for (char **p = parts; r >= 0 && p && *p; p++)
		r = delete_part(rm, *p, e);
	return r;
}

static int prune_ancestors(Removal *rm, const char *parent, Err *e)
{
	_cleanup_free_ char *next = parent ? strdup(parent) : NULL;

	while (next && !rm->no_prune) {
		StoreImage i = {0};
		int r = store_image_get(rm->en->store, next, &i, NULL);

		if (r < 0)
			return 0; /* it went before */
		bool free_to_go = strv_len(i.tags) == 0 && strv_len(i.digests) == 0;
		if (free_to_go) {
			Err err = {0};

			r = check_conflicts(rm->en, &i, SOFT_CONFLICTS | SOFT_REFERENCES, &err);
			free_to_go = r >= 0;
			r = r < 0 && err.kind != ERR_CONFLICT ? err_new(e, err.kind, "%s", err.msg) : 0;
		}
		if (r >= 0 && free_to_go)
			r = delete_image(rm, &i, e);
		free(next);
		next = r >= 0 && free_to_go && i.parent ? strdup(i.parent) : NULL;
		store_image_done(&i);
		if (r < 0)
			return r;
	}
	return 0;
}

/* quiet: the last reference has just gone, and an image that is needed simply stays. */
static int delete_checked(Removal *rm, const StoreImage *i, bool force, bool quiet, Err *e)
{
	Err err = {0};
	int r = check_conflicts(rm->en, i, force ? 0 : SOFT_CONFLICTS | SOFT_REFERENCES, &err);

	if (r < 0) {
		if (quiet && err.kind == ERR_CONFLICT)
			return 0;
		if (e)
			*e = err;
		return r;
	}
	r = delete_image(rm, i, e);
	return r < 0 ? r : prune_ancestors(rm, i->parent, e);
}

/* ---- by reference, by id ---- */

/* The key under which `name` refers to the image, or NULL if it is an id. */
static char *reference_key(const StoreImage *i, const char *name)
{
	Reference ref = {0};
	char *full = NULL;

	if (reference_parse(name, &ref, NULL) < 0)
		return NULL;
	full = reference_full(&ref);
	if (full && !strv_has(i->tags, full) && !strv_has(i->digests, full)) {
		/* name:tag@digest is recorded as name@digest. */
		free(full);
		full = ref.digest ? strf("%s/%s@%s", ref.domain, ref.path, ref.digest) : NULL;
		if (full && !strv_has(i->digests, full)) {
			free(full);
			full = NULL;
		}
	}
	reference_done(&ref);
	return full;
}

/* Digest references keep no image alive once the last tag of their repository has gone. */
static int drop_stale_digests(Removal *rm, const StoreImage *now, const char *removed, Err *e)
{
	int r = 0;

	for (size_t k = 0; now->tags && now->tags[k]; k++)
		if (same_repository(now->tags[k], removed))
			return 0;
	for (size_t k = 0; r >= 0 && now->digests && now->digests[k]; k++)
		if (same_repository(now->digests[k], removed))
			r = untag(rm, now, now->digests[k], e);
	return r;
}

static int remove_reference(Removal *rm, const StoreImage *i, const char *name, const char *key, bool force,
			    Err *e)
{
	StoreImage now = {0};
	int r;

	if (!force && is_single_reference(i)) {
		UserId user = container_using(rm->en, i->id, false);

		if (*user.s)
			return err_new(
			    e, ERR_CONFLICT,
			    "conflict: unable to remove repository reference \"%s\" (must force) - container "
			    "%.12s is using its referenced image %.12s",
			    name, user.s, digest_hex(i->id));
	}
	r = untag(rm, i, key, e);
	if (r >= 0)
		r = store_image_get(rm->en->store, i->id, &now, e);
	if (r >= 0 && strv_has(i->tags, key)) {
		r = drop_stale_digests(rm, &now, key, e);
		store_image_done(&now);
		now = (StoreImage){0};
		if (r >= 0)
			r = store_image_get(rm->en->store, i->id, &now, e);
	}
	if (r >= 0 && strv_len(now.tags) == 0 && strv_len(now.digests) == 0)
		r = delete_checked(rm, &now, force, true, e);
	store_image_done(&now);
	return r;
}

static int remove_by_id(Removal *rm, const StoreImage *i, bool force, Err *e)
{
	/* References of one repository go along without being forced. */
	int soft = SOFT_CONFLICTS | (is_single_reference(i) ? 0 : SOFT_REFERENCES);
	int r = check_conflicts(rm->en, i, force ? 0 : soft, e);

	if (r >= 0)
		r = delete_image(rm, i, e);
	return r < 0 ? r : prune_ancestors(rm, i->parent, e);
}

int engine_image_remove(Engine *en, const char *name, bool force, bool no_prune, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *records = json_array();
	Removal rm = {.en = en, .records = records, .no_prune = no_prune};
	_cleanup_free_ char *key = NULL;
	StoreImage i = {0};
	int r = records ? store_image_find(en->store, name, &i, e) : err_oom(e);

	if (r < 0)
		return r;
	key = reference_key(&i, name);
	pthread_rwlock_wrlock(&en->images_gate);
	r = key ? remove_reference(&rm, &i, name, key, force, e) : remove_by_id(&rm, &i, force, e);
	pthread_rwlock_unlock(&en->images_gate);
	store_image_done(&i);
	if (r < 0)
		return r;
	*ret = take_ptr(records);
	return 0;
}

/* ---- prune ---- */

/* 1 if it went. */
static int prune_one(Removal *rm, const StoreImage *i, Err *e)
{
	UserId user = container_using(rm->en, i->id, false);
	int r;

	if (*user.s)
		return 0;
	r = has_children(rm->en, i->id, e);
	if (r != 0)
		return MIN2(r, 0);
	r = delete_image(rm, i, e);
	if (r >= 0)
		r = prune_ancestors(rm, i->parent, e);
	return r < 0 ? r : 1;
}

/* It may have gone as the ancestor of another, or been tagged meanwhile. A part goes with the image that it is a part of. */
static int prune_by_id(Removal *rm, const char *id, bool untagged, Err *e)
{
	StoreImage now = {0};
	int r = 0;

	pthread_rwlock_wrlock(&rm->en->images_gate);
	if (store_image_get(rm->en->store, id, &now, NULL) >= 0 && !now.part &&
	    (!untagged || strv_len(now.tags) == 0))
		r = prune_one(rm, &now, e);
	pthread_rwlock_unlock(&rm->en->images_gate);
	store_image_done(&now);
	return r;
}

int image_prune_one(Engine *en, const char *id, bool untagged, int64_t *bytes, Err *e)
{
	_cleanup_json_ json_t *records = json_array();
	Removal rm = {.en = en, .records = records};
	int r = records ? prune_by_id(&rm, id, untagged, e) : err_oom(e);

	*bytes += rm.freed;
	return r;
}

int engine_image_prune(Engine *en, bool dangling_only, bool (*match)(void *user, const StoreImage *i),
		       void *user, json_t **ret, int64_t *ret_bytes, Err *e)
{
	_cleanup_json_ json_t *records = json_array();
	Removal rm = {.en = en, .records = records};
	StoreImage *v = NULL;
	size_t n = 0;
	int r = records ? store_image_list(en->store, &v, &n, e) : err_oom(e);

	for (size_t k = 0; r >= 0 && k < n; k++)
		if ((!dangling_only || strv_len(v[k].tags) == 0) && (!match || match(user, &v[k])))
			r = prune_by_id(&rm, v[k].id, dangling_only, e);
	store_images_free(v, n);
	if (r < 0)
		return r;
	*ret = take_ptr(records);
	*ret_bytes = rm.freed;
	return 0;
}
