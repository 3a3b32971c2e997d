/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that only look: state, list, ps, features; and spec, which writes an example. */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/wait.h>

static json_t *state_json(const RuntimeState *s)
{
	_cleanup_json_ json_t *j =
	    json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "ociVersion", OCI_VERSION, "id", s->id,
		      "pid", (int)s->pid, "status", runtime_status_name(s->status), "bundle", s->bundle,
		      "rootfs", s->rootfs, "created", s->created, "owner", s->owner);

	if (j && json_object_size(s->annotations) > 0 &&
	    json_object_set(j, "annotations", s->annotations) < 0)
		return NULL;
	return take_ptr(j);
}

int cli_state(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_(runtime_state_done) RuntimeState s = {0};
	_cleanup_json_ json_t *j = NULL;
	const char *id;
	int r;

	if (getopt(argc, argv, "+") != -1)
		return cli_bad_option(argv[0], e);
	r = cli_one_id(argc, argv, &id, e);
	if (r == 0)
		r = runtime_state(&cli->options, id, &s, e);
	if (r < 0)
		return r;
	j = state_json(&s);
	return j ? cli_print(j, e) : err_oom(e);
}

static int print_list(const RuntimeState *items, size_t n, const char *format, bool quiet, Err *e)
{
	_cleanup_json_ json_t *list = json_array();

	for (size_t i = 0; quiet && i < n; i++)
		printf("%s\n", items[i].id);
	if (quiet)
		return 0;
	if (streq(format, "table")) {
		printf("%-28s %-10s %-9s %-40s %-32s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED",
		       "OWNER");
		for (size_t i = 0; i < n; i++)
			printf("%-28s %-10d %-9s %-40s %-32s %s\n", items[i].id, (int)items[i].pid,
			       runtime_status_name(items[i].status), items[i].bundle, items[i].created,
			       items[i].owner);
		return 0;
	}
	if (!streq(format, "json"))
		return err_new(e, ERR_INVALID, "--format is table or json");
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, state_json(&items[i])) < 0)
			return err_oom(e);
	if (!list)
		return err_oom(e);
	if (json_dumpf(list, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF)
		return err_sys(e, errno, "write to stdout");
	return 0;
}

int cli_list(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {{"format", required_argument, NULL, 'f'},
					      {"quiet", no_argument, NULL, 'q'},
					      {NULL, 0, NULL, 0}};
	const char *format = "table";
	RuntimeState *items = NULL;
	bool quiet = false;
	size_t n = 0;
	int c, r;

	while ((c = getopt_long_only(argc, argv, "+f:q", longs, NULL)) != -1) {
		if (c == '?')
			return cli_bad_option(argv[0], e);
		if (c == 'f')
			format = optarg;
		else
			quiet = true;
	}
	r = runtime_list(&cli->options, &items, &n, e);
	if (r == 0)
		r = print_list(items, n, format, quiet, e);
	for (size_t i = 0; i < n; i++)
		runtime_state_done(&items[i]);
	free(items);
	return r;
}

static bool is_pid(const pid_t *pids, size_t n, pid_t pid)
{
	for (size_t i = 0; i < n; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

/* The lines of ps(1) that are about these processes: the column is found in the heading. */
static int filter_ps(FILE *ps, const pid_t *pids, size_t n, Err *e)
{
	char line[4096], word[32];
	int column = -1;

	if (!fgets(line, sizeof(line), ps))
		return err_new(e, ERR_INTERNAL, "ps printed nothing");
	printf("%s", line);
	for (int i = 0, at = 0, used; sscanf(line + at, "%31s%n", word, &used) == 1; i++, at += used)
		if (streq(word, "PID"))
			column = i;
	if (column < 0)
		return err_new(e, ERR_INVALID, "the output of ps has no column PID");
	while (fgets(line, sizeof(line), ps)) {
		int at = 0, used, i = 0;

		while (sscanf(line + at, "%31s%n", word, &used) == 1 && i++ < column)
			at += used;
		if (is_pid(pids, n, (pid_t)atoi(word)))
			printf("%s", line);
	}
	return 0;
}

static int run_ps(char *const *words, const pid_t *pids, size_t n, Err *e)
{
	char *args[64] = {(char *)"ps", (char *)"-ef", NULL};
	_cleanup_fclose_ FILE *out = NULL;
	int p[2], r;
	pid_t pid;

	for (size_t i = 0; words[0] && i + 2 < ELEMENTSOF(args) && words[i]; i++) {
		args[i + 1] = words[i];
		args[i + 2] = NULL;
	}
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(e, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		if (dup2(p[1], 1) >= 0)
			execvp("ps", args);
		_exit(127);
	}
	closep(&p[1]);
	out = fdopen(p[0], "r");
	if (pid < 0 || !out) {
		closep(&p[0]);
		return err_sys(e, errno, "start ps");
	}
	r = filter_ps(out, pids, n, e);
	(void)waitpid(pid, NULL, 0);
	return r;
}

int cli_ps(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {{"format", required_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_json_ json_t *list = NULL;
	const char *format = "table";
	size_t n = 0;
	int c, r;

	while ((c = getopt_long_only(argc, argv, "+f:", longs, NULL)) != -1) {
		if (c == '?')
			return cli_bad_option(argv[0], e);
		format = optarg;
	}
	if (optind >= argc)
		return err_new(e, ERR_INVALID, "expected a container id");
	r = runtime_pids(&cli->options, argv[optind], &pids, &n, e);
	if (r < 0)
		return r;
	if (streq(format, "table"))
		return run_ps(argv + optind + 1, pids, n, e);
	list = json_array();
	for (size_t i = 0; list && i < n; i++)
		if (json_array_append_new(list, json_integer(pids[i])) < 0)
			return err_oom(e);
	return !list                                        ? err_oom(e)
	       : json_dumpf(list, stdout, JSON_COMPACT) < 0 ? err_sys(e, errno, "write to stdout")
							    : 0;
}

int cli_features(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r;

	if (getopt(argc, argv, "+") != -1 || optind != argc)
		return cli_bad_option(argv[0], e);
	r = runtime_features(&j, e);
	return r < 0 ? r : cli_print(j, e);
}

static const char spec_text[] =
    "{\"ociVersion\":\"1.1.0\",\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":["
    "\"sh\"],"
    "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/"
    "bin\",\"TERM=xterm\"],\"cwd\":\"/\","
    "\"capabilities\":{\"bounding\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"effective\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"permitted\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],\"noNewPrivileges\":true},"
    "\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"hostname\":\"ireko\",\"mounts\":["
    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
    "{\"destination\":\"/"
    "dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"strictatime\",\"mode=755\","
    "\"size=65536k\"]},"
    "{\"destination\":\"/dev/"
    "pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"nosuid\",\"noexec\","
    "\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
    "{\"destination\":\"/dev/"
    "shm\",\"type\":\"tmpfs\",\"source\":\"shm\",\"options\":[\"nosuid\",\"noexec\",\"nodev\","
    "\"mode=1777\",\"size=65536k\"]},"
    "{\"destination\":\"/dev/"
    "mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\",\"options\":[\"nosuid\",\"noexec\",\"nodev\"]},"
    "{\"destination\":\"/"
    "sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]},"
    "{\"destination\":\"/sys/fs/"
    "cgroup\",\"type\":\"cgroup\",\"source\":\"cgroup\",\"options\":[\"nosuid\",\"noexec\","
    "\"nodev\",\"relatime\",\"ro\"]}],"
    "\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
    "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{"
    "\"type\":\"mount\"},"
    "{\"type\":\"cgroup\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\","
    "\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\",\"/sys/firmware\",\"/proc/scsi\"],"
    "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]}}";

int cli_spec(const Cli *cli, int argc, char **argv, Err *e)
{
	static const struct option longs[] = {{"bundle", required_argument, NULL, 'b'}, {NULL, 0, NULL, 0}};
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *path = NULL;
	const char *bundle = ".";
	int c, r;

	while ((c = getopt_long_only(argc, argv, "+b:", longs, NULL)) != -1) {
		if (c != 'b')
			return cli_bad_option(argv[0], e);
		bundle = optarg;
	}
	path = strf("%s/config.json", bundle);
	if (!path)
		return err_oom(e);
	if (access(path, F_OK) == 0)
		return err_new(e, ERR_CONFLICT, "%s exists already: remove it first", path);
	r = json_parse(spec_text, strlen(spec_text), "example", &j, e);
	if (r < 0)
		return r;
	return json_dump_file(j, path, JSON_INDENT(2)) < 0 ? err_sys(e, errno, "write %s", path) : 0;
}
