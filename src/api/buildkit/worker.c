/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine says of itself as a builder: one worker, with the platform of this machine. */
#include "api/buildkit/door-internal.h"

#include "oci/image.h"

static void version_fill(Control__BuildkitVersion *v)
{
	control__buildkit_version__init(v);
	v->package = (char *)"ireko";
	v->version = (char *)"v" IREKO_VERSION;
	v->revision = (char *)"";
}

/* What --add-host NAME:host-gateway stands for: the default network's gateway, as a client writes it. */
static void gateway_fill(BuildkitDoor *d, char *ret, size_t cap)
{
	NetworkInfo n = {0};
	const char *gateway;

	*ret = '\0';
	if (engine_network_inspect(d->engine, "bridge", &n, NULL) < 0)
		return;
	gateway = str_empty(n.gateway) ? n.gateway6 : n.gateway;
	if (!str_empty(gateway))
		snprintf(ret, cap, "%s", gateway);
	network_info_done(&n);
}

static void label(Worker *w, const char *key, const char *value)
{
	Llb__Pair *p = &w->labels[w->record.n_labels];

	llb__pair__init(p);
	p->key = (char *)key;
	p->value = (char *)value;
	w->label_list[w->record.n_labels++] = p;
}

static void platform_fill(Worker *w)
{
	ImagePlatform own = {0};
	static const char *const known[] = {"amd64",   "arm64", "arm",     "riscv64", "386",
					    "ppc64le", "s390x", "loong64", NULL};

	llb__platform__init(&w->platform);
	w->platform.os = (char *)"linux";
	if (image_platform_parse(NULL, &own, NULL) >= 0)
		for (const char *const *k = known; *k; k++)
			if (streq0(own.architecture, *k))
				w->platform.architecture = (char *)*k;
	if (streq0(own.variant, "v7"))
		w->platform.variant = (char *)"v7";
	image_platform_done(&own);
	w->platforms[0] = &w->platform;
	w->record.platforms = w->platforms;
	w->record.n_platforms = 1;
}

void worker_fill(BuildkitDoor *d, Worker *w)
{
	*w = (Worker){0};
	control__worker_record__init(&w->record);
	version_fill(&w->version);
	gateway_fill(d, w->gateway, sizeof(w->gateway));
	w->record.id = (char *)"ireko";
	w->record.version = &w->version;
	w->record.labels = w->label_list;
	label(w, "org.mobyproject.buildkit.worker.executor", "ireko");
	if (*w->gateway)
		label(w, "org.mobyproject.buildkit.worker.moby.host-gateway-ip", w->gateway);
	platform_fill(w);
}

int rpc_info(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Control__InfoResponse answer = CONTROL__INFO_RESPONSE__INIT;
	Control__BuildkitVersion version;
	int r = grpc_receive_only(call, &control__info_request__descriptor, &rq, e);

	(void)user;
	version_fill(&version);
	answer.version = &version;
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}

int rpc_list_workers(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Control__ListWorkersResponse answer = CONTROL__LIST_WORKERS_RESPONSE__INIT;
	Control__WorkerRecord *records[1];
	Worker w;
	int r = grpc_receive_only(call, &control__list_workers_request__descriptor, &rq, e);

	if (r < 0)
		return r;
	worker_fill(user, &w);
	records[0] = &w.record;
	answer.record = records;
	answer.n_record = 1;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- the build cache ---- */

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
	r->record.description = (char *)"build step";
	r->record.record_type = (char *)"regular";
	r->record.shared = c->shared;
}

/* Clients send an empty one when there is none. */
static int check_filters(char *const *filters, size_t n, Err *e)
{
	for (size_t i = 0; i < n; i++)
		if (*filters[i])
			return err_new(e, ERR_UNSUPPORTED, "filter %.100s is not offered", filters[i]);
	return 0;
}

int rpc_disk_usage(GrpcCall *call, void *user, Err *e)
{
	const BuildkitDoor *d = user;
	_cleanup_message_ Control__DiskUsageRequest *rq = NULL;
	Control__DiskUsageResponse answer = CONTROL__DISK_USAGE_RESPONSE__INIT;
	StoreCacheEntry *entries = NULL;
	_cleanup_free_ Record *records = NULL;
	_cleanup_free_ Control__UsageRecord **list = NULL;
	size_t n = 0;
	int r =
	    grpc_receive_only(call, &control__disk_usage_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = check_filters(rq->filter, rq->n_filter, e);
	if (r >= 0)
		r = store_cache_list(engine_store(d->engine), &entries, &n, e);
	if (r < 0)
		return r;
	records = calloc(n + 1, sizeof(*records));
	list = calloc(n + 1, sizeof(*list));
	r = records && list ? 0 : err_oom(e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		record_fill(&records[i], &entries[i]);
		list[i] = &records[i].record;
	}
	answer.record = list;
	answer.n_record = n;
	if (r >= 0)
		r = grpc_send_message(call, &answer.base, e);
	store_cache_free(entries, n);
	return r;
}

static int tell_pruned(GrpcCall *call, const StoreCacheEntry *entries, size_t n, char *const *keys, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		Record record;

		if (!strv_has(keys, entries[i].key))
			continue;
		record_fill(&record, &entries[i]);
		r = grpc_send_message_more(call, &record.record.base, e);
	}
	return r;
}

int rpc_prune(GrpcCall *call, void *user, Err *e)
{
	const BuildkitDoor *d = user;
	_cleanup_message_ Control__PruneRequest *rq = NULL;
	_cleanup_(store_freed_done) StoreFreed freed = {0};
	_cleanup_strv_ char **keys = NULL;
	StoreCacheEntry *entries = NULL;
	StoreCachePrune p = {0};
	size_t n = 0;
	int r = grpc_receive_only(call, &control__prune_request__descriptor, (ProtobufCMessage **)&rq, e);

	if (r >= 0)
		r = check_filters(rq->filter, rq->n_filter, e);
	if (r >= 0)
		r = store_cache_list(engine_store(d->engine), &entries, &n, e);
	if (r < 0)
		return r;
	p.all = rq->all;
	p.unused_since_ns = rq->keep_duration > 0 ? clock_now_ns() - rq->keep_duration : 0;
	p.reserved = MAX2(rq->reserved_space, (int64_t)0);
	p.max_bytes = MAX2(rq->max_used_space, (int64_t)0);
	p.min_free = MAX2(rq->min_free_space, (int64_t)0);
	r = store_cache_prune(engine_store(d->engine), &p, &keys, &freed, e);
	if (r >= 0)
		r = tell_pruned(call, entries, n, keys, e);
	store_cache_free(entries, n);
	return r;
}
