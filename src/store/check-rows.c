/* SPDX-License-Identifier: Apache-2.0 */
/* What rows of the database say of one another and of folders: images, tags, snapshots; see check.h. */
#include "store/check-internal.h"

#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

int check_database(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **said = NULL;
	int r = check_tell(c, "database", 0, 1, e);

	if (r >= 0)
		r = check_list(s, &said, e, "PRAGMA integrity_check(20)", NULL);
	if (r < 0 || (said && streq(said[0], "ok")))
		return r;
	for (char **p = said; r >= 0 && p && *p; p++) {
		StoreFinding *f = store_report_add(ret, "database", "ireko.db", *p);

		r = f && (f->path = strdup("ireko.db"))
			? check_settle(
			      f, false,
			      "restore ireko.db from a copy, or move it away to start with an empty one", e)
			: err_oom(e);
	}
	return r;
}

/* ---- images ---- */

/* Blobs that images need and that have no row: dropped as damaged after an unclean end, say. */
static int missing_blobs(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **missing = NULL;
	int r =
	    check_list(s, &missing, e,
		       "SELECT DISTINCT digest FROM image_blob WHERE digest NOT IN (SELECT digest FROM blob)",
		       NULL);

	for (char **m = missing; r >= 0 && m && *m; m++) {
		bool told = false;

		for (size_t i = 0; !told && i < ret->n; i++)
			told = streq(ret->v[i].kind, "blob") && streq(ret->v[i].id, *m);
		if (!told)
			r = check_report_blob(s, c, *m, "it is missing", ret, e);
	}
	return r;
}

static int missing_layers(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **on_nothing = NULL;
	int r = check_list(s, &on_nothing, e,
			   "SELECT chain_id FROM layer WHERE parent IS NOT NULL AND parent NOT IN (SELECT "
			   "chain_id FROM layer)",
			   NULL);

	for (char **l = on_nothing; r >= 0 && l && *l; l++)
		r = check_report_layer(s, c, *l, "the layer below it is missing", false, false, ret, e);
	return r;
}

/* What is wrong with the image itself, or NULL. malloc'ed. */
static char *image_problem(Store *s, const StoreImage *i)
{
	ImageConfig config = {0};
	char *parent = NULL, *problem = NULL;
	Err err = {0};
	int r;

	if (i->chain_id) {
		r = layer_parent(s, i->chain_id, &parent, &err);
		free(parent);
		if (r < 0)
			return strf("its top layer: %s", err_msg(&err, r));
	}
	r = i->artifact_type ? 0 : store_image_config(s, i->id, &config, &err);
	if (r < 0)
		problem = strf("%s", err_msg(&err, r));
	image_config_done(&config);
	return problem;
}

static int check_image(Store *s, const StoreCheck *c, const StoreImage *i, StoreReport *ret, Err *e)
{
	_cleanup_free_ char *problem = image_problem(s, i);
	StoreFinding *f;

	ret->images++;
	if (!problem)
		return 0;
	f = store_report_add(ret, "image", i->id, problem);
	if (!f || strv_add(&f->images, i->id) < 0)
		return err_oom(e);
	f->refetch = c->repair;
	return check_settle(f, false,
			    c->repair ? "pull, load or build it again, or remove it"
				      : "ireko system check --repair pulls it again",
			    e);
}

int check_images(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	StoreImage *v = NULL;
	size_t n = 0;
	int r = missing_blobs(s, c, ret, e);

	if (r >= 0)
		r = missing_layers(s, c, ret, e);
	if (r >= 0)
		r = store_image_list(s, &v, &n, e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = check_tell(c, "images", (int64_t)i, (int64_t)n, e);
		if (r >= 0)
			r = check_image(s, c, &v[i], ret, e);
	}
	store_images_free(v, n);
	return r;
}

int check_tags(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **loose = NULL;
	int r = check_list(s, &loose, e,
			   "SELECT reference FROM tag WHERE image_id NOT IN (SELECT id FROM image)", NULL);

	for (char **t = loose; r >= 0 && t && *t; t++) {
		StoreFinding *f = store_report_add(ret, "tag", *t, "the image that it names is missing");

		if (!f)
			return err_oom(e);
		if (c->repair)
			r = db_run(&s->db, e, "DELETE FROM tag WHERE reference = ?1", "t", *t);
		if (r >= 0)
			r = check_settle(f, c->repair,
					 c->repair ? "removed: pull it again if you need it"
						   : "ireko system check --repair removes it",
					 e);
	}
	return r;
}

/* ---- snapshots ---- */

static int report_snapshot(const char *key, const char *problem, bool repaired, const char *text,
			   StoreReport *ret, Err *e)
{
	StoreFinding *f = store_report_add(ret, "snapshot", key, problem);

	return f && (f->path = strf("containers/%s", key)) ? check_settle(f, repaired, text, e) : err_oom(e);
}

static bool is_dir(Store *s, const char *path)
{
	struct stat st;

	return fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* A snapshot's row comes before its folders, and goes after them: what is missing for a moment is being made or removed. */
static int is_missing(Store *s, const char *key, const char *path, Err *e)
{
	int64_t found = 1;
	int r = 0;

	for (int attempt = 0; r >= 0 && found && attempt < 2; attempt++) {
		if (attempt > 0)
			nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
		if (is_dir(s, path))
			return 0;
		r = db_get_int(&s->db, &found, 0, e, "SELECT 1 FROM snapshot WHERE key = ?1", "t", key);
	}
	return r < 0 ? r : (int)found;
}

static int check_snapshot(Store *s, const StoreCheck *c, const char *key, StoreReport *ret, Err *e)
{
	_cleanup_free_ char *diff = strf("containers/%s/diff", key);
	int64_t lost = 0;
	int r = db_get_int(&s->db, &lost, 0, e,
			   "SELECT 1 FROM snapshot WHERE key = ?1 AND chain_id IS NOT NULL"
			   " AND chain_id NOT IN (SELECT chain_id FROM layer)",
			   "t", key);

	ret->snapshots++;
	if (r >= 0 && lost)
		r = report_snapshot(key, "the layer that it stands on is missing", false,
				    "pull the image of the container again, or remove the container", ret, e);
	if (r >= 0)
		r = diff ? is_missing(s, key, diff, e) : err_oom(e);
	if (r <= 0)
		return r;
	if (c->repair && mkdirat(s->root_fd, diff, 0755) < 0)
		return store_sys(e, errno, "make %s/%s", s->root, diff);
	return report_snapshot(key, "its files are missing", c->repair,
			       c->repair ? "made again, empty: what the container had written is lost"
					 : "ireko system check --repair makes it again, empty",
			       ret, e);
}

int check_snapshots(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **keys = NULL;
	int r = store_snapshot_keys(s, &keys, e);

	for (char **k = keys; r >= 0 && k && *k; k++)
		r = check_snapshot(s, c, *k, ret, e);
	return r;
}
