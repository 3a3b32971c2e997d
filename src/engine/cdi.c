/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cdi.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "engine/yaml.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FILE_MAX  (4 << 20)
#define FILES_MAX 256
#define ITEMS_MAX 4096 /* of any list in a file */

/* ---- names ---- */

/* Letters and digits, and some others in between. */
static bool is_word(const char *s, size_t n, const char *between)
{
	if (n == 0 || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr(between, s[i]))
			return false;
	return true;
}

static bool is_kind(const char *s, size_t n)
{
	const char *slash = memchr(s, '/', n);

	return slash && isalpha((unsigned char)s[0]) && is_word(s, (size_t)(slash - s), "_-.") &&
	       isalpha((unsigned char)slash[1]) && is_word(slash + 1, n - (size_t)(slash + 1 - s), "_-");
}

bool cdi_name_is_qualified(const char *name)
{
	const char *eq = strchr(name, '=');

	return eq && is_kind(name, (size_t)(eq - name)) && is_word(eq + 1, strlen(eq + 1), "_-.:");
}

/* ---- a file ---- */

static int wrong(Err *e, const char *what)
{
	return err_new(e, ERR_INVALID, "%s", what);
}

static int check_list(const json_t *edits, const char *key, json_type item, Err *e)
{
	const json_t *v = json_object_get(edits, key), *one;
	size_t i;

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_array(v) || json_array_size(v) > ITEMS_MAX)
		return err_new(e, ERR_INVALID, "containerEdits.%s: expected a list of at most %d", key,
			       ITEMS_MAX);
	json_array_foreach ((json_t *)v, i, one)
		if (json_typeof(one) != item)
			return err_new(e, ERR_INVALID, "containerEdits.%s[%zu]: wrong type", key, i);
	return 0;
}

static bool is_absolute(const json_t *o, const char *key)
{
	const char *s = json_get_str(o, key);

	return s && *s == '/';
}

static int check_hooks(const json_t *hooks, Err *e)
{
	static const char *const names[] = {"prestart",       "createRuntime", "createContainer",
					    "startContainer", "poststart",     "poststop"};
	const json_t *one;
	size_t i;

	json_array_foreach ((json_t *)hooks, i, one) {
		const char *name = json_get_str(one, "hookName");
		bool known = false;

		for (size_t k = 0; name && k < ELEMENTSOF(names); k++)
			known = known || streq(name, names[k]);
		if (!known)
			return err_new(e, ERR_INVALID, "containerEdits.hooks[%zu].hookName: \"%.50s\"", i,
				       name ?: "");
		if (!is_absolute(one, "path"))
			return err_new(e, ERR_INVALID, "containerEdits.hooks[%zu].path: not absolute", i);
	}
	return 0;
}

static int check_edits(const json_t *edits, Err *e)
{
	static const char *const known[] = {"env", "deviceNodes", "mounts", "hooks", "additionalGids"};
	const json_t *one;
	const char *key;
	json_t *value;
	size_t i;
	int r = 0;

	if (!edits || json_is_null(edits))
		return 0;
	if (!json_is_object(edits))
		return wrong(e, "containerEdits: expected an object");
	json_object_foreach ((json_t *)edits, key, value) {
		bool found = false;

		for (i = 0; i < ELEMENTSOF(known); i++)
			found = found || streq(key, known[i]);
		if (!found)
			return err_new(e, ERR_UNSUPPORTED, "containerEdits.%.50s: not known here", key);
		r = check_list(edits, key,
			       i == 0 || streq(key, "env")    ? JSON_STRING
			       : streq(key, "additionalGids") ? JSON_INTEGER
							      : JSON_OBJECT,
			       e);
		if (r < 0)
			return r;
	}
	json_array_foreach (json_object_get(edits, "deviceNodes"), i, one)
		if (!is_absolute(one, "path"))
			return err_new(e, ERR_INVALID, "containerEdits.deviceNodes[%zu].path: not absolute",
				       i);
	json_array_foreach (json_object_get(edits, "mounts"), i, one)
		if (!is_absolute(one, "containerPath") || str_empty(json_get_str(one, "hostPath")))
			return err_new(e, ERR_INVALID,
				       "containerEdits.mounts[%zu]: needs hostPath and an absolute "
				       "containerPath",
				       i);
	json_array_foreach (json_object_get(edits, "additionalGids"), i, one)
		if (json_integer_value(one) < 0 || json_integer_value(one) > UINT32_MAX - 1)
			return err_new(e, ERR_INVALID, "containerEdits.additionalGids[%zu]: no group id", i);
	return check_hooks(json_object_get(edits, "hooks"), e);
}

int cdi_spec_check(const json_t *spec, Err *e)
{
	const char *kind = json_get_str(spec, "kind"), *version = json_get_str(spec, "cdiVersion");
	const json_t *devices = json_object_get(spec, "devices"), *one;
	size_t i;
	int r;

	if (!json_is_object(spec))
		return wrong(e, "expected an object");
	if (!version || (!str_starts(version, "0.") && !str_starts(version, "1.")))
		return err_new(e, ERR_INVALID, "cdiVersion: \"%.20s\" is none of 0.x or 1.x", version ?: "");
	if (!kind || !is_kind(kind, strlen(kind)))
		return err_new(e, ERR_INVALID, "kind: \"%.100s\" is not vendor/class", kind ?: "");
	if (!json_is_array(devices) || json_array_size(devices) == 0 || json_array_size(devices) > ITEMS_MAX)
		return err_new(e, ERR_INVALID, "devices: expected a list of 1 to %d", ITEMS_MAX);
	r = check_edits(json_object_get(spec, "containerEdits"), e);
	json_array_foreach ((json_t *)devices, i, one) {
		const char *name = json_get_str(one, "name");

		if (r >= 0 && (!name || !is_word(name, strlen(name), "_-.:")))
			r = err_new(e, ERR_INVALID, "devices[%zu].name: \"%.100s\"", i, name ?: "");
		if (r >= 0)
			r = err_ctx(e, check_edits(json_object_get(one, "containerEdits"), e), "devices[%zu]",
				    i);
	}
	return r;
}

/* ---- directories ---- */

/* name -> {"spec": the file, "device": its entry}; null for one that two files of a directory describe. */
static void enter(json_t *found, json_t *of_dir, json_t *spec)
{
	const char *kind = json_get_str(spec, "kind");
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(spec, "devices"), i, one) {
		_cleanup_free_ char *name = strf("%s=%s", kind, json_get_str(one, "name"));

		if (!name)
			continue;
		json_object_set_new(found, name,
				    json_object_get(of_dir, name)
					? json_null()
					: json_pack("{s:O, s:O}", "spec", spec, "device", one));
		json_object_set_new(of_dir, name, json_true());
	}
}

/* As nvidia-ctk and others write them. */
static int load_yaml(int dir, const char *name, json_t **ret, Err *e)
{
	/* Of these, what looks like a number or a truth is a text: `name: 0`. */
	static const char *const texts[] = {"cdiVersion",    "kind", "name",        "path",     "hostPath",
					    "containerPath", "type", "permissions", "hookName", NULL};
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read_at(dir, name, FILE_MAX, &text, &len);

	if (r == -EFBIG)
		return err_new_no(e, ERR_INVALID, EFBIG, "larger than %d bytes", FILE_MAX);
	if (r < 0)
		return err_sys(e, r, "read it");
	return yaml_parse(text, len, texts, ret, e);
}

static void read_file(int dir, const char *path, const char *name, json_t *found, json_t *of_dir)
{
	_cleanup_json_ json_t *spec = NULL;
	Err e = {0};
	int r = str_ends(name, ".json") ? json_load_at(dir, name, FILE_MAX, &spec, &e)
					: load_yaml(dir, name, &spec, &e);

	if (r >= 0)
		r = cdi_spec_check(spec, &e);
	if (r < 0)
		log_warn("CDI: %s/%s: %s", path, name, err_msg(&e, r));
	else
		enter(found, of_dir, spec);
}

static int read_dir(const char *path, json_t *found, Err *e)
{
	_cleanup_json_ json_t *of_dir = json_object();
	DIR *d = opendir(path);
	struct dirent *de;
	int n = 0;

	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, errno, "open %s", path);
	while ((de = readdir(d)) && n < FILES_MAX) {
		if (str_ends(de->d_name, ".json") || str_ends(de->d_name, ".yaml")) {
			n++;
			read_file(dirfd(d), path, de->d_name, found, of_dir);
		}
	}
	closedir(d);
	return of_dir ? 0 : err_oom(e);
}

static int read_dirs(char *const *dirs, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *found = json_object();
	int r = found ? 0 : err_oom(e);

	for (; r >= 0 && dirs && *dirs; dirs++)
		r = read_dir(*dirs, found, e);
	if (r >= 0)
		*ret = take_ptr(found);
	return r;
}

int cdi_list(char *const *dirs, char ***ret, Err *e)
{
	_cleanup_json_ json_t *found = NULL;
	_cleanup_strv_ char **v = NULL;
	const char *name;
	json_t *one;
	int r = read_dirs(dirs, &found, e);

	if (r < 0)
		return r;
	json_object_foreach (found, name, one)
		if (!json_is_null(one) && strv_add(&v, name) < 0)
			return err_oom(e);
	*ret = take_ptr(v);
	return 0;
}

/* ---- the container ---- */

/* The member of an object, made if it is not there. */
static json_t *member(json_t *o, const char *key, bool array)
{
	json_t *v = json_object_get(o, key);

	if (!v || json_is_null(v)) {
		v = array ? json_array() : json_object();
		json_object_set_new(o, key, v);
	}
	return v;
}

/* Replaces what is of the same name: a variable, a destination. */
static void set_by(json_t *array, const char *key, json_t *item)
{
	json_t *one;
	size_t i;

	json_array_foreach (array, i, one)
		if (streq0(json_get_str(one, key), json_get_str(item, key))) {
			json_array_remove(array, i);
			break;
		}
	json_array_append_new(array, item);
}

static void set_env(json_t *env, const char *assignment)
{
	size_t len = strcspn(assignment, "="), i;
	json_t *one;

	json_array_foreach (env, i, one) {
		const char *s = json_string_value(one);

		if (s && strcspn(s, "=") == len && strncmp(s, assignment, len) == 0) {
			json_array_set_new(env, i, json_string(assignment));
			return;
		}
	}
	json_array_append_new(env, json_string(assignment));
}

/* What the file does not say is looked up at the device itself. */
static int add_node(const json_t *node, json_t *linux_part, Err *e)
{
	const char *path = json_get_str(node, "path"), *host = json_get_str(node, "hostPath");
	const char *type = json_get_str(node, "type"), *access = json_get_str(node, "permissions");
	int64_t major_n = json_get_int(node, "major", -1), minor_n = json_get_int(node, "minor", -1);
	json_t *device, *rules = member(member(linux_part, "resources", false), "devices", true);
	struct stat st = {.st_mode = 0666};

	if (str_empty(type) || (!streq(type, "p") && (major_n < 0 || minor_n < 0))) {
		const char *at = str_empty(host) ? path : host;

		if (stat(at, &st) < 0)
			return err_sys(e, errno, "CDI device node %s", at);
		if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode) && !S_ISFIFO(st.st_mode))
			return err_new(e, ERR_INVALID, "CDI device node %s: not a device node", at);
		type = S_ISCHR(st.st_mode) ? "c" : S_ISBLK(st.st_mode) ? "b" : "p";
		major_n = major(st.st_rdev);
		minor_n = minor(st.st_rdev);
	}
	device = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "path", path, "type", type, "major",
			   (json_int_t)MAX2(major_n, 0), "minor", (json_int_t)MAX2(minor_n, 0), "fileMode",
			   (json_int_t)json_get_int(node, "fileMode", st.st_mode & 07777), "uid",
			   (json_int_t)json_get_int(node, "uid", st.st_uid), "gid",
			   (json_int_t)json_get_int(node, "gid", st.st_gid));
	if (!device)
		return err_oom(e);
	set_by(member(linux_part, "devices", true), "path", device);
	if (!streq(type, "p"))
		json_array_append_new(rules,
				      json_pack("{s:b, s:s, s:I, s:I, s:s}", "allow", 1, "type", type,
						"major", (json_int_t)major_n, "minor", (json_int_t)minor_n,
						"access", str_empty(access) ? "rwm" : access));
	return 0;
}

static void add_mount(const json_t *m, json_t *mounts)
{
	const char *type = json_get_str(m, "type");
	json_t *given = json_object_get(m, "options");
	json_t *options =
	    json_array_size(given) > 0 ? json_incref(given) : json_pack("[s, s]", "rbind", "rw");

	set_by(mounts, "destination",
	       json_pack("{s:s, s:s, s:s, s:o}", "destination", json_get_str(m, "containerPath"), "type",
			 str_empty(type) ? "bind" : type, "source", json_get_str(m, "hostPath"), "options",
			 options));
}

static void add_hook(const json_t *hook, json_t *hooks)
{
	static const char *const kept[] = {"path", "args", "env", "timeout"};
	json_t *o = json_object();

	for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
		json_t *v = json_object_get(hook, kept[i]);

		if (v && !json_is_null(v))
			json_object_set(o, kept[i], v);
	}
	json_array_append_new(member(hooks, json_get_str(hook, "hookName"), true), o);
}

static void add_group(json_t *gids, json_t *gid)
{
	json_t *one;
	size_t i;

	json_array_foreach (gids, i, one)
		if (json_equal(one, gid))
			return;
	if (json_integer_value(gid) !=
	    0) /* of root's group everybody is who is root's; a 0 here would give it to others */
		json_array_append(gids, gid);
}

int cdi_edits_apply(const json_t *edits, json_t *config, Err *e)
{
	json_t *process = member(config, "process", false), *one;
	size_t i;
	int r = 0;

	json_array_foreach (json_object_get(edits, "env"), i, one)
		set_env(member(process, "env", true), json_string_value(one));
	json_array_foreach (json_object_get(edits, "deviceNodes"), i, one)
		if (r >= 0)
			r = add_node(one, member(config, "linux", false), e);
	json_array_foreach (json_object_get(edits, "mounts"), i, one)
		add_mount(one, member(config, "mounts", true));
	json_array_foreach (json_object_get(edits, "hooks"), i, one)
		add_hook(one, member(config, "hooks", false));
	json_array_foreach (json_object_get(edits, "additionalGids"), i, one)
		add_group(member(member(process, "user", false), "additionalGids", true), one);
	return r;
}

/* The edits of a file come first, and once, however many of its devices are asked for. */
static int apply_one(const json_t *entry, json_t *used, json_t *config, Err *e)
{
	json_t *spec = json_object_get(entry, "spec"), *device = json_object_get(entry, "device"), *one;
	bool first = true;
	size_t i;
	int r = 0;

	json_array_foreach (used, i, one)
		first = first && one != spec;
	if (first) {
		json_array_append(used, spec);
		r = cdi_edits_apply(json_object_get(spec, "containerEdits"), config, e);
	}
	return r < 0 ? r : cdi_edits_apply(json_object_get(device, "containerEdits"), config, e);
}

static int unresolvable(const json_t *found, char *const *names, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (; *names; names++)
		if (!json_is_object(json_object_get(found, *names)))
			strbuf_addf(&b, "%s%s", b.len ? ", " : "", *names);
	if (b.oom)
		return err_oom(e);
	return b.len == 0 ? 0
			  : err_new(e, ERR_INVALID,
				    "CDI device injection failed: unresolvable CDI devices %.500s", b.s);
}

int cdi_apply(char *const *dirs, char *const *names, json_t *config, Err *e)
{
	_cleanup_json_ json_t *found = NULL, *used = json_array();
	int r = read_dirs(dirs, &found, e);

	if (r >= 0)
		r = unresolvable(found, names, e);
	for (; r >= 0 && *names; names++)
		r = apply_one(json_object_get(found, *names), used, config, e);
	return r;
}
