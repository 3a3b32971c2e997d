/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of a container in the words of the runtime-spec. Whether they make sense was asked when it was created (config-check.c). */
#include "engine/engine-internal.h"

#include <sys/sysmacros.h>

static void set_positive(json_t *o, const char *key, int64_t value)
{
	if (value > 0)
		json_object_set_new(o, key, json_integer(value));
}

static void set_part(json_t *o, const char *key, json_t *part)
{
	if (json_object_size(part) > 0)
		json_object_set(o, key, part);
	json_decref(part);
}

static json_t *memory_part(const ContainerHost *h, bool pod)
{
	json_t *o = json_object();

	set_positive(o, "limit", h->memory);
	set_positive(o, "reservation", h->memory_reservation);
	/* Docker's default: as much swap as memory again; -1 is unlimited. */
	if (h->memory_swap != 0)
		json_object_set_new(o, "swap", json_integer(h->memory_swap));
	else if (h->memory > 0 && !pod)
		json_object_set_new(o, "swap", json_integer(h->memory * 2));
	if (h->memory_swappiness >= 0)
		json_object_set_new(o, "swappiness", json_integer(h->memory_swappiness));
	if (h->oom_kill_disable)
		json_object_set_new(o, "disableOOMKiller", json_true());
	return o;
}

static json_t *cpu_part(const ContainerHost *h)
{
	json_t *o = json_object();

	set_positive(o, "shares", h->cpu_shares);
	set_positive(o, "period", h->cpu_period);
	set_positive(o, "quota", h->cpu_quota);
	if (h->nano_cpus > 0) {
		json_object_set_new(o, "period", json_integer(100000));
		json_object_set_new(o, "quota", json_integer(h->nano_cpus / 10000));
	}
	set_positive(o, "realtimePeriod", h->cpu_rt_period);
	set_positive(o, "realtimeRuntime", h->cpu_rt_runtime);
	if (!str_empty(h->cpuset_cpus))
		json_object_set_new(o, "cpus", json_string(h->cpuset_cpus));
	if (!str_empty(h->cpuset_mems))
		json_object_set_new(o, "mems", json_string(h->cpuset_mems));
	return o;
}

/* `value` is the name of what is limited: rate or weight. */
static int block_devices(const ContainerThrottles *t, const char *key, const char *value, json_t *o, Err *e)
{
	json_t *a = json_array();

	for (size_t i = 0; i < t->n; i++) {
		const char *path = t->items[i].path ?: "";
		struct stat st;

		if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode)) {
			json_decref(a);
			return err_new(e, ERR_INVALID, "limit of block device \"%s\": %s", path,
				       *path ? "no such block device" : "its path is empty");
		}
		json_array_append_new(a, json_pack("{s:I, s:I, s:I}", "major", (json_int_t)major(st.st_rdev),
						   "minor", (json_int_t)minor(st.st_rdev), value,
						   (json_int_t)t->items[i].rate));
	}
	if (t->n > 0)
		json_object_set(o, key, a);
	json_decref(a);
	return 0;
}

static int block_part(const ContainerHost *h, json_t *o, Err *e)
{
	int r;

	set_positive(o, "weight", h->blkio_weight);
	r = block_devices(&h->blkio_weights, "weightDevice", "weight", o, e);
	if (r >= 0)
		r = block_devices(&h->read_bps, "throttleReadBpsDevice", "rate", o, e);
	if (r >= 0)
		r = block_devices(&h->write_bps, "throttleWriteBpsDevice", "rate", o, e);
	if (r >= 0)
		r = block_devices(&h->read_iops, "throttleReadIOPSDevice", "rate", o, e);
	if (r >= 0)
		r = block_devices(&h->write_iops, "throttleWriteIOPSDevice", "rate", o, e);
	return r;
}

/* ---- of pods ---- */

/* A machine that does not count huge pages is asked for limits of them like any other: kubelets name all sizes there are, most with 0. */
static bool counts_hugepages(const Engine *en)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	int hierarchy = 0;

	if (en->cgroup_version == 2)
		return file_read_at(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", 4096, &text, NULL) >= 0 &&
		       strstr(text, "hugetlb");
	return file_read_at(AT_FDCWD, "/proc/cgroups", 65536, &text, NULL) >= 0 &&
	       (line = strstr(text, "\nhugetlb\t")) && sscanf(line, " hugetlb %d", &hierarchy) == 1 &&
	       hierarchy != 0;
}

int spec_resources_of_pod(Engine *en, const ContainerPod *p, json_t *resources, Err *e)
{
	_cleanup_json_ json_t *pages = json_array(), *raw = json_map_from_strv(p->unified);
	bool counted = strv_len(p->hugepages) > 0 && counts_hugepages(en);

	if (!pages || !raw)
		return err_oom(e);
	for (size_t i = 0; counted && p->hugepages[i]; i++) {
		size_t size = strcspn(p->hugepages[i], "=");
		int64_t limit;

		if (!p->hugepages[i][size] || str_to_i64(p->hugepages[i] + size + 1, &limit) < 0)
			return err_new(e, ERR_INVALID, "\"%.60s\" is no limit of huge pages",
				       p->hugepages[i]);
		json_array_append_new(pages, json_pack("{s:s%, s:I}", "pageSize", p->hugepages[i], size,
						       "limit", (json_int_t)limit));
	}
	if (json_array_size(pages) > 0)
		json_object_set(resources, "hugepageLimits", pages);
	if (json_object_size(raw) > 0)
		json_object_set(resources, "unified", raw);
	return 0;
}

int spec_resources(Engine *en, const ContainerConfig *k, json_t *device_rules, json_t **ret, Err *e)
{
	const ContainerHost *h = &k->host;
	json_t *o = json_object(), *block = json_object();
	int r = block_part(h, block, e);

	json_object_set_new(o, "devices", device_rules);
	set_part(o, "memory", memory_part(h, k->pod.id != NULL));
	set_part(o, "cpu", cpu_part(h));
	set_part(o, "blockIO", block);
	if (h->pids_limit > 0)
		json_object_set_new(o, "pids", json_pack("{s:I}", "limit", (json_int_t)h->pids_limit));
	*ret = o;
	return r < 0 ? r : spec_resources_of_pod(en, &k->pod, o, e);
}
