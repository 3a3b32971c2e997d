/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits. 0 is "not said" throughout. A limit of memory without a word about swap is one without swap: that is what Kubernetes counts on, and not what the Engine API means by it.
 */
#include "api/cri/config-internal.h"

#define PERIOD_MIN 1000 /* microseconds: the kernel's bounds */
#define PERIOD_MAX 1000000

static int check_cpu(const Cri__LinuxContainerResources *r, Err *e)
{
	if (r->cpu_period != 0 && (r->cpu_period < PERIOD_MIN || r->cpu_period > PERIOD_MAX))
		return err_new(e, ERR_INVALID, "cpu_period: %lld is not from %d to %d microseconds",
			       (long long)r->cpu_period, PERIOD_MIN, PERIOD_MAX);
	if (r->cpu_quota > 0 && r->cpu_quota < PERIOD_MIN)
		return err_new(e, ERR_INVALID, "cpu_quota: %lld is less than %d microseconds",
			       (long long)r->cpu_quota, PERIOD_MIN);
	if (r->cpu_shares < 0)
		return err_new(e, ERR_INVALID, "cpu_shares: %lld is negative", (long long)r->cpu_shares);
	return 0;
}

static int check_memory(const Cri__LinuxContainerResources *r, Err *e)
{
	int64_t limit = r->memory_limit_in_bytes, swap = r->memory_swap_limit_in_bytes;

	if (limit < -1)
		return err_new(e, ERR_INVALID, "memory_limit_in_bytes: %lld is negative", (long long)limit);
	if (swap < -1)
		return err_new(e, ERR_INVALID, "memory_swap_limit_in_bytes: %lld is negative",
			       (long long)swap);
	if (swap > 0 && limit <= 0)
		return err_new(e, ERR_INVALID,
			       "memory_swap_limit_in_bytes: it is the limit of memory and swap together, and "
			       "needs memory_limit_in_bytes");
	if (swap > 0 && swap < limit)
		return err_new(
		    e, ERR_INVALID,
		    "memory_swap_limit_in_bytes: %lld is less than memory_limit_in_bytes, which it "
		    "includes",
		    (long long)swap);
	return 0;
}

/* "2MB", as the files of cgroups have it; the kernel's own list is in kB. */
static bool is_page_size(const char *text)
{
	static const struct {
		const char *unit;
		long kb;
	} units[] = {{"KB", 1}, {"MB", 1 << 10}, {"GB", 1 << 20}};
	char path[80];
	int size, end = 0;

	if (sscanf(text, "%6d%n", &size, &end) != 1 || size <= 0 || text[0] < '0' || text[0] > '9')
		return false;
	for (size_t i = 0; i < ELEMENTSOF(units); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ldkB", size * units[i].kb);
		if (streq(text + end, units[i].unit))
			return access(path, F_OK) == 0;
	}
	return false;
}

static int hugepages(const Cri__LinuxContainerResources *r, char ***to, Err *e)
{
	int n = cri_list_check(r->n_hugepage_limits, "hugepage_limits", e);

	for (size_t i = 0; n >= 0 && i < r->n_hugepage_limits; i++) {
		const Cri__HugepageLimit *h = r->hugepage_limits[i];
		char bytes[24];

		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)h->limit);
		if (!is_page_size(h->page_size))
			return err_new(e, ERR_INVALID,
				       "hugepage_limits: \"%.60s\" is no size of huge pages on this machine",
				       h->page_size);
		if (h->limit > INT64_MAX)
			return err_new(e, ERR_INVALID, "hugepage_limits: %s bytes are too many", bytes);
		n = cri_pair_add(to, h->page_size, bytes, "hugepage_limits", e);
	}
	return n;
}

/* Keys are names of files in the container's cgroup. */
static int unified(const Cri__LinuxContainerResources *r, char ***to, Err *e)
{
	for (size_t i = 0; i < r->n_unified; i++)
		if (strchr(r->unified[i]->key, '/'))
			return err_new(e, ERR_INVALID, "unified: \"%.100s\" is no file of a cgroup",
				       r->unified[i]->key);
	return cri_map(to, r, unified, "unified", e);
}

static int translate(const Cri__LinuxContainerResources *r, bool update, ContainerConfig *ret, Err *e)
{
	ContainerHost *h = &ret->host;
	int n = check_cpu(r, e);

	if (n >= 0)
		n = check_memory(r, e);
	if (n >= 0 && (r->oom_score_adj < -1000 || r->oom_score_adj > 1000))
		n = err_new(e, ERR_INVALID, "oom_score_adj: %lld is not from -1000 to 1000",
			    (long long)r->oom_score_adj);
	if (n < 0)
		return n;
	h->cpu_period = r->cpu_period;
	h->cpu_quota = MAX2(r->cpu_quota, (int64_t)-1);
	h->cpu_shares = r->cpu_shares;
	h->oom_score_adj = cri_oom_score(r->oom_score_adj);
	h->memory = r->memory_limit_in_bytes;
	h->memory_swap = r->memory_swap_limit_in_bytes != 0 ? r->memory_swap_limit_in_bytes : h->memory;
	if (!update && h->memory < 0) /* what a new container has anyway */
		h->memory = h->memory_swap = 0;
	n = cri_text(r->cpuset_cpus, "cpuset_cpus", &h->cpuset_cpus, e);
	if (n >= 0)
		n = cri_text(r->cpuset_mems, "cpuset_mems", &h->cpuset_mems, e);
	if (n >= 0)
		n = hugepages(r, &ret->pod.hugepages, e);
	return n < 0 ? n : unified(r, &ret->pod.unified, e);
}

int cri_resources(const Cri__LinuxContainerResources *r, ContainerConfig *ret, Err *e)
{
	ret->host.memory_swappiness = -1;
	return r ? translate(r, false, ret, e) : 0;
}

int cri_resources_update(const Cri__LinuxContainerResources *r, ContainerConfig *ret, Err *e)
{
	ret->host.memory_swappiness = -1;
	return r ? translate(r, true, ret, e) : 0;
}
