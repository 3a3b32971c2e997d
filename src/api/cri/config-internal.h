/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that translate CRI's configurations share.
 *
 * Messages come from the wire: strings are never NULL but may be anything, messages may be missing, enumerations may have numbers that nobody has defined. `field` names for
 * the user what an error is about.
 */
#pragma once

#include "api/cri/config.h"

/* Of lists in one configuration: a message is bounded in bytes, and what is looked at in pairs must be few. */
#define CRI_LIST_MAX 4096
#define CRI_ID_MAX                                                                                           \
	INT32_MAX /* of users and groups: larger numbers become others somewhere below (CVE-2024-40635) */

/* ---- config-text.c ---- */
/* ERR_INVALID unless it is UTF-8. */
int cri_text_check(const char *s, const char *field, Err *e);
/* A copy of what is not empty; NULL otherwise. */
int cri_text(const char *s, const char *field, char **ret, Err *e);
/* An absolute path without "..", cleaned. */
int cri_path(const char *s, const char *field, char **ret, Err *e);
bool cri_path_leads_up(const char *s);
int cri_list_check(size_t n, const char *field, Err *e);
int cri_texts(char *const *v, size_t n, const char *field, char ***to, Err *e);
/* "key=value": a key is not empty, and has no '='. */
int cri_pair_add(char ***to, const char *key, const char *value, const char *field, Err *e);
/* Maps are lists of messages that look alike but have types of their own. */
#define cri_map(to, message, member, field, e)                                                               \
	({                                                                                                   \
		int _r = cri_list_check((message)->n_##member, (field), (e));                                \
		for (size_t _i = 0; _r >= 0 && _i < (message)->n_##member; _i++)                             \
			_r = cri_pair_add((to), (message)->member[_i]->key, (message)->member[_i]->value,    \
					  (field), (e));                                                     \
		_r;                                                                                          \
	})
/* The name of a pod, a container or the like, as it becomes part of other names: letters, digits, '-', '_' and '.'. */
int cri_name_check(const char *s, const char *field, bool may_be_empty, Err *e);
/* A Kubernetes quantity ("10M", "1.5Gi", "2e3"), rounded up. -EINVAL, -ERANGE. */
int cri_quantity(const char *text, int64_t *ret);
/* Names that were checked, as one of a container: what is too long is cut, and a hash then keeps it apart. malloc'ed. */
char *cri_object_name(const char *const *parts, size_t n);

/* ---- security.c ---- */
typedef struct CriProfiles {
	const Cri__SecurityProfile *seccomp, *apparmor;
	const char *seccomp_path, *apparmor_name; /* as older clients say it */
	const Cri__SELinuxOption *selinux;
	bool privileged, no_new_privs;
} CriProfiles;
/* ContainerHost.security_opt. */
int cri_security_options(const CriProfiles *p, char ***to, Err *e);
/* CapAdd and CapDrop, so that what is dropped by name is dropped, whatever is added. */
int cri_capabilities(const Cri__Capability *c, ContainerConfig *ret, Err *e);
/* "user[:group]"; NULL if none is said. Any may be NULL. */
int cri_user(const Cri__Int64Value *uid, const char *name, const Cri__Int64Value *gid, char **ret, Err *e);
int cri_groups(const int64_t *groups, size_t n, Cri__SupplementalGroupsPolicy policy, ContainerConfig *ret,
	       Err *e);

/* ---- namespaces.c ---- */
/* What a pod shares with the host, and its user namespace. */
int cri_pod_namespaces(const Cri__NamespaceOption *o, ContainerConfig *ret, Err *e);
/* Of a member; `sandbox` has what cri_pod_namespaces() gave. */
int cri_container_namespaces(const Cri__NamespaceOption *o, const ContainerConfig *sandbox,
			     ContainerConfig *ret, Err *e);

/* ---- config-mounts.c ---- */
int cri_mounts(const Cri__ContainerConfig *c, const ContainerConfig *sandbox, ContainerHost *ret, Err *e);

/* ---- config-cdi.c ---- */
int cri_cdi_devices(const Cri__ContainerConfig *c, ContainerHost *ret, Err *e);
