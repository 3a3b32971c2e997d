/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings on their way to those who use them, and once more at SIGHUP.
 *
 * A reload reads arguments and file from the beginning. What is wrong with them is said, and changes nothing. Else the settings that can change take
 * effect, one after the other, each whole; those that need a restart are named if they differ. Clients learn of it by dockerd's event.
 */
#include "daemon.h"
#include "settings.h"

#include "base/clock.h"

#include <fcntl.h>

#define PROFILE_MAX (1u << 20)

/* "unconfined", or the text of the file. */
static int read_profile(const char *said, char **ret, Err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	int r;

	if (!said || streq(said, "builtin"))
		return 0;
	if (streq(said, "unconfined")) {
		*ret = strdup(said);
		return *ret ? 0 : err_oom(e);
	}
	r = json_load_at(AT_FDCWD, said, PROFILE_MAX, &doc, e);
	if (r < 0)
		return err_ctx(e, r, "seccomp-profile");
	*ret = json_text(doc);
	return *ret ? 0 : err_oom(e);
}

int daemon_defaults(const DaemonConfig *c, EngineDefaults *ret, char **ret_profile, Err *e)
{
	int r = read_profile(config_text(c, "seccomp-profile"), ret_profile, e);

	*ret = (EngineDefaults){.shm_size = config_size(c, "default-shm-size", 0),
				.ulimits = config_list(c, "default-ulimits"),
				.dns = config_list(c, "dns"),
				.dns_options = config_list(c, "dns-opts"),
				.dns_search = config_list(c, "dns-search"),
				.cgroup_parent = config_text(c, "cgroup-parent"),
				.cgroupns_mode = config_text(c, "default-cgroupns-mode"),
				.ipc_mode = config_text(c, "default-ipc-mode"),
				.seccomp = *ret_profile,
				.init = config_bool(c, "init", false),
				.no_new_privileges = config_bool(c, "no-new-privileges", false)};
	return r;
}

/* By our name, or by dockerd's: of several of these the last counts. */
const char *daemon_cgroup_driver(const DaemonConfig *c)
{
	const char *driver = config_text(c, "cgroup-driver");

	for (char *const *o = config_list(c, "exec-opts"); !driver && o && *o; o++)
		if (!o[1])
			driver = str_after(*o, "native.cgroupdriver=");
	return driver ?: "cgroupfs";
}

EngineTransfers daemon_transfers(const DaemonConfig *c)
{
	return (EngineTransfers){.downloads = (int)config_int(c, "max-concurrent-downloads", 0),
				 .uploads = (int)config_int(c, "max-concurrent-uploads", 0),
				 .attempts = (int)config_int(c, "max-download-attempts", 0)};
}

void daemon_door_options(const DaemonConfig *c, DockerDoorOptions *ret)
{
	*ret = (DockerDoorOptions){.data_root = config_text(c, "data-root"),
				   .insecure_registries = config_list(c, "insecure-registries"),
				   .registry_mirrors = config_list(c, "registry-mirrors"),
				   .labels = config_list(c, "labels"),
				   .address_pools = config_list(c, "default-address-pools"),
				   .seccomp_profile = config_text(c, "seccomp-profile"),
				   .no_new_privileges = config_bool(c, "no-new-privileges", false),
				   .debug = config_bool(c, "debug", false),
				   .live_restore = config_bool(c, "live-restore", true),
				   .classic_builder = strv_has(config_list(c, "features"), "buildkit=false")};
}

/* What the file and the arguments say where it matters only at start. */
static void name_the_late(const DaemonConfig *before, const DaemonConfig *now)
{
	for (size_t i = 0; i < settings_n; i++) {
		_cleanup_free_ char *a = strv_join(before->set[i].texts, "\n"),
				    *b = strv_join(now->set[i].texts, "\n");

		if (!(settings[i].flags & SETTING_RELOADS) && a && b && !streq(a, b))
			log_warn("reload: %s has changed, which takes a restart of irekod", settings[i].key);
	}
}

static char *list_text(const DaemonConfig *c, const char *key)
{
	_cleanup_json_ json_t *list = json_from_strv(config_list(c, key));

	return list ? json_text(list) : NULL;
}

static int add_list(char ***to, const DaemonConfig *c, const char *key)
{
	_cleanup_free_ char *text = list_text(c, key);

	return text ? strv_take(to, strf("%s=%s", key, text)) : -ENOMEM;
}

static void tell_clients(Daemon *d)
{
	static const char *const lists[] = {"labels", "insecure-registries", "registry-mirrors", "runtimes"};
	static const struct {
		const char *key;
		int usual;
	} numbers[] = {{"shutdown-timeout", 15},
		       {"max-concurrent-downloads", 4},
		       {"max-concurrent-uploads", 5},
		       {"max-download-attempts", 5}};
	const DaemonConfig *c = &d->config;
	_cleanup_strv_ char **a = NULL;
	EngineSummary s = {0};
	char host[256] = "";
	int r = engine_summary(d->engine, &s, NULL);

	(void)gethostname(host, sizeof(host) - 1);
	if (r >= 0)
		r = strv_take(&a, strf("name=%s", host));
	if (r >= 0)
		r = strv_take(&a, strf("debug=%s", config_bool(c, "debug", false) ? "true" : "false"));
	if (r >= 0)
		r = strv_take(&a, strf("live-restore=%s",
				       config_bool(c, "live-restore", true) ? "true" : "false"));
	if (r >= 0)
		r = strv_take(&a, strf("default-runtime=%s", engine_default_runtime(d->engine)));
	if (r >= 0)
		r = strv_take(&a, strf("default-shm-size=%lld",
				       (long long)config_size(c, "default-shm-size", 64 << 20)));
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(numbers); i++)
		r = strv_take(&a, strf("%s=%lld", numbers[i].key,
				       (long long)config_int(c, numbers[i].key, numbers[i].usual)));
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(lists); i++)
		r = add_list(&a, c, lists[i]);
	if (r >= 0)
		engine_event(d->engine, "daemon", "reload", s.id, a);
}

static int take_over(Daemon *d, DaemonConfig *now, Err *e)
{
	DockerDoorOptions door;
	EngineReload l = {.insecure_registries = config_list(now, "insecure-registries"),
			  .registry_mirrors = config_list(now, "registry-mirrors"),
			  .runtimes = config_list(now, "runtimes"),
			  .default_runtime = config_text(now, "default-runtime"),
			  .shm_size = config_size(now, "default-shm-size", 0),
			  .ulimits = config_list(now, "default-ulimits"),
			  .transfers = daemon_transfers(now)};
	int r = d->tls ? http_tls_reload(d->tls, e) : 0;

	if (r >= 0)
		r = engine_reload(d->engine, &l, e);
	if (r < 0)
		return r;
	name_the_late(&d->config, now);
	/* What did not take effect stays as it was said at start. */
	for (size_t i = 0; i < settings_n; i++)
		if (settings[i].flags & SETTING_RELOADS) {
			SettingValues v = d->config.set[i];

			d->config.set[i] = now->set[i];
			now->set[i] = v;
		}
	d->config.level = now->level;
	log_set_level(d->config.level);
	daemon_door_options(&d->config, &door);
	return docker_door_reload(d->door, &door, e);
}

void daemon_reload(Daemon *d)
{
	DaemonConfig now = {0};
	ConfigAction action;
	char state[64];
	Err e = {0};
	int r;

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)(clock_mono_ns() / 1000));
	service_notify(state);
	r = config_load(d->argc, d->argv, &now, &action, &e);
	if (r >= 0)
		r = take_over(d, &now, &e);
	if (r < 0)
		log_error("reload: the settings stay as they were: %s", err_msg(&e, r));
	else
		log_info("reload: settings were read again%s%s", d->config.file ? " from " : "",
			 d->config.file ? d->config.file : "");
	config_done(&now);
	if (r >= 0)
		tell_clients(d);
	service_notify("READY=1");
}
