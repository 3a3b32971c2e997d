/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduling, I/O priority, memory policy and execution domain of a container's processes.
 *
 * The words are parsed before anything is made. What can be set for another process is set by the creator, who
 * has the privileges of the host: real-time scheduling cannot be had from within a user namespace. The rest is set by the process
 * itself. Processes that exec adds get the scheduling of their own document, and the policy and
 * domain of the container, which its state keeps.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"

static int parse_process(const OciProcess *p, ProcessAttributes *a, Err *e)
{
	const OciScheduler *s = &p->scheduler;
	const SchedulingWords w = {
	    .policy = s->policy,
	    .flags = s->flags,
	    .nice = s->nice,
	    .priority = s->priority,
	    .runtime = (uint64_t)s->runtime,
	    .deadline = (uint64_t)s->deadline,
	    .period = (uint64_t)s->period,
	};
	int r = 0;

	a->has_scheduler = s->policy != NULL;
	if (a->has_scheduler)
		r = scheduling_parse(&w, &a->scheduler, e);
	a->has_io = p->io_priority.class != NULL;
	if (r == 0 && a->has_io)
		r = scheduling_parse_io(p->io_priority.class, p->io_priority.priority, &a->io, e);
	if (r == 0 && !str_empty(p->affinity_initial))
		r = scheduling_parse_set(p->affinity_initial, "execCPUAffinity.initial", &a->initial, e);
	if (r == 0 && !str_empty(p->affinity_final))
		r = scheduling_parse_set(p->affinity_final, "execCPUAffinity.final", &a->final, e);
	return r < 0 ? err_ctx(e, r, "process") : 0;
}

static int parse_container(const OciPersonality *p, const OciMemoryPolicy *m, ProcessAttributes *a, Err *e)
{
	int r = 0;

	a->has_domain = p->domain != NULL;
	if (p->flags && p->flags[0])
		r = err_new(e, ERR_INVALID, "personality.flags: \"%s\": the runtime-spec defines no flag",
			    p->flags[0]);
	if (r == 0 && a->has_domain)
		r = scheduling_parse_domain(p->domain, &a->domain, e);
	a->has_memory = m->mode != NULL;
	if (r == 0 && a->has_memory)
		r = scheduling_parse_memory(m->mode, m->flags, m->nodes, &a->memory, e);
	return r < 0 ? err_ctx(e, r, "linux") : 0;
}

int attributes_parse(const OciProcess *p, const OciPersonality *personality, const OciMemoryPolicy *memory,
		     ProcessAttributes *ret, Err *e)
{
	ProcessAttributes a = {0};
	int r = parse_process(p, &a, e);

	if (r == 0)
		r = parse_container(personality, memory, &a, e);
	if (r == 0)
		*ret = a;
	return r;
}

int attributes_set_for(pid_t pid, const ProcessAttributes *a, Err *e)
{
	int r = 0;

	if (a->has_scheduler)
		r = scheduling_set(pid, &a->scheduler, e);
	if (r == 0 && a->has_io)
		r = scheduling_set_io(pid, a->io, e);
	return r < 0 ? err_ctx(e, r, "process") : 0;
}

int attributes_set_own(const ProcessAttributes *a, Err *e)
{
	int r = 0;

	if (a->has_domain)
		r = scheduling_set_domain(a->domain, e);
	if (r == 0 && a->has_memory)
		r = scheduling_set_memory(&a->memory, e);
	return r < 0 ? err_ctx(e, r, "linux") : 0;
}
