/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes and mounts on the command line; see spec.h. */
#include "base/path.h"
#include "base/str.h"
#include "spec.h"
#include "text.h"

#include <limits.h>

/* A path as the engine needs it: absolute, whatever directory we are in. */
static int make_absolute(const char *path, char **ret, Err *e)
{
	char cwd[PATH_MAX];

	if (*path != '/' && !getcwd(cwd, sizeof(cwd)))
		return err_sys(e, errno, "find out the current directory");
	*ret = *path == '/' ? strdup(path) : path_join_clean(cwd, path);
	return *ret ? 0 : err_oom(e);
}

static bool is_relative(const char *source)
{
	return streq(source, ".") || streq(source, "..") || str_starts(source, "./") ||
	       str_starts(source, "../");
}

int spec_add_volume(const char *s, json_t *binds, json_t *volumes, Err *e)
{
	size_t n = strcspn(s, ":");
	_cleanup_free_ char *source = strndup(s, n), *absolute = NULL, *bind = NULL;

	if (!source)
		return err_oom(e);
	if (!*s || *s == ':' || streq(s + n, ":"))
		return err_new(e, ERR_INVALID,
			       "invalid volume specification: '%s': expected [SOURCE:]TARGET[:OPTIONS]", s);
	if (!s[n])
		return json_object_set_new(volumes, s, json_object()) < 0 ? err_oom(e) : 0;
	if (is_relative(source)) {
		int r = make_absolute(source, &absolute, e);

		if (r < 0)
			return r;
	}
	bind = strf("%s%s", absolute ? absolute : source, s + n);
	if (!bind)
		return err_oom(e);
	if (json_array_append_new(binds, json_string(bind)) < 0)
		return err_new(e, ERR_INVALID, "volume %s: the path is no UTF-8", s);
	return 0;
}

int spec_add_tmpfs(const char *s, json_t *tmpfs, Err *e)
{
	size_t n = strcspn(s, ":");
	_cleanup_free_ char *path = strndup(s, n);

	if (!path)
		return err_oom(e);
	if (json_object_set_new(tmpfs, path, json_string(s[n] ? s + n + 1 : "")) < 0)
		return err_new(e, ERR_INVALID, "tmpfs %s: not UTF-8", s);
	return 0;
}

typedef struct Mount {
	const char *spec;
	json_t *j, *bind, *volume, *tmpfs, *image; /* the options are borrowed from j */
} Mount;

static int bad(const Mount *m, const char *what, Err *e)
{
	return err_new(e, ERR_INVALID, "invalid argument \"%s\" for \"--mount\" flag: %s", m->spec, what);
}

/* The member `name` of the mount, an object that is made when it is needed. */
static json_t *section(Mount *m, json_t **at, const char *name)
{
	if (!*at && json_object_set_new(m->j, name, *at = json_object()) < 0)
		*at = NULL;
	return *at;
}

static int set_flag(const Mount *m, json_t *obj, const char *name, const char *value, Err *e)
{
	bool on = !value || streq(value, "true") || streq(value, "1");

	if (!on && !streq(value, "false") && !streq(value, "0"))
		return bad(m, "expected true or false", e);
	return json_object_set_new(obj, name, json_boolean(on)) < 0 ? err_oom(e) : 0;
}

static int set_text(const Mount *m, json_t *obj, const char *name, const char *value, Err *e)
{
	if (!value)
		return bad(m, "a field needs a value (KEY=VALUE)", e);
	return json_object_set_new(obj, name, json_string(value)) < 0 ? bad(m, "a value is no UTF-8", e) : 0;
}

static int set_source(Mount *m, const char *value, Err *e)
{
	_cleanup_free_ char *absolute = NULL;

	if (!value)
		return bad(m, "source needs a value", e);
	if (is_relative(value)) {
		int r = make_absolute(value, &absolute, e);

		if (r < 0)
			return r;
	}
	return set_text(m, m->j, "Source", absolute ? absolute : value, e);
}

/* bind-recursive=enabled|disabled|writable|readonly */
static int set_recursive(Mount *m, const char *value, Err *e)
{
	json_t *b = section(m, &m->bind, "BindOptions");

	if (streq0(value, "enabled"))
		return 0;
	if (streq0(value, "disabled"))
		return set_flag(m, b, "NonRecursive", NULL, e);
	if (streq0(value, "writable"))
		return set_flag(m, b, "ReadOnlyNonRecursive", NULL, e);
	if (streq0(value, "readonly"))
		return set_flag(m, b, "ReadOnlyForceRecursive", NULL, e);
	return bad(m, "bind-recursive is enabled, disabled, writable or readonly", e);
}

/* VolumeOptions.<outer>[.<inner>][key] = value from "key=value". */
static int set_volume_map(Mount *m, const char *outer, const char *inner, const char *value, Err *e)
{
	json_t *at = section(m, &m->volume, "VolumeOptions"), *map;
	const char *names[] = {outer, inner};
	size_t n = value ? strcspn(value, "=") : 0;
	_cleanup_free_ char *key = value ? strndup(value, n) : NULL;

	if (!value)
		return bad(m, "volume-label and volume-opt need KEY=VALUE", e);
	for (size_t i = 0; at && i < 2 && names[i]; i++) {
		map = json_object_get(at, names[i]);
		if (!map && json_object_set_new(at, names[i], map = json_object()) < 0)
			return err_oom(e);
		at = map;
	}
	return !at || !key ? err_oom(e) : set_text(m, at, key, value[n] ? value + n + 1 : "", e);
}

static int set_driver(Mount *m, const char *value, Err *e)
{
	json_t *v = section(m, &m->volume, "VolumeOptions"), *d = json_object_get(v, "DriverConfig");

	if (!d && json_object_set_new(v, "DriverConfig", d = json_object()) < 0)
		return err_oom(e);
	return set_text(m, d, "Name", value, e);
}

static int set_tmpfs(Mount *m, const char *key, const char *value, Err *e)
{
	json_t *t = section(m, &m->tmpfs, "TmpfsOptions");
	int64_t size;
	char *end;

	if (streq(key, "tmpfs-size")) {
		if (!value || str_to_bytes(value, &size) < 0)
			return bad(m, "tmpfs-size needs a size", e);
		return json_object_set_new(t, "SizeBytes", json_integer(size)) < 0 ? err_oom(e) : 0;
	}
	unsigned long mode = value ? strtoul(value, &end, 8) : 0;
	if (!value || !*value || *end || mode > 07777)
		return bad(m, "tmpfs-mode needs an octal mode", e);
	return json_object_set_new(t, "Mode", json_integer((json_int_t)mode)) < 0 ? err_oom(e) : 0;
}

static bool is_any(const char *s, const char *a, const char *b, const char *c)
{
	return streq(s, a) || streq0(s, b) || streq0(s, c);
}

/* The fields of one kind of mount. */
static int set_special(Mount *m, const char *key, const char *value, Err *e)
{
	json_t *b;

	if (str_starts(key, "bind-")) {
		if (streq(key, "bind-recursive"))
			return set_recursive(m, value, e);
		b = section(m, &m->bind, "BindOptions");
		if (streq(key, "bind-propagation"))
			return set_text(m, b, "Propagation", value, e);
		if (streq(key, "bind-nonrecursive"))
			return set_flag(m, b, "NonRecursive", value, e);
		if (streq(key, "bind-create-src"))
			return set_flag(m, b, "CreateMountpoint", value, e);
	}
	if (streq(key, "volume-label"))
		return set_volume_map(m, "Labels", NULL, value, e);
	if (streq(key, "volume-opt"))
		return set_volume_map(m, "DriverConfig", "Options", value, e);
	if (streq(key, "volume-driver"))
		return set_driver(m, value, e);
	if (streq(key, "volume-nocopy"))
		return set_flag(m, section(m, &m->volume, "VolumeOptions"), "NoCopy", value, e);
	if (streq(key, "volume-subpath"))
		return set_text(m, section(m, &m->volume, "VolumeOptions"), "Subpath", value, e);
	if (streq(key, "image-subpath"))
		return set_text(m, section(m, &m->image, "ImageOptions"), "Subpath", value, e);
	if (streq(key, "tmpfs-size") || streq(key, "tmpfs-mode"))
		return set_tmpfs(m, key, value, e);
	return err_new(e, ERR_INVALID,
		       "invalid argument \"%s\" for \"--mount\" flag: unexpected key '%s' in '%s%s%s'",
		       m->spec, key, key, value ? "=" : "", value ? value : "");
}

static int set_field(Mount *m, const char *key, const char *value, Err *e)
{
	if (streq(key, "type"))
		return set_text(m, m->j, "Type", value, e);
	if (is_any(key, "source", "src", NULL))
		return set_source(m, value, e);
	if (is_any(key, "target", "dst", "destination"))
		return set_text(m, m->j, "Target", value, e);
	if (streq(key, "idmap"))
		return set_text(m, section(m, &m->bind, "BindOptions"), "IDMap", value ? value : "auto", e);
	if (is_any(key, "readonly", "ro", NULL))
		return set_flag(m, m->j, "ReadOnly", value, e);
	if (streq(key, "consistency"))
		return set_text(m, m->j, "Consistency", value, e);
	return set_special(m, key, value, e);
}

static int check_mount(const Mount *m, Err *e)
{
	static const char *const types[] = {"bind", "volume", "tmpfs", "image", "npipe", "cluster"};
	const char *type = json_get_str(m->j, "Type");
	bool known = false;

	for (size_t i = 0; i < ELEMENTSOF(types); i++)
		known = known || streq0(type, types[i]);
	if (!known)
		return bad(m, "type is none of bind, volume, tmpfs and image", e);
	if (!json_object_get(m->j, "Target"))
		return bad(m, "target is required", e);
	if (streq(type, "bind") && !json_object_get(m->j, "Source"))
		return bad(m, "source is required for a bind mount", e);
	if ((m->volume && !streq(type, "volume")) || (m->bind && !streq(type, "bind")) ||
	    (m->tmpfs && !streq(type, "tmpfs")) || (m->image && !streq(type, "image")))
		return bad(m, "it has options of another type of mount", e);
	return 0;
}

int spec_add_mount(const char *s, json_t *mounts, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	_cleanup_json_ json_t *j = json_pack("{s:s}", "Type", "volume");
	Mount m = {.spec = s, .j = j};
	int r = j ? 0 : err_oom(e);

	if (r == 0 && strv_split_csv(s, &fields) < 0)
		r = bad(&m, "quotes are not closed", e);
	for (size_t i = 0; r == 0 && fields[i]; i++) {
		char *eq = strchr(fields[i], '=');

		if (eq)
			*eq = '\0';
		r = set_field(&m, fields[i], eq ? eq + 1 : NULL, e);
	}
	if (r == 0)
		r = check_mount(&m, e);
	if (r == 0 && json_array_append(mounts, j) < 0)
		r = err_oom(e);
	return r;
}
