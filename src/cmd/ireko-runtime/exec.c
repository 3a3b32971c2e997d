/* SPDX-License-Identifier: Apache-2.0 */
/* "exec": the process comes from a file, or is the container's own with other arguments. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"
#include "oci/user.h"

#include <fcntl.h>
#include <getopt.h>

typedef struct ExecArgs {
	RuntimeExec x;
	const char *process_file, *cwd, *user, *apparmor, *selinux, *pidfd_socket;
	char **env, **caps, **groups, **cgroups;
	bool tty, detach, no_new_privs;
} ExecArgs;

#define X(m) offsetof(ExecArgs, m)
static const CliOption exec_options[] = {
    {"console-socket", 0, CLI_TEXT, X(x.console_socket), "SOCKET",
     "unix socket that gets the terminal's master"},
    {"cwd", 0, CLI_TEXT, X(cwd), "DIR", "current working directory in the container"},
    {"env", 'e', CLI_LIST, X(env), "K=V", "set an environment variable"},
    {"tty", 't', CLI_FLAG, X(tty), NULL, "allocate a terminal"},
    {"user", 'u', CLI_TEXT, X(user), "UID[:GID]", "user and group, as numbers"},
    {"additional-gids", 'g', CLI_LIST, X(groups), "GID", "one more group"},
    {"process", 'p', CLI_TEXT, X(process_file), "FILE", "the process as JSON"},
    {"detach", 'd', CLI_FLAG, X(detach), NULL, "leave the process running in the background"},
    {"pidfd-socket", 0, CLI_TEXT, X(pidfd_socket), "SOCKET", "unix socket that gets a pidfd"},
    {"pid-file", 0, CLI_TEXT, X(x.pid_file), "FILE", "write the process id there"},
    {"process-label", 0, CLI_TEXT, X(selinux), "LABEL", "SELinux label of the process"},
    {"apparmor", 0, CLI_TEXT, X(apparmor), "PROFILE", "AppArmor profile of the process"},
    {"no-new-privs", 0, CLI_FLAG, X(no_new_privs), NULL, "set no_new_privs"},
    {"cap", 'c', CLI_LIST, X(caps), "CAP", "one more capability"},
    {"preserve-fds", 0, CLI_FDS, X(x.preserve_fds), "N", "pass descriptors 3 to 3+N-1"},
    {"cgroup", 0, CLI_LIST, X(cgroups), "[CTRL,...:]PATH", "a sub-cgroup of the container to be in"},
    {"ignore-paused", 0, CLI_FLAG, X(x.ignore_paused), NULL,
     "also in a paused container, where it waits for the resume"},
    {"no-subreaper", 0, CLI_NOTHING, 0, NULL, "taken for compatibility"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static void exec_args_done(ExecArgs *a)
{
	strv_free(a->env);
	strv_free(a->caps);
	strv_free(a->groups);
	strv_free(a->cgroups);
}

static int parse(int argc, char **argv, ExecArgs *a, Err *e)
{
	int r = cli_parse_leading(exec_options, argc, argv, a, e);

	if (r < 0)
		return r;
	if (optind >= argc)
		return err_new(e, ERR_INVALID, "\"exec\" requires a container id");
	if (!a->process_file && optind + 1 >= argc)
		return err_new(e, ERR_INVALID,
			       "process args cannot be empty: give a command, or a process with --process");
	a->x.id = argv[optind];
	a->x.cgroups = a->cgroups;
	return 0;
}

static int process_from_file(const char *path, OciProcess *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;
	int r = file_read_at(AT_FDCWD, path, 4u << 20, &text, &len);

	if (r < 0)
		return err_sys(e, r, "read process from %s", path);
	r = oci_json_parse(text, len, path, &j, e);
	return r < 0 ? r : oci_process_decode(j, ret, e);
}

/* The container's own process, from its bundle. */
static int process_from_bundle(const Cli *cli, const char *id, OciProcess *ret, Err *e)
{
	_cleanup_(runtime_state_done) RuntimeState state = {0};
	_cleanup_free_ char *path = NULL, *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	const json_t *process;
	size_t len;
	int r = runtime_state(&cli->options, id, &state, e);

	if (r < 0)
		return r;
	path = strf("%s/config.json", state.bundle);
	if (!path)
		return err_oom(e);
	r = file_read_at(AT_FDCWD, path, 16u << 20, &text, &len);
	if (r < 0)
		return err_sys(e, r, "read %s", path);
	r = oci_json_parse(text, len, path, &j, e);
	if (r < 0)
		return r;
	process = json_object_get(j, "process");
	if (!process)
		return err_new(e, ERR_INVALID, "%s has no process: give one with --process", path);
	r = oci_process_decode(process, ret, e);
	ret->terminal = false;
	return r;
}

static int replace(char **where, const char *value, Err *e)
{
	free(*where);
	*where = strdup(value);
	return *where ? 0 : err_oom(e);
}

static int set_groups(OciUser *u, char *const *groups, Err *e)
{
	size_t n = strv_len(groups);

	free(u->additional_gids);
	u->additional_gids = calloc(n, sizeof(*u->additional_gids));
	u->n_additional_gids = 0;
	if (!u->additional_gids)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		if (oci_id_parse(groups[i], &u->additional_gids[u->n_additional_gids++]) < 0)
			return err_new(e, ERR_INVALID, "--additional-gids \"%s\": expected a number",
				       groups[i]);
	return 0;
}

static bool has_ambient(const OciProcess *p)
{
	return p->cap_ambient && p->cap_ambient[0];
}

/* A capability asked for goes into the sets that make it usable; into the inheritable and ambient ones only where the process has
 * such (an inheritable one nobody asked for survives an execve by another user: CVE-2022-29162). */
static int add_caps(OciProcess *p, char *const *caps, Err *e)
{
	char ***sets[] = {&p->cap_bounding, &p->cap_effective, &p->cap_permitted, &p->cap_inheritable,
			  &p->cap_ambient};
	size_t n = has_ambient(p) ? 5 : 3;

	for (size_t i = 0; caps && caps[i]; i++)
		for (size_t k = 0; k < n; k++)
			if (strv_add(sets[k], caps[i]) < 0)
				return err_oom(e);
	p->has_capabilities |= caps != NULL;
	return 0;
}

static int adjust(OciProcess *p, ExecArgs *a, char **args, Err *e)
{
	int r = 0;

	if (*args) {
		strv_free(p->args);
		p->args = strv_dup(args);
		if (!p->args)
			return err_oom(e);
	}
	for (size_t i = 0; a->env && a->env[i]; i++)
		if (strv_env_set(&p->env, a->env[i]) < 0)
			return err_oom(e);
	p->terminal |= a->tty;
	p->no_new_privileges |= a->no_new_privs;
	if (a->cwd)
		r = replace(&p->cwd, a->cwd, e);
	if (r == 0 && a->apparmor)
		r = replace(&p->apparmor_profile, a->apparmor, e);
	if (r == 0 && a->selinux)
		r = replace(&p->selinux_label, a->selinux, e);
	if (r == 0 && a->user)
		r = err_ctx(e, oci_user_parse(a->user, &p->user, e), "--user");
	if (r == 0 && a->groups)
		r = set_groups(&p->user, a->groups, e);
	return r < 0 ? r : add_caps(p, a->caps, e);
}

static int check_terminal(const ExecArgs *a, const OciProcess *p, Err *e)
{
	if (a->detach && p->terminal && !a->x.console_socket)
		return err_new(e, ERR_INVALID,
			       "cannot allocate tty if the runtime will detach without setting console "
			       "socket: give --console-socket");
	return 0;
}

static int do_exec(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(exec_args_done) ExecArgs a = {.x = {.stdio = {0, 1, 2}}};
	_cleanup_(oci_process_done) OciProcess p = {0};
	_cleanup_close_ int pidfd = -1, console = -1;
	pid_t pid;
	int r = parse(argc, argv, &a, e);

	if (r < 0)
		return r;
	r = a.process_file ? process_from_file(a.process_file, &p, e)
			   : process_from_bundle(cli, a.x.id, &p, e);
	if (r == 0)
		r = adjust(&p, &a, argv + optind + 1, e);
	if (r == 0)
		r = check_terminal(&a, &p, e);
	if (r == 0 && !a.detach)
		r = foreground_prepare(e);
	if (r < 0)
		return r;
	a.x.process = &p;
	a.x.plain_newlines = !a.detach;
	r = runtime_exec(&cli->options, &a.x, &pid, &pidfd, &console, e);
	if (r == 0)
		r = sockets_send_pidfd(a.pidfd_socket, pidfd, e);
	if (r < 0 || a.detach)
		return r;
	return foreground_wait(pid, pidfd, console, -1, e);
}

const CliCommand cli_exec = {.name = "exec",
			     .arguments = "<container-id> <command> [args...]",
			     .summary = "execute a new process inside a container",
			     .options = exec_options,
			     .run = do_exec,
			     .meets_container = true,
			     .failure = 255,
			     .says = "exec failed"};
