/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container's process is: "user[:group]" looked up in the container's own /etc/passwd and
 * /etc/group.
 *
 * Both files are the image's, so hostile: read through path_open_in_root, with a byte budget, and every
 * number must fit 0..2^31-1 (CVE-2024-40635: larger ids wrap to 0 somewhere below).
 */
#include "engine/engine-internal.h"

#define ACCOUNT_FILE_MAX (4u << 20)

void user_ids_done(UserIds *u)
{
	free(u->groups);
	free(u->home);
	*u = (UserIds){0};
}

static char *read_account_file(int rootfs_fd, const char *path)
{
	_cleanup_close_ int fd = path_open_in_root(rootfs_fd, path, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;
	char *text = NULL;

	/* A missing or special file is an empty one: names are then simply not found. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    fd_read_all(fd, ACCOUNT_FILE_MAX, &text, NULL) < 0)
		return strdup("");
	return text;
}

static bool parse_id(const char *s, uint32_t *ret)
{
	int v;

	if (str_to_int(s, 0, INT32_MAX, &v) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* Splits the next "a:b:c\n" line in place; false at the end. */
static bool next_fields(char **cursor, char **fields, size_t n)
{
	char *line = strsep(cursor, "\n");

	if (!line)
		return false;
	for (size_t i = 0; i < n; i++) {
		fields[i] = strsep(&line, ":");
		if (!fields[i])
			fields[i] = (char *)"";
	}
	return true;
}

/* name:x:uid:gid:gecos:home:shell. True if `want`, a name or a number, has an entry. */
static bool passwd_find(char *text, const char *want, UserRules rules, UserIds *u, char **ret_name)
{
	uint32_t number = 0, uid, gid;
	bool numeric = parse_id(want, &number), by_name = !numeric || rules == USER_DOCKER;
	char *f[7];

	while (next_fields(&text, f, 7)) {
		if (!parse_id(f[2], &uid) || !parse_id(f[3], &gid))
			continue;
		if (!(by_name && streq(f[0], want)) && !(numeric && uid == number))
			continue;
		u->uid = uid;
		u->gid = gid;
		free(u->home);
		u->home = strdup(f[5]);
		*ret_name = strdup(f[0]);
		return true;
	}
	return false;
}

static int group_append(UserIds *u, uint32_t gid)
{
	uint32_t *grown;

	for (size_t i = 0; i < u->n_groups; i++)
		if (u->groups[i] == gid)
			return 0;
	grown = realloc(u->groups, (u->n_groups + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	grown[u->n_groups++] = gid;
	u->groups = grown;
	return 0;
}

static bool member_listed(char *members, const char *name)
{
	for (char *m; (m = strsep(&members, ","));)
		if (streq(m, name))
			return true;
	return false;
}

/* Supplementary groups of `name` in a copy of /etc/group. */
static int groups_of(const char *group_text, const char *name, UserIds *u)
{
	_cleanup_free_ char *copy = strdup(group_text);
	char *cursor = copy, *f[4];
	uint32_t gid;

	if (!copy)
		return -ENOMEM;
	while (next_fields(&cursor, f, 4))
		if (parse_id(f[2], &gid) && member_listed(f[3], name) && group_append(u, gid) < 0)
			return -ENOMEM;
	return 0;
}

static bool group_find(const char *group_text, const char *want, UserRules rules, uint32_t *ret)
{
	_cleanup_free_ char *copy = strdup(group_text);
	char *cursor = copy, *f[4];
	uint32_t gid;

	if (rules != USER_DOCKER && parse_id(want, ret))
		return true;
	while (copy && next_fields(&cursor, f, 4))
		if (streq(f[0], want) && parse_id(f[2], &gid)) {
			*ret = gid;
			return true;
		}
	return parse_id(want, ret);
}

static int resolve_user(char *passwd, const char *group_text, const char *user, bool with_groups,
			UserRules rules, UserIds *u, Err *e)
{
	_cleanup_free_ char *name = NULL;

	if (passwd_find(passwd, user, rules, u, &name)) {
		if (with_groups && name && groups_of(group_text, name, u) < 0)
			return err_oom(e);
		return 0;
	}
	if (!parse_id(user, &u->uid))
		return err_new(
		    e, ERR_INVALID,
		    "unable to find user %s: no matching entries in passwd file: use a name from the image's "
		    "/etc/passwd or a number from 0 to 2147483647",
		    user);
	u->gid = 0;
	return 0;
}

UserRules user_rules_of(const ContainerConfig *k)
{
	return !k->pod.id ? USER_DOCKER : k->pod.strict_groups ? USER_STRICT : USER_MERGED;
}

int user_resolve(int rootfs_fd, const char *user, char *const *extra_groups, UserRules rules, UserIds *ret,
		 Err *e)
{
	_cleanup_free_ char *passwd = read_account_file(rootfs_fd, "/etc/passwd");
	_cleanup_free_ char *group = read_account_file(rootfs_fd, "/etc/group");
	_cleanup_free_ char *name = strndup(user ?: "", strcspn(user ?: "", ":"));
	const char *gname = user ? strchr(user, ':') : NULL;
	_cleanup_(user_ids_done) UserIds u = {0};
	int r;

	if (!passwd || !group || !name)
		return err_oom(e);
	gname = gname && gname[1] ? gname + 1 : NULL;
	r = resolve_user(passwd, group, *name ? name : "0",
			 rules == USER_DOCKER ? !gname : rules == USER_MERGED, rules, &u, e);
	if (r < 0)
		return r;
	if (gname && !group_find(group, gname, rules, &u.gid))
		return err_new(e, ERR_INVALID, "unable to find group %s: no matching entries in group file",
			       gname);
	if (group_append(&u, u.gid) < 0)
		return err_oom(e);
	for (size_t i = 0; extra_groups && extra_groups[i]; i++) {
		uint32_t gid;

		if (!group_find(group, extra_groups[i], rules, &gid))
			return err_new(e, ERR_INVALID,
				       "Unable to find group %s: no matching entries in group file",
				       extra_groups[i]);
		if (group_append(&u, gid) < 0)
			return err_oom(e);
	}
	if (!u.home) {
		u.home = strdup("/");
		if (!u.home)
			return err_oom(e);
	}
	*ret = u;
	u = (UserIds){0};
	return 0;
}

int engine_user_lookup(int rootfs_fd, const char *user, uint32_t *ret_uid, uint32_t *ret_gid, Err *e)
{
	_cleanup_(user_ids_done) UserIds u = {0};
	int r = user_resolve(rootfs_fd, user, NULL, USER_DOCKER, &u, e);

	if (r < 0)
		return r;
	*ret_uid = u.uid;
	*ret_gid = u.gid;
	return 0;
}
