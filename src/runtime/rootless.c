/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is different for a caller without privilege: cgroups are used as far as he may, and what the kernel refuses with
 * a bare EPERM is explained.
 *
 * The rule is runc's: without the right to make a cgroup a container simply has none, unless it was to be in a particular one
 * or asks for a limit that only one can keep. Where several hierarchies are mounted, each counts for itself.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/namespace.h"

typedef struct Wish {
	const char *field, *controller;
	bool asked;
} Wish;

static bool is_given(int64_t v)
{
	return v != OCI_UNSET && v != 0;
}

/* The first limit that a denied controller would have to keep, or NULL. */
static const char *denied_limit(const OciResources *r, char *const *denied, bool unified,
				const char **ret_controller)
{
	const Wish wishes[] = {
	    {"memory", "memory",
	     is_given(r->memory_limit) || is_given(r->memory_reservation) || is_given(r->memory_swap) ||
		 r->memory_swappiness != OCI_UNSET || r->disable_oom_killer > 0},
	    {"cpu", "cpu",
	     is_given(r->cpu_shares) || is_given(r->cpu_quota) || is_given(r->cpu_period) ||
		 is_given(r->cpu_rt_runtime) || is_given(r->cpu_rt_period) || r->cpu_burst != OCI_UNSET ||
		 r->cpu_idle != OCI_UNSET},
	    {"cpu", "cpuset", !str_empty(r->cpus) || !str_empty(r->mems)},
	    {"pids", "pids", is_given(r->pids_limit)},
	    {"blockIO", "blkio",
	     is_given(r->blkio_weight) || r->n_throttle_read_bps || r->n_throttle_write_bps ||
		 r->n_throttle_read_iops || r->n_throttle_write_iops},
	    {"hugepageLimits", "hugetlb", r->n_hugepages > 0},
	};

	for (size_t i = 0; i < ELEMENTSOF(wishes); i++) {
		for (char *const *v = denied; wishes[i].asked && v && *v; v++) {
			_cleanup_strv_ char **names = strv_split(*v, ',');

			/* "cpu,cpuacct" holds both. */
			if (names && strv_has(names, wishes[i].controller)) {
				*ret_controller = wishes[i].controller;
				return wishes[i].field;
			}
		}
		if (wishes[i].asked && unified) {
			*ret_controller = wishes[i].controller;
			return wishes[i].field;
		}
	}
	return NULL;
}

int rootless_fit_cgroup(const OciSpec *s, Cgroup *c, Err *e)
{
	_cleanup_strv_ char **denied = NULL;
	_cleanup_free_ char *first = c->n ? strdup(c->dirs[0].path) : NULL;
	const char *controller = NULL, *field;
	bool unified = cgroup_is_unified(c);
	int r = cgroup_drop_denied(c, &denied, e);

	if (r < 0 || !denied)
		return r;
	if (c->n == 0 && !str_empty(s->cgroups_path))
		return err_new(
		    e, ERR_DENIED,
		    "unable to apply cgroup configuration: linux.cgroupsPath %s: make %s: permission "
		    "denied (leave linux.cgroupsPath out, or have a cgroup delegated to user %u)",
		    s->cgroups_path, first ? first : "it", geteuid());
	field = denied_limit(&s->resources, denied, unified, &controller);
	if (field)
		return err_new(
		    e, ERR_DENIED,
		    "linux.resources.%s: cannot set %s limit: container could not join or create cgroup "
		    "(rootless needs no limits + no cgrouppath when no permission is granted for cgroups; "
		    "leave "
		    "the limit out, or have a cgroup of that controller delegated to user %u and named in "
		    "linux.cgroupsPath)",
		    field, controller, geteuid());
	return 0;
}

void rootless_warn_of_leftovers(const RuntimeOptions *o, const OciSpec *s, const Cgroup *c)
{
	for (size_t i = 0; i < s->n_namespaces; i++)
		if (streq0(s->namespaces[i].type, "pid") && str_empty(s->namespaces[i].path))
			return;
	if (c->n == 0 && o->warn)
		o->warn(
		    "Creating a rootless container with no cgroup and no private pid namespace. Such "
		    "configuration is strongly discouraged: nothing can tell later which processes are the "
		    "container's, so those that its first process leaves behind are not ended with it");
}

int rootless_explain_mount(const Init *in, const char *type, int r, Err *e)
{
	bool proc = streq(type, "proc");
	const char *ns = proc ? "pid" : "network";

	if (r != -EPERM || (!proc && !streq(type, "sysfs")))
		return r;
	if (!(in->new_flags & (proc ? CLONE_NEWPID : CLONE_NEWNET)))
		return err_ctx(
		    e, r,
		    "without privilege a %s can be mounted only in a %s namespace of the container's own: "
		    "add one to linux.namespaces, or bind the host's /%s instead (type \"none\", options "
		    "\"rbind\")",
		    type, ns, proc ? "proc" : "sys");
	return err_ctx(
	    e, r,
	    "in a user namespace the kernel gives a new %s only where a fully visible one is mounted "
	    "already, and in this one something is mounted over parts of /%s (masked paths of a container "
	    "around this one?): unmask them out there, or bind /%s instead (type \"none\", options "
	    "\"rbind\")",
	    type, proc ? "proc" : "sys", proc ? "proc" : "sys");
}

const char *rootless_owner_hint(int r)
{
	return r == -EACCES || r == -EOVERFLOW ? " (in a user namespace the root filesystem has to belong to "
						 "ids that are mapped, or to have its "
						 "mount points already)"
					       : "";
}

const char *rootless_locked_hint(int r)
{
	return r == -EPERM
		   ? " (in a user namespace no option of the mount that is bound can be taken away: ro, "
		     "nosuid, nodev, noexec, or its atime mode)"
		   : "";
}
