/* SPDX-License-Identifier: Apache-2.0 */
/* "checkpoint" and "restore", with runc's options; see runtime/checkpoint.c. */
#include "command.h"

#include "base/str.h"

#include <getopt.h>

typedef struct CriuArgs {
	RuntimeRestore r; /* r.criu for both */
	char **empty_ns;
	bool detach;
} CriuArgs;

#define A(m) offsetof(CriuArgs, m)
#define FLAG(name, member, help)                                                                             \
	{                                                                                                    \
		name, 0, CLI_FLAG, A(r.criu.member), NULL, help                                              \
	}
#define TEXT(name, member, value, help)                                                                      \
	{                                                                                                    \
		name, 0, CLI_TEXT, A(r.criu.member), value, help                                             \
	}
#define COMMON_OPTIONS                                                                                       \
	TEXT("image-path", image_path, "DIR", "where criu's image files are (default: ./checkpoint)"),       \
	    TEXT("work-path", work_path, "DIR", "where criu's log and work files go"),                       \
	    TEXT("manage-cgroups-mode", manage_cgroups_mode, "MODE", "soft, full, strict or ignore"),        \
	    FLAG("tcp-established", tcp_established, "allow open TCP connections"),                          \
	    FLAG("ext-unix-sk", ext_unix_sk, "allow unix sockets whose other end is outside"),               \
	    FLAG("shell-job", shell_job, "allow what belongs to a terminal's session outside"),              \
	    FLAG("file-locks", file_locks, "allow file locks"),                                              \
	    FLAG("auto-dedup", auto_dedup, "drop pages from the images that others have already"),           \
	    FLAG("lazy-pages", lazy_pages, "restore memory when it is used"),                                \
	    {"empty-ns",  0,           CLI_LIST,                                                             \
	     A(empty_ns), "NAMESPACE", "make the namespace, but do not restore what is in it (network)"},    \
	    CLI_HELP_OPTION

static const CliOption checkpoint_options[] = {
    COMMON_OPTIONS,
    TEXT("parent-path", parent_path, "DIR", "images of the pre-dump before, relative to --image-path"),
    TEXT("page-server", page_server, "ADDRESS:PORT", "send memory to criu's page server there"),
    FLAG("leave-running", leave_running, "let the container run on"),
    FLAG("tcp-skip-in-flight", tcp_skip_in_flight, "leave out TCP connections that are not established yet"),
    FLAG("link-remap", link_remap, "link files that were removed back to a name where that is possible"),
    FLAG("pre-dump", pre_dump, "write only the memory, and let the container run on"),
    {"status-fd", 0, CLI_FDS, A(r.criu.status_fd), "FD", "gets a zero byte when lazy pages can be had"},
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static const CliOption restore_options[] = {
    COMMON_OPTIONS,
    TEXT("lsm-profile", lsm_profile, "TYPE:NAME", "the LSM profile to restore with"),
    TEXT("lsm-mount-context", lsm_mount_context, "CONTEXT", "the LSM mount context to restore with"),
    {"bundle", 'b', CLI_TEXT, A(r.bundle), "DIR", "the bundle's directory (default: the current one)"},
    {"console-socket", 0, CLI_TEXT, A(r.console_socket), "SOCKET",
     "unix socket that gets the terminal's master"},
    {"pid-file", 0, CLI_TEXT, A(r.pid_file), "FILE", "write the process id there"},
    {"detach", 'd', CLI_FLAG, A(detach), NULL, "leave the container running in the background"},
    {"no-subreaper", 0, CLI_NOTHING, 0, NULL,
     "taken for compatibility: nothing is reaped here but the container"},
    {"no-pivot", 0, CLI_NOTHING, 0, NULL, "taken for compatibility: criu decides how the root is entered"},
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static void args_done(CriuArgs *a)
{
	strv_free(a->empty_ns);
}

static int parse(const Cli *cli, const CliOption *options, int argc, char **argv, CriuArgs *a, Err *e)
{
	int r;

	*a = (CriuArgs){
	    .r = {.bundle = ".", .stdio = {0, 1, 2}, .criu = {.image_path = "checkpoint", .status_fd = -1}}};
	r = cli_parse(options, argc, argv, a, e);
	if (r == 0)
		r = cli_one_id(argc, argv, &a->r.id, e);
	for (char **v = a->empty_ns; r == 0 && v && *v; v++)
		if (!streq(*v, "network"))
			r = err_new(e, ERR_INVALID, "namespace \"%s\" is not supported", *v);
	if (r == 0 && cli->options.rootless)
		log_write(LOG_WARNING, "checkpoint is untested with rootless containers");
	return r;
}

static int do_checkpoint(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(args_done) CriuArgs a = {0};
	int r = parse(cli, checkpoint_options, argc, argv, &a, e);

	return r < 0 ? r : runtime_checkpoint(&cli->options, a.r.id, &a.r.criu, e);
}

const CliCommand cli_checkpoint = {.name = "checkpoint",
				   .arguments = "<container-id>",
				   .summary = "write a running container to files",
				   .options = checkpoint_options,
				   .run = do_checkpoint,
				   .failure = 1};

static int do_restore(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(args_done) CriuArgs a = {0};
	int status, pidfd = -1, console = -1, r = parse(cli, restore_options, argc, argv, &a, e);
	pid_t pid;

	a.r.console = a.detach ? RUNTIME_CONSOLE_BY_SOCKET : RUNTIME_CONSOLE_RETURNED;
	if (r == 0 && !a.detach)
		r = foreground_prepare(e);
	if (r == 0)
		r = runtime_restore(&cli->options, &a.r, &pid, &pidfd, &console, e);
	if (r == 0 && !a.detach) {
		Err ignored = {0};

		status = foreground_wait(pid, pidfd, console, -1, e);
		r = runtime_delete(&cli->options, a.r.id, true, status < 0 ? &ignored : e);
		r = r < 0 ? r : status;
	}
	closep(&pidfd);
	closep(&console);
	return r;
}

const CliCommand cli_restore = {.name = "restore",
				.arguments = "<container-id>",
				.summary = "take up a container from the files of a checkpoint",
				.options = restore_options,
				.run = do_restore,
				.failure = 1};
