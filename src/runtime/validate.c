/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What config.json says, checked as a whole before anything is made.
 *
 * The table of fields has checked types. Here are the rules between members ("a hostname needs a uts namespace") and the words
 * that only later steps would meet, when a process and a cgroup are there to be undone. An error names the member by its JSON
 * path, and its value.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"
#include "kernel/interface.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

static int check_namespaces(const OciSpec *s, unsigned *ret_seen, Err *e)
{
	unsigned seen = 0;

	for (size_t i = 0; i < s->n_namespaces; i++) {
		const OciNamespace *n = &s->namespaces[i];
		unsigned flag = (unsigned)namespace_flag(n->type ? n->type : "");

		if (!flag)
			return err_new(e, ERR_INVALID, "linux.namespaces[%zu].type: unknown namespace \"%s\"",
				       i, n->type ? n->type : "");
		if (seen & flag)
			return err_new(e, ERR_INVALID, "linux.namespaces[%zu].type: \"%s\" is given twice", i,
				       n->type);
		if (!str_empty(n->path) && n->path[0] != '/')
			return err_new(e, ERR_INVALID, "linux.namespaces[%zu].path: \"%s\" is not absolute",
				       i, n->path);
		seen |= flag;
	}
	*ret_seen = seen;
	return 0;
}

static bool has_offset(const OciTimeOffset *t)
{
	return t->secs != 0 || t->nanosecs != 0;
}

/* Members that change something which only a namespace keeps apart from the host. */
static int check_needed_namespaces(const OciSpec *s, unsigned seen, Err *e)
{
	const struct {
		bool given;
		int flag;
		const char *member, *value;
	} needs[] = {
	    {s->masked_paths && s->masked_paths[0], CLONE_NEWNS, "linux.maskedPaths", NULL},
	    {s->readonly_paths && s->readonly_paths[0], CLONE_NEWNS, "linux.readonlyPaths", NULL},
	    {!str_empty(s->hostname), CLONE_NEWUTS, "hostname", s->hostname},
	    {!str_empty(s->domainname), CLONE_NEWUTS, "domainname", s->domainname},
	    {has_offset(&s->time_monotonic), CLONE_NEWTIME, "linux.timeOffsets.monotonic", NULL},
	    {has_offset(&s->time_boottime), CLONE_NEWTIME, "linux.timeOffsets.boottime", NULL},
	    {s->n_net_devices > 0, CLONE_NEWNET, "linux.netDevices", NULL},
	};

	for (size_t i = 0; i < ELEMENTSOF(needs); i++) {
		if (!needs[i].given || (seen & (unsigned)needs[i].flag))
			continue;
		return err_new(e, ERR_INVALID, "%s%s%s%s: needs a %s namespace in linux.namespaces",
			       needs[i].member, needs[i].value ? " \"" : "",
			       needs[i].value ? needs[i].value : "", needs[i].value ? "\"" : "",
			       namespace_file(needs[i].flag));
	}
	return 0;
}

static int check_time(const OciSpec *s, Err *e)
{
	const OciTimeOffset *const offsets[] = {&s->time_monotonic, &s->time_boottime};

	for (size_t i = 0; i < ELEMENTSOF(offsets); i++)
		if (offsets[i]->nanosecs >= 1000000000)
			return err_new(e, ERR_INVALID,
				       "linux.timeOffsets.%s.nanosecs: %u is not below 1000000000",
				       i == 0 ? "monotonic" : "boottime", offsets[i]->nanosecs);
	return 0;
}

static int check_mounts(const OciSpec *s, Err *e)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		const OciMount *m = &s->mounts[i];
		bool uids = m->n_uid_mappings > 0, gids = m->n_gid_mappings > 0;

		if (str_empty(m->destination))
			return err_new(e, ERR_INVALID, "mounts[%zu].destination: must not be empty", i);
		if (uids != gids)
			return err_new(e, ERR_INVALID,
				       "mounts[%zu]: uidMappings and gidMappings belong together", i);
	}
	return 0;
}

static int check_devices(const OciSpec *s, Err *e)
{
	for (size_t i = 0; i < s->n_devices; i++) {
		const OciDevice *d = &s->devices[i];
		const char *type = d->type ? d->type : "";

		if (!d->path || d->path[0] != '/')
			return err_new(e, ERR_INVALID, "linux.devices[%zu].path: \"%s\" is not absolute", i,
				       d->path ? d->path : "");
		if (!streq(type, "c") && !streq(type, "b") && !streq(type, "u") && !streq(type, "p"))
			return err_new(e, ERR_INVALID, "linux.devices[%zu].type: \"%s\" is not c, b, u or p",
				       i, type);
		if (!streq(type, "p") &&
		    (d->major < 0 || d->major > 0xfff || d->minor < 0 || d->minor > 0xfffff))
			return err_new(e, ERR_INVALID, "linux.devices[%zu]: %lld:%lld is no device number", i,
				       (long long)d->major, (long long)d->minor);
		if (d->file_mode > 0xffff)
			return err_new(e, ERR_INVALID, "linux.devices[%zu].fileMode: %lld is no file mode", i,
				       (long long)d->file_mode);
	}
	return 0;
}

static int check_rlimits(const OciProcess *p, Err *e)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		const OciRlimit *l = &p->rlimits[i];

		if (process_rlimit_by_name(l->type ? l->type : "") < 0)
			return err_new(e, ERR_INVALID, "process.rlimits[%zu].type: unknown limit \"%s\"", i,
				       l->type ? l->type : "");
		for (size_t k = 0; k < i; k++)
			if (streq(p->rlimits[k].type, l->type))
				return err_new(e, ERR_INVALID,
					       "process.rlimits[%zu].type: \"%s\" is given twice", i,
					       l->type);
	}
	return 0;
}

static int check_hooks(const OciSpec *s, Err *e)
{
	const struct {
		const OciHookList *list;
		const char *name;
	} kinds[] = {
	    {&s->hooks_prestart, "prestart"},
	    {&s->hooks_create_runtime, "createRuntime"},
	    {&s->hooks_create_container, "createContainer"},
	    {&s->hooks_start_container, "startContainer"},
	    {&s->hooks_poststart, "poststart"},
	    {&s->hooks_poststop, "poststop"},
	};

	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		for (size_t k = 0; k < kinds[i].list->n; k++) {
			const OciHook *h = &kinds[i].list->items[k];

			if (!h->path || h->path[0] != '/')
				return err_new(e, ERR_INVALID, "hooks.%s[%zu].path: \"%s\" is not absolute",
					       kinds[i].name, k, h->path ? h->path : "");
			if (h->timeout < 0)
				return err_new(e, ERR_INVALID, "hooks.%s[%zu].timeout: %lld is not above 0",
					       kinds[i].name, k, (long long)h->timeout);
		}
	}
	return 0;
}

static int check_paths(char *const *paths, const char *member, Err *e)
{
	for (size_t i = 0; paths && paths[i]; i++)
		if (paths[i][0] != '/')
			return err_new(e, ERR_INVALID, "%s[%zu]: \"%s\" is not absolute", member, i,
				       paths[i]);
	return 0;
}

static int check_propagation(const OciSpec *s, Err *e)
{
	char *const words[] = {s->rootfs_propagation, NULL};
	MountOptions o;
	int r;

	if (str_empty(words[0]))
		return 0;
	r = mount_options_parse(words, &o, e);
	if (r < 0)
		return r;
	if (!o.propagation)
		r = err_new(e, ERR_INVALID,
			    "linux.rootfsPropagation: \"%s\" is not shared, slave, private or unbindable (or "
			    "one of these "
			    "with an r in front)",
			    words[0]);
	mount_options_done(&o);
	return r;
}

static int check_net_devices(const OciSpec *s, Err *e)
{
	for (size_t i = 0; i < s->n_net_devices; i++) {
		const char *const names[] = {s->net_devices[i].host_name, s->net_devices[i].name};

		for (size_t k = 0; k < ELEMENTSOF(names); k++)
			if (!interface_is_name(names[k]))
				return err_new(e, ERR_INVALID,
					       "linux.netDevices.%s%s: \"%s\" is no name of an interface",
					       names[0], k ? ".name" : "", names[k]);
	}
	return 0;
}

/* Whoever has the notification fd learns of it by a write(2) of the process that is under the filter. */
static int check_seccomp(const OciSeccomp *s, Err *e)
{
	if (seccomp_action_notifies(s->default_action))
		return err_new(
		    e, ERR_INVALID,
		    "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action");
	for (size_t i = 0; i < s->n_rules; i++)
		if (seccomp_action_notifies(s->rules[i].action) && strv_has(s->rules[i].names, "write"))
			return err_new(e, ERR_INVALID,
				       "linux.seccomp.syscalls[%zu]: SCMP_ACT_NOTIFY cannot be used for the "
				       "write syscall",
				       i);
	return 0;
}

int validate_spec(const OciSpec *s, Err *e)
{
	unsigned seen = 0;
	int r;

	if (!s->has_process)
		return err_new(e, ERR_INVALID, "process: is missing");
	r = check_namespaces(s, &seen, e);
	if (r == 0)
		r = check_needed_namespaces(s, seen, e);
	if (r == 0)
		r = check_time(s, e);
	if (r == 0)
		r = check_mounts(s, e);
	if (r == 0)
		r = check_devices(s, e);
	if (r == 0)
		r = check_rlimits(&s->process, e);
	if (r == 0)
		r = check_hooks(s, e);
	if (r == 0)
		r = check_paths(s->masked_paths, "linux.maskedPaths", e);
	if (r == 0)
		r = check_paths(s->readonly_paths, "linux.readonlyPaths", e);
	if (r == 0)
		r = check_propagation(s, e);
	if (r == 0)
		r = check_net_devices(s, e);
	if (r == 0)
		r = check_seccomp(&s->seccomp, e);
	return r == 0 ? sysctl_check(s, seen, e) : r;
}
