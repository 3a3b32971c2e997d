/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of pods and their containers under cadvisor's names and labels, so that what people have made of those (dashboards, alerts) finds them. A kubelet asks once for the
 * descriptors, and then for the values, whose labels are in the order of the descriptor's.
 *
 * One table (metric-families.c) says what there is. A value is a 64-bit number: seconds are whole ones. What the machine does not count is left out. The numbers of the pod's own cgroup and of its
 * interfaces are the pod's, with an empty container label.
 */
#include "api/cri/door-internal.h"
#include "api/cri/items.h"
#include "api/cri/metric-families.h"
#include "api/cri/subjects.h"

#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define LABELS_MAX   (METRIC_COMMON + METRIC_KEYS_MAX)
#define DEVICES_MAX  256 /* of all containers together */
#define SHARES_USUAL 1024
#define PERIOD_USUAL 100000
#define MEASURE_NS   INT64_C(20000000)

/* ---- values ---- */

typedef struct MetricDoc {
	Cri__Metric metric;
	Cri__UInt64Value value;
	char *labels[LABELS_MAX];
} MetricDoc;

/* Those of one container, or of one pod. Documents and list grow together; the list's pointers are set at the end. */
typedef struct Metrics {
	const char *common[METRIC_COMMON];
	int64_t at_ns;
	MetricDoc *docs;
	Cri__Metric **list;
	size_t n, room;
	bool oom;
} Metrics;

static void metrics_done(Metrics *m)
{
	free(m->docs);
	free(m->list);
}

/* labels: what the row's own keys have. */
static void add(Metrics *m, const MetricFamily *f, uint64_t v, const char *const labels[METRIC_KEYS_MAX])
{
	MetricDoc *d;

	if (v == CGROUP_UNKNOWN && f->zero)
		v = 0;
	if (v == CGROUP_UNKNOWN || m->oom)
		return;
	if (m->n == m->room) {
		size_t room = m->room ? m->room * 2 : 64;
		MetricDoc *docs = reallocarray(m->docs, room, sizeof(*docs));

		if (!docs) {
			m->oom = true;
			return;
		}
		m->docs = docs;
		m->room = room;
	}
	d = &m->docs[m->n++];
	d->metric = (Cri__Metric)CRI__METRIC__INIT;
	d->metric.name = (char *)f->name;
	d->metric.timestamp = m->at_ns;
	d->metric.metric_type = f->gauge ? CRI__METRIC_TYPE__GAUGE : CRI__METRIC_TYPE__COUNTER;
	d->value = (Cri__UInt64Value)CRI__UINT64_VALUE__INIT;
	d->value.value = f->unit ? v / f->unit : v;
	memcpy(d->labels, m->common, sizeof(m->common));
	for (size_t i = 0; i < METRIC_KEYS_MAX; i++)
		d->labels[METRIC_COMMON + i] = (char *)labels[i];
	d->metric.n_label_values = cri_metric_labels(f);
}

static void add_one(Metrics *m, const MetricFamily *f, uint64_t v, const char *label)
{
	add(m, f, v, (const char *const[METRIC_KEYS_MAX]){label});
}

/* Once nothing moves any more. */
static Cri__Metric **settle(Metrics *m)
{
	if (m->n == 0)
		return NULL;
	m->list = calloc(m->n, sizeof(Cri__Metric *));
	m->oom |= !m->list;
	for (size_t i = 0; m->list && i < m->n; i++) {
		m->docs[i].metric.value = &m->docs[i].value;
		m->docs[i].metric.label_values = m->docs[i].labels;
		m->list[i] = &m->docs[i].metric;
	}
	return m->list;
}

static uint64_t number_at(const void *of, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)of + offset);
}

static uint64_t pressure_at(const CgroupUsage *c, size_t offset)
{
	return c->cpu_pressure.known
		   ? ((const CgroupStall *)(const void *)((const char *)c + offset))->total_us
		   : CGROUP_UNKNOWN;
}

static void add_usage(Metrics *m, const EngineUsage *u, bool pod)
{
	static const char *const scopes[] = {"container", "hierarchy"};
	const CgroupUsage *c = &u->cgroup;

	for (const MetricFamily *f = cri_metric_families; f < cri_metric_families + cri_n_metric_families;
	     f++) {
		if (f->kind == OF_CGROUP || (f->kind == OF_CONTAINER && !pod))
			add_one(m, f, number_at(c, f->offset), f->fixed);
		else if (f->kind == OF_WORKING)
			add_one(m, f, cgroup_working_set(c), NULL);
		else if (f->kind == OF_PRESSURE)
			add_one(m, f, pressure_at(c, f->offset), NULL);
		else if (f->kind == OF_ENGINE && !pod)
			add_one(m, f, number_at(u, f->offset), f->fixed);
		for (size_t i = 0; f->kind == OF_FAILURES && i < ELEMENTSOF(scopes); i++)
			add(m, f, number_at(c, f->offset),
			    (const char *const[METRIC_KEYS_MAX]){f->fixed, scopes[i]});
	}
}

static void add_all(Metrics *m, MetricKind kind, const void *of, const char *label)
{
	for (const MetricFamily *f = cri_metric_families; f < cri_metric_families + cri_n_metric_families;
	     f++)
		if (f->kind == kind)
			add_one(m, f, number_at(of, f->offset), label);
}

/* ---- devices ---- */

typedef struct DeviceName {
	unsigned major, minor;
	char major_text[12], minor_text[12];
	char name[40];
} DeviceName;

/* What is looked up for one answer. */
typedef struct Round {
	const CriDoor *door;
	DeviceName *devices; /* DEVICES_MAX; labels point into it */
	size_t n_devices;
	char root_device[40]; /* of the file system with the containers' files */
	struct statvfs root;
	bool has_root;
	int64_t measured_ns; /* how long layers were looked at */
} Round;

/* "/dev/sda" as the kernel calls it, or its numbers. */
static void name_device(unsigned major_, unsigned minor_, char *to, size_t cap)
{
	char path[64], target[512];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major_, minor_);
	n = readlink(path, target, sizeof(target) - 1);
	if (n > 0)
		target[n] = '\0';
	if (n > 0 && strrchr(target, '/'))
		(void)snprintf(to, cap, "/dev/%.30s", strrchr(target, '/') + 1);
	else
		(void)snprintf(to, cap, "%u:%u", major_, minor_);
}

/* NULL for one too many, which is left out. */
static const DeviceName *device_of(Round *r, const CgroupDeviceIo *io)
{
	DeviceName *d;

	for (size_t i = 0; i < r->n_devices; i++)
		if (r->devices[i].major == io->major && r->devices[i].minor == io->minor)
			return &r->devices[i];
	if (r->n_devices == DEVICES_MAX)
		return NULL;
	d = &r->devices[r->n_devices++];
	d->major = io->major;
	d->minor = io->minor;
	(void)snprintf(d->major_text, sizeof(d->major_text), "%u", io->major);
	(void)snprintf(d->minor_text, sizeof(d->minor_text), "%u", io->minor);
	name_device(io->major, io->minor, d->name, sizeof(d->name));
	return d;
}

static void add_device(Round *r, const CgroupDeviceIo *io, Metrics *m)
{
	const DeviceName *d = device_of(r, io);

	if (!d)
		return;
	add_all(m, OF_DEVICE, io, d->name);
	for (const MetricFamily *f = cri_metric_families; f < cri_metric_families + cri_n_metric_families;
	     f++)
		if (f->kind == OF_BLKIO)
			add(m, f, number_at(io, f->offset),
			    (const char *const[METRIC_KEYS_MAX]){d->name, d->major_text, d->minor_text,
								 f->fixed});
}

static void look_at_root(Round *r)
{
	const char *root = store_root(engine_store(r->door->engine));
	struct stat st;

	r->has_root = statvfs(root, &r->root) == 0 && stat(root, &st) == 0;
	if (r->has_root)
		name_device(major(st.st_dev), minor(st.st_dev), r->root_device, sizeof(r->root_device));
}

/* ---- containers and pods ---- */

/* What nobody has looked at yet is looked at now, while that takes little time; the rest beside, for the next time. */
static bool layer_usage(Round *r, const char *id, EngineLayerUsage *ret)
{
	int64_t began = clock_mono_ns();
	int n = engine_container_layer_usage(r->door->engine, id, ret);

	if (n > 0 || r->measured_ns >= MEASURE_NS)
		return n > 0;
	n = engine_container_layer_measure(r->door->engine, id, ret, NULL);
	r->measured_ns += clock_mono_ns() - began;
	return n >= 0;
}

static void add_layer(Round *r, const CriSubject *s, Metrics *m)
{
	EngineLayerUsage u;
	MetricLayer l = {.bytes = CGROUP_UNKNOWN,
			 .limit = r->root.f_blocks * r->root.f_frsize,
			 .inodes_free = r->root.f_ffree,
			 .inodes_total = r->root.f_files};

	if (!r->has_root)
		return;
	if (layer_usage(r, s->id, &u))
		l.bytes = u.bytes;
	add_all(m, OF_LAYER, &l, r->root_device);
}

static void add_spec(const CriSubject *s, Metrics *m)
{
	const MetricSpec spec = {.shares = s->cpu_shares > 0 ? (uint64_t)s->cpu_shares : SHARES_USUAL,
				 .quota = s->cpu_quota > 0 ? (uint64_t)s->cpu_quota : CGROUP_UNKNOWN,
				 .period = s->cpu_period > 0 ? (uint64_t)s->cpu_period : PERIOD_USUAL,
				 .reservation = (uint64_t)MAX2(s->memory_reservation, (int64_t)0)};

	add_all(m, OF_SPEC, &spec, NULL);
}

/* Of containers that were given some: others cannot have any where kubelets say who may. */
static void add_hugepages(Round *r, const CriSubject *s, Metrics *m)
{
	for (size_t i = 0; i < s->n_page_sizes; i++) {
		EngineHugepages h;

		if (engine_container_hugepages(r->door->engine, s->id, s->page_sizes[i], &h) > 0)
			add_all(m, OF_HUGEPAGES, &h, s->page_sizes[i]);
	}
}

static const char *text_or_empty(const char *s)
{
	return s ? s : "";
}

static void set_common(Metrics *m, const char *container, const char *cgroup, const char *image,
		       const char *id, const Cri__PodSandboxMetadata *pod)
{
	const char *common[] = {container,
				cgroup,
				image,
				id,
				pod ? text_or_empty(pod->namespace_) : "",
				pod ? text_or_empty(pod->name) : ""};

	memcpy(m->common, common, sizeof(common));
}

/* 1 with metrics, 0: it does not run. */
static int container_metrics(Round *r, const CriSubject *s, const Cri__PodSandboxMetadata *pod,
			     char **ret_cgroup, Metrics *m, Err *e)
{
	const Cri__Container *k = (const Cri__Container *)s->listed;
	const Cri__ImageSpec *image = k->image;
	EngineUsage u;
	int n = s->runs ? engine_container_usage(r->door->engine, s->id, true, &u, e) : 0;

	if (n > 0)
		n = engine_container_cgroup(r->door->engine, s->id, ret_cgroup, e);
	if (n < 0 || !*ret_cgroup)
		return MIN2(n, 0);
	set_common(m, k->metadata ? text_or_empty(k->metadata->name) : "", *ret_cgroup,
		   !image                                   ? ""
		   : str_empty(image->user_specified_image) ? text_or_empty(image->image)
							    : image->user_specified_image,
		   s->id, pod);
	m->at_ns = u.at_ns;
	add_usage(m, &u, false);
	for (size_t i = 0; i < u.cgroup.n_io; i++)
		add_device(r, &u.cgroup.io[i], m);
	add_layer(r, s, m);
	add_spec(s, m);
	add_hugepages(r, s, m);
	add_all(m, OF_TIMES, &(MetricTimes){(uint64_t)u.at_ns, (uint64_t)s->started_ns}, NULL);
	return 1;
}

static int pod_metrics(Round *r, const CriSubject *s, const char *cgroup, EngineInterface **ret_interfaces,
		       Metrics *m, Err *e)
{
	const Cri__PodSandbox *k = (const Cri__PodSandbox *)s->listed;
	EngineUsage u = {.at_ns = clock_now_ns()};
	size_t n;
	int has = engine_pod_usage(r->door->engine, s->id, true, &u, e);

	if (has >= 0)
		has =
		    engine_container_interfaces(r->door->engine, s->id, ret_interfaces, &n, e) < 0 ? -1 : has;
	if (has < 0)
		return has;
	set_common(m, "", cgroup, "", s->id, k->metadata);
	m->at_ns = u.at_ns;
	if (has)
		add_usage(m, &u, true);
	for (size_t i = 0; i < n; i++)
		add_all(m, OF_INTERFACE, &(*ret_interfaces)[i], (*ret_interfaces)[i].name);
	return 0;
}

typedef struct PodDoc {
	Metrics own, *members;
	Cri__ContainerMetrics *docs, **list;
	char **cgroups; /* of the members */
	char *cgroup;
	EngineInterface *interfaces;
	size_t n;
} PodDoc;

static void pod_doc_done(PodDoc *d)
{
	metrics_done(&d->own);
	for (size_t i = 0; d->members && i < d->n; i++)
		metrics_done(&d->members[i]);
	for (size_t i = 0; d->cgroups && i < d->n; i++)
		free(d->cgroups[i]);
	free(d->members);
	free(d->docs);
	free(d->list);
	free(d->cgroups);
	free(d->cgroup);
	free(d->interfaces);
}

static int members_fill(Round *r, const CriSubject *v, const Cri__PodSandboxMetadata *pod, PodDoc *d,
			Cri__PodSandboxMetrics *to, Err *e)
{
	if (d->n == 0)
		return 0;
	d->members = calloc(d->n, sizeof(*d->members));
	d->docs = calloc(d->n, sizeof(*d->docs));
	d->list = calloc(d->n, sizeof(Cri__ContainerMetrics *));
	d->cgroups = calloc(d->n, sizeof(char *));
	if (!d->members || !d->docs || !d->list || !d->cgroups)
		return err_oom(e);
	for (size_t i = 0; i < d->n; i++) {
		Cri__ContainerMetrics *doc = &d->docs[i];
		Err own = {0};
		int n = container_metrics(r, &v[i], pod, &d->cgroups[i], &d->members[i], &own);

		if (n < 0 && own.kind != ERR_NOT_FOUND)
			return err_new_no(e, own.kind, -n, "%s", err_msg(&own, n));
		if (n <= 0)
			continue;
		*doc = (Cri__ContainerMetrics)CRI__CONTAINER_METRICS__INIT;
		doc->container_id = (char *)v[i].id;
		doc->metrics = settle(&d->members[i]);
		doc->n_metrics = d->members[i].n;
		if (d->members[i].oom)
			return err_oom(e);
		d->list[to->n_container_metrics++] = doc;
	}
	to->container_metrics = d->list;
	return 0;
}

/* The pod's cgroup is that above the sandbox's own. */
static int pod_cgroup(Engine *en, const char *id, char **ret, Err *e)
{
	int r = engine_container_cgroup(en, id, ret, e);
	char *cut = r >= 0 && *ret ? strrchr(*ret, '/') : NULL;

	if (cut)
		*cut = '\0';
	return r;
}

static int pod_add(Round *r, const CriSubjects *all, const CriSubject *s, CriItems *l, Err *e)
{
	_cleanup_(pod_doc_done) PodDoc d = {0};
	Cri__PodSandboxMetrics doc = CRI__POD_SANDBOX_METRICS__INIT;
	const CriSubject *members = cri_subjects_of_pod(all, s->id, &d.n);
	int n = pod_cgroup(r->door->engine, s->id, &d.cgroup, e);

	if (n >= 0)
		n = pod_metrics(r, s, text_or_empty(d.cgroup), &d.interfaces, &d.own, e);
	if (n >= 0)
		n = members_fill(r, members, ((const Cri__PodSandbox *)s->listed)->metadata, &d, &doc, e);
	if (n < 0)
		return n;
	doc.pod_sandbox_id = (char *)s->id;
	doc.metrics = settle(&d.own);
	doc.n_metrics = d.own.n;
	if (d.own.oom)
		return err_oom(e);
	cri_items_add(l, &doc.base);
	return 0;
}

static int metrics_make(const CriDoor *d, CriItems *l, Err *e)
{
	_cleanup_(cri_subjects_done) CriSubjects s = {0};
	_cleanup_free_ DeviceName *devices = calloc(DEVICES_MAX, sizeof(*devices));
	Round round = {.door = d, .devices = devices};
	int r =
	    devices ? cri_subjects_gather(d->engine, &(CriFilter){0}, &(CriFilter){0}, &s, e) : err_oom(e);

	look_at_root(&round);
	for (size_t i = 0; r >= 0 && i < s.n_pods; i++) {
		Err own = {0};

		if (!s.pods[i].runs)
			continue;
		r = pod_add(&round, &s, &s.pods[i], l, &own);
		if (r < 0)
			r = own.kind == ERR_NOT_FOUND ? 0
						      : err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
	}
	return r;
}

int cri_rpc_list_pod_metrics(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__list_pod_sandbox_metrics_request__descriptor, &rq, e);

	if (r >= 0)
		r = metrics_make(user, &l, e);
	return r < 0 ? r : cri_items_send(&l, call, e);
}

int cri_rpc_stream_pod_metrics(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__stream_pod_sandbox_metrics_request__descriptor, &rq, e);

	if (r >= 0)
		r = metrics_make(user, &l, e);
	return r < 0 ? r : cri_items_stream(&l, call, e);
}
