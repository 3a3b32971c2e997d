/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AppArmor's profile of containers: ireko-default, for whoever asks for no other and is not privileged.
 *
 * It forbids what a container has no business with even as root with capabilities that were added to it: mounting, and writing to the kernel's
 * settings and devices under /proc and /sys. Below that stand the namespaces, capabilities, masked paths and the filter of system calls, which hold
 * without it as well.
 *
 * The text is compiled and loaded by apparmor_parser(8), when the engine starts, beside the first requests, and again when a container is to
 * start and an administrator's tool has removed it. A file that the administrator has put into /etc/apparmor.d under that name is
 * taken instead, and what is loaded then stays. On a machine without AppArmor, or for an engine in a user namespace, there is no profile.
 */
#include "engine/engine-internal.h"
#include "engine/security-opt.h"
#include "kernel/apparmor.h"

#include <spawn.h>
#include <sys/wait.h>

#define ADMIN_FILE "/etc/apparmor.d/" APPARMOR_DEFAULT
#define SAID_MAX   (64u << 10)
#define NO_PARSER                                                                                            \
	"containers run without a profile of AppArmor: apparmor_parser is not installed: apt-get install "   \
	"apparmor, and restart irekod"

/* Deny rules win over the others. Numbers are processes: a container's own. Of the other directories of /proc, sys/kernel/shm* alone is
 * written to, by whoever has it writable; of /sys, fs/cgroup. */
static const char profile[] =
    "profile " APPARMOR_DEFAULT " flags=(attach_disconnected,mediate_deleted) {\n"
    "  capability,\n"
    "  file,\n"
    "  network,\n"
    "  umount,\n"
    "  signal (receive) peer=unconfined,\n"
    "  signal (receive) peer=runc,\n" /* profiles that Ubuntu gives these, for what they may in user namespaces */
    "  signal (receive) peer=crun,\n"
    "  signal (send, receive) peer=" APPARMOR_DEFAULT ",\n"
    "  ptrace (trace, read, tracedby, readby) peer=" APPARMOR_DEFAULT ",\n"
    "  deny mount,\n"
    "  deny /proc/* w,\n"
    "  deny /proc/[^0-9s]*/** w,\n"
    "  deny /proc/s[^y]*/** w,\n"
    "  deny /proc/sy[^s]*/** w,\n"
    "  deny /proc/sys[^/]*/** w,\n"
    "  deny /proc/sys/[^k]*/** w,\n"
    "  deny /proc/sys/k[^e]*/** w,\n"
    "  deny /proc/sys/ke[^r]*/** w,\n"
    "  deny /proc/sys/kernel/[^s]** w,\n"
    "  deny /proc/sys/kernel/s[^h]** w,\n"
    "  deny /proc/sys/kernel/sh[^m]** w,\n"
    "  deny /proc/kcore rwklx,\n"
    "  deny /proc/sysrq-trigger rwklx,\n"
    "  deny /sys/[^f]*/** wklx,\n"
    "  deny /sys/f[^s]*/** wklx,\n"
    "  deny /sys/fs/[^c]*/** wklx,\n"
    "  deny /sys/fs/c[^g]*/** wklx,\n"
    "  deny /sys/devices/virtual/powercap/** rwklx,\n"
    "  deny /sys/firmware/** rwklx,\n"
    "  deny /sys/kernel/security/** rwklx,\n"
    "}\n";

static int text_pipe(Err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	_Static_assert(sizeof(profile) < PIPE_BUF, "is written without waiting for its reader");
	int r = fd_write_all(p[1], profile, sizeof(profile) - 1);

	close_fd(&p[1]);
	if (r < 0) {
		close_fd(&p[0]);
		return err_sys(e, r, "write the profile");
	}
	return p[0];
}

/* file: NULL for the text above. -ENOENT if there is no such program. */
static int parser_run(const char *file, char **ret_said, int *ret_status, Err *e)
{
	const char *argv[] = {"apparmor_parser", "--replace", "--skip-cache", file, NULL};
	posix_spawn_file_actions_t fa;
	_cleanup_close_ int in = text_pipe(e), out = -1;
	int p[2], r;
	pid_t pid;

	if (in < 0)
		return in;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	out = p[0];
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, in, 0);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	posix_spawn_file_actions_adddup2(&fa, p[1], 2);
	r = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close_fd(&p[1]);
	if (r == ENOENT)
		return -ENOENT;
	if (r != 0)
		return err_sys(e, r, "start apparmor_parser");
	r = fd_read_all(out, SAID_MAX, ret_said, NULL);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? err_sys(e, r, "read what apparmor_parser says") : 0;
}

static int load(AppArmor *a, bool by_file, Err *e)
{
	_cleanup_free_ char *said = NULL;
	int status = 0, r = parser_run(by_file ? ADMIN_FILE : NULL, &said, &status, e);

	if (r == -ENOENT) {
		a->lacks_parser = true;
		log_warn("%s", NO_PARSER);
		return 0;
	}
	if (r >= 0 && status != 0)
		r = err_new(e, ERR_INTERNAL, "apparmor_parser: %.500s", said);
	if (r < 0)
		return err_ctx(e, r,
			       "load the AppArmor profile " APPARMOR_DEFAULT
			       " (--security-opt apparmor=unconfined does without)");
	a->loaded = true;
	return 0;
}

/* *ret: whether there is one. */
static int default_ready(AppArmor *a, bool *ret, Err *e)
{
	bool by_file = access(ADMIN_FILE, F_OK) == 0;
	int r = 0;

	pthread_mutex_lock(&a->lock);
	if (a->ours && !a->lacks_parser) {
		r = a->loaded || by_file ? apparmor_has(APPARMOR_DEFAULT, e) : 0;
		if (r == 0)
			r = load(a, by_file, e);
	}
	*ret = a->ours && !a->lacks_parser;
	pthread_mutex_unlock(&a->lock);
	return MIN2(r, 0);
}

static bool is_default(const char *name)
{
	return !name || streq(name, APPARMOR_DEFAULT) || streq(name, "docker-default");
}

static int check_asked(const char *name, Err *e)
{
	int r;

	if (!apparmor_enabled())
		return err_new(e, ERR_UNSUPPORTED,
			       "security option apparmor=%s: AppArmor is not enabled on this host", name);
	r = apparmor_has(name, e);
	if (r != 0)
		return MIN2(r, 0);
	return err_new(e, ERR_INVALID,
		       "security option apparmor=%s: no profile of that name is loaded on this host: load it "
		       "with apparmor_parser -r FILE",
		       name);
}

int apparmor_check(const SecurityOptions *o, Err *e)
{
	return is_default(o->apparmor) || streq(o->apparmor, "unconfined") ? 0 : check_asked(o->apparmor, e);
}

int apparmor_choose(Engine *en, const SecurityOptions *o, bool privileged, const char **ret, Err *e)
{
	bool there = false;
	int r;

	*ret = NULL;
	if (o->apparmor ? streq(o->apparmor, "unconfined") : privileged)
		return 0;
	if (!is_default(o->apparmor)) {
		*ret = o->apparmor;
		return check_asked(o->apparmor, e);
	}
	r = default_ready(&en->apparmor, &there, e);
	if (there)
		*ret = APPARMOR_DEFAULT;
	return r;
}

const char *apparmor_name(Engine *en, const ContainerHost *h)
{
	SecurityOptions o;

	if (!en->apparmor.enabled || security_options_parse(h->security_opt, &o, NULL) < 0)
		return "";
	if (o.apparmor ? streq(o.apparmor, "unconfined") : h->privileged)
		return "unconfined";
	if (!is_default(o.apparmor))
		return o.apparmor;
	return engine_has_apparmor(en) ? APPARMOR_DEFAULT : "unconfined";
}

bool engine_has_apparmor(Engine *en)
{
	AppArmor *a = &en->apparmor;

	pthread_mutex_lock(&a->lock);
	bool has = a->ours && !a->lacks_parser;
	pthread_mutex_unlock(&a->lock);
	return has;
}

const char *apparmor_warning(Engine *en)
{
	return en->apparmor.ours && !engine_has_apparmor(en) ? NO_PARSER : NULL;
}

static void load_job(void *arg)
{
	AppArmor *a = arg;
	Err err = {0};
	int r = default_ready(a, &(bool){false}, &err);

	/* The first container that wants it is refused, and says so; by then it may be mended. */
	if (r < 0)
		log_warn("%s", err_msg(&err, r));
}

void apparmor_open(Engine *en)
{
	AppArmor *a = &en->apparmor;
	int r;

	a->enabled = apparmor_enabled();
	a->ours = a->enabled && apparmor_is_ours();
	if (!a->ours)
		return;
	r = background_run(en->background, load_job, a);
	if (r < 0)
		log_warn("load the AppArmor profile " APPARMOR_DEFAULT ": %s: done by the first container",
			 strerror(-r));
}
