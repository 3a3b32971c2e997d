/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for damage; see check.h. What rows say of one another is in check-rows.c. */
#include "store/check-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "store/digest.h"
#include "store/dir.h"

#include <fcntl.h>
#include <sys/stat.h>

#define CHUNK         (1 << 18)
#define FILE_GRACE_NS (10 * 1000000000ll) /* a file comes before its row */

/* ---- the report ---- */

StoreFinding *store_report_add(StoreReport *r, const char *kind, const char *id, const char *problem)
{
	StoreFinding *grown = reallocarray(r->v, r->n + 1, sizeof(*grown));

	if (!grown)
		return NULL;
	r->v = grown;
	grown[r->n] = (StoreFinding){.kind = kind, .id = strdup(id), .problem = strdup(problem)};
	if (!grown[r->n].id || !grown[r->n].problem) {
		free(grown[r->n].id);
		free(grown[r->n].problem);
		return NULL;
	}
	return &grown[r->n++];
}

int store_finding_remedy(StoreFinding *f, const char *remedy)
{
	char *copy = strdup(remedy);

	if (!copy)
		return -ENOMEM;
	free(f->remedy);
	f->remedy = copy;
	return 0;
}

void store_report_done(StoreReport *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->v[i].id);
		free(r->v[i].path);
		free(r->v[i].problem);
		free(r->v[i].remedy);
		strv_free(r->v[i].images);
	}
	free(r->v);
	strv_free(r->unverified);
	*r = (StoreReport){0};
}

int check_list(Store *s, char ***ret, Err *e, const char *sql, const char *arg)
{
	_cleanup_query_ DbQuery q = {0};
	int r = db_query(&s->db, &q, e, sql, arg ? "t" : "", arg);

	while (r >= 0 && (r = db_step(&q, e)) > 0)
		if (strv_add(ret, db_text(&q, 0)) < 0)
			r = err_oom(e);
	return r;
}

int check_settle(StoreFinding *f, bool repaired, const char *text, Err *e)
{
	f->repaired = repaired;
	if (repaired)
		f->refetch = false;
	return store_finding_remedy(f, text) < 0 ? err_oom(e) : 0;
}

int check_tell(const StoreCheck *c, const char *what, int64_t done, int64_t total, Err *e)
{
	if (c->progress)
		c->progress(c->user, what, done, total);
	if (c->cancelled && c->cancelled(c->user))
		return err_new(e, ERR_CANCELLED, "the check was stopped");
	return 0;
}

/* ---- blobs ---- */

/* 1 and what is wrong with it, 0 if nothing is. */
static int examine_blob(Store *s, const char *digest, int64_t size, int64_t *bytes, char **ret_problem,
			Err *e)
{
	_cleanup_free_ char *path = blob_path(digest), *buf = malloc(CHUNK);
	_cleanup_(hasher_freep) Hasher *h = hasher_new();
	_cleanup_close_ int fd = -1;
	char found[DIGEST_LEN + 1];
	struct stat st;
	ssize_t n;

	if (!path || !buf || !h)
		return err_oom(e);
	fd = openat(s->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0) {
		*ret_problem = errno == ENOENT ? strdup("its file is missing")
					       : strf("its file cannot be opened: %s", strerror(errno));
		return *ret_problem ? 1 : err_oom(e);
	}
	while ((n = fd_read_full(fd, buf, CHUNK)) > 0) {
		hasher_add(h, buf, (size_t)n);
		*bytes += n;
	}
	if (n < 0)
		*ret_problem = strf("its file cannot be read: %s", strerror((int)-n));
	else if (st.st_size != size)
		*ret_problem =
		    strf("its file has %lld bytes, not %lld", (long long)st.st_size, (long long)size);
	else if (hasher_digest(h, found) < 0)
		return err_sys(e, EIO, "hash %s", path);
	else if (streq(found, digest))
		return 0;
	else
		*ret_problem = strf("its file hashes to %s", found);
	return *ret_problem ? 1 : err_oom(e);
}

/* The damaged bytes are of no use to anybody: what needs the blob finds it missing, and a pull brings it back. */
static int drop_blob(Store *s, const char *digest, StoreFinding *f, Err *e)
{
	_cleanup_free_ char *path = blob_path(digest);
	int r;

	if (!path)
		return err_oom(e);
	if (unlinkat(s->root_fd, path, 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "delete the damaged blob %s", digest);
	r = db_run(&s->db, e, "DELETE FROM blob WHERE digest = ?1", "t", digest);
	if (r < 0)
		return r;
	if (strv_len(f->images) == 0)
		return check_settle(f, true, "removed: no image needs it", e);
	f->refetch = true;
	return check_settle(f, false, "pull the images that need it again", e);
}

int check_report_blob(Store *s, const StoreCheck *c, const char *digest, const char *problem,
		      StoreReport *ret, Err *e)
{
	StoreFinding *f = store_report_add(ret, "blob", digest, problem);
	int r = 0;

	if (!f || !(f->path = blob_path(digest)))
		return err_oom(e);
	r = check_list(s, &f->images, e, "SELECT image_id FROM image_blob WHERE digest = ?1", digest);
	if (r < 0)
		return r;
	return c->repair ? drop_blob(s, digest, f, e)
			 : check_settle(f, false, "ireko system check --repair fetches it again", e);
}

static int check_blob(Store *s, const StoreCheck *c, const char *digest, StoreReport *ret, Err *e)
{
	_cleanup_free_ char *problem = NULL;
	int64_t size = -1, now = -1;
	int r = db_get_int(&s->db, &size, -1, e, "SELECT size FROM blob WHERE digest = ?1", "t", digest);

	if (r < 0 || size < 0)
		return MIN2(r, 0);
	ret->blobs++;
	r = examine_blob(s, digest, size, &ret->bytes, &problem, e);
	if (r <= 0)
		return r;
	/* It may have been deleted while we looked. */
	r = db_get_int(&s->db, &now, -1, e, "SELECT size FROM blob WHERE digest = ?1", "t", digest);
	return r < 0 || now < 0 ? MIN2(r, 0) : check_report_blob(s, c, digest, problem, ret, e);
}

static int check_blobs(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **all = NULL;
	int r = check_list(s, &all, e, "SELECT digest FROM blob ORDER BY digest", NULL);
	size_t n = strv_len(all);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = check_tell(c, "blobs", (int64_t)i, (int64_t)n, e);
		if (r >= 0)
			r = check_blob(s, c, all[i], ret, e);
	}
	return r < 0 ? r : check_tell(c, "blobs", (int64_t)n, (int64_t)n, e);
}

/* ---- layers ---- */

/* True if a running container has the layer below it. */
static int is_busy(Store *s, const StoreCheck *c, const char *chain_id, Err *e)
{
	for (char *const *top = c->busy; top && *top; top++) {
		_cleanup_free_ char *at = strdup(*top);

		for (int depth = 0; at && depth < IMAGE_LAYERS_MAX; depth++) {
			char *parent = NULL;

			if (streq(at, chain_id))
				return 1;
			if (layer_parent(s, at, &parent, NULL) < 0)
				parent = NULL;
			free(at);
			at = parent;
		}
	}
	return 0;
}

static int images_on(Store *s, const char *chain_id, char ***ret, Err *e)
{
	return check_list(s, ret, e,
			  "WITH RECURSIVE up (chain_id) AS (SELECT ?1 UNION SELECT l.chain_id FROM layer l"
			  " JOIN up ON l.parent = up.chain_id)"
			  " SELECT id FROM image WHERE chain_id IN (SELECT chain_id FROM up)",
			  chain_id);
}

int check_report_layer(Store *s, const StoreCheck *c, const char *chain_id, const char *problem,
		       bool replaced, bool busy, StoreReport *ret, Err *e)
{
	StoreFinding *f = store_report_add(ret, "layer", chain_id, problem);
	int r = 0;

	if (!f || !(f->path = layer_dir(chain_id)))
		return err_oom(e);
	r = images_on(s, chain_id, &f->images, e);
	if (r < 0)
		return r;
	if (replaced)
		return check_settle(f, true, "made again from its blob", e);
	if (!c->repair)
		return check_settle(f, false, "ireko system check --repair makes it again", e);
	if (busy)
		return check_settle(f, false, "stop the containers that run on it, then repair again", e);
	f->refetch = true;
	return check_settle(f, false, "pull or build the images that need it again", e);
}

static int check_layer(Store *s, const StoreCheck *c, const char *chain_id, StoreReport *ret, Err *e)
{
	_cleanup_(layer_verdict_done) LayerVerdict v = {0};
	bool busy = c->repair && is_busy(s, c, chain_id, e) > 0;
	Err own = {0};
	int r = layer_verify(s, chain_id, c->repair && !busy, &v, &own);

	if (r < 0 && own.kind == ERR_NOT_FOUND)
		return 0; /* deleted meanwhile */
	ret->layers++;
	ret->bytes += v.bytes;
	if (r < 0) {
		_cleanup_free_ char *why = strf("it could not be looked at: %s", err_msg(&own, r));
		StoreFinding *f = why ? store_report_add(ret, "layer", chain_id, why) : NULL;

		return f ? check_settle(f, false, "remove the cause and check again", e) : err_oom(e);
	}
	if (v.unverified && strv_add(&ret->unverified, chain_id) < 0)
		return err_oom(e);
	return v.problem ? check_report_layer(s, c, chain_id, v.problem, v.replaced, busy, ret, e) : 0;
}

/* Those below first: a layer's directories look like those that they cover. */
static int check_layers(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	_cleanup_strv_ char **all = NULL;
	int r = check_list(
	    s, &all, e,
	    "WITH RECURSIVE t (chain_id, depth) AS (SELECT chain_id, 0 FROM layer WHERE parent IS NULL"
	    " UNION ALL SELECT l.chain_id, depth + 1 FROM layer l JOIN t ON l.parent = t.chain_id)"
	    " SELECT chain_id FROM t ORDER BY depth, chain_id",
	    NULL);
	size_t n = strv_len(all);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = check_tell(c, "layers", (int64_t)i, (int64_t)n, e);
		if (r >= 0)
			r = check_layer(s, c, all[i], ret, e);
	}
	return r < 0 ? r : check_tell(c, "layers", (int64_t)n, (int64_t)n, e);
}

/* ---- files without rows ---- */

static bool somebody_works(Store *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->leases > 0 || s->making;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

static bool is_settled(Store *s, const char *path)
{
	struct stat st;

	return fstatat(s->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       clock_now_ns() - (st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec) > FILE_GRACE_NS;
}

static int report_file(Store *s, const StoreCheck *c, const char *path, StoreReport *ret, Err *e)
{
	StoreFinding *f = store_report_add(ret, "file", path_base(path), "nothing in the database knows it");

	if (!f || !(f->path = strdup(path)))
		return err_oom(e);
	if (!c->repair)
		return check_settle(
		    f, false, "ireko system check --repair removes it, and so does the next start of irekod",
		    e);
	int r = trash_put(s, path, e);
	return r < 0 ? r : check_settle(f, true, "removed", e);
}

static int check_folder(Store *s, const StoreCheck *c, const char *folder, const char *sql, StoreReport *ret,
			Err *e)
{
	_cleanup_close_ int fd = openat(s->root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_strv_ char **names = NULL;
	int r = fd < 0 ? -errno : dir_names(fd, &names);

	if (r < 0)
		return err_sys(e, r, "read %s/%s", s->root, folder);
	for (char **n = names; r >= 0 && n && *n; n++) {
		_cleanup_free_ char *path = strf("%s/%s", folder, *n), *key = strf("sha256:%s", *n);
		int64_t known = 0;

		if (!path || !key)
			return err_oom(e);
		if (sql)
			r = db_get_int(&s->db, &known, 0, e, sql, "t", key);
		if (r >= 0 && !known && is_settled(s, path) && !somebody_works(s))
			r = report_file(s, c, path, ret, e);
	}
	return r;
}

static int check_files(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	int r = check_folder(s, c, BLOBS, "SELECT 1 FROM blob WHERE digest = ?1", ret, e);

	if (r >= 0)
		r = check_folder(s, c, LAYERS, "SELECT 1 FROM layer WHERE chain_id = ?1", ret, e);
	return r < 0 ? r : check_folder(s, c, INGEST, NULL, ret, e);
}

/* ---- the whole ---- */

int store_check(Store *s, const StoreCheck *c, StoreReport *ret, Err *e)
{
	int (*const parts[])(Store * s, const StoreCheck *c, StoreReport *ret,
			     Err *e) = {check_database, check_blobs,     check_layers, check_images,
					check_tags,     check_snapshots, check_files};
	StoreReport report = {0};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(parts); i++)
		r = parts[i](s, c, &report, e);
	if (r < 0) {
		store_report_done(&report);
		return err_ctx(e, r, "check the store");
	}
	*ret = report;
	return 0;
}

static int layer_again(Store *s, const StoreCheck *c, StoreFinding *f, Err *e)
{
	_cleanup_(layer_verdict_done) LayerVerdict v = {0};
	bool busy = is_busy(s, c, f->id, e) > 0;
	int r = layer_verify(s, f->id, !busy, &v, e);

	if (r < 0)
		return r;
	if (!v.problem && !v.unverified)
		return check_settle(f, true, "whole after its images were pulled again", e);
	return v.replaced ? check_settle(f, true, "made again from its blob, which was fetched again", e) : 0;
}

int store_check_unverified(Store *s, const StoreCheck *c, StoreReport *report, Err *e)
{
	_cleanup_strv_ char **again = take_ptr(report->unverified);
	int r = 0;

	for (char **l = again; r >= 0 && l && *l; l++) {
		report->layers--;
		r = check_layer(s, c, *l, report, e);
	}
	return r;
}

int store_check_again(Store *s, const StoreCheck *c, StoreFinding *f, Err *e)
{
	if (streq(f->kind, "blob") && store_blob_has(s, f->id))
		return check_settle(f, true, "fetched again", e);
	if (streq(f->kind, "layer"))
		return layer_again(s, c, f, e);
	if (streq(f->kind, "image") && store_image_is_whole(s, f->id))
		return check_settle(f, true, "whole after it was pulled again", e);
	return 0;
}
