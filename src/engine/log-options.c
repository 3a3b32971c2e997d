/* SPDX-License-Identifier: Apache-2.0 */
/* Options of log drivers: one table of drivers, and a check for each kind of value. See log-options.h. */
#include "engine/log-options.h"

#include "base/path.h"
#include "engine/log-syslog.h"

#include <ctype.h>

#define ATTRS_MAX     16384 /* bytes of attributes, which every record has */
#define CACHE_FILE    "container-cached.log"
#define LOCAL_FILE    "container.log"
#define JOURNALD_PATH "/run/systemd/journal/socket"

typedef enum { LOG_JSON, LOG_LOCAL, LOG_CRI, LOG_JOURNALD, LOG_SYSLOG, LOG_NONE } LogKind;

typedef struct LogDriver {
	const char *name;
	const char *keys; /* its options, each between blanks */
	const char *unknown;
	LogKind kind;
} LogDriver;

#define ATTR_KEYS " labels labels-regex env env-regex tag "

static const LogDriver drivers[] = {
    {"json-file", ATTR_KEYS "max-size max-file compress ", "for json-file log driver", LOG_JSON},
    {"local", ATTR_KEYS "max-size max-file compress ", "for log driver local", LOG_LOCAL},
    {"journald", ATTR_KEYS, "for journald log driver", LOG_JOURNALD},
    {"syslog",
     ATTR_KEYS "syslog-address syslog-facility syslog-format syslog-tls-ca-cert syslog-tls-cert "
	       "syslog-tls-key syslog-tls-skip-verify ",
     "for syslog log driver", LOG_SYSLOG},
    {"none", " ", "", LOG_NONE},
    {"cri", " ", "", LOG_CRI}, /* of pods; cannot be asked for */
};
/* Those of every driver; the cache is of those that cannot be read back. */
static const char common_keys[] =
    " mode max-buffer-size cache-disabled cache-max-size cache-max-file cache-compress ";

static const LogDriver *find_driver(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(drivers); i++)
		if (streq(drivers[i].name, name))
			return &drivers[i];
	return NULL;
}

static bool key_in(const char *keys, const char *key, size_t n)
{
	for (const char *p = keys; (p = memmem(p, strlen(p), key, n)); p++)
		if (p[-1] == ' ' && p[n] == ' ')
			return true;
	return false;
}

/* ---- values ---- */

/* Docker's human sizes, which count in thousands: "10m" is 10,000,000. */
static int human_size(const char *s, int64_t *ret)
{
	static const char units[] = "kmgtp";
	char *end;
	double v;

	if (!isdigit((unsigned char)*s) || (s[0] == '0' && (s[1] | 32) == 'x'))
		return -EINVAL;
	v = strtod(s, &end);
	end += *end == ' ';
	const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	for (long i = unit ? unit - units + 1 : 0; i > 0; i--)
		v *= 1000;
	end += unit ? 1 : 0;
	if (unit && (*end == 'i' || *end == 'I'))
		end++;
	if (*end == 'b' || *end == 'B')
		end++;
	if (*end || !(v < 9.2e18))
		return -EINVAL;
	*ret = (int64_t)v;
	return 0;
}

static int read_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
		if (streq(s, yes[i]) || streq(s, no[i])) {
			*ret = streq(s, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int bad_bool(Err *e, const char *value)
{
	return err_new(e, ERR_INVALID, "strconv.ParseBool: parsing \"%s\": invalid syntax", value);
}

/* What an option of rotation says; 0 and false where it is silent. */
typedef struct Rotation {
	int64_t size; /* -1: without end */
	int files;
	bool compress, says_size, says_files, says_compress;
} Rotation;

static int read_rotation(char *const *options, const char *prefix, Rotation *ret, Err *e)
{
	char key[3][32];
	const char *size, *files, *compress;
	Rotation r = {0};

	(void)snprintf(key[0], sizeof(key[0]), "%smax-size", prefix);
	(void)snprintf(key[1], sizeof(key[1]), "%smax-file", prefix);
	(void)snprintf(key[2], sizeof(key[2]), "%scompress", prefix);
	size = strv_env_get(options, key[0]);
	files = strv_env_get(options, key[1]);
	compress = strv_env_get(options, key[2]);
	if (size && streq(size, "-1"))
		r.size = -1;
	else if (size && human_size(size, &r.size) < 0)
		return err_new(e, ERR_INVALID, "invalid size: '%s'", size);
	if (files && str_to_int(files, INT32_MIN, INT32_MAX, &r.files) < 0)
		return err_new(e, ERR_INVALID, "strconv.Atoi: parsing \"%s\": invalid syntax", files);
	if (compress && read_bool(compress, &r.compress) < 0)
		return bad_bool(e, compress);
	r.says_size = size;
	r.says_files = files;
	r.says_compress = compress;
	*ret = r;
	return 0;
}

static int check_json(char *const *options, Err *e)
{
	Rotation r;
	int n = read_rotation(options, "", &r, e);

	if (n < 0)
		return n;
	if (r.says_size && r.size == 0)
		return err_new(e, ERR_INVALID, "max-size must be a positive number");
	if (r.says_files && r.files < 1)
		return err_new(e, ERR_INVALID, "max-file cannot be less than 1");
	/* Without max-size there is a cap of our own, so that compress needs none. */
	if (r.compress && (r.size < 0 || (r.says_files ? r.files == 1 : r.says_size)))
		return err_new(e, ERR_INVALID,
			       "compress cannot be true when max-file is less than 2 or max-size is not set");
	return 0;
}

static int check_local(char *const *options, const char *prefix, Err *e)
{
	Rotation r;
	int n = read_rotation(options, prefix, &r, e);

	if (n < 0)
		return n;
	if (r.says_files && r.files < 0)
		return err_new(e, ERR_INVALID, "max-file must not be negative");
	if ((!r.says_compress || r.compress) && r.says_files && r.files <= 1)
		return err_new(e, ERR_INVALID, "compression cannot be enabled when max file count is 1");
	return 0;
}

static int check_mode(char *const *options, Err *e)
{
	const char *mode = strv_env_get(options, "mode"), *size = strv_env_get(options, "max-buffer-size"),
		   *disabled = strv_env_get(options, "cache-disabled");
	bool non_blocking = streq0(mode, "non-blocking"), unused;
	int64_t bytes;

	if (!str_empty(mode) && !non_blocking && !streq(mode, "blocking"))
		return err_new(e, ERR_INVALID, "logger: logging mode not supported: %s", mode);
	if (size && !non_blocking)
		return err_new(e, ERR_INVALID,
			       "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
	if (size && str_to_bytes(size, &bytes) < 0)
		return err_new(e, ERR_INVALID, "error parsing option max-buffer-size: invalid size: '%s'",
			       size);
	if (disabled && read_bool(disabled, &unused) < 0)
		return bad_bool(e, disabled);
	return 0;
}

static int check_keys(const LogDriver *d, char *const *options, Err *e)
{
	for (char *const *p = options; p && *p; p++) {
		size_t n = strcspn(*p, "=");

		if (!key_in(d->keys, *p, n) && !key_in(common_keys, *p, n))
			return err_new(e, ERR_INVALID, "unknown log opt '%.*s' %s", (int)MIN2(n, (size_t)100),
				       *p, d->unknown);
	}
	return 0;
}

int log_options_check(const char *driver, char *const *options, Err *e)
{
	const LogDriver *d = find_driver(driver);
	int r;

	if (!d || d->kind == LOG_CRI)
		return err_new(e, ERR_INVALID,
			       "logger: no log driver named '%.100s' is registered: there are json-file, "
			       "local, journald, syslog and none",
			       driver);
	if (d->kind == LOG_NONE)
		return 0;
	r = check_mode(options, e);
	if (r >= 0)
		r = check_keys(d, options, e);
	if (r >= 0 && d->kind == LOG_JSON)
		r = check_json(options, e);
	if (r >= 0 && d->kind == LOG_LOCAL)
		r = check_local(options, "", e);
	if (r >= 0 && d->kind == LOG_SYSLOG)
		r = log_syslog_check(options, e);
	return r < 0 ? r : check_local(options, "cache-", e);
}

int log_container_check(const Container *c, Err *e)
{
	const char *tag = strv_env_get(c->config.host.log.config, "tag");
	_cleanup_json_ json_t *attrs = NULL;
	_cleanup_free_ char *expanded = NULL;
	int r = log_attributes(c, &attrs, e);

	return r < 0 || str_empty(tag) ? r : log_tag_expand(tag, c, &expanded, e);
}

/* Whatever the engine's own driver is: a pod's streams go where its kubelet reads them, or nowhere. */
static int settle_pod(ContainerConfig *k, Err *e)
{
	free(k->host.log.type);
	strv_free(k->host.log.config);
	k->host.log = (ContainerLogConfig){.type = strdup(str_empty(k->pod.log_path) ? "none" : "cri")};
	return k->host.log.type ? 0 : err_oom(e);
}

int log_config_settle(const Engine *en, ContainerConfig *k, Err *e)
{
	const EngineOptions *o = &en->options;
	ContainerLogConfig *c = &k->host.log;

	if (k->pod.id || k->pod.sandbox)
		return settle_pod(k, e);
	if (str_empty(c->type)) {
		free(c->type);
		c->type = strdup(o->log_driver);
		if (!c->type)
			return err_oom(e);
	}
	for (char *const *p = o->log_opts; streq(c->type, o->log_driver) && p && *p; p++) {
		_cleanup_free_ char *key = strndup(*p, strcspn(*p, "="));

		if (!key || (!strv_env_get(c->config, key) && strv_add(&c->config, *p) < 0))
			return err_oom(e);
	}
	return log_options_check(c->type, c->config, e);
}

const char *engine_log_driver(Engine *en)
{
	return en->options.log_driver;
}

/* ---- what follows ---- */

static bool has_cache(const ContainerLogConfig *c)
{
	const char *disabled = strv_env_get(c->config, "cache-disabled");
	bool no = false;

	return !disabled || read_bool(disabled, &no) < 0 || !no;
}

static bool is_own_file(LogKind kind)
{
	return kind == LOG_JSON || kind == LOG_LOCAL || kind == LOG_CRI;
}

int log_place(const Engine *en, const Container *c, LogPlace *ret, Err *e)
{
	const LogDriver *d = find_driver(c->config.host.log.type);
	const char *root = store_root(en->store);
	char *path = NULL;

	if (!d || d->kind == LOG_NONE || (!is_own_file(d->kind) && !has_cache(&c->config.host.log)))
		return err_new(e, ERR_UNSUPPORTED, "configured logging driver does not support reading");
	if (d->kind == LOG_CRI)
		path = c->config.pod.log_path ? strdup(c->config.pod.log_path) : NULL;
	else if (d->kind == LOG_JSON)
		path = strf("%s/containers/%s/%s-json.log", root, c->id, c->id);
	else
		path =
		    strf("%s/containers/%s/%s", root, c->id, d->kind == LOG_LOCAL ? LOCAL_FILE : CACHE_FILE);
	if (!path)
		return err_oom(e);
	*ret = (LogPlace){path, d->kind == LOG_CRI    ? &log_codec_cri
				: d->kind == LOG_JSON ? &log_codec_json
						      : &log_codec_local};
	return 0;
}

static int plan_cri(const Container *c, LogPlan *p, Err *e)
{
	const char *path = c->config.pod.log_path;
	_cleanup_free_ char *dir = strndup(path, (size_t)(path_base(path) - path));
	int r;

	p->path = strdup(path);
	if (!dir || !p->path)
		return err_oom(e);
	r = mkdir_parents_at(AT_FDCWD, dir, 0755);
	if (r < 0)
		return err_sys(e, r, "make the directory of log %s", path);
	p->shim.driver = "cri";
	p->shim.path = p->path;
	return 0;
}

static int plan_file(const Engine *en, const Container *c, LogKind kind, LogPlan *p, Err *e)
{
	LogPlace place;
	Rotation rot;
	bool local;
	int r = log_place(en, c, &place, e);

	if (r >= 0)
		p->path = place.path;
	if (r >= 0)
		r = read_rotation(c->config.host.log.config,
				  kind == LOG_JSON || kind == LOG_LOCAL ? "" : "cache-", &rot, e);
	if (r < 0)
		return r;
	local = place.codec == &log_codec_local;
	p->shim.driver = local ? "local" : "json-file";
	p->shim.path = p->path;
	p->shim.max_size = rot.says_size ? MAX2(rot.size, (int64_t)0) : LOG_DEFAULT_SIZE;
	p->shim.compress = rot.says_compress ? rot.compress : local;
	p->shim.max_files = LOG_DEFAULT_FILES;
	if (rot.says_files)
		p->shim.max_files = rot.files;
	else if (!local && rot.says_size)
		p->shim.max_files = 1; /* as Docker has it */
	p->shim.max_files =
	    MAX2(p->shim.max_files, 1) - 1; /* Docker counts the current one, the shim does not */
	return 0;
}

/* The tag as the driver has it: where none was asked for, a server gets the id. */
static int expand_tag(const Container *c, bool server, char **ret, Err *e)
{
	const char *asked = strv_env_get(c->config.host.log.config, "tag");

	*ret = NULL;
	if (str_empty(asked) && !server)
		return 0;
	return log_tag_expand(str_empty(asked) ? "{{.ID}}" : asked, c, ret, e);
}

static int plan_attrs(const Container *c, LogPlan *p, Err *e)
{
	_cleanup_json_ json_t *attrs = NULL;
	_cleanup_free_ char *tag = NULL;
	int r = log_attributes(c, &attrs, e);

	if (r >= 0)
		r = expand_tag(c, false, &tag, e);
	if (r >= 0 && tag && json_object_set_new(attrs, "tag", json_string(tag)) < 0)
		r = err_oom(e);
	if (r < 0 || json_object_size(attrs) == 0)
		return r;
	p->attrs = json_dumps(attrs, JSON_COMPACT | JSON_SORT_KEYS);
	if (!p->attrs)
		return err_oom(e);
	if (strlen(p->attrs) > ATTRS_MAX)
		return err_new(e, ERR_INVALID,
			       "the attributes that labels, env and tag add to each log record are longer "
			       "than %d bytes",
			       ATTRS_MAX);
	p->shim.attrs = p->attrs;
	return 0;
}

/* journald's names: capitals, digits and _, which is not the first. */
static char *journal_name(const char *key)
{
	char *name = strdup(key), *to = name;

	for (const char *p = key; name && *p; p++) {
		char c = (char)toupper((unsigned char)*p);

		if (!isalnum((unsigned char)c) || (unsigned char)c >= 0x80)
			c = '_';
		if (to > name || c != '_')
			*to++ = c;
	}
	if (name)
		*to = '\0';
	return name;
}

static int add_field(json_t *fields, const char *name, const char *value)
{
	if (!*name)
		return 0;
	return json_array_append_new(fields, json_sprintf("%s=%s", name, value)) < 0 ? -ENOMEM : 0;
}

static int plan_journald(const Container *c, const char *tag, LogPlan *p, Err *e)
{
	_cleanup_json_ json_t *attrs = NULL;
	json_t *fields = json_array(), *value;
	const struct {
		const char *name, *value;
	} fixed[] = {{"CONTAINER_ID_FULL", c->id},
		     {"CONTAINER_NAME", c->name},
		     {"CONTAINER_TAG", tag},
		     {"IMAGE_NAME", c->config.image},
		     {"SYSLOG_IDENTIFIER", tag}};
	const char *key;
	char id[13];
	int r = log_attributes(c, &attrs, e);

	if (r < 0) {
		json_decref(fields);
		return r;
	}
	(void)snprintf(id, sizeof(id), "%.12s", c->id);
	r = add_field(fields, "CONTAINER_ID", id);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(fixed); i++)
		r = add_field(fields, fixed[i].name, fixed[i].value ? fixed[i].value : "");
	json_object_foreach (attrs, key, value) {
		_cleanup_free_ char *name = journal_name(key);

		if (r >= 0)
			r = name ? add_field(fields, name, json_string_value(value)) : -ENOMEM;
	}
	p->shim.remote = json_pack("{s:s, s:s, s:s, s:o}", "driver", "journald", "network", "unixgram",
				   "path", JOURNALD_PATH, "fields", fields);
	if (r < 0 || !p->shim.remote)
		return err_oom(e);
	if (access(JOURNALD_PATH, F_OK) < 0)
		return err_new(e, ERR_UNAVAILABLE,
			       "failed to initialize logging driver: journald is not enabled on this host");
	return 0;
}

static int plan_remote(const Engine *en, const Container *c, LogKind kind, LogPlan *p, Err *e)
{
	char *const *options = c->config.host.log.config;
	const char *size = strv_env_get(options, "max-buffer-size");
	_cleanup_free_ char *tag = NULL;
	int64_t buffer = 1 << 20;
	int r = expand_tag(c, true, &tag, e);

	if (r >= 0)
		r = kind == LOG_JOURNALD
			? plan_journald(c, tag, p, e)
			: log_syslog_plan(options, tag, en->options.helper_dir, &p->shim.remote, e);
	if (r < 0)
		return r;
	if (size)
		(void)str_to_bytes(size, &buffer); /* checked by create */
	if (json_object_set_new(p->shim.remote, "non_blocking",
				json_boolean(streq0(strv_env_get(options, "mode"), "non-blocking"))) < 0 ||
	    json_object_set_new(p->shim.remote, "buffer", json_integer(buffer)) < 0)
		return err_oom(e);
	return 0;
}

void log_plan_done(LogPlan *p)
{
	json_decref(p->shim.remote);
	free(p->path);
	free(p->attrs);
	*p = (LogPlan){0};
}

int log_plan_make(const Engine *en, const Container *c, LogPlan *ret, Err *e)
{
	const LogDriver *d = find_driver(c->config.host.log.type);
	LogKind kind = d ? d->kind : LOG_NONE;
	LogPlan p = {.shim.driver = "none"};
	int r = 0;

	if (kind == LOG_CRI)
		r = plan_cri(c, &p, e);
	if (kind == LOG_JSON)
		r = plan_attrs(c, &p, e);
	if (r >= 0 && (kind == LOG_JOURNALD || kind == LOG_SYSLOG))
		r = plan_remote(en, c, kind, &p, e);
	if (r >= 0 && kind != LOG_NONE && kind != LOG_CRI &&
	    (kind == LOG_JSON || kind == LOG_LOCAL || has_cache(&c->config.host.log)))
		r = plan_file(en, c, kind, &p, e);
	if (r < 0) {
		log_plan_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}
