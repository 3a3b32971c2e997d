/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the command line does for users other than root, as runc does it: a state directory of their own, whether a
 * missing right to make cgroups is forgiven, and an example that works for them.
 */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/namespace.h"

#include <fcntl.h>

#define ROOT_NAME "ireko-runtime"

/* True for root inside somebody's user namespace too, unless it is root that says it is (runc looks at $USER). */
static bool honours_runtime_dir(void)
{
	const char *user = getenv("USER");

	return geteuid() != 0 || (namespace_in_user() && !streq0(user, "root"));
}

/* The sticky bit keeps it from being cleaned up (XDG Base Directory Specification). */
static int make_user_root(const char *path, Err *e)
{
	int r = mkdir_parents_at(AT_FDCWD, path, 0700);

	if (r < 0)
		return err_sys(
		    e, r,
		    "make state directory %s (the path in $XDG_RUNTIME_DIR must be writable by the user)",
		    path);
	return chmod(path, 0700 | S_ISVTX) < 0 ? err_sys(e, errno, "set the mode of state directory %s", path)
					       : 0;
}

int cli_default_root(char **ret, Err *e)
{
	const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *path = NULL, *users = strf("/run/user/%u", geteuid());
	int r = 0;

	if (!users)
		return err_oom(e);
	if (str_empty(runtime_dir) && geteuid() != 0 && access(users, W_OK) == 0)
		runtime_dir = users;
	if (!str_empty(runtime_dir) && honours_runtime_dir()) {
		path = strf("%s/" ROOT_NAME, runtime_dir);
		r = path ? make_user_root(path, e) : err_oom(e);
	} else {
		path = strdup("/run/" ROOT_NAME);
		r = path ? 0 : err_oom(e);
	}
	if (r == 0)
		*ret = take_ptr(path);
	return r;
}

int cli_rootless(const char *word, bool *ret, Err *e)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"}, *const no[] = {"0",
												 "f",
												 "F",
												 "FALSE",
												 "false",
												 "False"};

	if (str_empty(word) || streq(word, "auto")) {
		*ret = geteuid() != 0 || namespace_in_user();
		return 0;
	}
	for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
		if (streq(word, yes[i]) || streq(word, no[i])) {
			*ret = streq(word, yes[i]);
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "--rootless \"%s\": expected true, false or auto", word);
}

/* The network stays the host's, since a user could do nothing with one of its own; the user namespace goes last. */
static int fit_namespaces(json_t *linux_obj)
{
	json_t *all = json_object_get(linux_obj, "namespaces");

	for (size_t i = json_array_size(all); i-- > 0;) {
		const char *type = json_get_str(json_array_get(all, i), "type");

		if (streq0(type, "network") || streq0(type, "user"))
			(void)json_array_remove(all, i);
	}
	return json_array_append_new(all, json_pack("{s:s}", "type", "user"));
}

static int set_mapping(json_t *linux_obj, const char *name, uint32_t id)
{
	return json_object_set_new(linux_obj, name,
				   json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", (json_int_t)id,
					     "size", 1));
}

/* sysfs needs a network namespace of one's own. */
static json_t *bound_sys(void)
{
	return json_pack("{s:s, s:s, s:s, s:[s,s,s,s,s]}", "destination", "/sys", "type", "none", "source",
			 "/sys", "options", "rbind", "nosuid", "noexec", "nodev", "ro");
}

/* Other ids than one's own are not there. */
static void remove_ids(json_t *options)
{
	for (size_t i = json_array_size(options); i-- > 0;) {
		const char *o = json_string_value(json_array_get(options, i));

		if (o && (str_starts(o, "gid=") || str_starts(o, "uid=")))
			(void)json_array_remove(options, i);
	}
}

static int fit_mounts(json_t *mounts)
{
	int r = 0;

	for (size_t i = 0; i < json_array_size(mounts) && r == 0; i++) {
		json_t *m = json_array_get(mounts, i);

		if (streq0(json_get_str(m, "destination"), "/sys"))
			r = json_array_set_new(mounts, i, bound_sys());
		else
			remove_ids(json_object_get(m, "options"));
	}
	return r;
}

int cli_fit_spec_for_user(json_t *spec, Err *e)
{
	json_t *linux_obj = json_object_get(spec, "linux");

	(void)json_object_del(linux_obj, "resources");
	if (fit_namespaces(linux_obj) < 0 || set_mapping(linux_obj, "uidMappings", geteuid()) < 0 ||
	    set_mapping(linux_obj, "gidMappings", getegid()) < 0 ||
	    fit_mounts(json_object_get(spec, "mounts")) < 0)
		return err_oom(e);
	return 0;
}
