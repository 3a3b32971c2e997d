/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the runtime's power to the process's: user, groups, capabilities, no_new_privs, filter, limits.
 *
 * The order is forced: the bounding set shrinks while CAP_SETPCAP is there; the working directory is entered
 * as root, since the user may not be able to reach it; the user changes with the permitted set kept; the command is
 * looked up with the rights that it will be executed with. The filter comes as late as can be, so that it need not allow what we
 * do ourselves: right before execve. Without no_new_privs that takes CAP_SYS_ADMIN, which a container's first process keeps until
 * then; execve takes it away, as it computes the capabilities anew. A process that exec adds is seen by the container before
 * it executes, and so may keep nothing: there the filter comes right before the capabilities go.
 */
#include "runtime/runtime-internal.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"

#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define PASSWD_MAX (1u << 20)
#define OVERRIDES  (1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_DAC_READ_SEARCH)

/* Ambient are only those that are permitted and inheritable (capabilities(7)). */
static void warn_of_ambient(uint64_t ambient, const CapabilitySets *s, void (*warn)(const char *))
{
	for (int cap = 0; capability_name(cap); cap++) {
		_cleanup_free_ char *text = NULL;

		if (!(ambient & ~(s->permitted & s->inheritable) & (1ULL << cap)))
			continue;
		text = strf("can't raise ambient capability %s: it is not both permitted and inheritable",
			    capability_name(cap));
		if (text)
			warn(text);
	}
}

static int warn_of_unknown(char *const *unknown, void (*warn)(const char *), Err *e)
{
	_cleanup_free_ char *list = NULL, *text = NULL;

	if (!unknown || !warn)
		return 0;
	list = strv_join(unknown, " ");
	text = list ? strf("ignoring unknown or unavailable capabilities: [%s]", list) : NULL;
	if (!text)
		return err_oom(e);
	warn(text);
	return 0;
}

int credentials_caps(const OciProcess *p, void (*warn)(const char *), CapabilitySets *ret, Err *e)
{
	CapabilitySets s = {0};
	const struct {
		char *const *names;
		uint64_t *mask;
	} sets[] = {
	    {p->cap_bounding, &s.bounding},   {p->cap_effective, &s.effective},
	    {p->cap_permitted, &s.permitted}, {p->cap_inheritable, &s.inheritable},
	    {p->cap_ambient, &s.ambient},
	};
	_cleanup_strv_ char **unknown = NULL;
	uint64_t all, has;
	int r;

	for (size_t i = 0; p->has_capabilities && i < ELEMENTSOF(sets); i++)
		if (capability_mask(sets[i].names, sets[i].mask, &unknown) < 0)
			return err_oom(e);
	/* The sets are mostly the same: each capability is asked for once. */
	all = s.bounding | s.effective | s.permitted | s.inheritable | s.ambient;
	has = capability_available(all);
	for (int cap = 0; capability_name(cap); cap++)
		if ((all & ~has & (1ULL << cap)) && strv_add(&unknown, capability_name(cap)) < 0)
			return err_oom(e);
	r = warn_of_unknown(unknown, warn, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ELEMENTSOF(sets); i++)
		*sets[i].mask &= has;
	if (warn)
		warn_of_ambient(s.ambient, &s, warn);
	*ret = s;
	return 0;
}

char *credentials_passwd_field(char *text, uint32_t uid, size_t n)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		_cleanup_strv_ char **fields = strv_split(line, ':');
		uint64_t have;

		if (fields && strv_len(fields) > n && strv_len(fields) >= 3 &&
		    str_to_u64(fields[2], &have) == 0 && have == uid)
			return strdup(fields[n]);
	}
	return NULL;
}

/* The file is the image's: it may be anything, so it is opened without blocking, bounded, and only if it is a regular file. */
static char *passwd_field(int root, uint32_t uid, size_t n)
{
	_cleanup_close_ int fd = path_open_in_root(root, "/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	_cleanup_free_ char *text = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    fd_read_all(fd, PASSWD_MAX, &text, NULL) < 0)
		return NULL;
	return credentials_passwd_field(text, uid, n);
}

int credentials_env(int root, const OciProcess *p, char ***ret, Err *e)
{
	_cleanup_strv_ char **env = p->env ? strv_dup(p->env) : calloc(1, sizeof(char *));
	const char *home;

	if (!env || strv_env_unique(env) < 0)
		return err_oom(e);
	home = strv_env_get(env, "HOME");
	if (str_empty(home)) {
		_cleanup_free_ char *dir = passwd_field(root, p->user.uid, 5), *set = NULL;

		set = strf("HOME=%s", str_empty(dir) ? "/" : dir);
		if (!set || strv_env_set(&env, set) < 0)
			return err_oom(e);
	}
	*ret = take_ptr(env);
	return 0;
}

int credentials_rlimits(const OciProcess *p, pid_t pid, Err *e)
{
	for (size_t i = 0; i < p->n_rlimits; i++) {
		int r = process_set_rlimit(pid, p->rlimits[i].type ? p->rlimits[i].type : "",
					   p->rlimits[i].soft, p->rlimits[i].hard, e);

		if (r < 0)
			return err_ctx(e, r, "process.rlimits");
	}
	return 0;
}

int credentials_oom_score(const OciProcess *p, pid_t pid, Err *e)
{
	char path[48], text[16];
	int r;

	if (!p->has_oom_score_adj)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	snprintf(text, sizeof(text), "%d", p->oom_score_adj);
	r = file_write_at(AT_FDCWD, path, text);
	if (r == -EACCES || r == -EPERM)
		return err_new_no(e, ERR_DENIED, EACCES,
				  "process.oomScoreAdj: lowering it to %d needs CAP_SYS_RESOURCE, which this "
				  "process does not have",
				  p->oom_score_adj);
	return r < 0 ? err_sys(e, r, "process.oomScoreAdj: write %s", path) : 0;
}

/* So that the container neither sees nor fills the keys of the session that started it. */
void credentials_keyring(const char *id)
{
	_cleanup_free_ char *name = strf("_ses.%s", id);

	/* Without keyrings in the kernel, or over the quota, there is nothing that could be shared. */
	if (name)
		(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name);
}

static int write_label(int proc, const char *file, const char *prefix, const char *label, Err *e)
{
	_cleanup_free_ char *text = strf("%s%s", prefix, label);
	_cleanup_close_ int own = -1;
	int r, dir = proc;

	if (!text)
		return err_oom(e);
	if (dir < 0) {
		r = mount_new_fs("proc", "proc", NULL, 0, &own, e);
		if (r < 0)
			return r;
		dir = own;
	}
	r = file_write_at(dir, file, text);
	return r < 0 ? err_sys(e, r, "set the label %s", label) : 0;
}

int credentials_labels(const OciProcess *p, int proc, Err *e)
{
	int r = 0;

	if (!str_empty(p->apparmor_profile) && !streq(p->apparmor_profile, "unconfined")) {
		r = write_label(proc, "thread-self/attr/apparmor/exec", "exec ", p->apparmor_profile, e);
		if (r == -ENOENT)
			r = write_label(proc, "thread-self/attr/exec", "exec ", p->apparmor_profile, e);
		if (r == -ENOENT || r == -EINVAL)
			r = err_new_no(e, ERR_UNSUPPORTED, -r,
				       "AppArmor profile %s: this kernel has no AppArmor, or no such profile",
				       p->apparmor_profile);
	}
	if (r == 0 && !str_empty(p->selinux_label))
		r = write_label(proc, "thread-self/attr/exec", "", p->selinux_label, e);
	return r;
}

static int become_user(const OciUser *u, Err *e)
{
	int r = capability_keep_over_setuid(e);

	if (r < 0)
		return r;
	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "gids are passed as they are");
	if (setgroups(u->n_additional_gids, (const gid_t *)u->additional_gids) < 0) {
		/* A user namespace made without privilege has given setgroups up (user_namespaces(7)). */
		if (errno != EPERM || u->n_additional_gids > 0)
			return err_sys(
			    e, errno, "set the additional groups%s",
			    errno == EPERM
				? " (a user namespace of one id has none: linux.gidMappings needs a range)"
				: "");
	}
	if (setresgid(u->gid, u->gid, u->gid) < 0)
		return err_sys(e, errno, "set gid %u%s", u->gid,
			       errno == EINVAL ? " (not mapped into the user namespace)" : "");
	if (setresuid(u->uid, u->uid, u->uid) < 0)
		return err_sys(e, errno, "set uid %u%s", u->uid,
			       errno == EINVAL ? " (not mapped into the user namespace)" : "");
	/* A change of user resets this to what fs.suid_dumpable says, and there is much in our memory yet. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, errno, "set not dumpable");
	return 0;
}

/* Inside the root, and not through a descriptor of ours that happens to be open (CVE-2024-21626). */
static int enter_cwd(int root, const char *cwd)
{
	_cleanup_close_ int fd = path_open_in_root(root, cwd, O_PATH | O_DIRECTORY, 0);
	char where[PATH_MAX];

	if (fd < 0)
		return fd;
	if (fchdir(fd) < 0)
		return -errno;
	/* The kernel puts "(unreachable)" in front of a directory outside the root. */
	if (syscall(SYS_getcwd, where, sizeof(where)) < 0)
		return errno == ENAMETOOLONG || errno == ERANGE ? 0 : -errno;
	return where[0] == '/' ? 0 : -EXDEV;
}

static int cwd_failed(const char *cwd, int r, Err *e)
{
	if (r == -ENOENT)
		return err_new(e, ERR_NO_COMMAND,
			       "chdir to cwd (\"%s\") set in config.json failed: no such file or directory",
			       cwd);
	if (r == -EACCES)
		return err_new(e, ERR_NOT_RUNNABLE,
			       "chdir to cwd (\"%s\") set in config.json failed: permission denied", cwd);
	if (r == -ENOTDIR)
		return err_new(e, ERR_NOT_RUNNABLE,
			       "chdir to cwd (\"%s\") set in config.json failed: not a directory", cwd);
	return err_sys(e, r, "chdir to cwd (\"%s\") set in config.json failed", cwd);
}

/* With write(2), the one call that a filter may not notify of (validate.c). */
static int tell_number(int sock, int fd)
{
	char buf[1 + sizeof(fd)] = {INIT_LISTENER};

	memcpy(buf + 1, &fd, sizeof(fd));
	return write(sock, buf, sizeof(buf)) == (ssize_t)sizeof(buf) ? 0 : -errno;
}

static int install_filter(const Credentials *c, Err *e)
{
	int fd = -1, r = seccomp_install(c->filter, c->filter_flags, c->filter_listener, &fd, e);

	if (r < 0 || !c->filter_listener)
		return r;
	r = c->filter_by_number ? tell_number(c->sock, fd) : init_send(c->sock, INIT_LISTENER, NULL, 0, fd);
	if (r < 0)
		return err_sys(e, r, "hand over the seccomp listener");
	init_wait_go(c->sock);
	closep(&fd);
	return 0;
}

/* Whoever gets a listener's fd gets it before the container counts as created. */
static bool is_late(const Credentials *c)
{
	return c->filter && !c->filter_listener && (c->process->no_new_privileges || c->unseen);
}

int credentials_apply(const Credentials *c, char *const *env, char **ret_path, Err *e)
{
	const OciProcess *p = c->process;
	int cwd, r = credentials_labels(p, c->proc, e);

	if (r == 0)
		r = capability_bound(c->caps->bounding, e);
	if (r < 0)
		return r;
	cwd = enter_cwd(c->root, p->cwd);
	r = become_user(&p->user, e);
	if (r < 0)
		return r;
	umask(p->user.umask >= 0 ? (mode_t)p->user.umask & 0777 : 0022);
	if (cwd == -EACCES)
		cwd = enter_cwd(c->root,
				p->cwd); /* a filesystem that refuses root (NFS, FUSE) may let the user in */
	if (cwd < 0)
		return cwd_failed(p->cwd, cwd, e);
	/* With the rights that it will be executed with. */
	if (c->caps->effective & c->caps->permitted & OVERRIDES)
		r = capability_set_effective(c->caps->effective & c->caps->permitted, e);
	if (r == 0)
		r = command_find(p->args[0], env, ret_path, e);
	if (r == 0)
		r = capability_raise_permitted(e);
	if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = err_sys(e, errno, "set no_new_privs");
	return r;
}

int credentials_seal(const Credentials *c, Err *e)
{
	CapabilitySets caps = *c->caps;
	int r = 0;

	if (c->filter && !is_late(c))
		r = install_filter(c, e);
	if (is_late(c) && !c->process->no_new_privileges) {
		caps.permitted |= 1ULL << CAP_SYS_ADMIN;
		caps.effective |= 1ULL << CAP_SYS_ADMIN;
	}
	return r < 0 ? r : capability_apply(&caps, e);
}

int credentials_late(const Credentials *c, Err *e)
{
	return is_late(c) ? install_filter(c, e) : 0;
}
