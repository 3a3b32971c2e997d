/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container's process is and what it may do: profiles, capabilities, users.
 *
 * A container without a word about seccomp has no filter, and one that names no profile the runtime's default: that is CRI's rule. A privileged container has neither filter nor
 * profile, whatever else it says.
 */
#include "api/cri/config-internal.h"

#include "base/fd.h"
#include "engine/seccomp-docker.h"

#include <fcntl.h>
#include <strings.h>

#define PROFILE_MAX (4u << 20) /* of a file of seccomp */

static int take(char ***to, char *option, Err *e)
{
	return strv_take(to, option) < 0 ? err_oom(e) : 0;
}

/* What older clients say in one string. False: it is no such name. */
static bool profile_by_name(const char *name, Cri__SecurityProfile *ret)
{
	const char *local = str_after(name, "localhost/");

	cri__security_profile__init(ret);
	if (streq(name, "runtime/default") || streq(name, "docker/default")) {
		ret->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
	} else if (streq(name, "unconfined")) {
		ret->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
	} else if (local) {
		ret->profile_type = CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
		ret->localhost_ref = (char *)(uintptr_t)local;
	} else {
		return false;
	}
	return true;
}

/* The message, or what the older string says in `buf`; NULL: neither. */
static int profile_choose(const Cri__SecurityProfile *given, const char *name, const char *field,
			  Cri__SecurityProfile *buf, const Cri__SecurityProfile **ret, Err *e)
{
	*ret = given;
	if (!given && !str_empty(name)) {
		if (!profile_by_name(name, buf))
			return err_new(e, ERR_INVALID,
				       "%s: \"%.200s\" is no profile: use runtime/default, unconfined or "
				       "localhost/NAME",
				       field, name);
		*ret = buf;
	}
	if (*ret && (unsigned)(*ret)->profile_type > CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
		return err_new(e, ERR_INVALID, "%s: there is no type of profile %d", field,
			       (int)(*ret)->profile_type);
	if (*ret && (*ret)->profile_type != CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost &&
	    !str_empty((*ret)->localhost_ref))
		return err_new(e, ERR_INVALID, "%s: localhost_ref is for profiles of the type Localhost only",
			       field);
	return 0;
}

static const char *local_name(const Cri__SecurityProfile *p)
{
	return str_after(p->localhost_ref, "localhost/") ?: p->localhost_ref;
}

static int seccomp_file(const char *path, char ***to, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *profile = NULL;
	OciSeccomp decoded = {0};
	size_t len;
	int r;

	if (path[0] != '/')
		return err_new(e, ERR_INVALID, "seccomp: \"%.200s\" is not the absolute path of a profile",
			       path);
	r = file_read_at(AT_FDCWD, path, PROFILE_MAX, &text, &len);
	if (r < 0)
		return err_kind(e, err_sys(e, r, "seccomp: read the profile %.500s", path), ERR_INVALID);
	if (strlen(text) != len || !str_is_utf8(text, len))
		return err_new(e, ERR_INVALID, "seccomp: the profile %.500s is no text", path);
	r = seccomp_docker_profile(text, NULL, &profile, e); /* here, where the file has a name */
	if (r >= 0)
		r = oci_seccomp_decode(profile, &decoded, e);
	oci_seccomp_done(&decoded);
	if (r < 0)
		return err_ctx(e, r, "seccomp: %.500s", path);
	return take(to, strf("seccomp=%s", text), e);
}

static int add_seccomp(const CriProfiles *p, char ***to, Err *e)
{
	Cri__SecurityProfile buf;
	const Cri__SecurityProfile *profile;
	int r = profile_choose(p->seccomp, p->seccomp_path, "seccomp", &buf, &profile, e);

	if (r < 0)
		return r;
	if (p->privileged || !profile ||
	    profile->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined)
		return take(to, strdup("seccomp=unconfined"), e);
	return profile->profile_type == CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost
		   ? seccomp_file(local_name(profile), to, e)
		   : take(to, strdup("seccomp=builtin"), e);
}

/* Whether there is an AppArmor that knows the profile is asked by the engine. */
static int add_apparmor(const CriProfiles *p, char ***to, Err *e)
{
	Cri__SecurityProfile buf;
	const Cri__SecurityProfile *profile;
	int r = profile_choose(p->apparmor, p->apparmor_name, "apparmor", &buf, &profile, e);

	if (r < 0 || !profile || p->privileged)
		return r;
	switch (profile->profile_type) {
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Unconfined:
		return take(to, strdup("apparmor=unconfined"), e);
	case CRI__SECURITY_PROFILE__PROFILE_TYPE__Localhost:
		if (!*local_name(profile))
			return err_new(e, ERR_INVALID,
				       "apparmor: a profile of the type Localhost needs a name");
		r = cri_text_check(local_name(profile), "apparmor", e);
		return r < 0 ? r : take(to, strf("apparmor=%s", local_name(profile)), e);
	default:
		return 0;
	}
}

static int add_selinux(const Cri__SELinuxOption *o, char ***to, Err *e)
{
	if (!o)
		return 0;
	const struct {
		const char *what, *value;
	} parts[] = {{"user", o->user}, {"role", o->role}, {"type", o->type}, {"level", o->level}};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(parts); i++) {
		if (!*parts[i].value)
			continue;
		r = cri_text_check(parts[i].value, "selinux_options", e);
		if (r >= 0)
			r = take(to, strf("label=%s:%s", parts[i].what, parts[i].value), e);
	}
	return r;
}

int cri_security_options(const CriProfiles *p, char ***to, Err *e)
{
	int r = add_seccomp(p, to, e);

	if (r >= 0)
		r = add_apparmor(p, to, e);
	if (r >= 0)
		r = add_selinux(p->selinux, to, e);
	if (r >= 0 && p->no_new_privs)
		r = take(to, strdup("no-new-privileges"), e);
	return r;
}

/* ---- capabilities ---- */

static const char *bare(const char *cap)
{
	return strncasecmp(cap, "CAP_", 4) == 0 ? cap + 4 : cap;
}

/* `cap` without CAP_. */
static bool names(char *const *v, size_t n, const char *cap)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(bare(v[i]), cap) == 0)
			return true;
	return false;
}

static int add_names(char *const *v, size_t n, char ***to, Err *e)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(v[i], "ALL") != 0 && strv_add(to, v[i]) < 0)
			return err_oom(e);
	return 0;
}

int cri_capabilities(const Cri__Capability *c, ContainerConfig *ret, Err *e)
{
	ContainerHost *h = &ret->host;
	bool add_all, drop_all;
	int r = 0;

	if (!c)
		return 0;
	r = cri_list_check(c->n_add_capabilities, "add_capabilities", e);
	if (r >= 0)
		r = cri_list_check(c->n_drop_capabilities, "drop_capabilities", e);
	if (r < 0)
		return r;
	add_all = names(c->add_capabilities, c->n_add_capabilities, "ALL");
	drop_all = names(c->drop_capabilities, c->n_drop_capabilities, "ALL");
	/* The engine's rules have one added by name win, and all that are added over all that are dropped. */
	if (drop_all && strv_add(&h->cap_drop, "ALL") < 0)
		return err_oom(e);
	if (add_all && !drop_all && strv_add(&h->cap_add, "ALL") < 0)
		return err_oom(e);
	for (size_t i = 0; i < c->n_add_capabilities; i++)
		if (strcasecmp(c->add_capabilities[i], "ALL") != 0 &&
		    !names(c->drop_capabilities, c->n_drop_capabilities, bare(c->add_capabilities[i])) &&
		    strv_add(&h->cap_add, c->add_capabilities[i]) < 0)
			return err_oom(e);
	r = add_names(c->drop_capabilities, c->n_drop_capabilities, &h->cap_drop, e);
	return r < 0 ? r
		     : cri_texts(c->add_ambient_capabilities, c->n_add_ambient_capabilities,
				 "add_ambient_capabilities", &ret->pod.ambient_capabilities, e);
}

/* ---- users ---- */

static int check_id(int64_t id, const char *field, Err *e)
{
	return id >= 0 && id <= CRI_ID_MAX ? 0
					   : err_new(e, ERR_INVALID, "%s: %lld is not an id from 0 to %d",
						     field, (long long)id, CRI_ID_MAX);
}

/* A name is one: a colon would begin a group, and a line's end another account. */
static int check_user_name(const char *name, Err *e)
{
	for (const char *p = name; *p; p++)
		if (*p == ':' || (unsigned char)*p <= ' ' || *p == 0x7f)
			return err_new(e, ERR_INVALID, "run_as_username: \"%.100s\" is no user's name", name);
	return cri_text_check(name, "run_as_username", e);
}

int cri_user(const Cri__Int64Value *uid, const char *name, const Cri__Int64Value *gid, char **ret, Err *e)
{
	char number[24] = "";
	int r = uid ? check_id(uid->value, "run_as_user", e) : 0;

	if (r >= 0 && gid)
		r = check_id(gid->value, "run_as_group", e);
	if (r >= 0 && !str_empty(name))
		r = check_user_name(name, e);
	if (r < 0)
		return r;
	if (uid)
		snprintf(number, sizeof(number), "%lld", (long long)uid->value);
	if (str_empty(name))
		name = number;
	if (!*name)
		return gid ? err_new(e, ERR_INVALID,
				     "run_as_group %lld is given without run_as_user or run_as_username",
				     (long long)gid->value)
			   : 0;
	free(*ret);
	*ret = gid ? strf("%s:%lld", name, (long long)gid->value) : strdup(name);
	return *ret ? 0 : err_oom(e);
}

int cri_groups(const int64_t *groups, size_t n, Cri__SupplementalGroupsPolicy policy, ContainerConfig *ret,
	       Err *e)
{
	int r = cri_list_check(n, "supplemental_groups", e);

	if (r >= 0 && policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Merge &&
	    policy != CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict)
		r = err_new(e, ERR_INVALID, "supplemental_groups_policy: there is no policy %d", (int)policy);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = check_id(groups[i], "supplemental_groups", e);
		if (r >= 0 && strv_take(&ret->host.group_add, strf("%lld", (long long)groups[i])) < 0)
			r = err_oom(e);
	}
	ret->pod.strict_groups = policy == CRI__SUPPLEMENTAL_GROUPS_POLICY__Strict;
	return r;
}
