/* SPDX-License-Identifier: Apache-2.0 */
/* "spec": an example of a config.json, as a start for one's own. */
#include "command.h"

#include "base/str.h"
#include "kernel/cgroup.h"

#include <fcntl.h>
#include <getopt.h>

static const char spec_text[] =
    "{\"ociVersion\":\"1.2.1\",\"process\":{\"terminal\":true,\"user\":{\"uid\":0,\"gid\":0},\"args\":["
    "\"sh\"],"
    "\"env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/"
    "bin\",\"TERM=xterm\"],\"cwd\":\"/\","
    "\"capabilities\":{\"bounding\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"effective\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"],"
    "\"permitted\":[\"CAP_AUDIT_WRITE\",\"CAP_KILL\",\"CAP_NET_BIND_SERVICE\"]},"
    "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":1024,\"soft\":1024}],\"noNewPrivileges\":true},"
    "\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"mounts\":["
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
    "\"type\":\"mount\"}],"
    "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/kcore\",\"/proc/keys\",\"/proc/latency_stats\","
    "\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/sched_debug\",\"/sys/firmware\",\"/proc/scsi\"],"
    "\"readonlyPaths\":[\"/proc/bus\",\"/proc/fs\",\"/proc/irq\",\"/proc/sys\",\"/proc/sysrq-trigger\"]}}";

typedef struct SpecArgs {
	const char *bundle;
	bool rootless;
} SpecArgs;

static const CliOption spec_options[] = {
    {"bundle", 'b', CLI_TEXT, offsetof(SpecArgs, bundle), "DIR",
     "the bundle's directory (default: the current one)"},
    {"rootless", 0, CLI_FLAG, offsetof(SpecArgs, rootless), NULL, "one that works without privilege"},
    CLI_HELP_OPTION,
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

/* As runc has it: on v1 the mount of /sys/fs/cgroup shows only the container's own part without. */
static int add_cgroup_namespace(json_t *spec, Err *e)
{
	json_t *namespaces = json_object_get(json_object_get(spec, "linux"), "namespaces");

	return json_array_append_new(namespaces, json_pack("{s:s}", "type", "cgroup")) < 0 ? err_oom(e) : 0;
}

static int do_spec(const Cli *cli, int argc, char **argv, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *path = NULL;
	SpecArgs a = {.bundle = "."};
	int r = cli_parse(spec_options, argc, argv, &a, e);

	if (r < 0)
		return r;
	path = strf("%s/config.json", a.bundle);
	if (!path)
		return err_oom(e);
	if (access(path, F_OK) == 0)
		return err_new(e, ERR_CONFLICT, "file %s exists: remove it first", path);
	r = json_parse(spec_text, strlen(spec_text), "example", &j, e);
	if (r == 0 && json_object_set_new(j, "hostname", json_string(cli->program)) < 0)
		r = err_oom(e);
	if (r == 0 && cgroup_machine_is_unified())
		r = add_cgroup_namespace(j, e);
	if (r == 0 && a.rootless)
		r = cli_fit_spec_for_user(j, e);
	if (r < 0)
		return r;
	return json_dump_file(j, path, JSON_INDENT(2)) < 0 ? err_sys(e, errno, "write %s", path) : 0;
}

const CliCommand cli_spec = {.name = "spec",
			     .arguments = "",
			     .summary = "write an example config.json",
			     .options = spec_options,
			     .run = do_spec,
			     .failure = 1};
