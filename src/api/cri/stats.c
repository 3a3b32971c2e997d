/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of containers and of pods, in the terms of a kubelet: the working set is what is used without files that nobody has looked at lately; what is left of a limit is
 * told where there is a limit; what the machine does not count is left out.
 *
 * A pod's numbers are those of its cgroup, which the kubelet has made, and which has all of its containers. A pod without one is the sum of its containers.
 */
#include "api/cri/door-internal.h"
#include "api/cri/items.h"
#include "api/cri/status.h"
#include "api/cri/subjects.h"
#include "engine/usage.h"

#define DEFAULT_INTERFACE "eth0" /* as CNI's plugins are asked for it */

typedef struct PsiDoc {
	Cri__PsiStats stats;
	Cri__PsiData some, full;
} PsiDoc;

/* Messages point to others of the same struct: it is not moved once it is filled. */
typedef struct UsageDoc {
	Cri__CpuUsage cpu;
	Cri__MemoryUsage memory;
	Cri__SwapUsage swap;
	Cri__IoUsage io;
	Cri__ProcessUsage process;
	PsiDoc cpu_psi, memory_psi, io_psi;
	Cri__UInt64Value total, nano_cores, working_set, available, usage, rss, faults, major, swap_used,
	    swap_left, tasks;
} UsageDoc;

typedef struct ContainerDoc {
	Cri__ContainerStats stats;
	Cri__ContainerAttributes attributes;
	UsageDoc usage;
	Cri__FilesystemUsage layer;
	Cri__FilesystemIdentifier where;
	Cri__UInt64Value bytes, inodes;
	EngineUsage of; /* what is in `usage`, if has_usage */
	bool has_usage;
} ContainerDoc;

/* ---- numbers ---- */

static Cri__UInt64Value *value(Cri__UInt64Value *v, uint64_t n)
{
	*v = (Cri__UInt64Value)CRI__UINT64_VALUE__INIT;
	v->value = n;
	return n == CGROUP_UNKNOWN ? NULL : v;
}

static void set_stall(Cri__PsiData *d, const CgroupStall *s)
{
	*d = (Cri__PsiData)CRI__PSI_DATA__INIT;
	d->total = s->total_us * 1000; /* nanoseconds, as cadvisor has it */
	d->avg10 = s->avg10;
	d->avg60 = s->avg60;
	d->avg300 = s->avg300;
}

static Cri__PsiStats *pressure(PsiDoc *d, const CgroupPressure *p)
{
	if (!p->known)
		return NULL;
	d->stats = (Cri__PsiStats)CRI__PSI_STATS__INIT;
	set_stall(&d->some, &p->some);
	set_stall(&d->full, &p->full);
	d->stats.some = &d->some;
	d->stats.full = &d->full;
	return &d->stats;
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
	if (limit == CGROUP_UNKNOWN || used == CGROUP_UNKNOWN)
		return CGROUP_UNKNOWN;
	return limit - MIN2(limit, used);
}

static void usage_doc_fill(UsageDoc *d, const EngineUsage *u)
{
	const CgroupUsage *c = &u->cgroup;
	uint64_t working_set = cgroup_working_set(c);

	d->cpu = (Cri__CpuUsage)CRI__CPU_USAGE__INIT;
	d->cpu.timestamp = u->at_ns;
	d->cpu.usage_core_nano_seconds = value(&d->total, c->cpu_ns);
	d->cpu.usage_nano_cores = value(&d->nano_cores, u->nano_cores);
	d->cpu.psi = pressure(&d->cpu_psi, &c->cpu_pressure);
	d->memory = (Cri__MemoryUsage)CRI__MEMORY_USAGE__INIT;
	d->memory.timestamp = u->at_ns;
	d->memory.working_set_bytes = value(&d->working_set, working_set);
	d->memory.available_bytes = value(&d->available, left_of(c->memory_limit, working_set));
	d->memory.usage_bytes = value(&d->usage, c->memory);
	d->memory.rss_bytes = value(&d->rss, c->anon);
	d->memory.page_faults = value(&d->faults, c->page_faults);
	d->memory.major_page_faults = value(&d->major, c->major_page_faults);
	d->memory.psi = pressure(&d->memory_psi, &c->memory_pressure);
	d->swap = (Cri__SwapUsage)CRI__SWAP_USAGE__INIT;
	d->swap.timestamp = u->at_ns;
	d->swap.swap_usage_bytes = value(&d->swap_used, c->swap);
	d->swap.swap_available_bytes = value(&d->swap_left, left_of(c->swap_limit, c->swap));
	d->io = (Cri__IoUsage)CRI__IO_USAGE__INIT;
	d->io.timestamp = u->at_ns;
	d->io.psi = pressure(&d->io_psi, &c->io_pressure);
	d->process = (Cri__ProcessUsage)CRI__PROCESS_USAGE__INIT;
	d->process.timestamp = u->at_ns;
	d->process.process_count = value(&d->tasks, c->tasks);
}

/* ---- containers ---- */

static void set_layer(ContainerDoc *d, const CriDoor *door, const EngineLayerUsage *u)
{
	d->layer = (Cri__FilesystemUsage)CRI__FILESYSTEM_USAGE__INIT;
	d->where = (Cri__FilesystemIdentifier)CRI__FILESYSTEM_IDENTIFIER__INIT;
	d->where.mountpoint = (char *)store_root(engine_store(door->engine));
	d->layer.timestamp = u->at_ns;
	d->layer.fs_id = &d->where;
	d->layer.used_bytes = value(&d->bytes, u->bytes);
	d->layer.inodes_used = value(&d->inodes, u->inodes);
	d->stats.writable_layer = &d->layer;
}

/* one: it alone is asked about, and its files may be looked at. */
static int container_doc_fill(const CriDoor *door, const CriSubject *s, bool one, ContainerDoc *d, Err *e)
{
	const Cri__Container *k = (const Cri__Container *)s->listed;
	EngineLayerUsage layer;
	int r = s->runs ? engine_container_usage(door->engine, s->id, false, &d->of, e) : 0;

	d->stats = (Cri__ContainerStats)CRI__CONTAINER_STATS__INIT;
	d->attributes = (Cri__ContainerAttributes)CRI__CONTAINER_ATTRIBUTES__INIT;
	d->attributes.id = (char *)s->id;
	d->attributes.metadata = k->metadata;
	d->attributes.labels = (Cri__ContainerAttributes__LabelsEntry **)k->labels;
	d->attributes.n_labels = k->n_labels;
	d->attributes.annotations = (Cri__ContainerAttributes__AnnotationsEntry **)k->annotations;
	d->attributes.n_annotations = k->n_annotations;
	d->stats.attributes = &d->attributes;
	d->has_usage = r > 0;
	if (d->has_usage) {
		usage_doc_fill(&d->usage, &d->of);
		d->stats.cpu = &d->usage.cpu;
		d->stats.memory = &d->usage.memory;
		d->stats.swap = &d->usage.swap;
		d->stats.io = &d->usage.io;
	}
	if (r < 0)
		return r;
	r = one ? engine_container_layer_measure(door->engine, s->id, &layer, e)
		: engine_container_layer_usage(door->engine, s->id, &layer);
	if (one ? r >= 0 : r > 0)
		set_layer(d, door, &layer);
	return r;
}

/* What has been removed since it was gathered is left out: true. */
static bool is_gone(int r, const Err *own)
{
	return r < 0 && own->kind == ERR_NOT_FOUND;
}

static int pass_on(int r, const Err *own, Err *e)
{
	return err_new_no(e, own->kind, -r, "%s", err_msg(own, r));
}

static int containers_make(const CriDoor *d, const Cri__ContainerStatsFilter *f, CriItems *l, Err *e)
{
	_cleanup_(cri_subjects_done) CriSubjects s = {0};
	CriFilter filter = {0};
	int r;

	if (f)
		filter = (CriFilter){.id = f->id,
				     .pod = f->pod_sandbox_id,
				     .labels = (CriPair *const *)f->label_selector,
				     .n_labels = f->n_label_selector};
	r = cri_subjects_gather(d->engine, NULL, &filter, &s, e);
	for (size_t i = 0; r >= 0 && i < s.n_members; i++) {
		ContainerDoc doc;
		Err own = {0};

		r = container_doc_fill(d, &s.members[i], false, &doc, &own);
		if (r >= 0)
			cri_items_add(l, &doc.stats.base);
		else
			r = is_gone(r, &own) ? 0 : pass_on(r, &own, e);
	}
	return r;
}

int cri_rpc_list_container_stats(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__list_container_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = containers_make(user, ((const Cri__ListContainerStatsRequest *)rq)->filter, &l, e);
	return r < 0 ? r : cri_items_send(&l, call, e);
}

int cri_rpc_stream_container_stats(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__stream_container_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = containers_make(user, ((const Cri__StreamContainerStatsRequest *)rq)->filter, &l, e);
	return r < 0 ? r : cri_items_stream(&l, call, e);
}

int cri_rpc_container_stats(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_subjects_done) CriSubjects s = {0};
	_cleanup_(container_info_done) ContainerInfo found = {0};
	Cri__ContainerStatsResponse answer = CRI__CONTAINER_STATS_RESPONSE__INIT;
	ContainerDoc doc;
	int r = grpc_receive_only(call, &cri__container_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = cri_container_find(d->engine, ((const Cri__ContainerStatsRequest *)rq)->container_id,
				       &found, e);
	if (r >= 0)
		r = cri_subjects_gather(d->engine, NULL,
					&(CriFilter){.id = found.id, .pod = found.config.pod.id}, &s, e);
	if (r >= 0 && s.n_members == 0)
		r = err_new(e, ERR_NOT_FOUND, "No such container in a pod: %s", found.id);
	if (r >= 0)
		r = container_doc_fill(d, &s.members[0], true, &doc, e);
	if (r < 0)
		return r;
	answer.stats = &doc.stats;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- pods ---- */

typedef struct InterfaceDoc {
	Cri__NetworkInterfaceUsage usage;
	Cri__UInt64Value rx, rx_errors, tx, tx_errors;
} InterfaceDoc;

typedef struct PodDoc {
	Cri__PodSandboxStats stats;
	Cri__PodSandboxAttributes attributes;
	Cri__LinuxPodSandboxStats linux_part;
	UsageDoc usage;
	Cri__NetworkUsage network;
	EngineInterface *interfaces;
	InterfaceDoc *interface_docs;
	Cri__NetworkInterfaceUsage **interface_list;
	ContainerDoc *containers;
	Cri__ContainerStats **container_list;
	size_t n_containers;
} PodDoc;

static void pod_doc_done(PodDoc *d)
{
	free(d->interfaces);
	free(d->interface_docs);
	free(d->interface_list);
	free(d->containers);
	free(d->container_list);
}

static void set_interface(InterfaceDoc *d, const EngineInterface *i)
{
	d->usage = (Cri__NetworkInterfaceUsage)CRI__NETWORK_INTERFACE_USAGE__INIT;
	d->usage.name = (char *)i->name;
	d->usage.rx_bytes = value(&d->rx, i->rx_bytes);
	d->usage.rx_errors = value(&d->rx_errors, i->rx_errors);
	d->usage.tx_bytes = value(&d->tx, i->tx_bytes);
	d->usage.tx_errors = value(&d->tx_errors, i->tx_errors);
}

/* The one that CNI's plugins made for the pod, or else the first, is told apart from the others. */
static int set_network(PodDoc *d, Engine *en, const char *id, Err *e)
{
	size_t n, first = 0;
	int r = engine_container_interfaces(en, id, &d->interfaces, &n, e);

	if (r < 0 || n == 0)
		return r;
	d->interface_docs = calloc(n, sizeof(*d->interface_docs));
	d->interface_list = calloc(n, sizeof(*d->interface_list));
	if (!d->interface_docs || !d->interface_list)
		return err_oom(e);
	d->network = (Cri__NetworkUsage)CRI__NETWORK_USAGE__INIT;
	d->network.timestamp = clock_now_ns();
	for (size_t i = n; i-- > 0;)
		if (streq(d->interfaces[i].name, DEFAULT_INTERFACE))
			first = i;
	for (size_t i = 0; i < n; i++) {
		set_interface(&d->interface_docs[i], &d->interfaces[i]);
		if (i == first)
			d->network.default_interface = &d->interface_docs[i].usage;
		else
			d->interface_list[d->network.n_interfaces++] = &d->interface_docs[i].usage;
	}
	d->network.interfaces = d->interface_list;
	d->linux_part.network = &d->network;
	return 0;
}

static int set_containers(PodDoc *d, const CriDoor *door, const CriSubject *v, size_t n, Err *e)
{
	int r = 0;

	if (n == 0)
		return 0;
	d->containers = calloc(n, sizeof(*d->containers));
	d->container_list = calloc(n, sizeof(*d->container_list));
	if (!d->containers || !d->container_list)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		ContainerDoc *to = &d->containers[d->n_containers];
		Err own = {0};

		r = container_doc_fill(door, &v[i], false, to, &own);
		if (r >= 0)
			d->container_list[d->n_containers++] = &to->stats;
		else
			r = is_gone(r, &own) ? 0 : pass_on(r, &own, e);
	}
	d->linux_part.containers = d->container_list;
	d->linux_part.n_containers = d->n_containers;
	return r;
}

static void add_number(uint64_t *to, uint64_t n)
{
	if (n != CGROUP_UNKNOWN)
		*to = *to == CGROUP_UNKNOWN ? n : *to + n;
}

static void add_usage(EngineUsage *to, const EngineUsage *u)
{
	add_number(&to->nano_cores, u->nano_cores);
	add_number(&to->cgroup.cpu_ns, u->cgroup.cpu_ns);
	add_number(&to->cgroup.memory, u->cgroup.memory);
	add_number(&to->cgroup.anon, u->cgroup.anon);
	add_number(&to->cgroup.inactive_file, u->cgroup.inactive_file);
	add_number(&to->cgroup.page_faults, u->cgroup.page_faults);
	add_number(&to->cgroup.major_page_faults, u->cgroup.major_page_faults);
	add_number(&to->cgroup.tasks, u->cgroup.tasks);
}

/* Of a pod without a cgroup of its own: what its containers use together. Neither limits nor pressure can be added up. */
static int sum_usage(const PodDoc *d, Engine *en, const char *id, EngineUsage *ret, Err *e)
{
	int r = engine_container_usage(en, id, false, ret, e);

	if (r <= 0)
		return r;
	ret->cgroup.memory_limit = ret->cgroup.swap_limit = CGROUP_UNKNOWN;
	ret->cgroup.cpu_pressure.known = ret->cgroup.memory_pressure.known = ret->cgroup.io_pressure.known =
	    false;
	for (size_t i = 0; i < d->n_containers; i++)
		if (d->containers[i].has_usage)
			add_usage(ret, &d->containers[i].of);
	return 1;
}

static int set_usage(PodDoc *d, Engine *en, const char *id, Err *e)
{
	EngineUsage u;
	int r = engine_pod_usage(en, id, false, &u, e);

	if (r == 0)
		r = sum_usage(d, en, id, &u, e);
	if (r <= 0)
		return r;
	usage_doc_fill(&d->usage, &u);
	d->linux_part.cpu = &d->usage.cpu;
	d->linux_part.memory = &d->usage.memory;
	d->linux_part.io = &d->usage.io;
	d->linux_part.process = &d->usage.process;
	return 0;
}

static int pod_doc_fill(const CriDoor *door, const CriSubjects *all, const CriSubject *s, PodDoc *d, Err *e)
{
	const Cri__PodSandbox *k = (const Cri__PodSandbox *)s->listed;
	size_t n;
	const CriSubject *members = cri_subjects_of_pod(all, s->id, &n);
	int r;

	d->stats = (Cri__PodSandboxStats)CRI__POD_SANDBOX_STATS__INIT;
	d->attributes = (Cri__PodSandboxAttributes)CRI__POD_SANDBOX_ATTRIBUTES__INIT;
	d->linux_part = (Cri__LinuxPodSandboxStats)CRI__LINUX_POD_SANDBOX_STATS__INIT;
	d->attributes.id = (char *)s->id;
	d->attributes.metadata = k->metadata;
	d->attributes.labels = (Cri__PodSandboxAttributes__LabelsEntry **)k->labels;
	d->attributes.n_labels = k->n_labels;
	d->attributes.annotations = (Cri__PodSandboxAttributes__AnnotationsEntry **)k->annotations;
	d->attributes.n_annotations = k->n_annotations;
	d->stats.attributes = &d->attributes;
	d->stats.linux_part = &d->linux_part;
	r = set_containers(d, door, members, n, e);
	if (r >= 0 && s->runs)
		r = set_usage(d, door->engine, s->id, e);
	if (r >= 0 && s->runs)
		r = set_network(d, door->engine, s->id, e);
	return r;
}

static int pods_make(const CriDoor *d, const Cri__PodSandboxStatsFilter *f, CriItems *l, Err *e)
{
	_cleanup_(cri_subjects_done) CriSubjects s = {0};
	CriFilter filter = {0};
	int r;

	if (f)
		filter = (CriFilter){.id = f->id,
				     .labels = (CriPair *const *)f->label_selector,
				     .n_labels = f->n_label_selector};
	r = cri_subjects_gather(d->engine, &filter, &(CriFilter){0}, &s, e);
	for (size_t i = 0; r >= 0 && i < s.n_pods; i++) {
		_cleanup_(pod_doc_done) PodDoc doc = {0};
		Err own = {0};

		if (!s.pods[i].runs)
			continue;
		r = pod_doc_fill(d, &s, &s.pods[i], &doc, &own);
		if (r >= 0)
			cri_items_add(l, &doc.stats.base);
		else
			r = is_gone(r, &own) ? 0 : pass_on(r, &own, e);
	}
	return r;
}

int cri_rpc_list_pod_stats(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__list_pod_sandbox_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = pods_make(user, ((const Cri__ListPodSandboxStatsRequest *)rq)->filter, &l, e);
	return r < 0 ? r : cri_items_send(&l, call, e);
}

int cri_rpc_stream_pod_stats(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__stream_pod_sandbox_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = pods_make(user, ((const Cri__StreamPodSandboxStatsRequest *)rq)->filter, &l, e);
	return r < 0 ? r : cri_items_stream(&l, call, e);
}

int cri_rpc_pod_stats(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_subjects_done) CriSubjects s = {0};
	_cleanup_(container_info_done) ContainerInfo found = {0};
	_cleanup_(pod_doc_done) PodDoc doc = {0};
	Cri__PodSandboxStatsResponse answer = CRI__POD_SANDBOX_STATS_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__pod_sandbox_stats_request__descriptor, &rq, e);

	if (r >= 0)
		r = cri_pod_find(d->engine, ((const Cri__PodSandboxStatsRequest *)rq)->pod_sandbox_id, &found,
				 e);
	if (r >= 0)
		r = cri_subjects_gather(d->engine, &(CriFilter){.id = found.id},
					&(CriFilter){.pod = found.id}, &s, e);
	if (r >= 0 && s.n_pods == 0)
		r = err_new(e, ERR_NOT_FOUND, "No such pod: %s", found.id);
	if (r >= 0)
		r = pod_doc_fill(d, &s, &s.pods[0], &doc, e);
	if (r < 0)
		return r;
	answer.stats = &doc.stats;
	return grpc_send_message_more(call, &answer.base, e);
}
