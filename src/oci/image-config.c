/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image configs (OCI image-spec: config.md, with the members that Docker adds).
 *
 * What is in a config was written by whoever built the image. Nothing here gives a string any
 * meaning: users, paths, labels, signals are carried as they are and judged where they are used.
 * Encoding is deterministic, because the digest of the text is the image id: members come in a fixed order,
 * vectors in theirs.
 */
#include "oci/image.h"
#include "oci/reference.h"
#include "base/str.h"

#include <strings.h>

#define HISTORY_MAX 10000

static const JsonField health_table[] = {
    {"Test", JSON_T_STRV, offsetof(ImageHealth, test)},
    {"Interval", JSON_T_INT, offsetof(ImageHealth, interval_ns)},
    {"Timeout", JSON_T_INT, offsetof(ImageHealth, timeout_ns)},
    {"StartPeriod", JSON_T_INT, offsetof(ImageHealth, start_period_ns)},
    {"StartInterval", JSON_T_INT, offsetof(ImageHealth, start_interval_ns)},
    {"Retries", JSON_T_INT, offsetof(ImageHealth, retries)},
    {0},
};

/* ExposedPorts and Volumes are sets (objects of empty objects) and StopTimeout has an "unset": by hand below. */
static const JsonField run_table[] = {
    {"User", JSON_T_STR, offsetof(ImageRunConfig, user)},
    {"Env", JSON_T_STRV, offsetof(ImageRunConfig, env)},
    {"Entrypoint", JSON_T_STRV, offsetof(ImageRunConfig, entrypoint)},
    {"Cmd", JSON_T_STRV, offsetof(ImageRunConfig, cmd)},
    {"Healthcheck", JSON_T_OBJECT, offsetof(ImageRunConfig, health), health_table},
    {"ArgsEscaped", JSON_T_BOOL, offsetof(ImageRunConfig, args_escaped)},
    {"WorkingDir", JSON_T_STR, offsetof(ImageRunConfig, working_dir)},
    {"OnBuild", JSON_T_STRV, offsetof(ImageRunConfig, on_build)},
    {"Labels", JSON_T_MAP, offsetof(ImageRunConfig, labels)},
    {"StopSignal", JSON_T_STR, offsetof(ImageRunConfig, stop_signal)},
    {"Shell", JSON_T_STRV, offsetof(ImageRunConfig, shell)},
    {0},
};

static const JsonField history_table[] = {
    {"created", JSON_T_STR, offsetof(ImageHistory, created)},
    {"created_by", JSON_T_STR, offsetof(ImageHistory, created_by)},
    {"author", JSON_T_STR, offsetof(ImageHistory, author)},
    {"comment", JSON_T_STR, offsetof(ImageHistory, comment)},
    {"empty_layer", JSON_T_BOOL, offsetof(ImageHistory, empty_layer)},
    {0},
};

static const JsonField rootfs_table[] = {
    {"diff_ids", JSON_T_STRV, offsetof(ImageConfig, diff_ids)},
    {0},
};

static const JsonField config_table[] = {
    {"architecture", JSON_T_STR, offsetof(ImageConfig, platform.architecture)},
    {"author", JSON_T_STR, offsetof(ImageConfig, author)},
    {"comment", JSON_T_STR, offsetof(ImageConfig, comment)},
    {"container", JSON_T_STR, offsetof(ImageConfig, container)},
    {"created", JSON_T_STR, offsetof(ImageConfig, created)},
    {"docker_version", JSON_T_STR, offsetof(ImageConfig, docker_version)},
    {"history", JSON_T_ARRAY, offsetof(ImageConfig, history), history_table, sizeof(ImageHistory),
     offsetof(ImageConfig, n_history)},
    {"os", JSON_T_STR, offsetof(ImageConfig, platform.os)},
    {"os.version", JSON_T_STR, offsetof(ImageConfig, platform.os_version)},
    {"parent", JSON_T_STR, offsetof(ImageConfig, parent)},
    {"variant", JSON_T_STR, offsetof(ImageConfig, platform.variant)},
    {0},
};

/* As the field tables look members up: exactly first, then without case; null is absent. */
static json_t *find(const json_t *obj, const char *name)
{
	json_t *found = json_object_get(obj, name), *value;
	const char *key;

	if (!found)
		json_object_foreach ((json_t *)obj, key, value) {
			if (strcasecmp(key, name) == 0) {
				found = value;
				break;
			}
		}
	return json_is_null(found) ? NULL : found;
}

static int set_decode(const json_t *obj, const char *name, char ***ret, Err *e)
{
	const json_t *set = find(obj, name);
	const char *key;
	json_t *value;

	if (!set)
		return 0;
	if (!json_is_object(set))
		return err_new(e, ERR_INVALID, "%s: expected an object", name);
	json_object_foreach ((json_t *)set, key, value) {
		if (strv_add(ret, key) < 0)
			return err_oom(e);
	}
	return 0;
}

static int set_encode(json_t *obj, const char *name, char *const *v)
{
	if (!v || !v[0])
		return 0;

	_cleanup_json_ json_t *set = json_object();
	for (size_t i = 0; set && v[i]; i++)
		if (json_object_set_new(set, v[i], json_object()) < 0)
			return -ENOMEM;
	return set && json_object_set(obj, name, set) == 0 ? 0 : -ENOMEM;
}

/* A negative interval or count means nothing; 0 is "take the default". */
static void health_clamp(ImageHealth *h)
{
	int64_t *const v[] = {&h->interval_ns, &h->timeout_ns, &h->start_period_ns, &h->start_interval_ns,
			      &h->retries};

	for (size_t i = 0; i < ELEMENTSOF(v); i++)
		*v[i] = MAX2(*v[i], 0);
}

static int run_decode(const json_t *obj, ImageRunConfig *c, Err *e)
{
	const json_t *timeout;
	int r = json_decode(obj, run_table, c, e);

	if (r < 0)
		return r;
	r = set_decode(obj, "ExposedPorts", &c->exposed_ports, e);
	if (r == 0)
		r = set_decode(obj, "Volumes", &c->volumes, e);
	if (r < 0)
		return r;

	timeout = find(obj, "StopTimeout");
	if (timeout && !json_is_integer(timeout))
		return err_new(e, ERR_INVALID, "StopTimeout: expected an integer");
	c->stop_timeout = timeout ? MAX2((int64_t)json_integer_value(timeout), (int64_t)-1) : -1;
	c->has_health = find(obj, "Healthcheck") != NULL;
	health_clamp(&c->health);
	return 0;
}

int image_run_config_decode(const json_t *obj, ImageRunConfig *ret, Err *e)
{
	ImageRunConfig c = {.stop_timeout = -1};
	int r = run_decode(obj, &c, e);

	if (r < 0) {
		image_run_config_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

json_t *image_run_config_encode(const ImageRunConfig *c)
{
	_cleanup_json_ json_t *obj = json_encode(run_table, c);

	if (!obj || set_encode(obj, "ExposedPorts", c->exposed_ports) < 0 ||
	    set_encode(obj, "Volumes", c->volumes) < 0)
		return NULL;
	if (c->stop_timeout >= 0 &&
	    json_object_set_new(obj, "StopTimeout", json_integer(c->stop_timeout)) < 0)
		return NULL;
	if (!c->has_health)
		json_object_del(obj, "Healthcheck");
	else if (!json_object_get(obj, "Healthcheck") &&
		 json_object_set_new(obj, "Healthcheck", json_object()) < 0)
		return NULL;
	return take_ptr(obj);
}

int image_run_config_copy(const ImageRunConfig *from, ImageRunConfig *ret)
{
	_cleanup_json_ json_t *obj = image_run_config_encode(from);

	if (!obj)
		return -ENOMEM;
	return image_run_config_decode(obj, ret, NULL);
}

void image_run_config_done(ImageRunConfig *c)
{
	json_fields_done(run_table, c);
	strv_free(c->exposed_ports);
	strv_free(c->volumes);
	*c = (ImageRunConfig){.stop_timeout = -1};
}

static int check_diff_ids(char *const *ids, Err *e)
{
	size_t n = strv_len(ids);

	if (n > IMAGE_LAYERS_MAX)
		return err_new(e, ERR_INVALID, "rootfs.diff_ids: %zu layers, more than the limit of %d", n,
			       IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < n; i++)
		if (!digest_is_valid(ids[i]))
			return err_new(
			    e, ERR_INVALID,
			    "rootfs.diff_ids[%zu]: %.100s is not sha256: and 64 lower-case hex digits", i,
			    ids[i]);
	return 0;
}

static int config_decode(const json_t *doc, ImageConfig *c, Err *e)
{
	const json_t *run = find(doc, "config"), *rootfs = find(doc, "rootfs");

	if (json_array_size(find(doc, "history")) > HISTORY_MAX)
		return err_new(e, ERR_INVALID, "history: more than %d entries", HISTORY_MAX);
	int r = json_decode(doc, config_table, c, e);
	if (r < 0)
		return r;
	if (run) {
		r = image_run_config_decode(run, &c->run, e);
		if (r < 0)
			return err_ctx(e, r, "config");
	}
	if (!rootfs)
		return err_new(e, ERR_INVALID, "not an image config: it has no rootfs");
	r = json_decode(rootfs, rootfs_table, c, e);
	if (r < 0)
		return err_ctx(e, r, "rootfs");
	return check_diff_ids(c->diff_ids, e);
}

int image_config_decode(const json_t *doc, ImageConfig *ret, Err *e)
{
	ImageConfig c = {.run = {.stop_timeout = -1}};
	int r = config_decode(doc, &c, e);

	if (r < 0) {
		image_config_done(&c);
		return err_ctx(e, r, "image config");
	}
	*ret = c;
	return 0;
}

json_t *image_config_encode(const ImageConfig *c)
{
	_cleanup_json_ json_t *doc = json_encode(config_table, c);
	json_t *run = image_run_config_encode(&c->run);
	json_t *rootfs = json_pack("{s:s, s:o}", "type", "layers", "diff_ids", json_from_strv(c->diff_ids));

	/* _set_new takes the value over and refuses NULL on either side. Both are called, so that both are taken. */
	int bad = json_object_set_new(doc, "config", run);
	bad |= json_object_set_new(doc, "rootfs", rootfs);
	return bad ? NULL : take_ptr(doc);
}

void image_config_done(ImageConfig *c)
{
	json_fields_done(config_table, c);
	json_fields_done(rootfs_table, c);
	image_run_config_done(&c->run);
	*c = (ImageConfig){.run = {.stop_timeout = -1}};
}
