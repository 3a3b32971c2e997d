/* SPDX-License-Identifier: Apache-2.0 */
/* The build cache as clients list and prune it: results of steps, and the directories of RUN --mount=type=cache. */
#include "api/buildkit/door-internal.h"
#include "api/buildkit/usage-filter.h"

static Llb__Time time_of(int64_t ns)
{
	Llb__Time t = LLB__TIME__INIT;

	t.seconds = ns / 1000000000;
	t.nanos = (int32_t)(ns % 1000000000);
	return t;
}

typedef struct Record {
	Control__UsageRecord record;
	Llb__Time created, used;
} Record;

static void record_fill(Record *r, const StoreCacheEntry *c)
{
	control__usage_record__init(&r->record);
	r->created = time_of(c->created_ns);
	r->used = time_of(c->used_ns);
	r->record.id = c->key;
	r->record.in_use = c->in_use;
	r->record.size = c->size;
	r->record.created_at = &r->created;
	r->record.last_used_at = c->used_ns ? &r->used : NULL;
	r->record.usage_count = c->uses;
	r->record.description = (char *)usage_description(c);
	r->record.record_type = (char *)usage_type(c);
	r->record.shared = c->shared;
}

/* ---- both kinds, in one list ---- */

typedef struct Usage {
	StoreCacheEntry *steps, *mounts;
	size_t n_steps, n_mounts;
} Usage;

static void usage_done(Usage *u)
{
	store_cache_free(u->steps, u->n_steps);
	store_cache_free(u->mounts, u->n_mounts);
}

static int usage_read(BuildkitDoor *d, Usage *ret, Err *e)
{
	Store *s = engine_store(d->engine);
	int r = store_cache_list(s, &ret->steps, &ret->n_steps, e);

	return r < 0 ? r : build_cache_mounts_list(s, &ret->mounts, &ret->n_mounts, e);
}

static const StoreCacheEntry *usage_at(const Usage *u, size_t i)
{
	return i < u->n_steps                 ? &u->steps[i]
	       : i - u->n_steps < u->n_mounts ? &u->mounts[i - u->n_steps]
					      : NULL;
}

static bool matches(void *user, const StoreCacheEntry *c)
{
	return usage_filter_matches(user, c);
}

int rpc_disk_usage(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ Control__DiskUsageRequest *rq = NULL;
	_cleanup_(usage_filter_done) UsageFilter filter = {0};
	_cleanup_(usage_done) Usage usage = {0};
	_cleanup_free_ Record *records = NULL;
	_cleanup_free_ Control__UsageRecord **list = NULL;
	Control__DiskUsageResponse answer = CONTROL__DISK_USAGE_RESPONSE__INIT;
	const StoreCacheEntry *c;
	int64_t before;
	int r =
	    grpc_receive_only(call, &control__disk_usage_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = usage_filter_parse(rq->filter, rq->n_filter, &filter, e);
	if (r >= 0)
		r = usage_read(user, &usage, e);
	if (r < 0)
		return r;
	records = calloc(usage.n_steps + usage.n_mounts + 1, sizeof(*records));
	list = calloc(usage.n_steps + usage.n_mounts + 1, sizeof(*list));
	if (!records || !list)
		return err_oom(e);
	before = rq->age_limit > 0 ? clock_now_ns() - rq->age_limit : INT64_MAX;
	for (size_t i = 0; (c = usage_at(&usage, i)); i++) {
		if (c->used_ns > before || !usage_filter_matches(&filter, c))
			continue;
		record_fill(&records[answer.n_record], c);
		list[answer.n_record] = &records[answer.n_record].record;
		answer.n_record++;
	}
	answer.record = list;
	return grpc_send_message(call, &answer.base, e);
}

static int tell_pruned(GrpcCall *call, const Usage *u, char *const *keys, Err *e)
{
	const StoreCacheEntry *c;
	int r = 0;

	for (size_t i = 0; r >= 0 && (c = usage_at(u, i)); i++) {
		Record record;

		if (!strv_has(keys, c->key))
			continue;
		record_fill(&record, c);
		r = grpc_send_message_more(call, &record.record.base, e);
	}
	return r;
}

int rpc_prune(GrpcCall *call, void *user, Err *e)
{
	BuildkitDoor *d = user;
	_cleanup_message_ Control__PruneRequest *rq = NULL;
	_cleanup_(store_freed_done) StoreFreed freed = {0};
	_cleanup_(usage_filter_done) UsageFilter filter = {0};
	_cleanup_(usage_done) Usage usage = {0};
	_cleanup_strv_ char **keys = NULL;
	StoreCachePrune p = {.match = matches, .user = &filter};
	int r = grpc_receive_only(call, &control__prune_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = usage_filter_parse(rq->filter, rq->n_filter, &filter, e);
	if (r >= 0)
		r = usage_read(user, &usage, e);
	if (r < 0)
		return r;
	p.all = rq->all;
	p.unused_since_ns = rq->keep_duration > 0 ? clock_now_ns() - rq->keep_duration : 0;
	p.reserved = MAX2(rq->reserved_space, (int64_t)0);
	p.max_bytes = MAX2(rq->max_used_space, (int64_t)0);
	p.min_free = MAX2(rq->min_free_space, (int64_t)0);
	if (p.all)
		trees_forget(d);
	r = store_cache_prune(engine_store(d->engine), &p, &keys, &freed, e);
	/* What limits the cache's size leaves the mounts alone: nobody can say what they are worth. */
	if (r >= 0 && !p.max_bytes && !p.min_free && !p.reserved)
		r = build_cache_mounts_prune(engine_store(d->engine), &p, &keys, &freed.bytes, e);
	return r < 0 ? r : tell_pruned(call, &usage, keys, e);
}
