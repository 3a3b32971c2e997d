/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Container documents: inspect and list (api map 1.6). Typed clients fail on a missing member, so every one is there in every state.
 */
#include "api/docker/door-internal.h"

#include <arpa/inet.h>

static const char *text(const char *s)
{
	return s ? s : "";
}

static const char *health_text(const ContainerInfo *i)
{
	const char *s = text(i->health.status);

	return streq(s, "healthy")     ? " (healthy)"
	       : streq(s, "unhealthy") ? " (unhealthy)"
	       : streq(s, "starting")  ? " (health: starting)"
				       : "";
}

char *container_status_text(const ContainerInfo *i, int64_t now_ns)
{
	_cleanup_free_ char *since = clock_human_duration(now_ns - i->started_ns);
	_cleanup_free_ char *ago = clock_human_duration(now_ns - i->finished_ns);

	if (!since || !ago)
		return NULL;
	switch (i->status) {
	case CONTAINER_RUNNING:
		return strf("Up %s%s", since, health_text(i));
	case CONTAINER_PAUSED:
		return strf("Up %s (Paused)", since);
	case CONTAINER_RESTARTING:
		return strf("Restarting (%d) %s ago", i->exit_code, ago);
	case CONTAINER_REMOVING:
		return strdup("Removal In Progress");
	case CONTAINER_DEAD:
		return strdup("Dead");
	case CONTAINER_EXITED:
		return strf("Exited (%d) %s ago", i->exit_code, ago);
	case CONTAINER_CREATED:
		break;
	}
	return strdup("Created");
}

static json_t *health_doc(const ContainerHealthState *h)
{
	json_t *log = json_array();

	for (size_t k = 0; k < h->n_log; k++) {
		const ContainerCheck *c = &h->log[k];

		json_array_append_new(log, json_pack("{s:o, s:o, s:I, s:o}", "Start", doc_time(c->start_ns),
						     "End", doc_time(c->end_ns), "ExitCode",
						     (json_int_t)c->exit_code, "Output", doc_str(c->output)));
	}
	return json_pack("{s:s, s:I, s:o}", "Status", h->status, "FailingStreak",
			 (json_int_t)h->failing_streak, "Log", log);
}

static json_t *state_doc(const ContainerInfo *i)
{
	bool alive = i->status == CONTAINER_RUNNING || i->status == CONTAINER_PAUSED ||
		     i->status == CONTAINER_RESTARTING;

	json_t *doc =
	    json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:i, s:i, s:o, s:o, s:o}", "Status",
		      container_status_name(i->status), "Running", alive, "Paused",
		      i->status == CONTAINER_PAUSED, "Restarting", i->status == CONTAINER_RESTARTING,
		      "OOMKilled", i->oom_killed, "Dead", i->status == CONTAINER_DEAD, "Pid", (int)i->pid,
		      "ExitCode", i->exit_code, "Error", doc_str(i->error), "StartedAt",
		      doc_time(i->started_ns), "FinishedAt", doc_time(i->finished_ns));

	if (doc && i->health.status)
		json_object_set_new(doc, "Health", health_doc(&i->health));
	return doc;
}

json_t *mounts_doc(const ContainerInfo *i)
{
	json_t *a = json_array();

	for (size_t k = 0; k < i->n_mounts; k++) {
		const ContainerMountPoint *m = &i->mounts[k];

		if (m->by_flag)
			continue;
		json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:b, s:o}", "Type", doc_str(m->type), "Source",
				      doc_str(m->source), "Destination", doc_str(m->destination), "Mode",
				      doc_str(m->mode), "RW", m->rw, "Propagation", doc_str(m->propagation));

		if (o && !str_empty(m->name))
			json_object_set_new(o, "Name", doc_str(m->name));
		if (o && !str_empty(m->driver))
			json_object_set_new(o, "Driver", doc_str(m->driver));
		json_array_append_new(a, o);
	}
	return a;
}

static const ContainerEndpointConfig *asked(const ContainerInfo *i, const ContainerEndpoint *ep)
{
	for (size_t k = 0; k < i->config.n_endpoints; k++)
		if (streq0(i->config.endpoints[k].network, ep->network))
			return &i->config.endpoints[k];
	return NULL;
}

/* Before 1.45 Aliases held the short id too. */
static json_t *aliases_doc(const ContainerInfo *i, const ContainerEndpointConfig *want, bool scoped,
			   int version)
{
	json_t *aliases = want && want->aliases ? doc_strv(want->aliases) : json_null();
	char short_id[13];

	if (version >= 145 || !scoped)
		return aliases;
	if (json_is_null(aliases))
		aliases = json_array();
	snprintf(short_id, sizeof(short_id), "%.12s", i->id);
	json_array_append_new(aliases, json_string(short_id));
	return aliases;
}

static json_t *names_doc(const ContainerInfo *i, const ContainerEndpoint *ep)
{
	_cleanup_strv_ char **names = NULL;

	return engine_endpoint_names(i, text(ep->network), &names) < 0 ? NULL : doc_strv(names);
}

static json_t *ipam_doc(const ContainerEndpointConfig *want)
{
	json_t *ipam;

	if (!want || (str_empty(want->ipv4_address) && str_empty(want->ipv6_address)))
		return json_null();
	ipam = json_object();
	if (!str_empty(want->ipv4_address))
		json_object_set_new(ipam, "IPv4Address", doc_str(want->ipv4_address));
	if (!str_empty(want->ipv6_address))
		json_object_set_new(ipam, "IPv6Address", doc_str(want->ipv6_address));
	return ipam;
}

json_t *endpoint_doc(const ContainerInfo *i, const ContainerEndpoint *ep, int version)
{
	const ContainerEndpointConfig *want = asked(i, ep);
	bool scoped =
	    !streq0(ep->network, "bridge") && !streq0(ep->network, "host") && !streq0(ep->network, "none");

	/* What is asked for while there is no address yet is shown as it was asked. */
	return json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:i, s:o}",
			 "IPAMConfig", ipam_doc(want), "Links",
			 want && want->links ? doc_strv(want->links) : json_null(), "Aliases",
			 aliases_doc(i, want, scoped, version), "DriverOpts",
			 want && want->driver_opts ? doc_map(want->driver_opts) : json_null(), "GwPriority",
			 (json_int_t)(want ? want->gw_priority : 0), "NetworkID", doc_str(ep->network_id),
			 "EndpointID", doc_str(ep->endpoint_id), "Gateway", doc_str(ep->gateway), "IPAddress",
			 doc_str(ep->address), "MacAddress",
			 doc_str(str_empty(ep->mac) && want ? want->mac_address : ep->mac), "IPPrefixLen",
			 str_empty(ep->address) ? 0 : (int)ep->prefix, "IPv6Gateway", doc_str(ep->gateway6),
			 "GlobalIPv6Address", doc_str(ep->address6), "GlobalIPv6PrefixLen",
			 str_empty(ep->address6) ? 0 : (int)ep->prefix6, "DNSNames",
			 scoped ? names_doc(i, ep) : json_null());
}

static json_t *endpoints_doc(const ContainerInfo *i, int version)
{
	json_t *o = json_object();

	for (size_t k = 0; k < i->n_endpoints; k++)
		json_object_set_new(o, text(i->endpoints[k].network),
				    endpoint_doc(i, &i->endpoints[k], version));
	return o;
}

/* "80/tcp": [{HostIp, HostPort}] for what is published, null for what is merely exposed. */
static json_t *ports_doc(const ContainerInfo *i)
{
	json_t *o = json_object();

	if (i->status != CONTAINER_RUNNING && i->status != CONTAINER_PAUSED)
		return o;
	for (char **p = i->config.exposed_ports; p && *p; p++)
		json_object_set_new(o, *p, json_null());
	for (size_t k = 0; k < i->n_published; k++) {
		const ContainerPublished *p = &i->published[k];
		json_t *list = json_object_get(o, text(p->port));

		if (!json_is_array(list)) {
			list = json_array();
			json_object_set_new(o, text(p->port), list);
		}
		json_array_append_new(list, json_pack("{s:o, s:o}", "HostIp", doc_str(p->host_ip), "HostPort",
						      doc_str(p->host_port)));
	}
	return o;
}

static const ContainerEndpoint *default_endpoint(const ContainerInfo *i)
{
	for (size_t k = 0; k < i->n_endpoints; k++)
		if (streq0(i->endpoints[k].network, "bridge"))
			return &i->endpoints[k];
	return NULL;
}

static json_t *network_settings_doc(const ContainerInfo *i, int version)
{
	const ContainerEndpoint *ep = default_endpoint(i);
	bool running = i->pid > 0;
	_cleanup_free_ char *key = running ? strf("/proc/%d/ns/net", (int)i->pid) : strdup("");

	/* The members up to MacAddress are what clients of 1.51 and before read of the default bridge. */
	return json_pack(
	    "{s:s, s:s, s:o, s:o, s:b, s:s, s:i, s:n, s:n, s:o, s:o, s:o, s:i, s:o, s:i, s:o, s:o, s:o}",
	    "Bridge", "", "SandboxID", running ? i->id : "", "SandboxKey", doc_str(key), "Ports",
	    ports_doc(i), "HairpinMode", 0, "LinkLocalIPv6Address", "", "LinkLocalIPv6PrefixLen", 0,
	    "SecondaryIPAddresses", "SecondaryIPv6Addresses", "EndpointID",
	    doc_str(ep ? ep->endpoint_id : ""), "Gateway", doc_str(ep ? ep->gateway : ""),
	    "GlobalIPv6Address", doc_str(ep ? ep->address6 : ""), "GlobalIPv6PrefixLen",
	    ep && !str_empty(ep->address6) ? (int)ep->prefix6 : 0, "IPAddress",
	    doc_str(ep ? ep->address : ""), "IPPrefixLen",
	    ep && !str_empty(ep->address) ? (int)ep->prefix : 0, "IPv6Gateway",
	    doc_str(ep ? ep->gateway6 : ""), "MacAddress", doc_str(ep ? ep->mac : ""), "Networks",
	    endpoints_doc(i, version));
}

/* The engine's tables leave out what was not asked for; clients want the member all the same (api map 1.6). The value is JSON text. */
typedef struct Member {
	const char *name, *empty;
} Member;

static const Member config_members[] = {{"Hostname", "\"\""},      {"Domainname", "\"\""},
					{"User", "\"\""},          {"AttachStdin", "false"},
					{"AttachStdout", "false"}, {"AttachStderr", "false"},
					{"Tty", "false"},          {"OpenStdin", "false"},
					{"StdinOnce", "false"},    {"Env", "[]"},
					{"Cmd", "null"},           {"Image", "\"\""},
					{"Volumes", "null"},       {"WorkingDir", "\"\""},
					{"Entrypoint", "null"},    {"OnBuild", "null"},
					{"Labels", "{}"},          {NULL, NULL}};

static const Member host_members[] = {{"Binds", "null"},
				      {"ContainerIDFile", "\"\""},
				      {"LogConfig", "{\"Type\":\"json-file\",\"Config\":{}}"},
				      {"NetworkMode", "\"default\""},
				      {"PortBindings", "{}"},
				      {"RestartPolicy", "{\"Name\":\"no\",\"MaximumRetryCount\":0}"},
				      {"AutoRemove", "false"},
				      {"VolumeDriver", "\"\""},
				      {"VolumesFrom", "null"},
				      {"ConsoleSize", "[0,0]"},
				      {"CapAdd", "null"},
				      {"CapDrop", "null"},
				      {"CgroupnsMode", "\"private\""},
				      {"Dns", "null"},
				      {"DnsOptions", "null"},
				      {"DnsSearch", "null"},
				      {"ExtraHosts", "null"},
				      {"GroupAdd", "null"},
				      {"IpcMode", "\"private\""},
				      {"Cgroup", "\"\""},
				      {"Links", "null"},
				      {"OomScoreAdj", "0"},
				      {"PidMode", "\"\""},
				      {"Privileged", "false"},
				      {"PublishAllPorts", "false"},
				      {"ReadonlyRootfs", "false"},
				      {"SecurityOpt", "null"},
				      {"UTSMode", "\"\""},
				      {"UsernsMode", "\"\""},
				      {"ShmSize", "67108864"},
				      {"Runtime", "\"ireko\""},
				      {"Isolation", "\"\""},
				      {"CpuShares", "0"},
				      {"Memory", "0"},
				      {"NanoCpus", "0"},
				      {"CgroupParent", "\"\""},
				      {"BlkioWeight", "0"},
				      {"BlkioWeightDevice", "null"},
				      {"BlkioDeviceReadBps", "null"},
				      {"BlkioDeviceWriteBps", "null"},
				      {"BlkioDeviceReadIOps", "null"},
				      {"BlkioDeviceWriteIOps", "null"},
				      {"CpuPeriod", "0"},
				      {"CpuQuota", "0"},
				      {"CpuRealtimePeriod", "0"},
				      {"CpuRealtimeRuntime", "0"},
				      {"CpusetCpus", "\"\""},
				      {"CpusetMems", "\"\""},
				      {"Devices", "null"},
				      {"DeviceCgroupRules", "null"},
				      {"DeviceRequests", "null"},
				      {"MemoryReservation", "0"},
				      {"MemorySwap", "0"},
				      {"MemorySwappiness", "null"},
				      {"OomKillDisable", "false"},
				      {"PidsLimit", "null"},
				      {"Ulimits", "null"},
				      {"CpuCount", "0"},
				      {"CpuPercent", "0"},
				      {"IOMaximumIOps", "0"},
				      {"IOMaximumBandwidth", "0"},
				      {"MaskedPaths", "null"},
				      {"ReadonlyPaths", "null"},
				      {NULL, NULL}};

/* What a container has that was told neither. */
static void add_default_paths(json_t *host, bool privileged)
{
	static const char *const names[] = {"ReadonlyPaths", "MaskedPaths"};

	for (int masked = 0; host && !privileged && masked < 2; masked++)
		if (!json_object_get(host, names[masked]))
			json_object_set_new(host, names[masked],
					    doc_strv(container_default_paths(masked == 1)));
}

static json_t *completed(json_t *o, const Member *m)
{
	for (; o && m->name; m++)
		if (!json_object_get(o, m->name))
			json_object_set_new(o, m->name, json_loads(m->empty, JSON_DECODE_ANY, NULL));
	return o;
}

/* "db:alias" of container web is "/db:/web/alias". */
static void show_links(const ContainerInfo *i, json_t *host)
{
	json_t *links = json_array();

	for (char *const *v = i->config.host.links; v && *v; v++) {
		const char *name = *v + (**v == '/'), *colon = strchr(name, ':');
		const char *alias = colon ? colon + 1 : name, *slash = strrchr(alias, '/');
		_cleanup_free_ char *shown = strf("/%.*s:/%s/%s", (int)strcspn(name, ":"), name,
						  text(i->name), slash ? slash + 1 : alias);

		json_array_append_new(links, doc_str(shown));
	}
	json_object_set_new(host, "Links", links);
}

static json_t *host_doc(const ContainerInfo *i)
{
	json_t *o = container_host_inspect(&i->config);

	add_default_paths(o, i->config.host.privileged);
	if (o && strv_len(i->config.host.links) > 0)
		show_links(i, o);
	return completed(o, host_members);
}

json_t *container_inspect_doc(const ContainerInfo *i, const char *driver, int version, const int64_t *size_rw,
			      const int64_t *size_root)
{
	_cleanup_free_ char *name = strf("/%s", text(i->name));
	bool made = i->started_ns != 0; /* the files are there from the first start on */
	json_t *exec_ids = i->exec_ids && *i->exec_ids ? doc_strv(i->exec_ids) : json_null();
	json_t *doc = json_pack(
	    "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:s, s:s, s:s, s:s, s:s, s:o, s:o, "
	    "s:{s:s, s:{s:o}}, s:o, s:o, s:o}",
	    "Id", i->id, "Created", doc_time(i->created_ns), "Path", doc_str(i->path), "Args",
	    doc_strv(i->args), "State", state_doc(i), "Image", doc_str(i->image_id), "ResolvConfPath",
	    doc_str(made ? i->resolv_path : ""), "HostnamePath", doc_str(made ? i->hostname_path : ""),
	    "HostsPath", doc_str(made ? i->hosts_path : ""), "LogPath", doc_str(made ? i->log_path : ""),
	    "Name", doc_str(name), "RestartCount", i->restart_count, "Driver", driver, "Platform", "linux",
	    "MountLabel", "", "ProcessLabel", "", "AppArmorProfile", text(i->apparmor), "ExecIDs", exec_ids,
	    "HostConfig", host_doc(i), "GraphDriver", "Name", driver, "Data", "UpperDir",
	    doc_str(i->upper_dir), "Mounts", mounts_doc(i), "Config",
	    completed(container_config_inspect(&i->config), config_members), "NetworkSettings",
	    network_settings_doc(i, version));

	if (doc && size_rw)
		json_object_set_new(doc, "SizeRw", json_integer(*size_rw));
	if (doc && size_root)
		json_object_set_new(doc, "SizeRootFs", json_integer(*size_root));
	return doc;
}

int container_sizes(Door *d, const ContainerInfo *i, int64_t *ret_rw, int64_t *ret_root, Err *e)
{
	StoreImage image = {0};
	int r = engine_container_size(d->engine, i->id, ret_rw, e);

	if (r < 0)
		return r;
	*ret_root = *ret_rw;
	if (i->image_id && store_image_get(engine_store(d->engine), i->image_id, &image, NULL) >= 0)
		*ret_root += image.size;
	store_image_done(&image);
	return 0;
}
