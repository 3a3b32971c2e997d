/* SPDX-License-Identifier: Apache-2.0 */
/* See scheduling.h. sched_setattr(2), ioprio_set(2), sched_setaffinity(2), set_mempolicy(2), personality(2). */
#include "kernel/scheduling.h"

#include "base/str.h"

#include <ctype.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <sys/personality.h>
#include <sys/syscall.h>

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif
#define MPOL_WEIGHTED 6 /* MPOL_WEIGHTED_INTERLEAVE, Linux 6.9; an enumerator in newer headers */

typedef struct Word {
	const char *name;
	unsigned long value;
} Word;

static const Word *find(const Word *words, const char *name)
{
	while (words->name && !streq(words->name, name))
		words++;
	return words->name ? words : NULL;
}

/* The error lists what is possible. */
static int unknown(const Word *words, const char *what, const char *name, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (; words->name; words++)
		strbuf_addf(&b, " %s", words->name);
	if (b.oom)
		return err_oom(e);
	return err_new(e, ERR_INVALID, "%s: unknown \"%s\"; possible are%s", what, name, b.s);
}

static int add_flags(const Word *words, const char *what, char *const *names, uint64_t *flags, Err *e)
{
	for (size_t i = 0; names && names[i]; i++) {
		const Word *w = find(words, names[i]);

		if (!w)
			return unknown(words, what, names[i], e);
		*flags |= w->value;
	}
	return 0;
}

static const Word policies[] = {
    {"SCHED_OTHER", SCHED_NORMAL},
    {"SCHED_FIFO", SCHED_FIFO},
    {"SCHED_RR", SCHED_RR},
    {"SCHED_BATCH", SCHED_BATCH},
    {"SCHED_ISO", 4},
    {"SCHED_IDLE", SCHED_IDLE},
    {"SCHED_DEADLINE", SCHED_DEADLINE},
    {NULL, 0},
};

static const Word sched_flags[] = {
    {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
    {NULL, 0},
};

/* What the policy gives no meaning to would be ignored or refused by the kernel without a word. */
static int check_fit(const SchedulingWords *w, Err *e)
{
	bool real_time = streq(w->policy, "SCHED_FIFO") || streq(w->policy, "SCHED_RR"),
	     deadline = streq(w->policy, "SCHED_DEADLINE");

	if (w->nice < -20 || w->nice > 19)
		return err_new(e, ERR_INVALID, "scheduler.nice: %lld is not from -20 to 19",
			       (long long)w->nice);
	if (w->priority != 0 && !real_time)
		return err_new(
		    e, ERR_INVALID,
		    "scheduler.priority: %lld is possible with SCHED_FIFO and SCHED_RR only, not with %s",
		    (long long)w->priority, w->policy);
	if (w->priority < 0 || w->priority > 99)
		return err_new(e, ERR_INVALID, "scheduler.priority: %lld is not from 1 to 99",
			       (long long)w->priority);
	if ((w->runtime || w->deadline || w->period) && !deadline)
		return err_new(
		    e, ERR_INVALID,
		    "scheduler: runtime, deadline and period are possible with SCHED_DEADLINE only, not "
		    "with %s",
		    w->policy);
	return 0;
}

int scheduling_parse(const SchedulingWords *w, SchedulingAttr *ret, Err *e)
{
	const Word *policy = find(policies, w->policy);
	SchedulingAttr a = {
	    .size = sizeof(a),
	    .nice = (int32_t)w->nice,
	    .priority = (uint32_t)w->priority,
	    .runtime = w->runtime,
	    .deadline = w->deadline,
	    .period = w->period,
	};
	int r;

	if (!policy)
		return unknown(policies, "scheduler.policy", w->policy, e);
	a.policy = (uint32_t)policy->value;
	r = check_fit(w, e);
	if (r == 0)
		r = add_flags(sched_flags, "scheduler.flags", w->flags, &a.flags, e);
	if (r == 0)
		*ret = a;
	return r;
}

bool scheduling_is_reset_by_fork(const SchedulingAttr *a)
{
	return a->policy == SCHED_DEADLINE || (a->flags & SCHED_FLAG_RESET_ON_FORK);
}

int scheduling_set(pid_t pid, const SchedulingAttr *a, Err *e)
{
	if (syscall(SYS_sched_setattr, pid, a, 0) == 0)
		return 0;
	if (errno == EPERM)
		return err_new_no(
		    e, ERR_DENIED, EPERM,
		    "scheduler: the kernel refuses this policy or nice value without CAP_SYS_NICE (and, on "
		    "cgroup v1, without cpu.rt_runtime_us)");
	return err_sys(e, errno, "scheduler: set the scheduling policy");
}

static const Word io_classes[] = {
    {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
    {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
    {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
    {NULL, 0},
};

int scheduling_parse_io(const char *class, int64_t priority, int *ret, Err *e)
{
	const Word *w = find(io_classes, class);

	if (!w)
		return unknown(io_classes, "ioPriority.class", class, e);
	if (priority < 0 || priority > 7)
		return err_new(e, ERR_INVALID, "ioPriority.priority: %lld is not from 0 to 7",
			       (long long)priority);
	*ret = (int)(w->value << IOPRIO_CLASS_SHIFT | (unsigned long)priority);
	return 0;
}

int scheduling_set_io(pid_t pid, int ioprio, Err *e)
{
	return syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, ioprio) < 0
		   ? err_sys(e, errno, "ioPriority: set the I/O priority")
		   : 0;
}

#define WORD_BITS (8 * sizeof(unsigned long))

static void add_member(SchedulingSet *s, unsigned long i)
{
	s->bits[i / WORD_BITS] |= 1UL << i % WORD_BITS;
	s->n = MAX2(s->n, i + 1);
}

/* Digits at *p, below SCHEDULING_SET_MAX; false if there are none. */
static bool take_number(const char **p, unsigned long *ret)
{
	unsigned long v = 0;

	if (!isdigit((unsigned char)**p))
		return false;
	for (; isdigit((unsigned char)**p); (*p)++) {
		v = v * 10 + (unsigned long)(**p - '0');
		if (v >= SCHEDULING_SET_MAX)
			return false;
	}
	*ret = v;
	return true;
}

int scheduling_parse_set(const char *list, const char *what, SchedulingSet *ret, Err *e)
{
	SchedulingSet s = {0};
	const char *p = list;
	bool good = *p != '\0';

	while (good && *p) {
		unsigned long first, last;

		good = take_number(&p, &first);
		last = first;
		if (good && *p == '-') {
			p++;
			good = take_number(&p, &last) && last >= first;
		}
		for (unsigned long i = first; good && i <= last; i++)
			add_member(&s, i);
		if (good && *p == ',')
			good = *++p != '\0';
		else if (*p)
			good = false;
	}
	if (!good)
		return err_new(e, ERR_INVALID, "%s: \"%.64s\" is no list of numbers below %d, such as 0-3,8",
			       what, list, SCHEDULING_SET_MAX);
	*ret = s;
	return 0;
}

int scheduling_set_affinity(pid_t pid, const SchedulingSet *cpus, Err *e)
{
	if (syscall(SYS_sched_setaffinity, pid, sizeof(cpus->bits), cpus->bits) < 0)
		return err_sys(e, errno, "set the CPU affinity%s",
			       errno == EINVAL ? " (none of these CPUs is one that this cgroup may use)"
					       : "");
	return 0;
}

void scheduling_reset_affinity(pid_t pid)
{
	SchedulingSet all;

	memset(&all, 0xff, sizeof(all));
	/* It keeps what it has if this fails, which is no harm. */
	(void)syscall(SYS_sched_setaffinity, pid, sizeof(all.bits), all.bits);
}

static const Word memory_modes[] = {
    {"MPOL_DEFAULT", MPOL_DEFAULT},
    {"MPOL_PREFERRED", MPOL_PREFERRED},
    {"MPOL_BIND", MPOL_BIND},
    {"MPOL_INTERLEAVE", MPOL_INTERLEAVE},
    {"MPOL_LOCAL", MPOL_LOCAL},
    {"MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY},
    {"MPOL_WEIGHTED_INTERLEAVE", MPOL_WEIGHTED},
    {NULL, 0},
};

static const Word memory_flags[] = {
    {"MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES},
    {"MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES},
    {"MPOL_F_NUMA_BALANCING", 1 << 13},
    {NULL, 0},
};

const char *scheduling_memory_mode_name(size_t i)
{
	return i < ELEMENTSOF(memory_modes) ? memory_modes[i].name : NULL;
}

const char *scheduling_memory_flag_name(size_t i)
{
	return i < ELEMENTSOF(memory_flags) ? memory_flags[i].name : NULL;
}

int scheduling_parse_memory(const char *mode, char *const *flags, const char *nodes, SchedulingMemory *ret,
			    Err *e)
{
	const Word *w = find(memory_modes, mode);
	SchedulingMemory m = {0};
	uint64_t bits = 0;
	int r;

	if (!w)
		return unknown(memory_modes, "memoryPolicy.mode", mode, e);
	r = add_flags(memory_flags, "memoryPolicy.flags", flags, &bits, e);
	if (r == 0 && !str_empty(nodes))
		r = scheduling_parse_set(nodes, "memoryPolicy.nodes", &m.nodes, e);
	if (r < 0)
		return r;
	m.mode = (int)(w->value | bits);
	*ret = m;
	return 0;
}

int scheduling_set_memory(const SchedulingMemory *m, Err *e)
{
	/* The kernel reads one bit less than it is told. */
	if (syscall(SYS_set_mempolicy, m->mode, m->nodes.n ? m->nodes.bits : NULL,
		    m->nodes.n ? m->nodes.n + 1 : 0) < 0)
		return err_sys(e, errno, "memoryPolicy: set the memory policy%s",
			       errno == EINVAL ? " (do all its nodes exist, and are they in cpuset.mems?)"
					       : "");
	return 0;
}

static const Word domains[] = {{"LINUX", PER_LINUX}, {"LINUX32", PER_LINUX32}, {NULL, 0}};

int scheduling_parse_domain(const char *domain, unsigned long *ret, Err *e)
{
	const Word *w = find(domains, domain);

	if (!w)
		return unknown(domains, "personality.domain", domain, e);
	*ret = w->value;
	return 0;
}

int scheduling_set_domain(unsigned long domain, Err *e)
{
	return personality(domain) < 0 ? err_sys(e, errno, "personality: set the execution domain") : 0;
}
