/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups that systemd makes and counts as its own: a transient unit for each container.
 *
 * cgroup-systemd.c is pure: the unit's name and place from "slice:prefix:name", and the unit's properties from limits and
 * annotations. cgroup-scope.c does what they say, through the program ireko-scope, because the bus takes a library (libsystemd)
 * that is not for static programs.
 *
 * systemd removes a scope that no process is in, and starts none without one. So ireko-scope starts the scope with itself in
 * it, and stays until the container's first process is there too, born in the cgroup like any other container's.
 */
#pragma once

#include "base/json.h"
#include "kernel/cgroup.h"

typedef struct CgroupUnit {
	char *name;  /* "ireko-x.scope", "a-b.slice" */
	char *slice; /* which it is below */
	bool is_slice;
} CgroupUnit;
/* From a cgroupsPath "slice:prefix:name"; empty stands for ":ireko:<id>". An empty slice is system.slice, or user.slice of a user's
 * manager. */
int cgroup_unit_parse(const char *path, const char *id, bool user, CgroupUnit *ret, Err *e);
void cgroup_unit_done(CgroupUnit *u);
/* "a-b.slice" to "/a.slice/a-b.slice", "-.slice" to "". */
int cgroup_slice_expand(const char *slice, char **ret, Err *e);
/* The path of the unit's cgroup in every hierarchy; root is that of the manager. */
int cgroup_unit_path(const CgroupUnit *u, const char *root, char **ret, Err *e);

/*
 * A list of properties is a JSON array; each is [name, signature, value] or, if older systemds do not know it, [name, signature,
 * value, first version]. Signatures are D-Bus's; unsigned 64-bit numbers are their two's complement.
 */
int cgroup_unit_add(json_t *list, const char *name, const char *signature, json_t *value, int since, Err *e);
/* Those that stand for limits; the others are for cgroup_apply() alone. A quota is rounded up to what systemd can express (1%
 * of a CPU), so that both say the same. */
int cgroup_unit_limits(CgroupLimits *l, bool unified, json_t *list, Err *e);
/* The device rules in systemd's words, as far as it has words for them. Only on v1: there systemd writes its own rules over
 * others' when it is reloaded. */
int cgroup_unit_devices(const CgroupLimits *l, json_t *list, Err *e);
/* "org.systemd.property.NAME=VALUE" of a list of annotations; VALUE is a GVariant in text form. */
int cgroup_unit_annotations(char *const *annotations, json_t *list, Err *e);
/* One value in GVariant's text form: numbers, booleans, strings, byte strings, and arrays of these. */
int cgroup_unit_value(const char *text, char **ret_signature, json_t **ret, Err *e);

/* ---- cgroup-scope.c ---- */
typedef struct CgroupScope {
	int sock;
	pid_t pid; /* of ireko-scope, a child */
} CgroupScope;
#define CGROUP_SCOPE_INIT                                                                                    \
	{                                                                                                    \
		.sock = -1                                                                                   \
	}
/* True for whom the system's manager does nothing: users, also as root of a user namespace. */
bool cgroup_scope_is_users(void);
/* Starts ireko-scope (from helper_dir) and connects it to the manager, the user's or the system's. *ret_root: the manager's own
 * cgroup, "" at the top. */
int cgroup_scope_open(const char *helper_dir, bool user, CgroupScope *ret, char **ret_root, Err *e);
/* Makes the unit, and puts ireko-scope in if it is a scope. A failed unit of the name is forgotten first. */
int cgroup_scope_start(const CgroupScope *s, const CgroupUnit *u, const char *description,
		       const json_t *properties, Err *e);
/* Has systemd move a process into the unit, for who may not do that. */
int cgroup_scope_attach(const CgroupScope *s, const char *unit, pid_t pid, Err *e);
int cgroup_scope_set(const CgroupScope *s, const char *unit, const json_t *properties, Err *e);
/* Success too if there is none. */
int cgroup_scope_stop(const CgroupScope *s, const char *unit, Err *e);
/* Lets ireko-scope end, and waits for it. */
void cgroup_scope_close(CgroupScope *s);
