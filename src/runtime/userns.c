/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The id maps of the container's user namespace.
 *
 * Root writes them itself. Anybody else may write a map of one id, its own, and gives up setgroups(2) in there for
 * it; any other map is written by newuidmap and newgidmap (package uidmap), which have the privilege and grant the
 * ranges that /etc/subuid and /etc/subgid give to the user (user_namespaces(7), newuidmap(1)). What they say when they
 * refuse is of little help, so the range that is missing is looked for here.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"
#include "kernel/process.h"

#include <sys/mman.h>

#define TABLE_MAX  (1u << 20) /* bytes of /etc/passwd, /etc/subuid */
#define MAPS_MAX   340        /* of one namespace, as the kernel has it */
#define OUTPUT_MAX 600

_Static_assert(sizeof(OciIdMap) == sizeof(NamespaceIdMap), "id maps are passed on as they are");

typedef struct MapKind {
	const char *field, *file, *tool, *table, *option;
} MapKind;
static const MapKind uid_kind = {"linux.uidMappings", "uid_map", "newuidmap", "/etc/subuid", "--add-subuids"};
static const MapKind gid_kind = {"linux.gidMappings", "gid_map", "newgidmap", "/etc/subgid", "--add-subgids"};

static const OciNamespace *user_namespace(const OciSpec *s)
{
	for (size_t i = 0; i < s->n_namespaces; i++)
		if (streq0(s->namespaces[i].type, "user"))
			return &s->namespaces[i];
	return NULL;
}

const char *userns_path(const OciSpec *s)
{
	const OciNamespace *n = user_namespace(s);

	return n && !str_empty(n->path) ? n->path : NULL;
}

/* What is in the map of another process's namespace, as we see it, is what the spec says. */
static int compare_map(pid_t pid, const MapKind *k, const OciIdMap *map, size_t n, bool *ret_same, Err *e)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *save = NULL;
	size_t i = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, k->file);
	r = file_read_at(AT_FDCWD, path, TABLE_MAX, &text, NULL);
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), i++) {
		unsigned inside, outside, count;

		*ret_same &= i < n && sscanf(line, "%u %u %u", &inside, &outside, &count) == 3 &&
			     map[i].container_id == inside && map[i].host_id == outside &&
			     map[i].size == count;
	}
	*ret_same &= i == n;
	return 0;
}

/* Some callers give the path of a namespace and its mappings too, which is well if they agree. */
static int check_same_maps(const OciSpec *s, const char *path, Err *e)
{
	_cleanup_close_ int ns = open(path, O_RDONLY | O_CLOEXEC);
	bool same = true;
	pid_t pid;
	int r, p[2];

	if (ns < 0)
		return err_sys(e, errno, "open user namespace %s", path);
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = namespace_fork(&(NamespaceFork){.cgroup_fd = -1});
	if (pid == 0) {
		/* One byte when inside; then it stays until it is killed. */
		if (setns(ns, CLONE_NEWUSER) == 0 && write(p[1], "i", 1) == 1)
			pause();
		_exit(1);
	}
	closep(&p[1]);
	if (pid < 0) {
		closep(&p[0]);
		return err_sys(e, pid, "clone a process");
	}
	r = read(p[0], &(char){0}, 1) == 1
		? 0
		: err_new(e, ERR_DENIED, "user namespace %s cannot be joined, so its mappings are not known",
			  path);
	if (r == 0)
		r = compare_map(pid, &uid_kind, s->uid_mappings, s->n_uid_mappings, &same, e);
	if (r == 0)
		r = compare_map(pid, &gid_kind, s->gid_mappings, s->n_gid_mappings, &same, e);
	process_kill_child(pid);
	closep(&p[0]);
	if (r == 0 && !same)
		r = err_new(e, ERR_INVALID,
			    "linux.uidMappings and linux.gidMappings are not those of the user namespace %s: "
			    "leave them out",
			    path);
	return r;
}

int userns_check(const OciSpec *s, Err *e)
{
	const OciNamespace *n = user_namespace(s);
	bool maps = s->n_uid_mappings + s->n_gid_mappings > 0;

	if (!n && maps)
		return err_new(
		    e, ERR_INVALID,
		    "linux.%s: user namespace mappings specified, but user namespace isn't enabled "
		    "in the config (linux.namespaces)",
		    s->n_uid_mappings ? "uidMappings" : "gidMappings");
	if (!n)
		return 0;
	if (!str_empty(n->path))
		return maps ? check_same_maps(s, n->path, e) : 0;
	if (s->n_uid_mappings == 0 || s->n_gid_mappings == 0)
		return err_new(e, ERR_INVALID, "linux.%s: a new user namespace needs at least one mapping",
			       s->n_uid_mappings ? "gidMappings" : "uidMappings");
	if (s->n_uid_mappings > MAPS_MAX || s->n_gid_mappings > MAPS_MAX)
		return err_new(e, ERR_INVALID, "linux.%s: more than %d mappings",
			       s->n_uid_mappings > MAPS_MAX ? "uidMappings" : "gidMappings", MAPS_MAX);
	return 0;
}

char *userns_user_name(uint32_t uid)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (file_read_at(AT_FDCWD, "/etc/passwd", TABLE_MAX, &text, NULL) < 0)
		return strf("#%u", uid);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		_cleanup_strv_ char **fields = strv_split(line, ':');
		uint64_t have;

		if (fields && strv_len(fields) >= 3 && str_to_u64(fields[2], &have) == 0 && have == uid)
			return strdup(fields[0]);
	}
	return strf("#%u", uid);
}

/* How far from `at` on (exclusive end) the table grants ids to the user. */
static uint64_t granted_until(const char *table, const char *name, uint64_t at)
{
	_cleanup_free_ char *text = NULL, *number = strf("%u", geteuid());
	char *save = NULL;
	uint64_t until = at;

	if (!number || file_read_at(AT_FDCWD, table, TABLE_MAX, &text, NULL) < 0)
		return at;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		_cleanup_strv_ char **f = strv_split(line, ':');
		uint64_t start, count;

		if (f && strv_len(f) == 3 && (streq(f[0], name) || streq(f[0], number)) &&
		    str_to_u64(f[1], &start) == 0 && str_to_u64(f[2], &count) == 0 && start <= at &&
		    start + count > until)
			until = start + count;
	}
	return until;
}

/* The first host range of the map that the table does not grant; false if it grants all. */
static bool find_missing(const MapKind *k, const char *name, const OciIdMap *map, size_t n, uint32_t own,
			 uint64_t *ret_from, uint64_t *ret_to)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t at = map[i].host_id, end = at + map[i].size, next;

		if (map[i].size == 1 && map[i].host_id == own)
			continue;
		while (at < end && (next = granted_until(k->table, name, at)) > at)
			at = next;
		if (at < end) {
			*ret_from = at;
			*ret_to = end - 1;
			return true;
		}
	}
	return false;
}

static int tool_failed(const MapKind *k, const OciIdMap *map, size_t n, uint32_t own, int status, int out,
		       Err *e)
{
	_cleanup_free_ char *name = userns_user_name(geteuid()), *said = NULL;
	uint64_t from, to;

	if (lseek(out, 0, SEEK_SET) < 0 || fd_read_all(out, OUTPUT_MAX, &said, NULL) < 0)
		said = strdup("");
	if (!name || !said)
		return err_oom(e);
	said[strcspn(said, "\n")] = '\0';
	if (find_missing(k, name, map, n, own, &from, &to))
		return err_new(
		    e, ERR_DENIED,
		    "%s: host ids %llu to %llu are not in %s for user %s (%s said: %s); root can add "
		    "them with \"usermod %s %llu-%llu %s\"",
		    k->field, (unsigned long long)from, (unsigned long long)to, k->table, name, k->tool, said,
		    k->option, (unsigned long long)from, (unsigned long long)to, name);
	if (WIFEXITED(status))
		return err_new(e, ERR_DENIED, "%s: %s ended with status %d: %s", k->field, k->tool,
			       WEXITSTATUS(status), said);
	return err_new(e, ERR_DENIED, "%s: %s was killed by signal %d", k->field, k->tool, WTERMSIG(status));
}

static char **tool_args(const MapKind *k, pid_t pid, const OciIdMap *map, size_t n)
{
	char **v = NULL;
	int r = strv_add(&v, k->tool);

	if (r == 0)
		r = strv_take(&v, strf("%d", (int)pid));
	for (size_t i = 0; i < n && r == 0; i++) {
		r = strv_take(&v, strf("%u", map[i].container_id));
		if (r == 0)
			r = strv_take(&v, strf("%u", map[i].host_id));
		if (r == 0)
			r = strv_take(&v, strf("%u", map[i].size));
	}
	if (r < 0) {
		strv_free(v);
		return NULL;
	}
	return v;
}

_Noreturn static void execute_tool(const char *path, char *const *args, int out)
{
	char *const env[] = {NULL};

	init_reset_signals();
	if (dup2(out, 1) >= 0 && dup2(out, 2) >= 0 && process_close_from(3, true) == 0)
		execve(path, args, env);
	dprintf(out, "execute %s: %s", path, strerror(errno));
	_exit(127);
}

static int run_tool(const MapKind *k, pid_t pid, const OciIdMap *map, size_t n, uint32_t own, Err *e)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_strv_ char **args = tool_args(k, pid, map, n);
	_cleanup_close_ int out = memfd_create("output", MFD_CLOEXEC);
	pid_t tool;
	int status;

	if (!args)
		return err_oom(e);
	if (out < 0)
		return err_sys(e, errno, "memfd_create");
	if (command_find(k->tool, environ, &path, NULL) < 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "%s: mapping more than the caller's own id takes the program %s, which is not "
			       "installed: install the package uidmap",
			       k->field, k->tool);
	tool = namespace_fork(&(NamespaceFork){.cgroup_fd = -1});
	if (tool == 0)
		execute_tool(path, args, out);
	if (tool < 0)
		return err_sys(e, tool, "start %s", path);
	status = process_reap(tool);
	if (status < 0)
		return err_sys(e, status, "wait for %s", path);
	return status == 0 ? 0 : tool_failed(k, map, n, own, status, out, e);
}

static bool is_own_id(const OciIdMap *map, size_t n, uint32_t own)
{
	return n == 1 && map[0].size == 1 && map[0].host_id == own;
}

static int write_as_user(pid_t pid, const OciSpec *s, Err *e)
{
	uint32_t uid = geteuid(), gid = getegid();
	int r;

	if (is_own_id(s->uid_mappings, s->n_uid_mappings, uid))
		r = namespace_write_uid_map(pid, (const NamespaceIdMap *)s->uid_mappings, s->n_uid_mappings,
					    e);
	else
		r = run_tool(&uid_kind, pid, s->uid_mappings, s->n_uid_mappings, uid, e);
	if (r < 0)
		return r;
	if (is_own_id(s->gid_mappings, s->n_gid_mappings, gid))
		return namespace_write_gid_map(pid, (const NamespaceIdMap *)s->gid_mappings,
					       s->n_gid_mappings, true, e);
	return run_tool(&gid_kind, pid, s->gid_mappings, s->n_gid_mappings, gid, e);
}

int userns_write_maps(pid_t pid, const OciSpec *s, Err *e)
{
	int r;

	if (geteuid() != 0)
		return write_as_user(pid, s, e);
	r = namespace_write_maps(pid, (const NamespaceIdMap *)s->uid_mappings, s->n_uid_mappings,
				 (const NamespaceIdMap *)s->gid_mappings, s->n_gid_mappings, e);
	if (r == -EPERM && namespace_in_user())
		return err_ctx(
		    e, r,
		    "linux.uidMappings, linux.gidMappings (host ids are those that the user namespace "
		    "around this program has)");
	return r;
}
