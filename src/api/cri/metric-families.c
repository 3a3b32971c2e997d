/* SPDX-License-Identifier: Apache-2.0 */
/* See metric-families.h. */
#include "api/cri/metric-families.h"

#include "api/cri/door-internal.h"
#include "api/cri/items.h"

#define SECOND_NS UINT64_C(1000000000)
#define SECOND_US UINT64_C(1000000)

#define USAGE(m)  offsetof(CgroupUsage, m)
#define DEVICE(m) offsetof(CgroupDeviceIo, m)
#define NET(m)    offsetof(EngineInterface, m)

#define COUNTER(n, h, k, at, ...)                                                                            \
	{                                                                                                    \
		.name = n, .help = h, .kind = k, .offset = at, __VA_ARGS__                                   \
	}
#define GAUGE(n, h, k, at, ...)                                                                              \
	{                                                                                                    \
		.name = n, .help = h, .kind = k, .offset = at, .gauge = true, __VA_ARGS__                    \
	}

const MetricFamily cri_metric_families[] = {
    COUNTER("container_cpu_usage_seconds_total", "Cumulative CPU time used, in seconds", OF_CGROUP,
	    USAGE(cpu_ns), .unit = SECOND_NS, .keys = {"cpu"}, .fixed = "total"),
    COUNTER("container_cpu_user_seconds_total", "Cumulative CPU time used in user mode, in seconds",
	    OF_CGROUP, USAGE(cpu_user_ns), .unit = SECOND_NS),
    COUNTER("container_cpu_system_seconds_total", "Cumulative CPU time used in the kernel, in seconds",
	    OF_CGROUP, USAGE(cpu_system_ns), .unit = SECOND_NS),
    COUNTER("container_cpu_cfs_periods_total", "Number of periods in which the CPU quota was enforced",
	    OF_CGROUP, USAGE(cpu_periods)),
    COUNTER("container_cpu_cfs_throttled_periods_total", "Number of periods in which CPU was refused",
	    OF_CGROUP, USAGE(cpu_throttled_periods)),
    COUNTER("container_cpu_cfs_throttled_seconds_total", "Time for which CPU was refused, in seconds",
	    OF_CGROUP, USAGE(cpu_throttled_ns), .unit = SECOND_NS),
    GAUGE("container_memory_usage_bytes", "Memory in use, whenever it was used last", OF_CGROUP,
	  USAGE(memory)),
    GAUGE("container_memory_working_set_bytes", "Memory in use but for page cache that was not used lately",
	  OF_WORKING, 0),
    GAUGE("container_memory_max_usage_bytes", "Most memory that was in use", OF_CGROUP, USAGE(memory_most)),
    GAUGE("container_memory_rss", "Anonymous memory in use", OF_CGROUP, USAGE(anon)),
    GAUGE("container_memory_cache", "Page cache", OF_CGROUP, USAGE(file)),
    GAUGE("container_memory_mapped_file", "Memory of mapped files", OF_CGROUP, USAGE(mapped_file)),
    GAUGE("container_memory_kernel_usage", "Memory of the kernel's", OF_CGROUP, USAGE(kernel)),
    GAUGE("container_memory_swap", "Swap in use", OF_CGROUP, USAGE(swap)),
    COUNTER("container_memory_failcnt", "How often the memory limit was hit", OF_CGROUP,
	    USAGE(memory_failures)),
    GAUGE("container_memory_total_active_file_bytes", "Page cache that was used lately", OF_CGROUP,
	  USAGE(active_file)),
    GAUGE("container_memory_total_inactive_file_bytes", "Page cache that was not used lately", OF_CGROUP,
	  USAGE(inactive_file)),
    COUNTER("container_memory_failures_total", "Cumulative count of page faults", OF_FAILURES,
	    USAGE(page_faults), .keys = {"failure_type", "scope"}, .fixed = "pgfault"),
    COUNTER("container_memory_failures_total", "Cumulative count of page faults", OF_FAILURES,
	    USAGE(major_page_faults), .keys = {"failure_type", "scope"}, .fixed = "pgmajfault"),
    COUNTER("container_oom_events_total", "How often lack of memory has taken a process", OF_CGROUP,
	    USAGE(oom_kills)),
    GAUGE("container_processes", "Number of processes", OF_CGROUP, USAGE(processes)),
    GAUGE("container_threads", "Number of threads", OF_CGROUP, USAGE(tasks)),
    GAUGE("container_threads_max", "Most threads that there may be", OF_CGROUP, USAGE(tasks_limit),
	  .zero = true),
    GAUGE("container_file_descriptors", "Number of open file descriptors", OF_CONTAINER, USAGE(descriptors)),
    GAUGE("container_sockets", "Number of open sockets", OF_CONTAINER, USAGE(sockets)),
    GAUGE("container_ulimits_soft", "Soft limits of the container's first process", OF_ENGINE,
	  offsetof(EngineUsage, open_files_limit), .keys = {"ulimit"}, .fixed = "max_open_files"),
    GAUGE("container_hugetlb_usage_bytes", "Memory in huge pages", OF_HUGEPAGES,
	  offsetof(EngineHugepages, bytes), .keys = {"pagesize"}),
    GAUGE("container_hugetlb_max_usage_bytes", "Most memory that was in huge pages", OF_HUGEPAGES,
	  offsetof(EngineHugepages, most), .keys = {"pagesize"}),
    GAUGE("container_spec_memory_limit_bytes", "Memory limit", OF_CONTAINER, USAGE(memory_limit),
	  .zero = true),
    GAUGE("container_spec_cpu_shares", "Share of CPU time against others, of which 1024 is the usual",
	  OF_SPEC, offsetof(MetricSpec, shares)),
    GAUGE("container_spec_cpu_quota", "CPU time in each period, in microseconds", OF_SPEC,
	  offsetof(MetricSpec, quota)),
    GAUGE("container_spec_cpu_period", "Period of the CPU quota, in microseconds", OF_SPEC,
	  offsetof(MetricSpec, period)),
    GAUGE("container_spec_memory_reservation_limit_bytes", "Memory that is left to it when memory is short",
	  OF_SPEC, offsetof(MetricSpec, reservation)),
    GAUGE("container_spec_memory_swap_limit_bytes", "Swap limit", OF_CONTAINER, USAGE(swap_limit),
	  .zero = true),
    COUNTER("container_pressure_cpu_waiting_seconds_total",
	    "Time for which some task waited for CPU, in seconds", OF_PRESSURE, USAGE(cpu_pressure.some),
	    .unit = SECOND_US),
    COUNTER("container_pressure_cpu_stalled_seconds_total",
	    "Time for which all tasks waited for CPU, in seconds", OF_PRESSURE, USAGE(cpu_pressure.full),
	    .unit = SECOND_US),
    COUNTER("container_pressure_memory_waiting_seconds_total",
	    "Time for which some task waited for memory, in seconds", OF_PRESSURE,
	    USAGE(memory_pressure.some), .unit = SECOND_US),
    COUNTER("container_pressure_memory_stalled_seconds_total",
	    "Time for which all tasks waited for memory, in seconds", OF_PRESSURE,
	    USAGE(memory_pressure.full), .unit = SECOND_US),
    COUNTER("container_pressure_io_waiting_seconds_total",
	    "Time for which some task waited for a device, in seconds", OF_PRESSURE, USAGE(io_pressure.some),
	    .unit = SECOND_US),
    COUNTER("container_pressure_io_stalled_seconds_total",
	    "Time for which all tasks waited for a device, in seconds", OF_PRESSURE, USAGE(io_pressure.full),
	    .unit = SECOND_US),
    COUNTER("container_fs_reads_bytes_total", "Cumulative count of bytes read", OF_DEVICE, DEVICE(read_bytes),
	    .keys = {"device"}),
    COUNTER("container_fs_reads_total", "Cumulative count of reads", OF_DEVICE, DEVICE(reads),
	    .keys = {"device"}),
    COUNTER("container_fs_writes_bytes_total", "Cumulative count of bytes written", OF_DEVICE,
	    DEVICE(write_bytes), .keys = {"device"}),
    COUNTER("container_fs_writes_total", "Cumulative count of writes", OF_DEVICE, DEVICE(writes),
	    .keys = {"device"}),
    COUNTER("container_blkio_device_usage_total",
	    "Cumulative count of bytes read from a device, and written to it", OF_BLKIO, DEVICE(read_bytes),
	    .keys = {"device", "major", "minor", "operation"}, .fixed = "Read"),
    COUNTER("container_blkio_device_usage_total",
	    "Cumulative count of bytes read from a device, and written to it", OF_BLKIO, DEVICE(write_bytes),
	    .keys = {"device", "major", "minor", "operation"}, .fixed = "Write"),
    GAUGE("container_fs_usage_bytes", "Bytes of its file system that the container has written", OF_LAYER,
	  offsetof(MetricLayer, bytes), .keys = {"device"}),
    GAUGE("container_fs_limit_bytes", "Size of that file system", OF_LAYER, offsetof(MetricLayer, limit),
	  .keys = {"device"}),
    GAUGE("container_fs_inodes_free", "Free inodes of that file system", OF_LAYER,
	  offsetof(MetricLayer, inodes_free), .keys = {"device"}),
    GAUGE("container_fs_inodes_total", "Inodes of that file system", OF_LAYER,
	  offsetof(MetricLayer, inodes_total), .keys = {"device"}),
    COUNTER("container_network_receive_bytes_total", "Cumulative count of bytes received", OF_INTERFACE,
	    NET(rx_bytes), .keys = {"interface"}),
    COUNTER("container_network_receive_packets_total", "Cumulative count of packets received", OF_INTERFACE,
	    NET(rx_packets), .keys = {"interface"}),
    COUNTER("container_network_receive_packets_dropped_total",
	    "Cumulative count of packets that were dropped when received", OF_INTERFACE, NET(rx_dropped),
	    .keys = {"interface"}),
    COUNTER("container_network_receive_errors_total", "Cumulative count of errors when receiving",
	    OF_INTERFACE, NET(rx_errors), .keys = {"interface"}),
    COUNTER("container_network_transmit_bytes_total", "Cumulative count of bytes sent", OF_INTERFACE,
	    NET(tx_bytes), .keys = {"interface"}),
    COUNTER("container_network_transmit_packets_total", "Cumulative count of packets sent", OF_INTERFACE,
	    NET(tx_packets), .keys = {"interface"}),
    COUNTER("container_network_transmit_packets_dropped_total",
	    "Cumulative count of packets that were dropped when sent", OF_INTERFACE, NET(tx_dropped),
	    .keys = {"interface"}),
    COUNTER("container_network_transmit_errors_total", "Cumulative count of errors when sending",
	    OF_INTERFACE, NET(tx_errors), .keys = {"interface"}),
    GAUGE("container_start_time_seconds", "When the container was started, in seconds since 1970", OF_TIMES,
	  offsetof(MetricTimes, started), .unit = SECOND_NS),
    GAUGE("container_last_seen", "When the container was looked at, in seconds since 1970", OF_TIMES,
	  offsetof(MetricTimes, now), .unit = SECOND_NS),
};
const size_t cri_n_metric_families = ELEMENTSOF(cri_metric_families);

/* ---- descriptors ---- */

static const char *const common_keys[METRIC_COMMON] = {"container", "id",        "image",
						       "name",      "namespace", "pod"};

size_t cri_metric_labels(const MetricFamily *f)
{
	size_t n = METRIC_COMMON;

	for (size_t i = 0; i < METRIC_KEYS_MAX && f->keys[i]; i++)
		n++;
	return n;
}

static bool again(const MetricFamily *f)
{
	return f > cri_metric_families && streq(f->name, f[-1].name);
}

int cri_rpc_list_metric_descriptors(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(cri_items_done) CriItems l = {0};
	int r = grpc_receive_only(call, &cri__list_metric_descriptors_request__descriptor, &rq, e);

	(void)user;
	for (size_t i = 0; i < cri_n_metric_families; i++) {
		const MetricFamily *f = &cri_metric_families[i];
		Cri__MetricDescriptor d = CRI__METRIC_DESCRIPTOR__INIT;
		const char *keys[METRIC_COMMON + METRIC_KEYS_MAX];

		if (again(f))
			continue;
		memcpy(keys, common_keys, sizeof(common_keys));
		memcpy(keys + METRIC_COMMON, f->keys, sizeof(f->keys));
		d.name = (char *)f->name;
		d.help = (char *)f->help;
		d.label_keys = (char **)keys;
		d.n_label_keys = cri_metric_labels(f);
		cri_items_add(&l, &d.base);
	}
	return r < 0 ? r : cri_items_send(&l, call, e);
}
