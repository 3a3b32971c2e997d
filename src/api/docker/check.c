/* SPDX-License-Identifier: Apache-2.0 */
/* /ireko/check: a stream of progress, then each finding and a summary as `aux` messages. GET looks; POST with repair=1 mends. */
#include "api/docker/door-internal.h"

static json_t *finding_doc(const StoreFinding *f)
{
	return json_pack("{s:{s:{s:s, s:o, s:o, s:o, s:o, s:o, s:b}}}", "aux", "Finding", "Kind", f->kind,
			 "ID", doc_str(f->id), "Path", doc_str(f->path), "Problem", doc_str(f->problem),
			 "Remedy", doc_str(f->remedy), "Images", doc_strv(f->images), "Repaired",
			 f->repaired);
}

static json_t *summary_doc(const StoreReport *r)
{
	size_t repaired = 0;

	for (size_t i = 0; i < r->n; i++)
		repaired += r->v[i].repaired;
	return json_pack("{s:{s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}}", "aux", "Summary", "Blobs",
			 (json_int_t)r->blobs, "Layers", (json_int_t)r->layers, "Images",
			 (json_int_t)r->images, "Snapshots", (json_int_t)r->snapshots, "Bytes",
			 (json_int_t)r->bytes, "Unverified", (json_int_t)strv_len(r->unverified), "Findings",
			 (json_int_t)r->n, "Repaired", (json_int_t)repaired);
}

typedef struct Check {
	Progress progress;
	json_t *accounts; /* of X-Registry-Config */
} Check;

static void check_auth(void *user, const char *domain, EngineAuth *ret)
{
	Check *k = user;

	auth_account(auth_config_find(k->accounts, domain), ret);
}

static void check_progress(void *user, const char *id, const char *status, int64_t current, int64_t total)
{
	Check *k = user;

	progress_status(&k->progress, id, status, current, total);
}

static void tell(Check *k, const StoreReport *report)
{
	for (size_t i = 0; i < report->n; i++)
		progress_send(&k->progress, finding_doc(&report->v[i]));
	progress_send(&k->progress, summary_doc(report));
}

int h_check(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	StoreReport report = {0};
	Check k = {.accounts = NULL};
	EngineCheck c = {.repair = http_query_bool(rq, "repair", false),
			 .auth = check_auth,
			 .progress = check_progress,
			 .user = &k,
			 .alive_fd = http_alive_fd(rq)};
	int r;

	if (c.repair && !streq(http_method(rq), "POST"))
		return err_new(e, ERR_INVALID, "repair changes the store: use POST");
	r = auth_config_parse(http_header(rq, "X-Registry-Config"), &k.accounts, e);
	if (r < 0)
		return r;
	progress_init(&k.progress, rq);
	r = engine_check(d->engine, &c, &report, e);
	if (r >= 0)
		tell(&k, &report);
	store_report_done(&report);
	r = progress_end(&k.progress, r, e);
	progress_done(&k.progress);
	json_decref(k.accounts);
	return r;
}
