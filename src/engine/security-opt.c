/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/security-opt.h"

#include "base/str.h"

/* As Go's strconv.ParseBool. */
static int parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"}, *const no[] = {"0",
												 "f",
												 "F",
												 "false",
												 "FALSE",
												 "False"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
		if (streq(s, yes[i]) || streq(s, no[i])) {
			*ret = streq(s, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

/* Without SELinux a label means nothing, with dockerd as here; with it, "disable" is what every container is. */
static int check_label(const char *value, Err *e)
{
	static const char *const kinds[] = {"user:", "role:", "type:", "level:", "filetype:"};
	bool known = streq(value, "disable") || streq(value, "nested");

	for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
		known = known || str_starts(value, kinds[i]);
	if (!known)
		return err_new(
		    e, ERR_INVALID,
		    "invalid --security-opt 2: \"label=%s\": expected disable, user:, role:, type: "
		    "or level:",
		    value);
	if (!streq(value, "disable") && access("/sys/fs/selinux/enforce", F_OK) == 0)
		return err_new(e, ERR_UNSUPPORTED,
			       "security option label=%s: labels of SELinux are not set: use label=disable",
			       value);
	return 0;
}

static int parse_one(const char *opt, SecurityOptions *o, Err *e)
{
	size_t n = strcspn(opt, "=");
	const char *value;

	if (streq(opt, "no-new-privileges")) {
		o->no_new_privileges = true;
		return 0;
	}
	if (streq(opt, "disable"))
		return 0;
	if (!opt[n])
		n = strcspn(opt, ":");
	if (!opt[n])
		return err_new(e, ERR_INVALID, "invalid --security-opt 1: \"%.200s\"", opt);
	value = opt + n + 1;
	if (n == strlen("label") && strncmp(opt, "label", n) == 0)
		return check_label(value, e);
	if (n == strlen("seccomp") && strncmp(opt, "seccomp", n) == 0) {
		o->seccomp = streq(value, "builtin") ? NULL : value;
		return 0;
	}
	if (n == strlen("apparmor") && strncmp(opt, "apparmor", n) == 0) {
		o->apparmor = value;
		return *value ? 0
			      : err_new(e, ERR_INVALID,
					"invalid --security-opt 2: \"apparmor=\": it names no profile");
	}
	if (n == strlen("no-new-privileges") && strncmp(opt, "no-new-privileges", n) == 0)
		return parse_bool(value, &o->no_new_privileges) < 0
			   ? err_new(e, ERR_INVALID,
				     "invalid --security-opt value for no-new-privileges: \"%.200s\"", value)
			   : 0;
	return err_new(e, ERR_INVALID, "invalid --security-opt 2: \"%.200s\"", opt);
}

int security_options_parse(char *const *v, SecurityOptions *ret, Err *e)
{
	SecurityOptions o = {0};
	int r = 0;

	for (size_t i = 0; r >= 0 && v && v[i]; i++)
		r = parse_one(v[i], &o, e);
	if (r >= 0)
		*ret = o;
	return r;
}
