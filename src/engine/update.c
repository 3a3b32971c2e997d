/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the limits and the restart policy of a container that exists; a running one feels them at once.
 *
 * Zero means "as it was", as in the API. The new configuration is recorded only after the kernel took it.
 */
#include "engine/pod-internal.h"

#include <strings.h>

/* Clients send every limit there is, empty where nothing is to change. */
static bool says_something(const json_t *value)
{
	return json_is_true(value) || json_is_real(value) || json_integer_value(value) > 0 ||
	       json_string_length(value) > 0 || json_array_size(value) > 0 || json_object_size(value) > 0;
}

int engine_container_update_check(const json_t *body, Err *e)
{
	static const char *const changeable[] = {"BlkioWeight",       "CpuShares",    "CpuPeriod",
						 "CpuQuota",          "CpusetCpus",   "CpusetMems",
						 "CpuRealtimePeriod", "Memory",       "CpuRealtimeRuntime",
						 "MemoryReservation", "MemorySwap",   "NanoCpus",
						 "PidsLimit",         "KernelMemory", "RestartPolicy"};
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)body, name, value) {
		bool known = false;

		for (size_t i = 0; i < ELEMENTSOF(changeable); i++)
			known = known || strcasecmp(changeable[i], name) == 0;
		if (!known && says_something(value))
			return err_new(
			    e, ERR_UNSUPPORTED,
			    "update: %.60s is settled when a container is created and cannot be changed",
			    name);
	}
	return 0;
}

static void set_given(json_t *o, const char *key, int64_t value)
{
	if (value)
		json_object_set_new(o, key, json_integer(value));
}

static json_t *memory_of(const ContainerHost *h, bool pod)
{
	json_t *o = json_object();

	set_given(o, "limit", h->memory);
	set_given(o, "reservation", h->memory_reservation);
	set_given(o, "swap", h->memory_swap ? h->memory_swap : h->memory > 0 && !pod ? h->memory * 2 : 0);
	return o;
}

static json_t *cpu_of(const ContainerHost *h)
{
	json_t *o = json_object();

	set_given(o, "shares", h->cpu_shares);
	set_given(o, "quota", h->nano_cpus > 0 ? h->nano_cpus / 10000 : h->cpu_quota);
	set_given(o, "period", h->nano_cpus > 0 ? 100000 : h->cpu_period);
	set_given(o, "realtimePeriod", h->cpu_rt_period);
	set_given(o, "realtimeRuntime", h->cpu_rt_runtime);
	if (!str_empty(h->cpuset_cpus))
		json_object_set_new(o, "cpus", json_string(h->cpuset_cpus));
	if (!str_empty(h->cpuset_mems))
		json_object_set_new(o, "mems", json_string(h->cpuset_mems));
	return o;
}

/* The runtime-spec's resources: what is not named stays as it is. */
static int resources_of(Engine *en, const ContainerHost *h, const ContainerPod *pod, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *o = json_pack("{s:o, s:o, s:{}, s:{}}", "memory", memory_of(h, pod != NULL),
					     "cpu", cpu_of(h), "pids", "blockIO");
	const char *key;
	json_t *part;
	void *next;

	if (!o)
		return err_oom(e);
	set_given(json_object_get(o, "pids"), "limit", h->pids_limit);
	set_given(json_object_get(o, "blockIO"), "weight", h->blkio_weight);
	json_object_foreach_safe (o, next, key, part)
		if (json_object_size(part) == 0)
			json_object_del(o, key);
	int r = pod ? spec_resources_of_pod(en, pod, o, e) : 0;
	*ret = take_ptr(o);
	return r;
}

static int update_living(Engine *en, Container *c, const ContainerHost *changes, const ContainerPod *pod,
			 Err *e)
{
	_cleanup_(shim_unrefp) Shim *shim = NULL;
	_cleanup_json_ json_t *resources = NULL;
	int r = resources_of(en, changes, pod, &resources, e);

	if (r >= 0 && json_object_size(resources) > 0) {
		r = container_shim(c, &shim, e);
		if (r >= 0)
			r = shim_update(shim, resources, e);
	}
	return r;
}

static int replace(char **field, const char *value)
{
	char *copy;

	if (str_empty(value))
		return 0;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int record(Container *c, const ContainerHost *h)
{
	ContainerHost *own = &c->config.host;
	const struct {
		int64_t *to, from;
	} numbers[] = {
	    {&own->memory, h->memory},
	    {&own->memory_reservation, h->memory_reservation},
	    {&own->memory_swap, h->memory_swap},
	    {&own->cpu_shares, h->cpu_shares},
	    {&own->cpu_quota, h->cpu_quota},
	    {&own->cpu_period, h->cpu_period},
	    {&own->nano_cpus, h->nano_cpus},
	    {&own->cpu_rt_period, h->cpu_rt_period},
	    {&own->cpu_rt_runtime, h->cpu_rt_runtime},
	    {&own->pids_limit, h->pids_limit},
	    {&own->blkio_weight, h->blkio_weight},
	};

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (numbers[i].from)
			*numbers[i].to = numbers[i].from;
	if (!str_empty(h->restart.name))
		own->restart.maximum_retry_count = h->restart.maximum_retry_count;
	return replace(&own->cpuset_cpus, h->cpuset_cpus) < 0 ||
		       replace(&own->cpuset_mems, h->cpuset_mems) < 0 ||
		       replace(&own->restart.name, h->restart.name) < 0
		   ? -ENOMEM
		   : 0;
}

/* Key by key. */
static int record_of_pod(ContainerPod *own, const ContainerPod *p)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && p->hugepages && p->hugepages[i]; i++)
		r = strv_env_set(&own->hugepages, p->hugepages[i]);
	for (size_t i = 0; r >= 0 && p->unified && p->unified[i]; i++)
		r = strv_env_set(&own->unified, p->unified[i]);
	return r;
}

/* What is asked for against what there is, in Docker's words. */
static int conflicts_check(const ContainerHost *own, const ContainerHost *h, Err *e)
{
	const struct {
		bool conflict;
		const char *says;
	} checks[] = {
	    {h->nano_cpus > 0 && own->cpu_period > 0,
	     "Nano CPUs cannot be updated as CPU Period has already been set"},
	    {h->nano_cpus > 0 && own->cpu_quota > 0,
	     "Nano CPUs cannot be updated as CPU Quota has already been set"},
	    {h->cpu_period > 0 && own->nano_cpus > 0,
	     "CPU Period cannot be updated as NanoCPUs has already been set"},
	    {h->cpu_quota > 0 && own->nano_cpus > 0,
	     "CPU Quota cannot be updated as NanoCPUs has already been set"},
	};

	for (size_t i = 0; i < ELEMENTSOF(checks); i++)
		if (checks[i].conflict)
			return err_new(e, ERR_CONFLICT, "Conflicting options: %s", checks[i].says);
	if (own->memory_swap > 0 && h->memory_swap == 0 && h->memory > own->memory_swap)
		return err_new(e, ERR_CONFLICT,
			       "Memory limit should be smaller than already set memoryswap limit, update the "
			       "memoryswap at the same time");
	return 0;
}

int engine_container_update(Engine *en, const char *ref, const ContainerHost *changes, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = pod_guard(c, "update", e);
	return r < 0 ? r : container_update(en, c, changes, NULL, e);
}

int container_update(Engine *en, Container *c, const ContainerHost *changes, const ContainerPod *pod, Err *e)
{
	int r = container_limits_check(changes, true, pod != NULL, e);

	if (r >= 0)
		r = restart_policy_check(&changes->restart, e);
	if (r < 0)
		return r;
	if (c->config.host.auto_remove && !str_empty(changes->restart.name) &&
	    !streq(changes->restart.name, "no"))
		return err_new(
		    e, ERR_INVALID,
		    "Restart policy cannot be updated because AutoRemove is enabled for the container");
	container_lock(c);
	ContainerStatus s = container_status(c);
	if (c->removed || s == CONTAINER_DEAD)
		r = err_new(e, ERR_CONFLICT, "container is marked for removal and cannot be \"update\"");
	else
		r = conflicts_check(&c->config.host, changes, e);
	if (r >= 0 && (s == CONTAINER_RUNNING || s == CONTAINER_PAUSED))
		r = update_living(en, c, changes, pod, e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		r = record(c, changes);
		if (r >= 0 && pod)
			r = record_of_pod(&c->config.pod, pod);
		pthread_mutex_unlock(&c->state);
		r = r < 0 ? err_oom(e) : container_save(en, c, e);
	}
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		return err_ctx(e, r, "Cannot update container %s", c->id);
	container_event(en, c, "update", NULL);
	return 0;
}
