/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what users write for mounts: pure text, no file is looked at. The grammar and the wording of its
 * errors are Docker's, because clients show them and tests compare them.
 */
#include "engine/mounts.h"
#include "engine/idmap.h"
#include "engine/volume.h"

static const struct {
	const char *name;
	int group; /* only one of a group may be given */
} mode_options[] = {
    {"rw", 0},      {"ro", 0},         {"z", 1},      {"Z", 1},         {"nocopy", 2},
    {"private", 3}, {"rprivate", 3},   {"shared", 3}, {"rshared", 3},   {"slave", 3},
    {"rslave", 3},  {"consistent", 4}, {"cached", 4}, {"delegated", 4}, {"idmap", 5},
};
#define GROUP_PROPAGATION 3
#define GROUP_IDMAP       5
#define GROUPS            6

static const char *const tmpfs_flags[] = {
    "rw",       "ro",         "exec",     "noexec",     "suid",        "nosuid",
    "dev",      "nodev",      "sync",     "async",      "atime",       "noatime",
    "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
};
static const char *const tmpfs_values[] = {"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"};

void bind_spec_done(BindSpec *b)
{
	free(b->source);
	free(b->destination);
	free(b->mode);
	free(b->propagation);
	free(b->idmap);
	*b = (BindSpec){0};
}

static int find_mode_option(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(mode_options); i++)
		if (streq(mode_options[i].name, name) ||
		    (mode_options[i].group == GROUP_IDMAP && str_starts(name, "idmap=")))
			return (int)i;
	return -1;
}

static void keep(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
}

/* True if `mode` is a well-formed option list; fills what it says when b is given. */
static bool mode_read(const char *mode, BindSpec *b)
{
	_cleanup_strv_ char **v = strv_split(mode, ',');
	bool seen[GROUPS] = {false};

	for (size_t i = 0; v && v[i]; i++) {
		int k = find_mode_option(v[i]);

		if (k < 0 || seen[mode_options[k].group])
			return false;
		seen[mode_options[k].group] = true;
		if (!b)
			continue;
		b->read_only = b->read_only || streq(v[i], "ro");
		b->no_copy = b->no_copy || streq(v[i], "nocopy");
		if (mode_options[k].group == GROUP_PROPAGATION)
			keep(&b->propagation, v[i]);
		if (mode_options[k].group == GROUP_IDMAP)
			keep(&b->idmap, str_after(v[i], "idmap=") ?: IDMAP_AUTO);
	}
	return v != NULL;
}

static int destination_check(const char *text, const char *type, const char *path, char **ret, Err *e)
{
	if (path[0] != '/')
		return err_new(
		    e, ERR_INVALID,
		    "invalid volume specification: '%s': invalid mount config for type \"%s\": invalid mount "
		    "path: '%s' mount path must be absolute",
		    text, type, path);
	*ret = path_clean(path);
	if (!*ret)
		return err_oom(e);
	if (streq(*ret, "/"))
		return err_new(
		    e, ERR_INVALID,
		    "invalid volume specification: '%s': invalid mount config for type \"%s\": invalid "
		    "specification: destination can't be '/'",
		    text, type);
	return 0;
}

static int mode_check(const char *text, const char *mode, bool is_path, BindSpec *b, Err *e)
{
	_cleanup_strv_ char **v = strv_split(mode, ',');

	if (!v)
		return err_oom(e);
	if (strv_has(v, "U"))
		return err_new(e, ERR_UNSUPPORTED,
			       "invalid volume specification: '%s': the option U (change owner) is not "
			       "offered: chown the "
			       "directory beforehand",
			       text);
	if (!*mode || !mode_read(mode, b))
		return err_new(e, ERR_INVALID,
			       "invalid volume specification: '%s': invalid mode: %s (known: rw, ro, z, Z, "
			       "nocopy, and a "
			       "propagation)",
			       text, mode);
	if (is_path && b->no_copy)
		return err_new(e, ERR_INVALID,
			       "invalid volume specification: '%s': invalid mode: %s: nocopy is for volumes",
			       text, mode);
	if (!is_path && b->idmap)
		return err_new(
		    e, ERR_INVALID,
		    "invalid volume specification: '%s': invalid mode: %s: idmap is for bind mounts", text,
		    mode);
	if (b->idmap)
		return err_ctx(e, idmap_resolve(b->idmap, 1, 1, &(IdMaps){0}, e),
			       "invalid volume specification: '%s'", text);
	if (!is_path && b->propagation)
		return err_new(
		    e, ERR_INVALID,
		    "invalid volume specification: '%s': invalid mode: %s: propagation is for bind mounts",
		    text, mode);
	return 0;
}

static int spec_read(const char *text, char **f, BindSpec *b, Err *e)
{
	size_t n = strv_len(f);
	const char *source = n > 1 ? f[0] : NULL, *destination = n > 1 ? f[1] : f[0];
	bool is_path = source && source[0] == '/';
	const char *type = is_path ? "bind" : "volume";
	int r;

	if (n > 3 || !*destination || (source && !*source) || (n == 2 && find_mode_option(destination) >= 0))
		return err_new(e, ERR_INVALID, "invalid volume specification: '%s'", text);
	r = destination_check(text, type, destination, &b->destination, e);
	if (r >= 0 && source && !is_path)
		r = err_ctx(e, volume_name_check(source, e), "invalid volume specification: '%s'", text);
	if (r >= 0 && n == 3)
		r = mode_check(text, f[2], is_path, b, e);
	if (r < 0)
		return r;
	if (source) {
		b->source = is_path ? path_clean(source) : strdup(source);
		if (!b->source)
			return err_oom(e);
	}
	b->mode = strdup(n == 3 ? f[2] : "");
	if (!b->propagation)
		b->propagation = strdup("");
	return b->mode && b->propagation ? 0 : err_oom(e);
}

int bind_spec_parse(const char *text, BindSpec *ret, Err *e)
{
	_cleanup_strv_ char **f = strv_split(text, ':');
	BindSpec b = {0};
	int r = f ? spec_read(text, f, &b, e) : err_oom(e);

	if (r < 0) {
		bind_spec_done(&b);
		return r;
	}
	*ret = b;
	return 0;
}

int propagation_parse(const char *text, char **ret_propagation, char **ret_idmap, Err *e)
{
	_cleanup_strv_ char **v = strv_split(text, ',');
	_cleanup_free_ char *propagation = NULL, *idmap = NULL;
	int r = 0;

	if (!v)
		return err_oom(e);
	for (size_t i = 0; *text && v[i]; i++) {
		int k = find_mode_option(v[i]), group = k < 0 ? -1 : mode_options[k].group;
		char **field = group == GROUP_PROPAGATION ? &propagation
			       : group == GROUP_IDMAP     ? &idmap
							  : NULL;

		if (!field || *field)
			return err_new(e, ERR_INVALID, "invalid propagation mode: %s", text);
		keep(field, group == GROUP_IDMAP ? str_after(v[i], "idmap=") ?: IDMAP_AUTO : v[i]);
	}
	if (idmap)
		r = idmap_resolve(idmap, 1, 1, &(IdMaps){0}, e);
	if (r < 0)
		return r;
	*ret_propagation = propagation ? take_ptr(propagation) : strdup("");
	*ret_idmap = take_ptr(idmap);
	return *ret_propagation ? 0 : err_oom(e);
}

bool subpath_is_local(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	int depth = 0;
	char *at = NULL;

	if (*path == '/' || !copy)
		return false;
	for (char *p = strtok_r(copy, "/", &at); p && depth >= 0; p = strtok_r(NULL, "/", &at))
		depth += streq(p, "..") ? -1 : !streq(p, ".");
	return depth >= 0;
}

int volumes_from_parse(const char *text, char **ret_container, bool *ret_read_only, Err *e)
{
	const char *colon = strchr(text, ':');
	BindSpec b = {0};
	bool ok = !colon || mode_read(colon + 1, &b);

	if (colon == text || !*text)
		ok = false;
	ok = ok && !b.idmap;
	free(b.propagation);
	free(b.idmap);
	if (!ok)
		return err_new(e, ERR_INVALID,
			       "invalid volumes-from specification: '%s': write container or container:ro",
			       text);
	*ret_container = colon ? strndup(text, (size_t)(colon - text)) : strdup(text);
	*ret_read_only = b.read_only;
	return *ret_container ? 0 : err_oom(e);
}

static bool tmpfs_option_known(const char *o)
{
	size_t key = strcspn(o, "=");

	for (size_t i = 0; i < ELEMENTSOF(tmpfs_flags); i++)
		if (streq(o, tmpfs_flags[i]))
			return true;
	for (size_t i = 0; i < ELEMENTSOF(tmpfs_values); i++)
		if (o[key] == '=' && o[key + 1] && strlen(tmpfs_values[i]) == key &&
		    strncmp(o, tmpfs_values[i], key) == 0)
			return true;
	return find_mode_option(o) >= 0 && mode_options[find_mode_option(o)].group == GROUP_PROPAGATION;
}

int tmpfs_options_check(const char *options, Err *e)
{
	_cleanup_strv_ char **v = strv_split(options, ',');

	if (!v)
		return err_oom(e);
	for (size_t i = 0; *options && v[i]; i++)
		if (!tmpfs_option_known(v[i]))
			return err_new(e, ERR_INVALID, "invalid tmpfs option \"%s\"", v[i]);
	return 0;
}
