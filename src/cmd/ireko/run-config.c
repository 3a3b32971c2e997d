/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From RunOptions to the three parts of the create body: Config, HostConfig, NetworkingConfig. Only what was
 * given is sent: the engine knows the defaults. A Body carries the parts and the error, so that adding is one
 * line each.
 */
#include "base/str.h"
#include "env-file.h"
#include "run-options.h"
#include "spec.h"
#include "terminal.h"

#include <arpa/inet.h>
#include <strings.h>

typedef struct Body {
	const RunOptions *o;
	json_t *config, *host; /* config is the outermost object */
	Err *e;
} Body;

static int put(Body *b, json_t *obj, const char *name, json_t *value)
{
	if (json_object_set_new(obj, name, value) == 0)
		return 0;
	return value ? err_oom(b->e)
		     : err_new(b->e, ERR_INVALID, "%s: out of memory, or the text is no UTF-8", name);
}

static int put_str(Body *b, json_t *obj, const char *name, const char *s)
{
	return s ? put(b, obj, name, json_string(s)) : 0;
}

static int put_list(Body *b, json_t *obj, const char *name, const List *l)
{
	return l->v ? put(b, obj, name, json_from_strv(l->v)) : 0;
}

static int put_map(Body *b, json_t *obj, const char *name, char *const *v)
{
	return v ? put(b, obj, name, json_map_from_strv(v)) : 0;
}

static int put_num(Body *b, json_t *obj, const char *name, Num n)
{
	return n.set ? put(b, obj, name, json_integer(n.v)) : 0;
}

static int put_true(Body *b, json_t *obj, const char *name, bool on)
{
	return on ? put(b, obj, name, json_true()) : 0;
}

int run_attached(const RunOptions *o, Attached *ret, Err *e)
{
	Attached a = {0};

	if (o->attach.v && o->detach)
		return err_new(e, ERR_INVALID,
			       "conflicting options: cannot specify both --attach and --detach");
	for (size_t i = 0; o->attach.v && o->attach.v[i]; i++) {
		const char *name = o->attach.v[i];

		if (strcasecmp(name, "stdin") == 0)
			a.in = true;
		else if (strcasecmp(name, "stdout") == 0)
			a.out = true;
		else if (strcasecmp(name, "stderr") == 0)
			a.err = true;
		else
			return err_new(e, ERR_INVALID,
				       "invalid argument \"%s\" for \"-a, --attach\" flag: valid streams are "
				       "STDIN, STDOUT and STDERR",
				       name);
	}
	if (!o->attach.v && !o->detach) {
		a.out = a.err = true;
		a.in = o->interactive;
	}
	*ret = a;
	return 0;
}

static int add_process(Body *b, const char *image, char *const *command)
{
	const RunOptions *o = b->o;
	_cleanup_strv_ char **env = NULL, **labels = NULL;
	Attached a;
	json_t *c = b->config;
	int r = run_attached(o, &a, b->e);

	if (r == 0)
		r = env_collect(o->env_files.v, o->env.v, &env, b->e);
	if (r == 0)
		r = labels_collect(o->label_files.v, o->labels.v, &labels, b->e);
	if (r < 0)
		return r;
	if (put_str(b, c, "Image", image) < 0 || put_str(b, c, "Hostname", o->hostname) < 0 ||
	    put_str(b, c, "Domainname", o->domainname) < 0 || put_str(b, c, "User", o->user) < 0 ||
	    put_str(b, c, "WorkingDir", o->workdir) < 0 || put_str(b, c, "StopSignal", o->stop_signal) < 0 ||
	    put_num(b, c, "StopTimeout", o->stop_timeout) < 0 ||
	    put(b, c, "AttachStdin", json_boolean(a.in)) < 0 ||
	    put(b, c, "AttachStdout", json_boolean(a.out)) < 0 ||
	    put(b, c, "AttachStderr", json_boolean(a.err)) < 0 ||
	    put(b, c, "Tty", json_boolean(o->tty)) < 0 ||
	    put(b, c, "OpenStdin", json_boolean(o->interactive)) < 0 ||
	    put(b, c, "StdinOnce", json_boolean(o->interactive && a.in)) < 0 ||
	    put_map(b, c, "Labels", labels) < 0)
		return -EINVAL;
	if (env && put(b, c, "Env", json_from_strv(env)) < 0)
		return -EINVAL;
	if (command[0] && put(b, c, "Cmd", json_from_strv(command)) < 0)
		return -EINVAL;
	/* "" resets the image's entrypoint: the engine wants one empty word. */
	return o->entrypoint ? put(b, c, "Entrypoint", json_pack("[s]", o->entrypoint)) : 0;
}

static int add_health(Body *b)
{
	const RunOptions *o = b->o;
	bool any = o->health_cmd || o->health_interval.set || o->health_timeout.set ||
		   o->health_start_period.set || o->health_start_interval.set || o->health_retries.set;
	json_t *h;

	if (o->no_healthcheck && any)
		return err_new(b->e, ERR_INVALID, "--no-healthcheck conflicts with --health-* options");
	if (!o->no_healthcheck && !any)
		return 0;
	const struct {
		const char *flag;
		Num v;
	} numbers[] = {{"interval", o->health_interval},
		       {"timeout", o->health_timeout},
		       {"retries", o->health_retries},
		       {"start-period", o->health_start_period},
		       {"start-interval", o->health_start_interval}};
	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (numbers[i].v.v < 0)
			return err_new(b->e, ERR_INVALID, "--health-%s cannot be negative", numbers[i].flag);
	h = json_object();
	if (put(b, b->config, "Healthcheck", h) < 0)
		return -ENOMEM;
	if (o->no_healthcheck)
		return put(b, h, "Test", json_pack("[s]", "NONE"));
	if (o->health_cmd && put(b, h, "Test", json_pack("[s, s]", "CMD-SHELL", o->health_cmd)) < 0)
		return -EINVAL;
	if (put_num(b, h, "Interval", o->health_interval) < 0 ||
	    put_num(b, h, "Timeout", o->health_timeout) < 0 ||
	    put_num(b, h, "StartPeriod", o->health_start_period) < 0 ||
	    put_num(b, h, "StartInterval", o->health_start_interval) < 0 ||
	    put_num(b, h, "Retries", o->health_retries) < 0)
		return -EINVAL;
	return 0;
}

static int add_files(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_json_ json_t *binds = json_array(), *volumes = json_object(), *mounts = json_array(),
			      *tmpfs = json_object();
	int r = 0;

	for (size_t i = 0; r == 0 && o->volumes.v && o->volumes.v[i]; i++)
		r = spec_add_volume(o->volumes.v[i], binds, volumes, b->e);
	for (size_t i = 0; r == 0 && o->mounts.v && o->mounts.v[i]; i++)
		r = spec_add_mount(o->mounts.v[i], mounts, b->e);
	for (size_t i = 0; r == 0 && o->tmpfs.v && o->tmpfs.v[i]; i++)
		r = spec_add_tmpfs(o->tmpfs.v[i], tmpfs, b->e);
	if (r == 0 && json_array_size(binds))
		r = put(b, b->host, "Binds", json_incref(binds));
	if (r == 0 && json_object_size(volumes))
		r = put(b, b->config, "Volumes", json_incref(volumes));
	if (r == 0 && json_array_size(mounts))
		r = put(b, b->host, "Mounts", json_incref(mounts));
	if (r == 0 && json_object_size(tmpfs))
		r = put(b, b->host, "Tmpfs", json_incref(tmpfs));
	if (r == 0)
		r = put_list(b, b->host, "VolumesFrom", &o->volumes_from);
	if (r == 0)
		r = put_str(b, b->host, "VolumeDriver", o->volume_driver);
	if (r == 0)
		r = put_true(b, b->host, "ReadonlyRootfs", o->read_only);
	if (r == 0)
		r = put_num(b, b->host, "ShmSize", o->shm_size);
	return r == 0 ? put_map(b, b->host, "StorageOpt", o->storage_opts.v) : r;
}

static int add_ports(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_json_ json_t *exposed = json_object(), *bindings = json_object();
	int r = 0;

	for (size_t i = 0; r == 0 && o->publish.v && o->publish.v[i]; i++)
		r = spec_add_port(o->publish.v[i], exposed, bindings, b->e);
	for (size_t i = 0; r == 0 && o->expose.v && o->expose.v[i]; i++)
		r = spec_add_exposed(o->expose.v[i], exposed, b->e);
	if (r == 0 && json_object_size(exposed))
		r = put(b, b->config, "ExposedPorts", json_incref(exposed));
	if (r == 0 && json_object_size(bindings))
		r = put(b, b->host, "PortBindings", json_incref(bindings));
	return r == 0 ? put_true(b, b->host, "PublishAllPorts", o->publish_all) : r;
}

static bool is_user_network(const char *name)
{
	return !streq(name, "default") && !streq(name, "bridge") && !streq(name, "host") &&
	       !streq(name, "none") && !str_starts(name, "container:");
}

/* A first network of the form "name=web,..." is a user's by its form. */
static bool has_user_network(const RunOptions *o)
{
	return o->networks.v && is_user_network(o->networks.v[0]);
}

/* The flags beside --network are about its first network. */
static int add_endpoint_flags(Body *b, json_t *endpoint)
{
	const RunOptions *o = b->o;
	json_t *ipam = json_object_get(endpoint, "IPAMConfig");

	if (o->ip || o->ip6 || o->link_local_ips.v) {
		if (!ipam && put(b, endpoint, "IPAMConfig", ipam = json_object()) < 0)
			return -ENOMEM;
		if (put_str(b, ipam, "IPv4Address", o->ip) < 0 ||
		    put_str(b, ipam, "IPv6Address", o->ip6) < 0 ||
		    put_list(b, ipam, "LinkLocalIPs", &o->link_local_ips) < 0)
			return -EINVAL;
	}
	if (put_list(b, endpoint, "Aliases", &o->aliases) < 0 ||
	    put_str(b, endpoint, "MacAddress", o->mac_address) < 0)
		return -EINVAL;
	/* Links of the default network are the host configuration's. */
	return has_user_network(o) ? put_list(b, endpoint, "Links", &o->links) : 0;
}

static int check_first_network(const RunOptions *o, const char *name, Err *e)
{
	if (str_starts(name, "container:") && o->hostname)
		return err_new(e, ERR_INVALID, "conflicting options: hostname and the network mode");
	if (is_user_network(name))
		return 0;
	if (o->aliases.v)
		return err_new(e, ERR_INVALID,
			       "network-scoped aliases are only supported for user-defined networks");
	if ((o->ip || o->ip6) && !streq(name, "bridge") && !streq(name, "default"))
		return err_new(e, ERR_INVALID,
			       "conflicting options: cannot give an IP address with --network %s", name);
	return 0;
}

static int add_network(Body *b, size_t i, json_t *endpoints)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_json_ json_t *endpoint = NULL;
	int r = spec_parse_network(b->o->networks.v[i], &name, &endpoint, b->e);

	if (r == 0 && i == 0)
		r = check_first_network(b->o, name, b->e);
	if (r == 0 && i == 0)
		r = put_str(b, b->host, "NetworkMode", name);
	if (r == 0 && i == 0)
		r = add_endpoint_flags(b, endpoint);
	if (r == 0 && json_object_get(endpoints, name))
		return err_new(b->e, ERR_INVALID, "network %s is given more than once", name);
	/* A plain mode needs no endpoint; a user's network, or one with settings, does. */
	if (r == 0 && (is_user_network(name) || json_object_size(endpoint) > 0 || i > 0))
		r = put(b, endpoints, name, json_incref(endpoint));
	return r;
}

static int check_dns(const RunOptions *o, Err *e)
{
	unsigned char address[16];

	for (size_t i = 0; o->dns.v && o->dns.v[i]; i++) {
		const char *s = o->dns.v[i];

		if (inet_pton(AF_INET, s, address) != 1 && inet_pton(AF_INET6, s, address) != 1)
			return err_new(
			    e, ERR_INVALID,
			    "invalid argument \"%s\" for \"--dns\" flag: IP address is not correctly "
			    "formatted: %s",
			    s, s);
	}
	return 0;
}

static int add_networks(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_json_ json_t *endpoints = json_object(), *plain = json_object();
	int r = endpoints && plain ? check_dns(o, b->e) : err_oom(b->e);

	for (size_t i = 0; r == 0 && o->networks.v && o->networks.v[i]; i++)
		r = add_network(b, i, endpoints);
	if (r == 0 && !o->networks.v) {
		r = check_first_network(o, "default", b->e);
		if (r == 0)
			r = add_endpoint_flags(b, plain);
		if (r == 0 && json_object_size(plain) > 0)
			r = put(b, endpoints, "default", json_incref(plain));
	}
	if (r == 0 && json_object_size(endpoints))
		r = put(b, b->config, "NetworkingConfig", json_pack("{s:O}", "EndpointsConfig", endpoints));
	if (r == 0 && !has_user_network(o))
		r = put_list(b, b->host, "Links", &o->links);
	if (r < 0 || put_list(b, b->host, "Dns", &o->dns) < 0 ||
	    put_list(b, b->host, "DnsSearch", &o->dns_search) < 0 ||
	    put_list(b, b->host, "DnsOptions", &o->dns_options) < 0)
		return r < 0 ? r : -EINVAL;
	return 0;
}

/* "host:ip" and "host=ip"; an IPv6 address may stand in brackets. */
static int add_hosts(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_strv_ char **v = NULL;

	for (size_t i = 0; o->add_hosts.v && o->add_hosts.v[i]; i++) {
		const char *s = o->add_hosts.v[i], *ip;
		size_t n = strcspn(s, ":="), len;

		if (n == 0 || !s[n] || !s[n + 1])
			return err_new(b->e, ERR_INVALID,
				       "invalid argument \"%s\" for \"--add-host\" flag: bad format for "
				       "add-host: \"%s\"",
				       s, s);
		ip = s + n + 1;
		len = strlen(ip);
		if (*ip == '[' && ip[len - 1] == ']') {
			ip++;
			len -= 2;
		}
		if (strv_take(&v, strf("%.*s:%.*s", (int)n, s, (int)len, ip)) < 0)
			return err_oom(b->e);
	}
	return v ? put(b, b->host, "ExtraHosts", json_from_strv(v)) : 0;
}

typedef int (*Adder)(const char *s, json_t *list, Err *e);

static int add_each(Body *b, const char *name, const List *l, Adder add)
{
	_cleanup_json_ json_t *list = json_array();
	int r = 0;

	for (size_t i = 0; r == 0 && l->v && l->v[i]; i++)
		r = add(l->v[i], list, b->e);
	return r == 0 && l->v ? put(b, b->host, name, json_incref(list)) : r;
}

static int add_bps(const char *s, json_t *list, Err *e)
{
	return spec_add_throttle(s, true, list, e);
}

static int add_iops(const char *s, json_t *list, Err *e)
{
	return spec_add_throttle(s, false, list, e);
}

static int add_weight(const char *s, json_t *list, Err *e)
{
	int r = spec_add_throttle(s, false, list, e);
	json_t *last = json_array_get(list, json_array_size(list) - 1);

	if (r < 0)
		return r;
	json_object_set(last, "Weight", json_object_get(last, "Rate"));
	json_object_del(last, "Rate");
	return 0;
}

static int add_devices(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_json_ json_t *devices = json_array(), *requests = json_array();
	int r = 0;

	for (size_t i = 0; r == 0 && o->devices.v && o->devices.v[i]; i++)
		r = spec_add_device(o->devices.v[i], devices, requests, b->e);
	for (size_t i = 0; r == 0 && o->gpus.v && o->gpus.v[i]; i++)
		r = spec_add_gpus(o->gpus.v[i], requests, b->e);
	if (r == 0 && json_array_size(devices))
		r = put(b, b->host, "Devices", json_incref(devices));
	if (r == 0 && json_array_size(requests))
		r = put(b, b->host, "DeviceRequests", json_incref(requests));
	return r == 0 ? put_list(b, b->host, "DeviceCgroupRules", &o->device_rules) : r;
}

static int add_limits(Body *b)
{
	const RunOptions *o = b->o;
	int r = resources_add(b->host, &o->resources, b->e);

	if (r == 0)
		r = add_each(b, "Ulimits", &o->ulimits, spec_add_ulimit);
	if (r == 0)
		r = add_each(b, "BlkioDeviceReadBps", &o->read_bps, add_bps);
	if (r == 0)
		r = add_each(b, "BlkioDeviceWriteBps", &o->write_bps, add_bps);
	if (r == 0)
		r = add_each(b, "BlkioDeviceReadIOps", &o->read_iops, add_iops);
	if (r == 0)
		r = add_each(b, "BlkioDeviceWriteIOps", &o->write_iops, add_iops);
	if (r == 0)
		r = add_each(b, "BlkioWeightDevice", &o->blkio_weight_devices, add_weight);
	if (r == 0)
		r = add_devices(b);
	if (r == 0)
		r = put_num(b, b->host, "OomScoreAdj", o->oom_score_adj);
	return r == 0 ? put_true(b, b->host, "OomKillDisable", o->oom_kill_disable) : r;
}

static int add_security(Body *b)
{
	const RunOptions *o = b->o;
	_cleanup_json_ json_t *opts = json_array();
	bool unconfined = false;
	int r = 0;

	for (size_t i = 0; r == 0 && o->security_opts.v && o->security_opts.v[i]; i++)
		r = spec_add_security_opt(o->security_opts.v[i], opts, &unconfined, b->e);
	if (r == 0 && json_array_size(opts))
		r = put(b, b->host, "SecurityOpt", json_incref(opts));
	if (r == 0 && unconfined)
		r = put(b, b->host, "MaskedPaths", json_array());
	if (r == 0 && unconfined)
		r = put(b, b->host, "ReadonlyPaths", json_array());
	return r;
}

/* A namespace of the host or, where it may be shared, of another container. */
static bool is_mode(const char *s, const char *more, bool containers)
{
	return !s || !*s || streq(s, "host") || streq0(more, s) ||
	       (containers && str_starts(s, "container:") && s[10]);
}

static int check_modes(const RunOptions *o, Err *e)
{
	if (!is_mode(o->pid, NULL, true))
		return err_new(e, ERR_INVALID, "--pid: invalid PID mode");
	if (!is_mode(o->uts, NULL, false))
		return err_new(e, ERR_INVALID, "--uts: invalid UTS mode");
	if (!is_mode(o->userns, NULL, false))
		return err_new(e, ERR_INVALID, "--userns: invalid USER mode");
	if (!is_mode(o->cgroupns, "private", false))
		return err_new(e, ERR_INVALID, "--cgroupns: invalid CGROUP mode");
	return 0;
}

static int add_isolation(Body *b)
{
	const RunOptions *o = b->o;
	json_t *h = b->host;
	int r = check_modes(o, b->e);

	if (r == 0)
		r = add_security(b);

	if (r < 0)
		return r;
	if (put_list(b, h, "CapAdd", &o->cap_add) < 0 || put_list(b, h, "CapDrop", &o->cap_drop) < 0 ||
	    put_list(b, h, "GroupAdd", &o->group_add) < 0 || put_map(b, h, "Sysctls", o->sysctls.v) < 0 ||
	    put_map(b, h, "Annotations", o->annotations.v) < 0 || put_str(b, h, "IpcMode", o->ipc) < 0 ||
	    put_str(b, h, "PidMode", o->pid) < 0 || put_str(b, h, "UTSMode", o->uts) < 0 ||
	    put_str(b, h, "UsernsMode", o->userns) < 0 || put_str(b, h, "CgroupnsMode", o->cgroupns) < 0 ||
	    put_str(b, h, "CgroupParent", o->cgroup_parent) < 0 ||
	    put_true(b, h, "Privileged", o->privileged) < 0 || put_str(b, h, "Runtime", o->runtime) < 0 ||
	    put_str(b, h, "Isolation", o->isolation) < 0 || put_str(b, h, "ContainerIDFile", o->cidfile) < 0)
		return -EINVAL;
	return o->init == TRI_UNSET ? 0 : put(b, h, "Init", json_boolean(tri(o->init, false)));
}

static int add_life(Body *b)
{
	const RunOptions *o = b->o;
	int r = 0, height, width;

	if (o->rm && o->restart && !streq(o->restart, "no") && !streq(o->restart, ""))
		return err_new(b->e, ERR_INVALID,
			       "conflicting options: cannot specify both --restart and --rm");
	if (o->restart)
		r = resources_add_restart(b->host, o->restart, b->e);
	if (r == 0)
		r = put_true(b, b->host, "AutoRemove", o->rm);
	if (r == 0 && (o->log_driver || o->log_opts.v)) {
		json_t *l = json_object();

		r = put(b, b->host, "LogConfig", l);
		if (r == 0)
			r = put_str(b, l, "Type", o->log_driver ? o->log_driver : "");
		if (r == 0)
			r = put_map(b, l, "Config", o->log_opts.v);
	}
	if (r == 0 && o->tty && terminal_size(STDOUT_FILENO, &height, &width))
		r = put(b, b->host, "ConsoleSize", json_pack("[i, i]", height, width));
	return r;
}

int run_make_body(const RunOptions *o, const char *image, char *const *command, json_t **ret, Err *e)
{
	static int (*const adders[])(Body *) = {add_health, add_files,  add_ports,     add_networks,
						add_hosts,  add_limits, add_isolation, add_life};
	_cleanup_json_ json_t *config = json_object();
	Body b = {.o = o, .config = config, .host = json_object(), .e = e};
	int r = put(&b, config, "HostConfig", b.host);

	if (r == 0)
		r = add_process(&b, image, command);
	for (size_t i = 0; r == 0 && i < ELEMENTSOF(adders); i++)
		r = adders[i](&b);
	if (r == 0)
		*ret = take_ptr(config);
	return r;
}
