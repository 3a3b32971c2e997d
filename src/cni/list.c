/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of plugins as administrators write them (SPEC.md, section 1), and as records keep them.
 *
 * A list has a name, which becomes part of a file's name, and plugins, whose types are names of programs: both are checked here, so that nobody
 * else has to. A file with one plugin is a list of one. Of the versions that a list offers the newest that is known here is spoken.
 */
#include "cni/cni-internal.h"

static const char known[] = "known here are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0";

CniList *cni_list_ref(CniList *l)
{
	__atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
	return l;
}

void cni_list_unref(CniList *l)
{
	if (!l || __atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(l->name);
	free(l->file);
	free(l->text);
	json_decref(l->plugins);
	free(l);
}

/* Absent is none; of another type is an error. */
static int get_string(const json_t *j, const char *key, const char *file, const char **ret, Err *e)
{
	const json_t *v = json_object_get(j, key);

	if (v && !json_is_string(v))
		return err_new(e, ERR_INVALID, "%s: %s is no string", file, key);
	*ret = json_string_value(v);
	return 0;
}

/* Text is taken as well: lists with it are about, and other callers of CNI take it. */
static int get_flag(const json_t *j, const char *key, const char *file, bool *ret, Err *e)
{
	const json_t *v = json_object_get(j, key);
	const char *s = json_string_value(v);

	if (!v || json_is_boolean(v))
		*ret = json_is_true(v);
	else if (s && (strcasecmp(s, "true") == 0 || strcasecmp(s, "false") == 0))
		*ret = strcasecmp(s, "true") == 0;
	else
		return err_new(e, ERR_INVALID, "%s: %s is neither true nor false", file, key);
	return 0;
}

static int read_version(const json_t *j, CniList *l, Err *e)
{
	const json_t *all = json_object_get(j, "cniVersions"), *v;
	const char *one;
	bool found = false;
	size_t i;
	int r = get_string(j, "cniVersion", l->file, &one, e);

	if (r < 0)
		return r;
	if (all && !json_is_array(all))
		return err_new(e, ERR_INVALID, "%s: cniVersions is no array", l->file);
	if (cni_version_parse(one, &l->version) >= 0)
		found = one || json_array_size(all) == 0;
	json_array_foreach (all, i, v) {
		CniVersion offered;

		if (!json_is_string(v))
			return err_new(e, ERR_INVALID, "%s: cniVersions has something that is no string",
				       l->file);
		if (cni_version_parse(json_string_value(v), &offered) < 0 || (found && offered < l->version))
			continue;
		l->version = offered;
		found = true;
	}
	return found ? 0
		     : err_new(e, ERR_INVALID,
			       "%s: no version in cniVersion (\"%.40s\") or cniVersions is known: %s",
			       l->file, one ?: "", known);
}

static int check_plugin(const json_t *p, const char *file, Err *e)
{
	const json_t *caps = json_object_get(p, "capabilities"), *v;
	const char *type = json_get_str(p, "type"), *key;

	if (!json_is_object(p))
		return err_new(e, ERR_INVALID, "%s: a plugin is no object", file);
	if (!type)
		return err_new(e, ERR_INVALID, "%s: a plugin has no type%s", file,
			       json_object_get(p, "plugins") ? " (is it a list? Those are named *.conflist)"
							     : "");
	if (!cni_name_is_plain(type))
		return err_new(e, ERR_INVALID,
			       "%s: plugin type \"%.60s\" is not the name of a program: letters, digits, "
			       "\"_.-\" and no path",
			       file, type);
	if (caps && !json_is_object(caps))
		return err_new(e, ERR_INVALID, "%s: capabilities of plugin %s are no object", file, type);
	json_object_foreach ((json_t *)(uintptr_t)caps, key, v)
		if (!json_is_boolean(v))
			return err_new(e, ERR_INVALID,
				       "%s: capability %.60s of plugin %s is neither true nor false", file,
				       key, type);
	return 0;
}

static int append_plugin(CniList *l, json_t *p, const char *file, Err *e)
{
	int r = check_plugin(p, file, e);

	if (r < 0)
		return r;
	if (json_array_size(l->plugins) >= CNI_PLUGINS_MAX)
		return err_new(e, ERR_INVALID, "%s: more than %d plugins", file, CNI_PLUGINS_MAX);
	return json_array_append(l->plugins, p) < 0 ? err_oom(e) : 0;
}

static int read_plugins(CniList *l, const json_t *j, Err *e)
{
	json_t *plugins = json_object_get(j, "plugins"), *p;
	size_t i;
	int r;

	if (!plugins && !l->inlined_only)
		return 0;
	if (!json_is_array(plugins) || json_array_size(plugins) == 0)
		return err_new(e, ERR_INVALID, "%s: no list of plugins", l->file);
	json_array_foreach (plugins, i, p) {
		r = append_plugin(l, p, l->file, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_head(CniList *l, const json_t *j, Err *e)
{
	const char *name;
	int r = get_string(j, "name", l->file, &name, e);

	if (r < 0)
		return r;
	if (!cni_name_is_plain(name))
		return err_new(e, ERR_INVALID,
			       "%s: the network has %s: letters, digits and \"_.-\", up to 200", l->file,
			       str_empty(name) ? "no name" : "a name that is none");
	l->name = strdup(name);
	return l->name ? read_version(j, l, e) : err_oom(e);
}

static int read_list(CniList *l, const json_t *j, Err *e)
{
	int r = get_flag(j, "disableCheck", l->file, &l->disable_check, e);

	if (r >= 0)
		r = get_flag(j, "disableGC", l->file, &l->disable_gc, e);
	if (r >= 0)
		r = get_flag(j, "loadOnlyInlinedPlugins", l->file, &l->inlined_only, e);
	return r < 0 ? r : read_plugins(l, j, e);
}

int cni_list_parse(const char *text, size_t len, const char *file, bool is_list, CniList **ret, Err *e)
{
	_cleanup_list_ CniList *l = calloc(1, sizeof(*l));
	_cleanup_json_ json_t *j = NULL;
	int r;

	if (!l)
		return err_oom(e);
	l->refs = 1;
	l->file = strdup(file);
	l->plugins = json_array();
	if (!l->file || !l->plugins)
		return err_oom(e);
	r = cni_document_parse(text, len, CNI_CONFIG_MAX, file, &j, e);
	if (r >= 0)
		r = read_head(l, j, e);
	if (r >= 0 && is_list)
		r = read_list(l, j, e);
	else if (r >= 0) {
		l->inlined_only = true;
		r = append_plugin(l, j, file, e);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(l);
	return 0;
}

int cni_list_add(CniList *l, const char *text, size_t len, const char *file, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	int r = cni_document_parse(text, len, CNI_CONFIG_MAX, file, &j, e);

	return r < 0 ? r : append_plugin(l, j, file, e);
}

int cni_list_finish(CniList *l, Err *e)
{
	_cleanup_json_ json_t *j = NULL;

	if (json_array_size(l->plugins) == 0)
		return err_new(e, ERR_INVALID,
			       "%s: no plugins, neither in the file nor as *.conf in the folder %s beside it",
			       l->file, l->name);
	j = json_pack("{s:s, s:s, s:b, s:b, s:b, s:O}", "cniVersion", cni_version_text(l->version), "name",
		      l->name, "disableCheck", l->disable_check, "disableGC", l->disable_gc,
		      "loadOnlyInlinedPlugins", true, "plugins", l->plugins);
	l->text = j ? json_text(j) : NULL;
	if (!l->text)
		return err_oom(e);
	return strlen(l->text) > CNI_CONFIG_MAX
		   ? err_new(e, ERR_INVALID, "%s: with the plugins of the folder larger than %u bytes",
			     l->file, CNI_CONFIG_MAX)
		   : 0;
}
