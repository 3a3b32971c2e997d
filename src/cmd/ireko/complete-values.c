/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See complete.h: values of flags, and names that the engine is asked for. An engine that cannot be reached has no names: a
 * shell's completion is no place for errors.
 */
#include "client.h"
#include "complete.h"
#include "context-store.h"

typedef struct Values {
	const char *path; /* a command as typed without its group, or NULL: any */
	const char *flag;
	const char *values; /* "a|b|c"; "@KIND" for names or files */
} Values;

#define CAPABILITIES                                                                                         \
	"ALL|AUDIT_CONTROL|AUDIT_READ|AUDIT_WRITE|BLOCK_SUSPEND|BPF|CHECKPOINT_RESTORE|CHOWN|DAC_OVERRIDE|"  \
	"DAC_READ_SEARCH|FOWNER|FSETID|IPC_LOCK|IPC_OWNER|KILL|LEASE|LINUX_IMMUTABLE|MAC_ADMIN|MAC_"         \
	"OVERRIDE|MKNOD|"                                                                                    \
	"NET_ADMIN|NET_BIND_SERVICE|NET_BROADCAST|NET_RAW|PERFMON|SETFCAP|SETGID|SETPCAP|SETUID|SYS_ADMIN|"  \
	"SYS_BOOT|"                                                                                          \
	"SYS_CHROOT|SYS_MODULE|SYS_NICE|SYS_PACCT|SYS_PTRACE|SYS_RAWIO|SYS_RESOURCE|SYS_TIME|SYS_TTY_"       \
	"CONFIG|SYSLOG|"                                                                                     \
	"WAKE_ALARM"
#define SIGNALS "SIGHUP|SIGINT|SIGKILL|SIGQUIT|SIGSTOP|SIGTERM|SIGUSR1|SIGUSR2|SIGWINCH"
#define ULIMITS                                                                                              \
	"core=|cpu=|data=|fsize=|locks=|memlock=|msgqueue=|nice=|nofile=|nproc=|rss=|rtprio=|rttime=|"       \
	"sigpending=|"                                                                                       \
	"stack="

static const Values values[] = {
    {"ps", "filter",
     "ancestor=|before=|exited=|expose=|health=|id=|is-task=|label=|name=|network=|publish=|since=|status=|"
     "volume="},
    {"ls", "filter", "driver=|id=|label=|name=|scope=|type=|dangling=|status=|network="},
    {"images", "filter", "before=|dangling=|label=|reference=|since=|until="},
    {"events", "filter", "container=|daemon=|event=|image=|label=|network=|type=|volume="},
    {"prune", "filter", "label=|label!=|until="},
    {"search", "filter", "is-automated=|is-official=|stars="},
    {"build", "allow", "network.host|security.insecure"},
    {"build", "call", "check|outline|targets"},
    {"build", "cache-to", "type=registry,ref=|type=local,dest=|type=inline"},
    {"build", "build-context", "@FILE"},
    {"build", "network", "default|none|host"},
    {"build", "output",
     "type=local,dest=|type=tar,dest=|type=docker,dest=|type=oci,dest=|type=image|type=registry|type="
     "cacheonly"},
    {"build", "progress", "auto|tty|plain|rawjson|quiet"},
    {"build", "secret", "id="},
    {"build", "ssh", "default"},
    {"inspect", "type", "container|image|network|volume"},
    {NULL, "format", "json|table"},
    {NULL, "attach", "STDIN|STDOUT|STDERR"},
    {NULL, "cap-add", CAPABILITIES},
    {NULL, "cap-drop", CAPABILITIES},
    {NULL, "cgroupns", "host|private"},
    {NULL, "compression", "gzip|zstd"},
    {NULL, "context", "@CONTEXT"},
    {NULL, "from", "@CONTEXT"},
    {NULL, "driver", "bridge|host|none|local"},
    {NULL, "gpus", "all"},
    {NULL, "ipc", "host|private|shareable|none|container:"},
    {NULL, "link", "@CONTAINER"},
    {NULL, "log-driver", "json-file|local|journald|syslog|none"},
    {NULL, "log-level", "debug|info|warn|error|fatal"},
    {NULL, "log-opt", "max-size=|max-file=|compress=|labels=|env=|tag=|mode=|max-buffer-size="},
    {NULL, "mount", "type=bind,|type=volume,|type=tmpfs,|type=image,"},
    {NULL, "network", "@NETWORK"},
    {NULL, "pid", "host|container:"},
    {NULL, "platform",
     "linux/amd64|linux/arm64|linux/arm/v7|linux/386|linux/ppc64le|linux/s390x|linux/riscv64"},
    {NULL, "pull", "always|missing|never"},
    {NULL, "restart", "no|always|unless-stopped|on-failure|on-failure:"},
    {NULL, "runtime", "@RUNTIME"},
    {NULL, "security-opt", "no-new-privileges|seccomp=|apparmor=|label=|systempaths=unconfined"},
    {NULL, "signal", SIGNALS},
    {NULL, "stop-signal", SIGNALS},
    {NULL, "store", "file|keyring"},
    {NULL, "ulimit", ULIMITS},
    {NULL, "userns", "host"},
    {NULL, "uts", "host"},
    {NULL, "volume", "@VOLUME_OR_FILE"},
    {NULL, "volumes-from", "@CONTAINER"},
    {NULL, "cache-from", "@IMAGE"},
    {NULL, "cidfile", "@FILE"},
    {NULL, "config", "@FILE"},
    {NULL, "device", "@FILE"},
    {NULL, "env-file", "@FILE"},
    {NULL, "file", "@FILE"},
    {NULL, "iidfile", "@FILE"},
    {NULL, "metadata-file", "@FILE"},
    {NULL, "input", "@FILE"},
    {NULL, "label-file", "@FILE"},
    {NULL, "output", "@FILE"},
    {NULL, "tlscacert", "@FILE"},
    {NULL, "tlscert", "@FILE"},
    {NULL, "tlskey", "@FILE"},
};

/* ---- names */

static void add_containers(Completion *c, const char *target)
{
	_cleanup_json_ json_t *list = NULL;

	if (api_get(c->cli, target, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const char *name = json_string_value(json_array_get(json_object_get(item, "Names"), 0));

		if (name)
			completion_add(c, name + (*name == '/'), json_get_str(item, "Image"));
	}
}

static void add_images(Completion *c)
{
	_cleanup_json_ json_t *list = NULL;

	if (api_get(c->cli, "/images/json", &list, NULL) < 0)
		return;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *tags = json_object_get(json_array_get(list, i), "RepoTags");

		for (size_t k = 0; k < json_array_size(tags); k++) {
			const char *tag = json_string_value(json_array_get(tags, k));

			if (tag && !str_starts(tag, "<none>"))
				completion_add(c, tag, NULL);
		}
	}
}

static void add_named(Completion *c, const char *target, const char *member)
{
	_cleanup_json_ json_t *answer = NULL;

	if (api_get(c->cli, target, &answer, NULL) < 0)
		return;
	const json_t *list = member ? json_object_get(answer, member) : answer;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_get_str(json_array_get(list, i), "Name");

		if (name)
			completion_add(c, name, json_get_str(json_array_get(list, i), "Driver"));
	}
}

static void add_runtimes(Completion *c)
{
	_cleanup_json_ json_t *info = NULL;
	const char *name;
	json_t *runtime;

	if (api_get(c->cli, "/info", &info, NULL) < 0)
		return;
	json_object_foreach (json_object_get(info, "Runtimes"), name, runtime) {
		completion_add(c, name, NULL);
	}
}

static void add_contexts(Completion *c)
{
	_cleanup_json_ json_t *list = NULL;

	completion_add(c, CONTEXT_DEFAULT, NULL);
	if (context_list(c->cli, &list, NULL) < 0)
		return;
	for (size_t i = 0; i < json_array_size(list); i++)
		completion_add(c, json_get_str(json_array_get(list, i), "Name"),
			       json_get_str(context_endpoint(json_array_get(list, i)), "Host"));
}

/* A command as typed, without its group. */
static const char *verb_of(const char *path)
{
	const char *blank = strrchr(path, ' ');

	return blank ? blank + 1 : path;
}

static const char *containers_for(const char *path)
{
	static const struct {
		const char *verb, *target;
	} states[] = {
	    {"start", "/containers/json?filters=%7B%22status%22%3A%5B%22created%22%2C%22exited%22%5D%7D"},
	    {"unpause", "/containers/json?filters=%7B%22status%22%3A%5B%22paused%22%5D%7D"},
	    {"pause", "/containers/json?filters=%7B%22status%22%3A%5B%22running%22%5D%7D"},
	    {"attach", "/containers/json"},
	    {"exec", "/containers/json"},
	    {"kill", "/containers/json"},
	    {"stop", "/containers/json"},
	    {"top", "/containers/json"},
	    {"port", "/containers/json"},
	};

	for (size_t i = 0; i < ELEMENTSOF(states); i++)
		if (streq(verb_of(path), states[i].verb))
			return states[i].target;
	return "/containers/json?all=1";
}

static void add_containers_with_colon(Completion *c)
{
	Completion names = {.cli = c->cli, .prefix = c->prefix, .leading = ""};

	add_containers(&names, "/containers/json?all=1");
	for (char *line = names.out.s; line && *line;) {
		char *end = strchr(line, '\n'), with_colon[300];

		snprintf(with_colon, sizeof(with_colon), "%.*s:", (int)strcspn(line, "\t\n"), line);
		completion_add(c, with_colon, NULL);
		line = end ? end + 1 : NULL;
	}
	strbuf_done(&names.out);
	c->directive = c->out.len > 0 ? DIRECTIVE_NO_SPACE : DIRECTIVE_FILES;
}

void completion_arguments(Completion *c, const char *path, const char *kind)
{
	if (streq(kind, "CONTAINER")) {
		add_containers(c, containers_for(path));
	} else if (str_starts(kind, "IMAGE") || streq(kind, "REPOSITORY") || streq(kind, "SOURCE_IMAGE") ||
		   streq(kind, "TARGET_IMAGE") || (streq(kind, "NAME") && !streq(verb_of(path), "search"))) {
		add_images(c);
	} else if (streq(kind, "NETWORK")) {
		add_named(c, "/networks", NULL);
	} else if (streq(kind, "VOLUME")) {
		if (!streq(verb_of(path), "create"))
			add_named(c, "/volumes", "Volumes");
	} else if (streq(kind, "CONTEXT")) {
		if (!streq(verb_of(path), "create") && !streq(verb_of(path), "import"))
			add_contexts(c);
	} else if (streq(kind, "RUNTIME")) {
		add_runtimes(c);
	} else if (streq(kind, "VOLUME_OR_FILE")) {
		if (*c->prefix != '/' && *c->prefix != '.')
			add_named(c, "/volumes", "Volumes");
		c->directive = DIRECTIVE_FILES;
	} else if (streq(kind, "NAME|ID")) {
		add_containers(c, "/containers/json?all=1");
		add_images(c);
		add_named(c, "/networks", NULL);
		add_named(c, "/volumes", "Volumes");
	} else if (str_starts(kind, "CONTAINER:")) {
		add_containers_with_colon(c);
	} else if (strstr(kind, "PATH") || str_starts(kind, "FILE") || str_starts(kind, "file") ||
		   streq(kind, "COMMAND") || streq(kind, "ARG")) {
		c->directive = DIRECTIVE_FILES;
	}
}

/* ---- values of flags */

static const char *values_of(const char *path, const Flag *f)
{
	for (size_t i = 0; i < ELEMENTSOF(values); i++)
		if (streq(values[i].flag, f->name) &&
		    (!values[i].path || streq(values[i].path, verb_of(path))))
			return values[i].values;
	return f->type == FLAG_BOOL || f->type == FLAG_TRI ? "true|false" : NULL;
}

/* "key=" of a filter, with the values that are names of something. */
static bool add_filter_values(Completion *c, const Flag *f)
{
	static const struct {
		const char *key, *kind, *values;
	} keys[] = {
	    {"ancestor=", "IMAGE", NULL},
	    {"container=", "CONTAINER", NULL},
	    {"image=", "IMAGE", NULL},
	    {"network=", "NETWORK", NULL},
	    {"volume=", "VOLUME", NULL},
	    {"before=", "CONTAINER", NULL},
	    {"since=", "CONTAINER", NULL},
	    {"dangling=", NULL, "true|false"},
	    {"is-official=", NULL, "true|false"},
	    {"health=", NULL, "starting|healthy|unhealthy|none"},
	    {"status=", NULL, "created|dead|exited|paused|removing|restarting|running"},
	    {"type=", NULL, "builtin|custom|container|daemon|image|network|volume"},
	};

	for (size_t i = 0; streq(f->name, "filter") && i < ELEMENTSOF(keys); i++) {
		const char *rest = str_after(c->prefix, keys[i].key);

		if (!rest)
			continue;
		_cleanup_free_ char *leading = strf("%s%s", c->leading, keys[i].key);
		_cleanup_strv_ char **v = keys[i].values ? strv_split(keys[i].values, '|') : NULL;
		const char *leading_before = c->leading;
		if (!leading)
			return true;
		c->leading = leading;
		c->prefix = rest;
		for (size_t k = 0; v && v[k]; k++)
			completion_add(c, v[k], NULL);
		if (keys[i].kind)
			completion_arguments(c, "", keys[i].kind);
		c->leading = leading_before;
		return true;
	}
	return false;
}

void completion_flag_values(Completion *c, const char *path, const Flag *f)
{
	const char *list = values_of(path, f);
	bool more = false;

	if (add_filter_values(c, f))
		return;
	if (!list) {
		c->directive = DIRECTIVE_NO_FILES;
	} else if (*list == '@') {
		completion_arguments(c, path, list + 1);
	} else {
		_cleanup_strv_ char **v = strv_split(list, '|');

		for (size_t i = 0; v && v[i]; i++) {
			bool ends_open = strchr("=:,", v[i][strlen(v[i]) - 1]) != NULL;

			completion_add(c, v[i], NULL);
			more = more || (ends_open && str_starts(v[i], c->prefix));
		}
	}
	if (more)
		c->directive |= DIRECTIVE_NO_SPACE;
}
