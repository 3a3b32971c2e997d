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
	/* Whoever has one can do images of several platforms, archives and caches: so clients conclude. */
	label(w, "org.mobyproject.buildkit.worker.snapshotter", store_snapshotter(engine_store(d->engine)));
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
