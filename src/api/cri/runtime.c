/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubelet asks about the runtime itself. */
#include "api/cri/door-internal.h"
#include "api/cri/verbose.h"

#include <sys/utsname.h>

#define HANDLERS_MAX 64

int cri_rpc_version(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__VersionResponse answer = CRI__VERSION_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__version_request__descriptor, &rq, e);

	(void)user;
	answer.version =
	    (char *)"0.1.0"; /* of the kubelet's own side of the protocol; every runtime says this */
	answer.runtime_name = (char *)"ireko";
	answer.runtime_version = (char *)IREKO_VERSION;
	answer.runtime_api_version = (char *)"v1";
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}

int cri_rpc_runtime_config(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__RuntimeConfigResponse answer = CRI__RUNTIME_CONFIG_RESPONSE__INIT;
	Cri__LinuxRuntimeConfiguration own = CRI__LINUX_RUNTIME_CONFIGURATION__INIT;
	int r = grpc_receive_only(call, &cri__runtime_config_request__descriptor, &rq, e);

	own.cgroup_driver =
	    streq(d->cgroup_driver, "systemd") ? CRI__CGROUP_DRIVER__SYSTEMD : CRI__CGROUP_DRIVER__CGROUPFS;
	answer.linux_part = &own;
	return r < 0 ? r : grpc_send_message_more(call, &answer.base, e);
}

/* What a kubelet has to say is the ranges of its pods' addresses. */
int cri_rpc_update_runtime_config(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	const Cri__RuntimeConfig *c;
	int r = grpc_receive_only(call, &cri__update_runtime_config_request__descriptor, &m, e);

	if (r < 0)
		return r;
	c = ((const Cri__UpdateRuntimeConfigRequest *)m)->runtime_config;
	/* None: there is nothing new. */
	if (c && c->network_config && !str_empty(c->network_config->pod_cidr))
		r = err_ctx(e, engine_pod_ranges_set(d->engine, c->network_config->pod_cidr, e),
			    "runtime_config.network_config.pod_cidr");
	return r < 0 ? r : cri_send_empty(call, e);
}

/* ---- Status ---- */

typedef struct Conditions {
	Cri__RuntimeCondition items[2], *list[2];
	Err network; /* why there are no networks */
} Conditions;

static void condition(Conditions *c, size_t at, const char *type, const char *reason, const char *message)
{
	Cri__RuntimeCondition *k = &c->items[at];

	cri__runtime_condition__init(k);
	k->type = (char *)type;
	k->status = !reason;
	k->reason = (char *)(reason ?: "");
	k->message = (char *)(message ?: "");
	c->list[at] = k;
}

static void conditions_fill(CriDoor *d, Conditions *c)
{
	int r = engine_pod_network_status(d->engine, &c->network);

	condition(c, 0, "RuntimeReady", NULL, NULL);
	condition(c, 1, "NetworkReady", r < 0 ? "NetworkPluginNotReady" : NULL,
		  r < 0 ? err_msg(&c->network, r) : NULL);
}

typedef struct Handlers {
	Cri__RuntimeHandler items[HANDLERS_MAX], *list[HANDLERS_MAX];
	Cri__RuntimeHandlerFeatures own, other;
	char *names[HANDLERS_MAX]; /* those that are cut out of NAME=PATH */
	size_t n;
} Handlers;

static void handlers_done(Handlers *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->names[i]);
}

static int handler(Handlers *h, const char *name, size_t len, Cri__RuntimeHandlerFeatures *features)
{
	Cri__RuntimeHandler *k = &h->items[h->n];

	if (h->n == HANDLERS_MAX)
		return 0;
	cri__runtime_handler__init(k);
	k->name = h->names[h->n] = strndup(name, len);
	k->features = features;
	h->list[h->n++] = k;
	return k->name ? 0 : -ENOMEM;
}

static bool kernel_at_least(unsigned major, unsigned minor)
{
	unsigned a = 0, b = 0;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &a, &b) == 2 &&
	       (a > major || (a == major && b >= minor));
}

/* "" is the default. Of other programs than ours nobody has said what they can. */
static int handlers_fill(CriDoor *d, Handlers *h)
{
	const char *usual = engine_default_runtime(d->engine);
	int r;

	cri__runtime_handler_features__init(&h->own);
	cri__runtime_handler_features__init(&h->other);
	h->own.recursive_read_only_mounts = kernel_at_least(5, 12); /* mount_setattr(2) */
	h->own.user_namespaces =
	    kernel_at_least(6, 3); /* a tmpfs, as the volumes of secrets are, is shown with other ids */
	r = handler(h, "", 0, streq0(usual, ENGINE_OWN_RUNTIME) || !usual ? &h->own : &h->other);
	if (r >= 0)
		r = handler(h, ENGINE_OWN_RUNTIME, strlen(ENGINE_OWN_RUNTIME), &h->own);
	for (char *const *v = engine_runtimes(d->engine); r >= 0 && v && *v; v++)
		r = handler(h, *v, strcspn(*v, "="), &h->other);
	return r;
}

/* As others have it: the names of the network's keys are looked for by tools. */
static int status_verbose(CriDoor *d, const Conditions *c, CriVerbose *ret, Err *e)
{
	Store *s = engine_store(d->engine);
	int r = cri_verbose_add(ret, "config",
				json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "version", IREKO_VERSION, "root",
					  store_root(s), "snapshotter", store_snapshotter(s), "cgroupDriver",
					  d->cgroup_driver, "cgroupVersion", engine_cgroup_version(d->engine),
					  "runtimes", json_from_strv(engine_runtimes(d->engine))),
				e);

	if (r >= 0)
		r = cri_verbose_add(ret, "cniconfig", engine_pod_network_describe(d->engine), e);
	if (r >= 0)
		r = cri_verbose_add(ret, "lastCNILoadStatus",
				    json_string(c->items[1].status ? "OK" : c->items[1].message), e);
	return r;
}

int cri_rpc_status(GrpcCall *call, void *user, Err *e)
{
	CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(handlers_done) Handlers handlers = {0};
	_cleanup_(cri_verbose_done) CriVerbose info = {0};
	Cri__StatusResponse answer = CRI__STATUS_RESPONSE__INIT;
	Cri__RuntimeStatus status = CRI__RUNTIME_STATUS__INIT;
	Cri__RuntimeFeatures features = CRI__RUNTIME_FEATURES__INIT;
	Conditions conditions = {0};
	int r = grpc_receive_only(call, &cri__status_request__descriptor, &rq, e);

	if (r < 0)
		return r;
	conditions_fill(d, &conditions);
	r = handlers_fill(d, &handlers) < 0 ? err_oom(e) : 0;
	if (r >= 0 && ((const Cri__StatusRequest *)rq)->verbose)
		r = status_verbose(d, &conditions, &info, e);
	if (r < 0)
		return r;
	status.conditions = conditions.list;
	status.n_conditions = ELEMENTSOF(conditions.list);
	features.supplemental_groups_policy = true;
	answer.status = &status;
	answer.runtime_handlers = handlers.list;
	answer.n_runtime_handlers = handlers.n;
	answer.features = &features;
	answer.info = (Cri__StatusResponse__InfoEntry **)info.pairs;
	answer.n_info = info.n;
	return grpc_send_message_more(call, &answer.base, e);
}
