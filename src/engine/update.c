/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the limits and the restart policy of a container that exists; a running one feels them at once.
 *
 * Zero means "as it was", as in the API. The new configuration is recorded only after the kernel took it.
 */
#include "engine/engine-internal.h"

static int64_t given(int64_t v)
{
	return v ? v : OCI_UNSET;
}

static OciResources resources_of(const ContainerHost *h)
{
	OciResources r = {
	    .memory_limit = given(h->memory),
	    .memory_reservation = given(h->memory_reservation),
	    .memory_swap = h->memory_swap  ? h->memory_swap
			   : h->memory > 0 ? h->memory * 2
					   : OCI_UNSET,
	    .memory_kernel = OCI_UNSET,
	    .memory_swappiness = OCI_UNSET,
	    .disable_oom_killer = OCI_UNSET,
	    .cpu_shares = given(h->cpu_shares),
	    .cpu_quota = given(h->cpu_quota),
	    .cpu_period = given(h->cpu_period),
	    .cpu_rt_runtime = OCI_UNSET,
	    .cpu_rt_period = OCI_UNSET,
	    .cpu_burst = OCI_UNSET,
	    .cpu_idle = OCI_UNSET,
	    .cpus = str_empty(h->cpuset_cpus) ? NULL : h->cpuset_cpus,
	    .mems = str_empty(h->cpuset_mems) ? NULL : h->cpuset_mems,
	    .pids_limit = given(h->pids_limit),
	    .blkio_weight = given(h->blkio_weight),
	};

	if (h->nano_cpus > 0) {
		r.cpu_period = 100000;
		r.cpu_quota = h->nano_cpus / 10000;
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

int engine_container_update(Engine *en, const char *ref, const ContainerHost *changes, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	OciResources resources = resources_of(changes);
	RuntimeOptions o = {.root = en->runtime_root};
	int r = container_find(en, ref, &c, e);

	if (r >= 0)
		r = container_limits_check(changes, e);
	if (r < 0)
		return r;
	if (c->config.host.auto_remove && !str_empty(changes->restart.name) &&
	    !streq(changes->restart.name, "no"))
		return err_new(
		    e, ERR_INVALID,
		    "Restart policy cannot be updated because AutoRemove is enabled for the container");
	pthread_mutex_lock(&c->life);
	ContainerStatus s = container_status(c);
	if (s == CONTAINER_RUNNING || s == CONTAINER_PAUSED)
		r = runtime_update(&o, c->id, &resources, NULL, e);
	if (r >= 0) {
		pthread_mutex_lock(&c->state);
		r = record(c, changes);
		pthread_mutex_unlock(&c->state);
		r = r < 0 ? err_oom(e) : container_save(en, c, e);
	}
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		return err_ctx(e, r, "Cannot update container %s", c->id);
	container_event(en, c, "update", NULL);
	return 0;
}
