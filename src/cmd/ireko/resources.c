/* SPDX-License-Identifier: Apache-2.0 */
/* See resources.h. */
#include "resources.h"
#include "base/str.h"

static int add_num(json_t *o, const char *name, Num n)
{
	return n.set ? json_object_set_new(o, name, json_integer(n.v)) : 0;
}

static int add_str(json_t *o, const char *name, const char *s)
{
	return s ? json_object_set_new(o, name, json_string(s)) : 0;
}

int resources_add(json_t *h, const ResourceOptions *o, Err *e)
{
	if (o->memory.set && o->memory.v < 0)
		return err_new(e, ERR_INVALID, "--memory must not be negative");
	if (o->blkio_weight.set && o->blkio_weight.v != 0 &&
	    (o->blkio_weight.v < 10 || o->blkio_weight.v > 1000))
		return err_new(e, ERR_INVALID, "--blkio-weight must be from 10 to 1000, or 0");
	if (add_num(h, "Memory", o->memory) < 0 || add_num(h, "MemorySwap", o->memory_swap) < 0 ||
	    add_num(h, "MemoryReservation", o->memory_reservation) < 0 ||
	    add_num(h, "MemorySwappiness", o->memory_swappiness) < 0 ||
	    add_num(h, "KernelMemory", o->kernel_memory) < 0 || add_num(h, "NanoCpus", o->cpus) < 0 ||
	    add_num(h, "CpuShares", o->cpu_shares) < 0 || add_num(h, "CpuPeriod", o->cpu_period) < 0 ||
	    add_num(h, "CpuQuota", o->cpu_quota) < 0 ||
	    add_num(h, "CpuRealtimePeriod", o->cpu_rt_period) < 0 ||
	    add_num(h, "CpuRealtimeRuntime", o->cpu_rt_runtime) < 0 ||
	    add_num(h, "PidsLimit", o->pids_limit) < 0 || add_num(h, "BlkioWeight", o->blkio_weight) < 0 ||
	    add_str(h, "CpusetCpus", o->cpuset_cpus) < 0 || add_str(h, "CpusetMems", o->cpuset_mems) < 0)
		return err_oom(e);
	return 0;
}

int resources_add_restart(json_t *h, const char *policy, Err *e)
{
	size_t n = strcspn(policy, ":");
	_cleanup_free_ char *name = strndup(policy, n);
	int max = 0;

	if (!name)
		return err_oom(e);
	if (*name == '\0' && policy[n])
		return err_new(e, ERR_INVALID,
			       "invalid restart policy format: no policy provided before colon");
	if (policy[n] && str_to_int(policy + n + 1, 0, 1 << 30, &max) < 0)
		return err_new(e, ERR_INVALID,
			       "invalid restart policy format: maximum retry count must be an integer");
	json_t *p = json_pack("{s:s, s:i}", "Name", name, "MaximumRetryCount", max);
	return json_object_set_new(h, "RestartPolicy", p) < 0 ? err_oom(e) : 0;
}
