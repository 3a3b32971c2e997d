/* SPDX-License-Identifier: Apache-2.0 */
/* "exec": the process comes from a file, or is the container's own with other arguments. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>

typedef struct ExecArgs {
	RuntimeExec x;
	const char *process_file, *cwd, *user;
	char **env, **caps;
	uint32_t *groups;
	size_t n_groups;
	bool tty, detach, no_new_privs;
} ExecArgs;

static void exec_args_done(ExecArgs *a)
{
	strv_free(a->env);
	strv_free(a->caps);
	free(a->groups);
}

static int add_group(ExecArgs *a, const char *s, Err *e)
{
	uint64_t gid;
	uint32_t *more = reallocarray(a->groups, a->n_groups + 1, sizeof(*more));

	if (!more)
		return err_oom(e);
	a->groups = more;
	if (str_to_u64(s, &gid) < 0 || gid >= UINT32_MAX)
		return err_new(e, ERR_INVALID, "--additional-gids \"%s\": expected a number", s);
	more[a->n_groups++] = (uint32_t)gid;
	return 0;
}

static int take_option(int c, ExecArgs *a, Err *e)
{
	switch (c) {
	case 'p':
		a->process_file = optarg;
		return 0;
	case 't':
		a->tty = true;
		return 0;
	case 'd':
		a->detach = true;
		return 0;
	case 'u':
		a->user = optarg;
		return 0;
	case 'e':
		return strv_add(&a->env, optarg) < 0 ? err_oom(e) : 0;
	case 'c':
		return strv_add(&a->caps, optarg) < 0 ? err_oom(e) : 0;
	case 'g':
		return add_group(a, optarg, e);
	case 'C':
		a->cwd = optarg;
		return 0;
	case 's':
		a->x.console_socket = optarg;
		return 0;
	case 'P':
		a->x.pid_file = optarg;
		return 0;
	case 'G':
		a->x.cgroup = optarg;
		return 0;
	case 'n':
		a->no_new_privs = true;
		return 0;
	case 'i':
		return 0; /* --ignore-paused is refused by what it would do: block */
	case 'f':
		if (str_to_int(optarg, 0, 1024, &a->x.preserve_fds) < 0)
			return err_new(e, ERR_INVALID, "--preserve-fds \"%s\": expected 0 to 1024", optarg);
		return 0;
	default:
		return cli_bad_option("exec", e);
	}
}

static int parse(int argc, char **argv, ExecArgs *a, Err *e)
{
	static const struct option longs[] = {
	    {"process", required_argument, NULL, 'p'},
	    {"tty", no_argument, NULL, 't'},
	    {"detach", no_argument, NULL, 'd'},
	    {"user", required_argument, NULL, 'u'},
	    {"env", required_argument, NULL, 'e'},
	    {"cap", required_argument, NULL, 'c'},
	    {"additional-gids", required_argument, NULL, 'g'},
	    {"cwd", required_argument, NULL, 'C'},
	    {"console-socket", required_argument, NULL, 's'},
	    {"pid-file", required_argument, NULL, 'P'},
	    {"cgroup", required_argument, NULL, 'G'},
	    {"no-new-privs", no_argument, NULL, 'n'},
	    {"preserve-fds", required_argument, NULL, 'f'},
	    {NULL, 0, NULL, 0},
	};
	int c, r;

	while ((c = getopt_long_only(argc, argv, "+p:tdu:e:c:g:", longs, NULL)) != -1) {
		r = take_option(c, a, e);
		if (r < 0)
			return r;
	}
	if (optind >= argc)
		return err_new(e, ERR_INVALID, "expected a container id");
	if (!a->process_file && optind + 1 >= argc)
		return err_new(e, ERR_INVALID, "expected a command, or a process with -p");
	a->x.id = argv[optind];
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
		return err_new(e, ERR_INVALID, "%s has no process: give one with -p", path);
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

/* "1000" or "1000:100". Names are for engines, which know the container's passwd. */
static int set_user(OciUser *u, const char *text, Err *e)
{
	_cleanup_strv_ char **parts = strv_split(text, ':');
	uint64_t uid, gid = u->gid;

	if (!parts)
		return err_oom(e);
	if (strv_len(parts) > 2 || str_to_u64(parts[0], &uid) < 0 || uid >= UINT32_MAX ||
	    (parts[1] && (str_to_u64(parts[1], &gid) < 0 || gid >= UINT32_MAX)))
		return err_new(e, ERR_INVALID, "--user \"%s\": expected UID or UID:GID", text);
	u->uid = (uint32_t)uid;
	u->gid = (uint32_t)gid;
	return 0;
}

/* A capability asked for by name goes into every set, as in runc. */
static int add_caps(OciProcess *p, char *const *caps, Err *e)
{
	char ***sets[] = {&p->cap_bounding, &p->cap_effective, &p->cap_permitted};

	for (size_t i = 0; caps && caps[i]; i++)
		for (size_t k = 0; k < ELEMENTSOF(sets); k++)
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
	if (a->tty)
		p->terminal = true;
	if (a->no_new_privs)
		p->no_new_privileges = true;
	if (a->cwd)
		r = replace(&p->cwd, a->cwd, e);
	if (r == 0 && a->user)
		r = set_user(&p->user, a->user, e);
	if (r == 0 && a->n_groups) {
		free(p->user.additional_gids);
		p->user.additional_gids = take_ptr(a->groups);
		p->user.n_additional_gids = a->n_groups;
	}
	return r < 0 ? r : add_caps(p, a->caps, e);
}

int cli_exec(const Cli *cli, int argc, char **argv, Err *e)
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
	if (r == 0 && a.detach && p.terminal && !a.x.console_socket)
		r = err_new(e, ERR_INVALID, "a terminal with --detach needs --console-socket");
	if (r == 0 && !a.detach)
		r = foreground_prepare(e);
	if (r < 0)
		return r;
	a.x.process = &p;
	r = runtime_exec(&cli->options, &a.x, &pid, &pidfd, &console, e);
	if (r < 0 || a.detach)
		return r;
	return foreground_wait(pid, pidfd, console, e);
}
