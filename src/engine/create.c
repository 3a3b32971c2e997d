/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a container: image and request merged, checked, entered under a name, given a writable
 * layer, its volumes and its row. Nothing runs yet. A failure undoes what was made, in reverse.
 */
#include "engine/pod-internal.h"
#include "engine/log-options.h"

#include <ctype.h>

int container_name_check(const char *name, Err *e)
{
	bool ok = isalnum((unsigned char)name[0]) && name[1];

	for (const char *p = name; ok && *p; p++)
		ok = isalnum((unsigned char)*p) || strchr("_.-", *p);
	if (ok && strlen(name) <= 255)
		return 0;
	return err_new(e, ERR_INVALID,
		       "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name);
}

/* The user's variables, then those of the image that the user has not named: as "A=1", or as "A", which keeps the image's away.
 * Of several of one name in the image the last one counts, when the process is made. */
static int merge_env(ContainerConfig *c, const ImageRunConfig *image)
{
	size_t own = strv_len(c->env);
	int r = 0;

	for (size_t i = 0; r >= 0 && image->env && image->env[i]; i++) {
		size_t len = strcspn(image->env[i], "=");
		bool named = false;

		for (size_t k = 0; !named && k < own; k++)
			named = strcspn(c->env[k], "=") == len && strncmp(c->env[k], image->env[i], len) == 0;
		if (!named)
			r = strv_add(&c->env, image->env[i]);
	}
	return r;
}

/* Takes over what the request left open from the image. */
static int merge_image(ContainerConfig *c, const ImageRunConfig *image, Err *e)
{
	_cleanup_strv_ char **labels = strv_dup(image->labels);
	bool own_entrypoint = c->entrypoint || c->has_entrypoint;
	int r = labels ? merge_env(c, image) : -ENOMEM;

	for (size_t i = 0; r >= 0 && c->labels && c->labels[i]; i++)
		r = strv_env_set(&labels, c->labels[i]);
	if (r < 0)
		return err_oom(e);
	strv_free(c->labels);
	c->labels = take_ptr(labels);

	/* An entrypoint of the user's own discards the image's command as well (Docker's rule). */
	if (!own_entrypoint && image->entrypoint)
		c->entrypoint = strv_dup(image->entrypoint);
	if (!c->cmd && !own_entrypoint && image->cmd)
		c->cmd = strv_dup(image->cmd);
	if (c->entrypoint && c->entrypoint[0] && !*c->entrypoint[0]) {
		strv_free(c->entrypoint);
		c->entrypoint = NULL;
		c->has_entrypoint = false;
	}
	if (str_empty(c->user) && image->user) {
		free(c->user);
		c->user = strdup(image->user);
	}
	if (str_empty(c->working_dir) && image->working_dir) {
		free(c->working_dir);
		c->working_dir = strdup(image->working_dir);
	}
	if (!c->stop_signal && image->stop_signal)
		c->stop_signal = strdup(image->stop_signal);
	if (c->stop_timeout == STOP_TIMEOUT_UNSET)
		c->stop_timeout = image->stop_timeout;
	if (strv_len(c->shell) == 0 && image->shell) {
		strv_free(c->shell);
		c->shell = strv_dup(image->shell);
	}
	for (size_t i = 0; image->exposed_ports && image->exposed_ports[i]; i++)
		if (!strv_has(c->exposed_ports, image->exposed_ports[i]) &&
		    strv_add(&c->exposed_ports, image->exposed_ports[i]) < 0)
			return err_oom(e);
	for (size_t i = 0; i < c->host.n_ports; i++)
		if (!strv_has(c->exposed_ports, c->host.ports[i].port) &&
		    strv_add(&c->exposed_ports, c->host.ports[i].port) < 0)
			return err_oom(e);
	return 0;
}

static int set_default(char **field, const char *value)
{
	if (!str_empty(*field))
		return 0;
	free(*field);
	*field = strdup(value);
	return *field ? 0 : -ENOMEM;
}

static bool has_label(const ContainerHost *h)
{
	for (size_t i = 0; h->security_opt && h->security_opt[i]; i++)
		if (str_starts(h->security_opt[i], "label"))
			return true;
	return false;
}

static int fill_defaults(Engine *en, Container *c, Err *e)
{
	ContainerConfig *k = &c->config;
	char short_id[13];

	snprintf(short_id, sizeof(short_id), "%.12s", c->id);
	bool own_uts = !streq0(k->host.network_mode, "host") && !streq0(k->host.uts_mode, "host") &&
		       !(k->host.network_mode && str_starts(k->host.network_mode, "container:"));
	if ((own_uts && set_default(&k->hostname, short_id) < 0) ||
	    set_default(&k->host.network_mode, "bridge") < 0 ||
	    set_default(&k->host.ipc_mode, "private") < 0 || set_default(&k->host.restart.name, "no") < 0 ||
	    set_default(&k->host.runtime, en->options.default_runtime) < 0 ||
	    set_default(&k->host.cgroupns_mode, "private") < 0)
		return err_oom(e);
	if (streq(k->host.network_mode, "default")) {
		free(k->host.network_mode);
		k->host.network_mode = strdup("bridge");
	}
	if (k->host.shm_size == 0)
		k->host.shm_size = 64 << 20;
	/* As dockerd shows it. */
	if (k->host.memory > 0 && k->host.memory_swap == 0 && !container_in_pod(c))
		k->host.memory_swap = k->host.memory * 2;
	if (k->host.pids_limit < 0)
		k->host.pids_limit = 0;
	if ((k->host.privileged || streq0(k->host.pid_mode, "host") || streq0(k->host.ipc_mode, "host")) &&
	    !has_label(&k->host) && strv_add(&k->host.security_opt, "label=disable") < 0)
		return err_oom(e);
	return log_config_settle(en, k, e);
}

static int check_policies(const ContainerConfig *k, Err *e)
{
	const ContainerHost *h = &k->host;
	int r = restart_policy_check(&h->restart, e);

	if (r < 0)
		return r;
	if (h->auto_remove && !streq(h->restart.name ?: "no", "no") && *h->restart.name)
		return err_new(e, ERR_INVALID, "can't create 'AutoRemove' container with restart policy");
	return 0;
}

/* args = entrypoint + cmd */
static int fix_command(Container *c, Err *e)
{
	_cleanup_strv_ char **all = strv_dup(c->config.entrypoint);

	if (!all)
		return err_oom(e);
	for (size_t i = 0; c->config.cmd && c->config.cmd[i]; i++)
		if (strv_add(&all, c->config.cmd[i]) < 0)
			return err_oom(e);
	if (!all[0])
		return err_new(e, ERR_INVALID, "no command specified");
	c->path = strdup(all[0]);
	c->args = strv_dup(all + 1);
	return c->path && c->args ? 0 : err_oom(e);
}

static int name_choose(Engine *en, Container *c, const char *name, Err *e)
{
	Err clash = {0};
	int r;

	if (!str_empty(name)) {
		if (*name == '/')
			name++;
		r = container_name_check(name, e);
		if (r < 0)
			return r;
		c->name = strdup(name);
		return c->name ? container_add(en, c, e) : err_oom(e);
	}
	for (int retry = 0; retry < 100; retry++) {
		free(c->name);
		c->name = id_random_name(retry);
		if (!c->name)
			return err_oom(e);
		r = container_add(en, c, &clash);
		if (r >= 0)
			return r;
	}
	return err_new(e, ERR_EXHAUSTED, "no free container name was found: give one with --name");
}

static int data_dir_make(Engine *en, Container *c, Err *e)
{
	_cleanup_free_ char *path = strf("containers/%s", c->id);
	int r = path ? mkdir_parents_at(store_root_fd(en->store), path, 0710) : -ENOMEM;

	return r < 0 ? err_sys(e, r, "make the directory of container %.12s under %s", c->id,
			       store_root(en->store))
		     : 0;
}

static int build_container(Engine *en, Container *c, const StoreImage *image, const ImageConfig *ic,
			   char ***warnings, Err *e)
{
	int r = pod_settle(en, c, e);

	if (r >= 0)
		r = container_request_check(&c->config, e);
	if (r >= 0)
		r = merge_image(&c->config, &ic->run, e);
	/* What an administrator of this engine wants of containers is not what a kubelet does; and it has health checks of its own. */
	if (r >= 0 && !container_in_pod(c))
		r = health_merge(&c->config, &ic->run, e);
	if (r >= 0 && !container_in_pod(c))
		r = defaults_apply(en, &c->config, e);
	if (r >= 0)
		r = fill_defaults(en, c, e);
	if (r >= 0)
		r = container_config_check(en, &c->config, warnings, e);
	if (r >= 0)
		r = check_policies(&c->config, e);
	if (r >= 0)
		r = runtime_find(en, c->config.host.runtime, &(const char *){NULL}, e);
	if (r >= 0)
		r = fix_command(c, e);
	if (r >= 0)
		r = endpoints_plan(en, c, e);
	if (r < 0)
		return r;
	c->image_id = strdup(image->id);
	c->chain_id = image->chain_id ? strdup(image->chain_id) : NULL;
	c->created_ns = clock_now_ns();
	if (!c->image_id || (image->chain_id && !c->chain_id))
		return err_oom(e);
	return log_container_check(c, e);
}

/* What needs the name to be ours first. */
static int make_resources(Engine *en, Container *c, const ImageConfig *ic, const EngineStep *step, Err *e)
{
	_cleanup_strv_ char **made = NULL;
	bool bare = container_is_pause(c); /* its root is pod-root.c's */
	int r = bare ? 0 : store_snapshot_prepare(en->store, c->id, c->chain_id, e);

	if (r >= 0)
		r = data_dir_make(en, c, e);
	if (r >= 0)
		r = mounts_resolve(en, c, ic, step, &made, e);
	if (r >= 0)
		r = mounts_populate(en, c, made, e);
	if (r >= 0)
		r = container_save(en, c, e);
	return r;
}

/* Its row says from the beginning that it may have a network. */
static int sandbox_identify(Container *c, Err *e)
{
	ContainerPod *p = &c->config.pod;
	const char *arg;

	if (!p->sandbox)
		return 0;
	free(p->id);
	p->id = strdup(c->id);
	c->pod_attached = net_mode(c, &arg) == NET_POD;
	return !p->id || set_default(&c->config.host.ipc_mode, "shareable") < 0 ? err_oom(e) : 0;
}

/* The images' gate is held; it is open again when this returns. */
static int create_over(Engine *en, const char *name, const ContainerConfig *config, const StoreImage *image,
		       const ImageConfig *ic, const EngineStep *step, Container **ret, char ***warnings,
		       Err *e)
{
	_cleanup_container_ Container *c = container_new();
	int r = c ? container_config_copy(config, &c->config, e) : err_oom(e);

	if (r >= 0) {
		c->spare = step && step->spare ? take_ptr(*step->spare) : NULL;
		if (c->spare)
			memcpy(c->id, spare_id(c->spare), ID_LEN + 1);
		else
			id_random_hex(c->id, ID_LEN);
		r = sandbox_identify(c, e);
	}
	if (r >= 0)
		r = build_container(en, c, image, ic, warnings, e);
	if (r >= 0)
		r = name_choose(en, c, name, e);
	pthread_rwlock_unlock(&en->images_gate);
	if (r < 0)
		return r;
	container_lock(c);
	r = ports_warn(en, c, warnings, e);
	if (r >= 0)
		r = make_resources(en, c, ic, step, e);
	if (r < 0)
		(void)container_remove_locked(en, c, true, NULL);
	pthread_mutex_unlock(&c->life);
	if (r < 0)
		return r;
	container_event(en, c, "create", NULL);
	*ret = take_ptr(c);
	return 0;
}

/* What can be no image's name cannot be pulled either. */
static int not_found_or_no_name(const char *image, int r, Err *e)
{
	Reference ref = {0};
	Err why = {0};
	int wrong = reference_parse(image, &ref, &why);

	reference_done(&ref);
	return wrong < 0 ? err_new(e, ERR_INVALID, "%s", err_msg(&why, wrong)) : r;
}

static bool platform_fits(const ImageConfig *ic, const ImagePlatform *want)
{
	ImageDescriptor d = {.has_platform = true, .platform = ic->platform};
	const ImageIndex one = {.manifests = &d, .n_manifests = 1};

	return image_index_select(&one, want) != NULL;
}

/* Not found, so that the client pulls the one that was asked for; what nobody asked for is a warning. */
static int check_platform(const ImageConfig *ic, const char *image, const char *asked, char ***warnings,
			  Err *e)
{
	ImagePlatform want = {0};
	_cleanup_free_ char *have = NULL, *text = NULL;
	int r = image_platform_parse(asked, &want, e);

	if (r < 0 || platform_fits(ic, &want)) {
		image_platform_done(&want);
		return r;
	}
	have = image_platform_text(&ic->platform);
	text = image_platform_text(&want);
	image_platform_done(&want);
	if (!have || !text)
		return err_oom(e);
	if (!str_empty(asked))
		return err_new(e, ERR_NOT_FOUND,
			       "image with reference %s was found but its platform (%s) does not match the "
			       "specified platform (%s)",
			       image, have, text);
	return strv_take(warnings,
			 strf("The requested image's platform (%s) does not match the detected host "
			      "platform (%s) and no specific platform was requested",
			      have, text)) < 0
		   ? err_oom(e)
		   : 0;
}

/* Of an image of several platforms the one that is asked for, or else this machine's. */
static int choose_platform(Engine *en, StoreImage *image, const char *asked, Err *e)
{
	ImagePlatform want = {0};
	int r = image->has_parts ? image_platform_parse(asked, &want, e) : 0;

	if (r >= 0 && image->has_parts)
		r = store_image_choose(en->store, image, &want, e);
	image_platform_done(&want);
	return r;
}

static int create_of_found(Engine *en, const char *name, const char *platform, const ContainerConfig *config,
			   Container **ret, char ***warnings, Err *e)
{
	StoreImage image = {0};
	ImageConfig ic = {0};
	int r;

	pthread_rwlock_rdlock(&en->images_gate);
	r = store_image_find(en->store, config->image, &image, e);
	if (r < 0 && e && e->kind == ERR_NOT_FOUND)
		r = not_found_or_no_name(config->image, r, e);
	if (r >= 0)
		r = choose_platform(en, &image, platform, e);
	if (r >= 0)
		r = store_image_config(en->store, image.id, &ic, e);
	if (r >= 0)
		r = check_platform(&ic, config->image, platform, warnings, e);
	if (r >= 0)
		r = create_over(en, name, config, &image, &ic, NULL, ret, warnings, e);
	else
		pthread_rwlock_unlock(&en->images_gate);
	if (r >= 0)
		r = store_image_used(en->store, image.id, e);
	store_image_done(&image);
	image_config_done(&ic);
	return r;
}

/* Over the image that the configuration names. That may be removed by force once the gate is open: the lease keeps its layers until
 * the snapshot's row refers to them. */
static int create_of_image(Engine *en, const char *name, const char *platform, const ContainerConfig *config,
			   Container **ret, char ***warnings, Err *e)
{
	Err late = {0};
	int r, ended;

	if (str_empty(config->image))
		return err_new(e, ERR_INVALID, "no image specified");
	store_lease_begin(en->store);
	r = create_of_found(en, name, platform, config, ret, warnings, e);
	ended = store_lease_end(en->store, &late);
	if (ended < 0)
		log_warn("what images that were removed meanwhile have left: %s", err_msg(&late, ended));
	return r;
}

int engine_container_create(Engine *en, const char *name, const char *platform, const ContainerConfig *config,
			    char **ret_id, char ***ret_warnings, Err *e)
{
	_cleanup_container_ Container *c = NULL;
	_cleanup_strv_ char **warnings = NULL;
	int r = create_of_image(en, name, platform, config, &c, &warnings, e);

	if (r < 0)
		return r;
	*ret_id = strdup(c->id);
	if (!*ret_id)
		return err_oom(e);
	if (ret_warnings)
		*ret_warnings = take_ptr(warnings);
	return 0;
}

int engine_container_create_on(Engine *en, const ContainerConfig *config, const EngineStep *step,
			       char **ret_id, Err *e)
{
	StoreImage image = {.id = (char *)"", .chain_id = (char *)(uintptr_t)step->chain_id};
	_cleanup_container_ Container *c = NULL;
	_cleanup_strv_ char **warnings = NULL;
	int r;

	pthread_rwlock_rdlock(&en->images_gate);
	r = create_over(en, NULL, config, &image, step->base, step, &c, &warnings, e);
	if (r < 0)
		return r;
	if (step->secret_env && !(c->secret_env = strv_dup(step->secret_env))) {
		(void)engine_container_remove(en, c->id, true, true, NULL);
		return err_oom(e);
	}
	*ret_id = strdup(c->id);
	return *ret_id ? 0 : err_oom(e);
}

/* The one that an administrator wants to see there; it is fetched when it is not here. */
static int create_of_sandbox_image(Engine *en, const char *name, const ContainerConfig *config,
				   Container **ret, Err *e)
{
	_cleanup_strv_ char **warnings = NULL;
	const char *image = en->options.pods.sandbox_image;
	const EnginePull pull = {.reference = image, .alive_fd = -1};
	ContainerConfig k = *config; /* whose pointers are the caller's */
	char id[DIGEST_LEN + 1];
	Err first = {0};
	int r;

	k.image = (char *)image;
	r = create_of_image(en, name, NULL, &k, ret, &warnings, &first);
	if (r < 0 && first.kind != ERR_NOT_FOUND)
		return err_new_no(e, first.kind, -r, "%s", err_msg(&first, r));
	if (r < 0)
		r = engine_image_pull(en, &pull, id, e);
	if (r >= 0 && !*ret)
		r = create_of_image(en, name, NULL, &k, ret, &warnings, e);
	return err_ctx(e, r, "sandbox image %s", image);
}

int container_create_sandbox(Engine *en, const char *name, const ContainerConfig *config, Container **ret,
			     Err *e)
{
	static char *entrypoint[] = {(char *)POD_PAUSE_PATH, NULL};
	const StoreImage none = {.id = (char *)""};
	const ImageConfig pause = {.run = {.entrypoint = entrypoint, .stop_timeout = STOP_TIMEOUT_UNSET}};
	_cleanup_strv_ char **warnings = NULL;

	if (en->options.pods.sandbox_image)
		return create_of_sandbox_image(en, name, config, ret, e);
	pthread_rwlock_rdlock(&en->images_gate);
	return create_over(en, name, config, &none, &pause, NULL, ret, &warnings, e);
}
