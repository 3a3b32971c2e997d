/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of pods and their containers under cadvisor's names and labels, so that what people have made of those (dashboards, alerts) finds them. A kubelet asks once for the
 * descriptors, and then for the values, whose labels are in the order of the descriptor's.
 *
 * One table says what there is. A value is a 64-bit number: seconds are whole ones. What the machine does not count is left out. The numbers of the pod's own cgroup and of its
 * interfaces are the pod's, with an empty container label.
 */
#include "api/cri/door-internal.h"
#include "api/cri/items.h"
#include "api/cri/subjects.h"
#include "engine/usage.h"

#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#define LABELS_MAX  8
#define DEVICES_MAX CGROUP_IO_DEVICES
#define SECOND_NS   UINT64_C(1000000000)
#define SECOND_US   UINT64_C(1000000)

/* Where a number is. */
typedef enum Kind {
	OF_CGROUP,    /* an offset in CgroupUsage */
	OF_WORKING,   /* what follows from it: the working set */
	OF_CONTAINER, /* the same, but not of pods */
	OF_PRESSURE,  /* an offset of a CgroupStall in CgroupUsage: its total */
	OF_DEVICE,    /* an offset in CgroupDeviceIo, for each */
	OF_LAYER,     /* an offset in Layer */
	OF_INTERFACE, /* an offset in EngineInterface, for each of a pod's */
	OF_TIMES,     /* an offset in Times */
	OF_SPEC,      /* an offset in Spec */
} Kind;

typedef struct Layer {
	uint64_t bytes, limit, inodes_free, inodes_total;
} Layer;

typedef struct Times {
	uint64_t now, started;
} Times;

/* What was asked for, and what the kernel takes if it was not. */
typedef struct Spec {
	uint64_t shares, quota, period, reservation;
} Spec;

#define SHARES_USUAL 1024
#define PERIOD_USUAL 100000

typedef struct Family {
	const char *name, *help;
	Kind kind;
	bool gauge;
	size_t offset;
	uint64_t unit;       /* divides */
	const char *keys[2]; /* of labels beside the common ones */
	const char *failure; /* of container_memory_failures_total: its kind */
} Family;

#define USAGE(m)  offsetof(CgroupUsage, m)
#define DEVICE(m) offsetof(CgroupDeviceIo, m)
#define NET(m)    offsetof(EngineInterface, m)

static const char *const common_keys[] = {"container", "id", "image", "name", "namespace", "pod"};

/* The rows of one name follow each other. */
static const Family families[] = {
    {"container_cpu_usage_seconds_total",
     "Cumulative CPU time used, in seconds",
     OF_CGROUP,
     false,
     USAGE(cpu_ns),
     SECOND_NS,
     {NULL},
     NULL},
    {"container_cpu_user_seconds_total",
     "Cumulative CPU time used in user mode, in seconds",
     OF_CGROUP,
     false,
     USAGE(cpu_user_ns),
     SECOND_NS,
     {NULL},
     NULL},
    {"container_cpu_system_seconds_total",
     "Cumulative CPU time used in the kernel, in seconds",
     OF_CGROUP,
     false,
     USAGE(cpu_system_ns),
     SECOND_NS,
     {NULL},
     NULL},
    {"container_cpu_cfs_periods_total",
     "Number of periods in which the CPU quota was enforced",
     OF_CGROUP,
     false,
     USAGE(cpu_periods),
     1,
     {NULL},
     NULL},
    {"container_cpu_cfs_throttled_periods_total",
     "Number of periods in which CPU was refused",
     OF_CGROUP,
     false,
     USAGE(cpu_throttled_periods),
     1,
     {NULL},
     NULL},
    {"container_cpu_cfs_throttled_seconds_total",
     "Time for which CPU was refused, in seconds",
     OF_CGROUP,
     false,
     USAGE(cpu_throttled_ns),
     SECOND_NS,
     {NULL},
     NULL},
    {"container_memory_usage_bytes",
     "Memory in use, whenever it was used last",
     OF_CGROUP,
     true,
     USAGE(memory),
     1,
     {NULL},
     NULL},
    {"container_memory_working_set_bytes",
     "Memory in use but for page cache that was not used lately",
     OF_WORKING,
     true,
     0,
     1,
     {NULL},
     NULL},
    {"container_memory_max_usage_bytes",
     "Most memory that was in use",
     OF_CGROUP,
     true,
     USAGE(memory_most),
     1,
     {NULL},
     NULL},
    {"container_memory_rss", "Anonymous memory in use", OF_CGROUP, true, USAGE(anon), 1, {NULL}, NULL},
    {"container_memory_cache", "Page cache", OF_CGROUP, true, USAGE(file), 1, {NULL}, NULL},
    {"container_memory_mapped_file",
     "Memory of mapped files",
     OF_CGROUP,
     true,
     USAGE(mapped_file),
     1,
     {NULL},
     NULL},
    {"container_memory_kernel_usage",
     "Memory of the kernel's",
     OF_CGROUP,
     true,
     USAGE(kernel),
     1,
     {NULL},
     NULL},
    {"container_memory_swap", "Swap in use", OF_CGROUP, true, USAGE(swap), 1, {NULL}, NULL},
    {"container_memory_failcnt",
     "How often the memory limit was hit",
     OF_CGROUP,
     false,
     USAGE(memory_failures),
     1,
     {NULL},
     NULL},
    {"container_memory_total_active_file_bytes",
     "Page cache that was used lately",
     OF_CGROUP,
     true,
     USAGE(active_file),
     1,
     {NULL},
     NULL},
    {"container_memory_total_inactive_file_bytes",
     "Page cache that was not used lately",
     OF_CGROUP,
     true,
     USAGE(inactive_file),
     1,
     {NULL},
     NULL},
    {"container_memory_failures_total",
     "Cumulative count of page faults",
     OF_CGROUP,
     false,
     USAGE(page_faults),
     1,
     {"failure_type", "scope"},
     "pgfault"},
    {"container_memory_failures_total",
     "Cumulative count of page faults",
     OF_CGROUP,
     false,
     USAGE(major_page_faults),
     1,
     {"failure_type", "scope"},
     "pgmajfault"},
    {"container_oom_events_total",
     "How often lack of memory has taken a process",
     OF_CGROUP,
     false,
     USAGE(oom_kills),
     1,
     {NULL},
     NULL},
    {"container_processes", "Number of processes", OF_CGROUP, true, USAGE(processes), 1, {NULL}, NULL},
    {"container_threads", "Number of threads", OF_CGROUP, true, USAGE(tasks), 1, {NULL}, NULL},
    {"container_threads_max",
     "Most threads that there may be",
     OF_CGROUP,
     true,
     USAGE(tasks_limit),
     1,
     {NULL},
     NULL},
    {"container_spec_memory_limit_bytes",
     "Memory limit",
     OF_CONTAINER,
     true,
     USAGE(memory_limit),
     1,
     {NULL},
     NULL},
    {"container_spec_cpu_shares",
     "Share of CPU time against others, of which 1024 is the usual",
     OF_SPEC,
     true,
     offsetof(Spec, shares),
     1,
     {NULL},
     NULL},
    {"container_spec_cpu_quota",
     "CPU time in each period, in microseconds",
     OF_SPEC,
     true,
     offsetof(Spec, quota),
     1,
     {NULL},
     NULL},
    {"container_spec_cpu_period",
     "Period of the CPU quota, in microseconds",
     OF_SPEC,
     true,
     offsetof(Spec, period),
     1,
     {NULL},
     NULL},
    {"container_spec_memory_reservation_limit_bytes",
     "Memory that is left to it when memory is short",
     OF_SPEC,
     true,
     offsetof(Spec, reservation),
     1,
     {NULL},
     NULL},
    {"container_spec_memory_swap_limit_bytes",
     "Swap limit",
     OF_CONTAINER,
     true,
     USAGE(swap_limit),
     1,
     {NULL},
     NULL},
    {"container_pressure_cpu_waiting_seconds_total",
     "Time for which some task waited for CPU, in seconds",
     OF_PRESSURE,
     false,
     USAGE(cpu_pressure.some),
     SECOND_US,
     {NULL},
     NULL},
    {"container_pressure_cpu_stalled_seconds_total",
     "Time for which all tasks waited for CPU, in seconds",
     OF_PRESSURE,
     false,
     USAGE(cpu_pressure.full),
     SECOND_US,
     {NULL},
     NULL},
    {"container_pressure_memory_waiting_seconds_total",
     "Time for which some task waited for memory, in seconds",
     OF_PRESSURE,
     false,
     USAGE(memory_pressure.some),
     SECOND_US,
     {NULL},
     NULL},
    {"container_pressure_memory_stalled_seconds_total",
     "Time for which all tasks waited for memory, in seconds",
     OF_PRESSURE,
     false,
     USAGE(memory_pressure.full),
     SECOND_US,
     {NULL},
     NULL},
    {"container_pressure_io_waiting_seconds_total",
     "Time for which some task waited for a device, in seconds",
     OF_PRESSURE,
     false,
     USAGE(io_pressure.some),
     SECOND_US,
     {NULL},
     NULL},
    {"container_pressure_io_stalled_seconds_total",
     "Time for which all tasks waited for a device, in seconds",
     OF_PRESSURE,
     false,
     USAGE(io_pressure.full),
     SECOND_US,
     {NULL},
     NULL},
    {"container_fs_reads_bytes_total",
     "Cumulative count of bytes read",
     OF_DEVICE,
     false,
     DEVICE(read_bytes),
     1,
     {"device"},
     NULL},
    {"container_fs_reads_total",
     "Cumulative count of reads",
     OF_DEVICE,
     false,
     DEVICE(reads),
     1,
     {"device"},
     NULL},
    {"container_fs_writes_bytes_total",
     "Cumulative count of bytes written",
     OF_DEVICE,
     false,
     DEVICE(write_bytes),
     1,
     {"device"},
     NULL},
    {"container_fs_writes_total",
     "Cumulative count of writes",
     OF_DEVICE,
     false,
     DEVICE(writes),
     1,
     {"device"},
     NULL},
    {"container_fs_usage_bytes",
     "Bytes of its file system that the container has written",
     OF_LAYER,
     true,
     offsetof(Layer, bytes),
     1,
     {"device"},
     NULL},
    {"container_fs_limit_bytes",
     "Size of that file system",
     OF_LAYER,
     true,
     offsetof(Layer, limit),
     1,
     {"device"},
     NULL},
    {"container_fs_inodes_free",
     "Free inodes of that file system",
     OF_LAYER,
     true,
     offsetof(Layer, inodes_free),
     1,
     {"device"},
     NULL},
    {"container_fs_inodes_total",
     "Inodes of that file system",
     OF_LAYER,
     true,
     offsetof(Layer, inodes_total),
     1,
     {"device"},
     NULL},
    {"container_network_receive_bytes_total",
     "Cumulative count of bytes received",
     OF_INTERFACE,
     false,
     NET(rx_bytes),
     1,
     {"interface"},
     NULL},
    {"container_network_receive_packets_total",
     "Cumulative count of packets received",
     OF_INTERFACE,
     false,
     NET(rx_packets),
     1,
     {"interface"},
     NULL},
    {"container_network_receive_packets_dropped_total",
     "Cumulative count of packets that were dropped when received",
     OF_INTERFACE,
     false,
     NET(rx_dropped),
     1,
     {"interface"},
     NULL},
    {"container_network_receive_errors_total",
     "Cumulative count of errors when receiving",
     OF_INTERFACE,
     false,
     NET(rx_errors),
     1,
     {"interface"},
     NULL},
    {"container_network_transmit_bytes_total",
     "Cumulative count of bytes sent",
     OF_INTERFACE,
     false,
     NET(tx_bytes),
     1,
     {"interface"},
     NULL},
    {"container_network_transmit_packets_total",
     "Cumulative count of packets sent",
     OF_INTERFACE,
     false,
     NET(tx_packets),
     1,
     {"interface"},
     NULL},
    {"container_network_transmit_packets_dropped_total",
     "Cumulative count of packets that were dropped when sent",
     OF_INTERFACE,
     false,
     NET(tx_dropped),
     1,
     {"interface"},
     NULL},
    {"container_network_transmit_errors_total",
     "Cumulative count of errors when sending",
     OF_INTERFACE,
     false,
     NET(tx_errors),
     1,
     {"interface"},
     NULL},
    {"container_start_time_seconds",
     "When the container was started, in seconds since 1970",
     OF_TIMES,
     true,
     offsetof(Times, started),
     SECOND_NS,
     {NULL},
     NULL},
    {"container_last_seen",
     "When the container was looked at, in seconds since 1970",
     OF_TIMES,
     true,
     offsetof(Times, now),
     SECOND_NS,
     {NULL},
     NULL},
};

/* ---- descriptors ---- */

static bool again(const Family *f)
{
	return f > families && streq(f->name, f[-1].name);
}

static size_t label_count(const Family *f)
{
	return ELEMENTSOF(common_keys) + (f->keys[0] ? 1u : 0u) + (f->keys[1] ? 1u : 0u);
}

int cri_rpc_list_metric_descriptors(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__list_metric_descriptors_request__descriptor, &rq, e);

	(void)user;
	for (size_t i = 0; i < ELEMENTSOF(families); i++) {
		Cri__MetricDescriptor d = CRI__METRIC_DESCRIPTOR__INIT;
		const char *keys[LABELS_MAX];

		if (again(&families[i]))
			continue;
		memcpy(keys, common_keys, sizeof(common_keys));
		memcpy(keys + ELEMENTSOF(common_keys), families[i].keys, sizeof(families[i].keys));
		d.name = (char *)families[i].name;
		d.help = (char *)families[i].help;
		d.label_keys = (char **)keys;
		d.n_label_keys = label_count(&families[i]);
		cri_items_add(&l, &d.base);
	}
	return r < 0 ? r : cri_items_send(&l, call, e);
}

/* ---- values ---- */

typedef struct MetricDoc {
	Cri__Metric metric;
	Cri__UInt64Value value;
	char *labels[LABELS_MAX];
} MetricDoc;

/* Those of one container, or of one pod. Documents and list grow together; the list's pointers are set at the end. */
typedef struct Metrics {
	const char *common[ELEMENTSOF(common_keys)];
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

static void add(Metrics *m, const Family *f, uint64_t v, const char *label, const char *second)
{
	MetricDoc *d;

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
	d->value.value = v / f->unit;
	memcpy(d->labels, m->common, sizeof(m->common));
	d->labels[ELEMENTSOF(common_keys)] = (char *)label;
	d->labels[ELEMENTSOF(common_keys) + 1] = (char *)second;
	d->metric.n_label_values = label_count(f);
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

static void add_usage(Metrics *m, const EngineUsage *u, bool pod)
{
	const CgroupUsage *c = &u->cgroup;

	for (const Family *f = families; f < families + ELEMENTSOF(families); f++) {
		if (f->failure) {
			add(m, f, number_at(c, f->offset), f->failure, "container");
			add(m, f, number_at(c, f->offset), f->failure, "hierarchy");
		} else if (f->kind == OF_CGROUP || (f->kind == OF_CONTAINER && !pod)) {
			add(m, f, number_at(c, f->offset), NULL, NULL);
		} else if (f->kind == OF_WORKING) {
			add(m, f, cgroup_working_set(c), NULL, NULL);
		} else if (f->kind == OF_PRESSURE && c->cpu_pressure.known) {
			add(m, f,
			    ((const CgroupStall *)(const void *)((const char *)c + f->offset))->total_us,
			    NULL, NULL);
		}
	}
}

static void add_all(Metrics *m, Kind kind, const void *of, const char *label)
{
	for (const Family *f = families; f < families + ELEMENTSOF(families); f++)
		if (f->kind == kind)
			add(m, f, number_at(of, f->offset), label, NULL);
}

/* ---- devices ---- */

typedef struct DeviceName {
	unsigned major, minor;
	char name[40];
} DeviceName;

/* What is looked up for one answer. */
typedef struct Round {
	const CriDoor *door;
	DeviceName devices[DEVICES_MAX];
	size_t n_devices;
	char root_device[40]; /* of the file system with the containers' files */
	struct statvfs root;
	bool has_root;
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

static const char *device_of(Round *r, const CgroupDeviceIo *io)
{
	DeviceName *d;

	for (size_t i = 0; i < r->n_devices; i++)
		if (r->devices[i].major == io->major && r->devices[i].minor == io->minor)
			return r->devices[i].name;
	if (r->n_devices == DEVICES_MAX)
		return "other";
	d = &r->devices[r->n_devices++];
	d->major = io->major;
	d->minor = io->minor;
	name_device(io->major, io->minor, d->name, sizeof(d->name));
	return d->name;
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

static void add_layer(Round *r, const CriSubject *s, Metrics *m)
{
	EngineLayerUsage u;
	Layer l = {.bytes = CGROUP_UNKNOWN,
		   .limit = r->root.f_blocks * r->root.f_frsize,
		   .inodes_free = r->root.f_ffree,
		   .inodes_total = r->root.f_files};

	if (!r->has_root)
		return;
	if (engine_container_layer_usage(r->door->engine, s->id, &u) > 0)
		l.bytes = u.bytes;
	add_all(m, OF_LAYER, &l, r->root_device);
}

static void add_spec(const CriSubject *s, Metrics *m)
{
	const Spec spec = {.shares = s->cpu_shares > 0 ? (uint64_t)s->cpu_shares : SHARES_USUAL,
			   .quota = s->cpu_quota > 0 ? (uint64_t)s->cpu_quota : CGROUP_UNKNOWN,
			   .period = s->cpu_period > 0 ? (uint64_t)s->cpu_period : PERIOD_USUAL,
			   .reservation = (uint64_t)MAX2(s->memory_reservation, (int64_t)0)};

	add_all(m, OF_SPEC, &spec, NULL);
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
		add_all(m, OF_DEVICE, &u.cgroup.io[i], device_of(r, &u.cgroup.io[i]));
	add_layer(r, s, m);
	add_spec(s, m);
	add_all(m, OF_TIMES, &(Times){(uint64_t)u.at_ns, (uint64_t)s->started_ns}, NULL);
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
	Round round = {.door = d};
	int r = cri_subjects_gather(d->engine, &(CriFilter){0}, &(CriFilter){0}, &s, e);

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
