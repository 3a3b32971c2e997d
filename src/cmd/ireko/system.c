/* SPDX-License-Identifier: Apache-2.0 */
/* version and info. */
#include "client.h"
#include "context-store.h"
#include "endpoint.h"
#include "format.h"
#include "options.h"
#include "text.h"
#include "verbs.h"

#include <sys/utsname.h>

typedef struct FormatOptions {
	const char *format;
} FormatOptions;

static const Flag format_flags[] = {
    {"format", 'f', FLAG_STRING, offsetof(FormatOptions, format), "json, or a Go template", NULL},
    {0},
};

/* "  Title:   value", or nothing if there is no value. */
static void line(const Cli *cli, int indent, int width, const char *title, const char *value)
{
	if (str_empty(value))
		return;
	(void)printf("%*s%-*s ", indent, "", width, title);
	text_put(stdout, value, cli->out_tty);
	(void)fputc('\n', stdout);
}

static void string_line(const Cli *cli, int indent, int width, const char *title, const json_t *j,
			const char *key)
{
	line(cli, indent, width, title, json_get_str(j, key));
}

/* A template that fails leaves an empty line, as docker's do. */
static int format_or_line(const Cli *cli, const char *format, const json_t *doc, Err *e)
{
	int r = format_document(cli, format, doc, e);

	if (r < 0)
		(void)fputc('\n', stdout);
	return r;
}

/* ---- version */

static const char *architecture(void)
{
	static struct utsname u;

	if (uname(&u) < 0)
		return "unknown";
	return streq(u.machine, "x86_64") ? "amd64" : streq(u.machine, "aarch64") ? "arm64" : u.machine;
}

/* malloc'ed. Who got as far as asking an engine has one. */
static char *context_name(Cli *cli)
{
	char *name = NULL;

	return endpoint_context(cli, &name, NULL) == 0 ? name : strdup(CONTEXT_DEFAULT);
}

static json_t *client_version(Cli *cli)
{
	_cleanup_free_ char *context = context_name(cli);

	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s}}", "Version", IREKO_VERSION, "ApiVersion",
			 cli->api_version[0] ? cli->api_version : API_VERSION, "DefaultAPIVersion",
			 API_VERSION, "Os", "linux", "Arch", architecture(), "Context", context, "Platform",
			 "Name", "ireko");
}

static void print_client(const Cli *cli, const json_t *c)
{
	_cleanup_free_ char *os = strf("%s/%s", json_get_str(c, "Os"), json_get_str(c, "Arch"));

	(void)printf("Client: ireko\n");
	string_line(cli, 1, 18, "Version:", c, "Version");
	string_line(cli, 1, 18, "API version:", c, "ApiVersion");
	line(cli, 1, 18, "OS/Arch:", os);
	string_line(cli, 1, 18, "Context:", c, "Context");
}

static void print_component(const Cli *cli, const json_t *c)
{
	const char *name = json_get_str(c, "Name");
	const json_t *details = json_object_get(c, "Details");
	_cleanup_free_ char *title = strf("%s:", name ? name : "");

	(void)fputc(' ', stdout);
	text_put(stdout, title ? title : "", cli->out_tty);
	(void)fputc('\n', stdout);
	string_line(cli, 2, 17, "Version:", c, "Version");
	string_line(cli, 2, 17, "GitCommit:", details, "GitCommit");
}

static void print_server(const Cli *cli, const json_t *s)
{
	const json_t *components = json_object_get(s, "Components");
	const char *platform = json_get_str(json_object_get(s, "Platform"), "Name"),
		   *os = json_get_str(s, "Os"), *arch = json_get_str(s, "Arch");
	_cleanup_free_ char *api =
	    strf("%s (minimum version %s)", json_get_str(s, "ApiVersion"), json_get_str(s, "MinAPIVersion"));
	_cleanup_free_ char *os_arch = strf("%s/%s", os ? os : "", arch ? arch : "");

	(void)printf("\nServer: ");
	text_put(stdout, platform ? platform : "", cli->out_tty);
	(void)printf("\n Engine:\n");
	string_line(cli, 2, 17, "Version:", s, "Version");
	line(cli, 2, 17, "API version:", api);
	string_line(cli, 2, 17, "Go version:", s, "GoVersion");
	string_line(cli, 2, 17, "Git commit:", s, "GitCommit");
	string_line(cli, 2, 17, "Built:", s, "BuildTime");
	line(cli, 2, 17, "OS/Arch:", os_arch);
	string_line(cli, 2, 17, "Kernel version:", s, "KernelVersion");
	line(cli, 2, 17, "Experimental:", json_get_bool(s, "Experimental", false) ? "true" : "false");
	for (size_t i = 0; i < json_array_size(components); i++)
		if (!streq0(json_get_str(json_array_get(components, i), "Name"), "Engine"))
			print_component(cli, json_array_get(components, i));
}

static int run_version(Call *call, Err *e)
{
	const FormatOptions *o = call->opts;
	_cleanup_json_ json_t *server = NULL, *client = NULL, *both = NULL;
	int r = api_get(call->cli, "/version", &server, e);

	client = client_version(call->cli);
	if (!client)
		return err_oom(e);
	if (o->format) {
		both = json_pack("{s:O, s:o}", "Client", client, "Server",
				 server ? json_incref(server) : json_null());
		Err bad = {0};
		int f = both ? format_or_line(call->cli, o->format, both, r < 0 ? &bad : e) : err_oom(e);
		/* An engine that is not there explains why the template failed. */
		return r < 0 ? r : f;
	}
	print_client(call->cli, client);
	if (r < 0)
		return r;
	print_server(call->cli, server);
	return 0;
}

/* ---- info */

static void int_line(const Cli *cli, int indent, const char *title, const json_t *j, const char *key)
{
	(void)printf("%*s%s %lld\n", indent, "", title, (long long)json_get_int(j, key, 0));
}

static void bool_line(int indent, const char *title, const json_t *j, const char *key)
{
	(void)printf("%*s%s %s\n", indent, "", title, json_get_bool(j, key, false) ? "true" : "false");
}

static char *join_strings(const json_t *list)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		strbuf_addf(&b, "%s%s", i ? " " : "", s ? s : "");
	}
	return strbuf_steal(&b);
}

static char *join_names(const json_t *obj)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *key;
	json_t *v;

	json_object_foreach ((json_t *)obj, key, v) {
		strbuf_addf(&b, "%s%s", b.len ? " " : "", key);
	}
	return strbuf_steal(&b);
}

static void print_drivers(const Cli *cli, const json_t *i)
{
	const json_t *status = json_object_get(i, "DriverStatus"), *plugins = json_object_get(i, "Plugins");
	static const char *const kinds[] = {"Volume", "Network", "Log"};

	string_line(cli, 1, 0, "Storage Driver:", i, "Driver");
	for (size_t n = 0; n < json_array_size(status); n++) {
		const json_t *pair = json_array_get(status, n);
		const char *k = json_string_value(json_array_get(pair, 0)),
			   *v = json_string_value(json_array_get(pair, 1));
		_cleanup_free_ char *title = strf("%s:", k ? k : "");

		line(cli, 2, 0, title ? title : "", v);
	}
	string_line(cli, 1, 0, "Logging Driver:", i, "LoggingDriver");
	string_line(cli, 1, 0, "Cgroup Driver:", i, "CgroupDriver");
	string_line(cli, 1, 0, "Cgroup Version:", i, "CgroupVersion");
	(void)printf(" Plugins:\n");
	for (size_t n = 0; n < ELEMENTSOF(kinds); n++) {
		_cleanup_free_ char *names = join_strings(json_object_get(plugins, kinds[n])),
				    *title = strf("%s:", kinds[n]);

		line(cli, 2, 0, title ? title : "", names);
	}
}

static void print_machine(const Cli *cli, const json_t *i)
{
	const json_t *security = json_object_get(i, "SecurityOptions");
	_cleanup_free_ char *runtimes = join_names(json_object_get(i, "Runtimes"));

	string_line(cli, 1, 0, "Swarm:", json_object_get(i, "Swarm"), "LocalNodeState");
	line(cli, 1, 0, "Runtimes:", runtimes);
	string_line(cli, 1, 0, "Default Runtime:", i, "DefaultRuntime");
	string_line(cli, 1, 0, "Init Binary:", i, "InitBinary");
	if (json_array_size(security) > 0)
		(void)printf(" Security Options:\n");
	for (size_t n = 0; n < json_array_size(security); n++)
		line(cli, 2, 0, "", json_string_value(json_array_get(security, n)));
	string_line(cli, 1, 0, "Kernel Version:", i, "KernelVersion");
	string_line(cli, 1, 0, "Operating System:", i, "OperatingSystem");
	string_line(cli, 1, 0, "OSType:", i, "OSType");
	string_line(cli, 1, 0, "Architecture:", i, "Architecture");
	int_line(cli, 1, "CPUs:", i, "NCPU");
	line(cli, 1, 0, "Total Memory:", text_binary_size((double)json_get_int(i, "MemTotal", 0)).s);
	string_line(cli, 1, 0, "Name:", i, "Name");
	string_line(cli, 1, 0, "ID:", i, "ID");
	string_line(cli, 1, 0, "Docker Root Dir:", i, "DockerRootDir");
	bool_line(1, "Debug Mode:", i, "Debug");
	string_line(cli, 1, 0, "HTTP Proxy:", i, "HttpProxy");
	string_line(cli, 1, 0, "HTTPS Proxy:", i, "HttpsProxy");
	string_line(cli, 1, 0, "No Proxy:", i, "NoProxy");
	bool_line(1, "Experimental:", i, "ExperimentalBuild");
}

static void print_registries(const Cli *cli, const json_t *i)
{
	const json_t *registries = json_object_get(i, "RegistryConfig"),
		     *mirrors = json_object_get(registries, "Mirrors"),
		     *cidrs = json_object_get(registries, "InsecureRegistryCIDRs"), *config;
	const char *name;

	(void)printf(" Insecure Registries:\n");
	json_object_foreach (json_object_get(registries, "IndexConfigs"), name, config) {
		if (!json_get_bool(config, "Secure", true))
			line(cli, 2, 0, "", name);
	}
	for (size_t n = 0; n < json_array_size(cidrs); n++)
		line(cli, 2, 0, "", json_string_value(json_array_get(cidrs, n)));
	if (json_array_size(mirrors) > 0)
		(void)printf(" Registry Mirrors:\n");
	for (size_t n = 0; n < json_array_size(mirrors); n++)
		line(cli, 2, 0, "", json_string_value(json_array_get(mirrors, n)));
	bool_line(1, "Live Restore Enabled:", i, "LiveRestoreEnabled");
}

static void print_info(Cli *cli, const json_t *i)
{
	const json_t *warnings = json_object_get(i, "Warnings");
	_cleanup_free_ char *context = context_name(cli);

	(void)printf("Client: ireko\n Version:    " IREKO_VERSION "\n Context:    %s\n\nServer:\n",
		     context ? context : CONTEXT_DEFAULT);
	int_line(cli, 1, "Containers:", i, "Containers");
	int_line(cli, 2, "Running:", i, "ContainersRunning");
	int_line(cli, 2, "Paused:", i, "ContainersPaused");
	int_line(cli, 2, "Stopped:", i, "ContainersStopped");
	int_line(cli, 1, "Images:", i, "Images");
	string_line(cli, 1, 0, "Server Version:", i, "ServerVersion");
	print_drivers(cli, i);
	print_machine(cli, i);
	print_registries(cli, i);
	for (size_t n = 0; n < json_array_size(warnings); n++) {
		const char *w = json_string_value(json_array_get(warnings, n));

		cli_complain(cli, "%s", w ? w : "");
	}
}

static int run_info(Call *call, Err *e)
{
	const FormatOptions *o = call->opts;
	_cleanup_json_ json_t *info = NULL;
	int r = api_get(call->cli, "/info", &info, e);

	if (r < 0)
		return r;
	if (o->format) {
		json_t *client = client_version(call->cli);

		if (json_object_set_new(info, "ClientInfo", client) < 0)
			return err_oom(e);
		return format_or_line(call->cli, o->format, info, e);
	}
	print_info(call->cli, info);
	return 0;
}

const Command cmd_version = {.usage = "[OPTIONS]",
			     .summary = "Show the versions of the client and the engine",
			     .flags = format_flags,
			     .opts_size = sizeof(FormatOptions),
			     .run = run_version};
const Command cmd_info = {.usage = "[OPTIONS]",
			  .summary = "Show how the engine is set up",
			  .flags = format_flags,
			  .opts_size = sizeof(FormatOptions),
			  .run = run_info};
