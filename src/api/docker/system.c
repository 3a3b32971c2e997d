/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns the daemon as a whole: the rules for every request, ping, version, info, disk usage. */
#include "api/docker/door-internal.h"
#include "base/secret.h"
#include "build/build.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

void door_decorate(HttpRequest *rq, void *user)
{
	http_set_header(rq, "Server", "Docker/" IREKO_VERSION " (linux)");
	http_set_header(rq, "Api-Version", API_TEXT);
	http_set_header(rq, "Docker-Experimental", "false");
	http_set_header(rq, "Ostype", "linux");
}

/* "/v1.41/x" -> 141 and "/x"; a path without version is the newest. */
int door_admit(HttpRequest *rq, void *user, Err *e)
{
	const char *path = http_path(rq), *rest = path + 2;
	int major = 0, minor = 0, version;

	http_set_tag(rq, API_VERSION);
	if (!str_starts(path, "/v") || !isdigit((unsigned char)path[2]))
		return 0;
	for (; isdigit((unsigned char)*rest) && major < 100; rest++)
		major = major * 10 + (*rest - '0');
	if (*rest++ != '.' || !isdigit((unsigned char)*rest))
		return 0;
	for (; isdigit((unsigned char)*rest) && minor < 1000; rest++)
		minor = minor * 10 + (*rest - '0');
	if (*rest != '/')
		return 0;
	version = major * 100 + MIN2(minor, 99);
	if (version < API_VERSION_MIN)
		return err_new(
		    e, ERR_INVALID,
		    "client version %d.%d is too old. Minimum supported API version is " API_MIN_TEXT
		    ", please upgrade your client to a newer version",
		    major, minor);
	if (version > API_VERSION)
		return err_new(e, ERR_INVALID,
			       "client version %d.%d is too new. Maximum supported API version is " API_TEXT,
			       major, minor);
	http_set_tag(rq, version);
	return http_set_path(rq, rest) < 0 ? err_oom(e) : 0;
}

int h_ping(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	bool classic;

	pthread_mutex_lock(&d->settings);
	classic = d->classic_builder;
	pthread_mutex_unlock(&d->settings);
	http_set_header(rq, "Builder-Version", classic ? "1" : "2");
	http_set_header(rq, "Swarm", "inactive");
	http_set_header(rq, "Cache-Control", "no-cache, no-store, must-revalidate");
	http_set_header(rq, "Pragma", "no-cache");
	if (streq(http_method(rq), "HEAD"))
		return http_reply(rq, 200, "text/plain; charset=utf-8", "", 0);
	return http_reply(rq, 200, "text/plain; charset=utf-8", "OK", 2);
}

static const char *go_arch(const char *machine)
{
	if (streq(machine, "x86_64"))
		return "amd64";
	if (streq(machine, "aarch64"))
		return "arm64";
	return str_starts(machine, "arm") ? "arm" : machine;
}

int h_version(HttpRequest *rq, void *user, Err *e)
{
	struct utsname u;
	json_t *doc;

	if (uname(&u) < 0)
		return err_sys(e, errno, "uname");
	doc =
	    json_pack("{s:{s:s}, s:[{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s}}], s:s, s:s, s:s, s:s, "
		      "s:s, s:s, s:s, s:o, s:s}",
		      "Platform", "Name", ENGINE_NAME, "Components", "Name", "Engine", "Version",
		      IREKO_VERSION, "Details", "ApiVersion", API_TEXT, "MinAPIVersion", API_MIN_TEXT, "Arch",
		      go_arch(u.machine), "Os", "linux", "KernelVersion", u.release, "Experimental", "false",
		      "GitCommit", "", "Version", IREKO_VERSION, "ApiVersion", API_TEXT, "MinAPIVersion",
		      API_MIN_TEXT, "GitCommit", "", "GoVersion", "none (C)", "Os", "linux", "Arch",
		      go_arch(u.machine), "KernelVersion", doc_str(u.release), "BuildTime", "");
	return reply_doc(rq, 200, doc, e);
}

json_t *info_os_value(const char *key)
{
	_cleanup_free_ char *text = NULL;
	char *line, *save;
	size_t n = strlen(key);

	if (file_read_at(AT_FDCWD, "/etc/os-release", 65536, &text, NULL) < 0)
		text = NULL;
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		const char *v = strncmp(line, key, n) == 0 && line[n] == '=' ? line + n + 1 : NULL;

		if (v) {
			_cleanup_free_ char *name = strdup(*v == '"' ? v + 1 : v);

			if (name && *v == '"' && str_ends(name, "\""))
				name[strlen(name) - 1] = '\0';
			return doc_str(name);
		}
	}
	return json_string(streq(key, "PRETTY_NAME") ? "Linux" : "");
}

/* rule: "quay.io=https://..." of a registry other than the Hub */
static void add_index_mirror(json_t *index, const char *rule, const char *eq)
{
	_cleanup_free_ char *name = strndup(rule, (size_t)(eq - rule));
	json_t *one = name ? json_object_get(index, name) : NULL;

	if (name && !one) {
		one = json_pack("{s:o, s:[], s:b, s:b}", "Name", doc_str(name), "Mirrors", "Secure", 1,
				"Official", 0);
		json_object_set_new(index, name, one);
	}
	json_array_append_new(json_object_get(one, "Mirrors"), doc_str(eq + 1));
}

static json_t *registry_doc(const Door *d)
{
	_cleanup_strv_ char **mirrors = NULL;
	json_t *index = json_object(), *cidrs = json_array(), *hub;

	for (char *const *v = d->insecure_registries; v && *v; v++) {
		if (strchr(*v, '/'))
			json_array_append_new(cidrs, doc_str(*v));
		else
			json_object_set_new(index, *v,
					    json_pack("{s:o, s:[], s:b, s:b}", "Name", doc_str(*v), "Mirrors",
						      "Secure", 0, "Official", 0));
	}
	json_array_append_new(cidrs, json_string("127.0.0.0/8"));
	for (char *const *v = d->registry_mirrors; v && *v; v++) {
		const char *eq = strchr(*v, '=');

		if (str_starts(*v, "docker.io="))
			(void)strv_add(&mirrors, eq + 1);
		else
			add_index_mirror(index, *v, eq);
	}
	hub = json_pack("{s:s, s:o, s:b, s:b}", "Name", "docker.io", "Mirrors", doc_strv(mirrors), "Secure",
			1, "Official", 1);
	json_object_set_new(index, "docker.io", hub);
	return json_pack("{s:o, s:o, s:o}", "InsecureRegistryCIDRs", cidrs, "IndexConfigs", index, "Mirrors",
			 doc_strv(mirrors));
}

static void info_machine(json_t *doc)
{
	struct utsname u;
	struct sysinfo si;
	char host[256] = "";
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	(void)gethostname(host, sizeof(host) - 1);
	if (uname(&u) == 0) {
		json_object_set_new(doc, "KernelVersion", doc_str(u.release));
		json_object_set_new(doc, "Architecture", doc_str(u.machine));
	}
	if (sysinfo(&si) == 0)
		json_object_set_new(doc, "MemTotal", json_integer((json_int_t)si.totalram * si.mem_unit));
	json_object_set_new(doc, "NCPU", json_integer(cpus));
	json_object_set_new(doc, "Name", doc_str(host));
	json_object_set_new(doc, "OperatingSystem", info_os_value("PRETTY_NAME"));
	json_object_set_new(doc, "OSVersion", info_os_value("VERSION_ID"));
}

static json_t *runtimes_doc(Engine *en)
{
	json_t *o = json_pack("{s:{s:s}}", ENGINE_OWN_RUNTIME, "path", "ireko-runtime");

	for (char *const *v = engine_runtimes(en); v && *v; v++) {
		const char *eq = strchr(*v, '=');

		json_object_setn_new(o, *v, (size_t)(eq - *v), json_pack("{s:s}", "path", eq + 1));
	}
	return o;
}

/* Limits that the engine applies on every kernel it runs on, and lists that clients expect to be lists. */
static void info_constants(json_t *doc)
{
	static const char *const yes[] = {"MemoryLimit", "SwapLimit",      "CpuCfsPeriod",
					  "CpuCfsQuota", "CPUShares",      "CPUSet",
					  "PidsLimit",   "IPv4Forwarding", "OomKillDisable"};
	static const char *const no[] = {"ExperimentalBuild"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++)
		json_object_set_new(doc, yes[i], json_true());
	for (size_t i = 0; i < ELEMENTSOF(no); i++)
		json_object_set_new(doc, no[i], json_false());
	json_object_set_new(doc, "Plugins",
			    json_pack("{s:[s], s:[s,s,s,s,s], s:n, s:[s,s,s,s,s]}", "Volume", "local",
				      "Network", "bridge", "host", "ipvlan", "macvlan", "null",
				      "Authorization", "Log", "json-file", "local", "journald", "syslog",
				      "none"));
	json_object_set_new(doc, "Swarm",
			    json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", "", "NodeAddr", "",
				      "LocalNodeState", "inactive", "ControlAvailable", 0, "Error", "",
				      "RemoteManagers"));
	for (size_t i = 0; i < 3; i++)
		json_object_set_new(doc,
				    ((const char *[]){"ContainerdCommit", "RuncCommit", "InitCommit"})[i],
				    json_pack("{s:s}", "ID", IREKO_VERSION));
	json_object_set_new(doc, "Isolation", json_string(""));
	json_object_set_new(doc, "GenericResources", json_null());
}

static void info_proxies(json_t *doc, Engine *en)
{
	_cleanup_free_ char *http = engine_proxy_shown(en, ENGINE_HTTP_PROXY);
	_cleanup_free_ char *https = engine_proxy_shown(en, ENGINE_HTTPS_PROXY);
	_cleanup_free_ char *except = engine_proxy_shown(en, ENGINE_NO_PROXY);

	json_object_set_new(doc, "HttpProxy", doc_str(http));
	json_object_set_new(doc, "HttpsProxy", doc_str(https));
	json_object_set_new(doc, "NoProxy", doc_str(except));
}

static json_t *pools_doc(char *const *pools)
{
	json_t *list = json_array();

	for (char *const *p = pools; p && *p; p++) {
		char base[64];
		int size;

		if (sscanf(*p, "base=%63[^,],size=%d", base, &size) == 2)
			json_array_append_new(list, json_pack("{s:s, s:i}", "Base", base, "Size", size));
	}
	return list;
}

static json_t *security_doc(const Door *d)
{
	json_t *list = json_array();
	_cleanup_free_ char *seccomp = strf("name=seccomp,profile=%s", d->seccomp_profile);

	if (engine_has_apparmor(d->engine))
		json_array_append_new(list, json_string("name=apparmor"));
	json_array_append_new(list, doc_str(seccomp));
	json_array_append_new(list, json_string("name=cgroupns"));
	if (engine_remaps_users(d->engine))
		json_array_append_new(list, json_string("name=userns"));
	if (d->no_new_privileges)
		json_array_append_new(list, json_string("name=no-new-privileges"));
	return list;
}

/* What the settings say, which may change while it runs. */
static void info_settings(json_t *doc, Door *d)
{
	pthread_mutex_lock(&d->settings);
	json_object_set_new(doc, "RegistryConfig", registry_doc(d));
	json_object_set_new(doc, "Labels", doc_strv(d->labels));
	json_object_set_new(doc, "Debug", json_boolean(d->debug));
	json_object_set_new(doc, "LiveRestoreEnabled", json_boolean(d->live_restore));
	json_object_set_new(doc, "SecurityOptions", security_doc(d));
	if (d->address_pools && *d->address_pools)
		json_object_set_new(doc, "DefaultAddressPools", pools_doc(d->address_pools));
	pthread_mutex_unlock(&d->settings);
}

static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return MAX2(n - 2, 0);
}

static void info_process(json_t *doc, Engine *en, int version)
{
	EngineCounts n;

	engine_counts(en, &n);
	json_object_set_new(doc, "NFd", json_integer(MAX2(count_entries("/proc/self/fd") - 1, 0)));
	json_object_set_new(doc, "NGoroutines", json_integer(count_entries("/proc/self/task"))); /* threads */
	json_object_set_new(doc, "NEventsListener", json_integer(n.followers));
	if (version >= 149)
		json_object_set_new(doc, "FirewallBackend", json_pack("{s:s}", "Driver", "nftables"));
	if (version < 150) {
		json_object_set_new(doc, "BridgeNfIptables", json_false());
		json_object_set_new(doc, "BridgeNfIp6tables", json_false());
	}
}

/* Of CDI, and what it describes at this moment; the list came with API 1.50. */
static void info_devices(json_t *doc, Engine *en, int version)
{
	_cleanup_strv_ char **names = NULL;
	json_t *list = json_array();

	if (version >= 150 && engine_cdi_devices(en, &names, NULL) >= 0)
		for (size_t i = 0; names && names[i]; i++)
			json_array_append_new(list, json_pack("{s:s, s:o}", "Source", "cdi", "ID",
							      doc_str(names[i])));
	json_object_set_new(doc, "CDISpecDirs", doc_strv(engine_cdi_dirs(en)));
	if (version >= 150)
		json_object_set(doc, "DiscoveredDevices", list);
	json_decref(list);
}

static void info_warnings(json_t *doc, Engine *en)
{
	_cleanup_strv_ char **v = NULL;
	Err err = {0};
	int r = engine_warnings(en, &v, &err);

	if (r < 0)
		json_object_set_new(doc, "Warnings", json_pack("[s]", err_msg(&err, r)));
	else
		json_object_set_new(doc, "Warnings", strv_len(v) ? doc_strv(v) : json_null());
}

int h_info(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	EngineSummary s = {0};
	char cgroup_version[8];
	json_t *doc;
	int r = engine_summary(d->engine, &s, e);

	if (r < 0)
		return r;
	snprintf(cgroup_version, sizeof(cgroup_version), "%d", s.cgroup_version);
	doc = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:o, "
			"s:s, s:o}",
			"ID", s.id, "Containers", s.running + s.paused + s.stopped, "ContainersRunning",
			s.running, "ContainersPaused", s.paused, "ContainersStopped", s.stopped, "Images",
			s.images, "Driver", store_snapshotter(engine_store(d->engine)), "LoggingDriver",
			engine_log_driver(d->engine), "CgroupDriver", s.cgroup_driver ? s.cgroup_driver : "",
			"CgroupVersion", cgroup_version, "OSType", "linux", "IndexServerAddress",
			"https://index.docker.io/v1/", "DockerRootDir", doc_str(d->data_root),
			"ServerVersion", IREKO_VERSION, "DefaultRuntime", engine_default_runtime(d->engine),
			"Runtimes", runtimes_doc(d->engine), "InitBinary", "ireko-init", "SystemTime",
			doc_time(clock_now_ns()));
	if (!doc)
		return err_oom(e);
	info_proxies(doc, d->engine);
	info_machine(doc);
	info_constants(doc);
	info_settings(doc, d);
	info_process(doc, d->engine, http_tag(rq));
	info_devices(doc, d->engine, http_tag(rq));
	json_object_set_new(doc, "DriverStatus",
			    json_pack("[[s,s]]", "Chosen", store_snapshotter_why(engine_store(d->engine))));
	info_warnings(doc, d->engine);
	return reply_doc(rq, 200, doc, e);
}

int h_auth_check(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_secret_ char *identity_token = NULL;
	EngineAuth auth;
	int r = http_body_json(rq, true, &body, e);

	if (r == 0)
		r = auth_account_normalize(body, e);
	if (r < 0)
		return r;
	auth_account(body, &auth);
	r = engine_registry_login(d->engine, json_get_str(body, "serveraddress"), &auth, http_alive_fd(rq),
				  &identity_token, e);
	if (r < 0)
		return r;
	return reply_doc(rq, 200,
			 json_pack("{s:s, s:s}", "IdentityToken", identity_token ? identity_token : "",
				   "Status", "Login Succeeded"),
			 e);
}
