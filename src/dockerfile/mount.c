/* SPDX-License-Identifier: Apache-2.0 */
/* See mount.h. The texts of errors are those that users of BuildKit know. */
#include "dockerfile/mount.h"
#include "dockerfile/dockerfile.h"
#include "dockerfile/suggest.h"

#include "base/str.h"

#include <ctype.h>
#include <limits.h>

#define SPEC_MAX 65536 /* bytes */

typedef enum Key {
	KEY_TYPE,
	KEY_FROM,
	KEY_SOURCE,
	KEY_TARGET,
	KEY_READONLY,
	KEY_ID,
	KEY_SHARING,
	KEY_REQUIRED,
	KEY_SIZE,
	KEY_MODE,
	KEY_UID,
	KEY_GID,
	KEY_SRC,
	KEY_DST,
	KEY_DESTINATION,
	KEY_RO,
	KEY_RW,
	KEY_READWRITE,
	KEY_ENV,
	N_KEYS,
} Key;

static const char *const keys[N_KEYS + 1] = {
    [KEY_TYPE] = "type",
    [KEY_FROM] = "from",
    [KEY_SOURCE] = "source",
    [KEY_TARGET] = "target",
    [KEY_READONLY] = "readonly",
    [KEY_ID] = "id",
    [KEY_SHARING] = "sharing",
    [KEY_REQUIRED] = "required",
    [KEY_SIZE] = "size",
    [KEY_MODE] = "mode",
    [KEY_UID] = "uid",
    [KEY_GID] = "gid",
    [KEY_SRC] = "src",
    [KEY_DST] = "dst",
    [KEY_DESTINATION] = "destination",
    [KEY_RO] = "ro",
    [KEY_RW] = "rw",
    [KEY_READWRITE] = "readwrite",
    [KEY_ENV] = "env",
};
static const char *const types[] = {
    [DF_MOUNT_BIND] = "bind",     [DF_MOUNT_CACHE] = "cache", [DF_MOUNT_TMPFS] = "tmpfs",
    [DF_MOUNT_SECRET] = "secret", [DF_MOUNT_SSH] = "ssh",     NULL,
};
static const char *const sharings[] = {
    [DF_SHARING_SHARED] = "shared",
    [DF_SHARING_PRIVATE] = "private",
    [DF_SHARING_LOCKED] = "locked",
    NULL,
};

typedef struct Parser {
	DockerfileMount m;
	bool has_sharing;
} Parser;

const char *dockerfile_mount_type_name(DockerfileMountType t)
{
	return types[t];
}

void dockerfile_mount_done(DockerfileMount *m)
{
	free(m->from);
	free(m->source);
	free(m->target);
	free(m->id);
	free(m->env);
	*m = (DockerfileMount){0};
}

/* The index of word among words, in any case; -1 if it is none of them. */
static int find(const char *word, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (strcasecmp(word, words[i]) == 0)
			return i;
	return -1;
}

static int unknown(const char *what, const char *word, const char *const *words, Err *e)
{
	const char *guess = dockerfile_suggest(word, words, false);

	if (guess)
		return err_new(e, ERR_INVALID, "%s (did you mean %s?)", what, guess);
	return err_new(e, ERR_INVALID, "%s", what);
}

static int choice(const char *value, const char *what, const char *const *words, int *ret, Err *e)
{
	_cleanup_free_ char *text = strf("unsupported %s \"%.100s\"", what, value);

	if (!text)
		return err_oom(e);
	*ret = find(value, words);
	return *ret >= 0 ? 0 : unknown(text, value, words, e);
}

static int text_value(const char *value, bool keep_empty, char **ret, Err *e)
{
	free(*ret);
	*ret = *value || keep_empty ? strdup(value) : NULL;
	return *ret || (!*value && !keep_empty) ? 0 : err_oom(e);
}

static int bool_value(const char *key, const char *value, bool *ret, Err *e)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True", NULL};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False", NULL};

	for (size_t i = 0; yes[i]; i++) {
		if (streq(value, yes[i]) || streq(value, no[i])) {
			*ret = streq(value, yes[i]);
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "invalid value for %s: %.100s", key, value);
}

static int number(const char *key, const char *value, int base, bool *has, uint32_t *ret, Err *e)
{
	char *end;

	errno = 0;
	unsigned long long v = isdigit((unsigned char)*value) ? strtoull(value, &end, base) : ULLONG_MAX;
	if (v > UINT32_MAX || errno || *end)
		return err_new(e, ERR_INVALID, "invalid value %.100s for %s", value, key);
	*has = true;
	*ret = (uint32_t)v;
	return 0;
}

static int misplaced(const Parser *p, const char *key, Err *e)
{
	return err_new(e, ERR_INVALID, "unexpected key '%s' for mount type '%s'", key, types[p->m.type]);
}

static int read_only(Parser *p, const char *key, const char *value, bool negated, Err *e)
{
	bool v;
	int r = bool_value(key, value, &v, e);

	if (r < 0)
		return r;
	p->m.read_only = v != negated;
	p->m.has_read_only = true;
	return 0;
}

static int required(Parser *p, const char *value, Err *e)
{
	if (p->m.type != DF_MOUNT_SECRET && p->m.type != DF_MOUNT_SSH)
		return misplaced(p, "required", e);
	return bool_value("required", value, &p->m.required, e);
}

static int size(Parser *p, const char *value, Err *e)
{
	if (p->m.type != DF_MOUNT_TMPFS)
		return misplaced(p, "size", e);
	if (str_to_bytes(value, &p->m.size) < 0)
		return err_new(e, ERR_INVALID, "invalid value for size: %.100s", value);
	return 0;
}

static int enumerated(Parser *p, Key key, const char *value, Err *e)
{
	bool type = key == KEY_TYPE;
	int v, r = type ? choice(value, "mount type", types, &v, e)
			: choice(value, "sharing value", sharings, &v, e);

	if (r < 0)
		return r;
	if (type) {
		p->m.type = (DockerfileMountType)v;
	} else {
		p->m.sharing = (DockerfileSharing)v;
		p->has_sharing = true;
	}
	return 0;
}

static int assign(Parser *p, Key key, const char *value, Err *e)
{
	DockerfileMount *m = &p->m;

	switch (key) {
	case KEY_TYPE:
	case KEY_SHARING:
		return enumerated(p, key, value, e);
	case KEY_FROM:
		return text_value(value, false, &m->from, e);
	case KEY_SOURCE:
	case KEY_SRC:
		return text_value(value, false, &m->source, e);
	case KEY_TARGET:
	case KEY_DST:
	case KEY_DESTINATION:
		return text_value(value, false, &m->target, e);
	case KEY_ID:
		return text_value(value, false, &m->id, e);
	case KEY_ENV:
		return text_value(value, true, &m->env, e);
	case KEY_READONLY:
	case KEY_RO:
		return read_only(p, keys[key], value, false, e);
	case KEY_READWRITE:
	case KEY_RW:
		return read_only(p, keys[key], value, true, e);
	case KEY_REQUIRED:
		return required(p, value, e);
	case KEY_SIZE:
		return size(p, value, e);
	case KEY_MODE:
		return number("mode", value, 8, &m->has_mode, &m->mode, e);
	case KEY_UID:
		return number("uid", value, 10, &m->has_uid, &m->uid, e);
	case KEY_GID:
		return number("gid", value, 10, &m->has_gid, &m->gid, e);
	case N_KEYS:
		break;
	}
	return err_new(e, ERR_INTERNAL, "a mount's key %d", (int)key);
}

/* A key without a value; the few that may stand alone mean true. */
static int lone(Parser *p, const char *field, int key, Err *e)
{
	if (key == KEY_READONLY || key == KEY_RO || key == KEY_READWRITE || key == KEY_RW ||
	    key == KEY_REQUIRED)
		return assign(p, (Key)key, "true", e);
	return err_new(e, ERR_INVALID, "invalid field '%.100s' must be a key=value pair", field);
}

static int field(Parser *p, const char *text, char escape, char *const *env, Err *e)
{
	const char *eq = strchr(text, '=');
	_cleanup_free_ char *name = eq ? strndup(text, (size_t)(eq - text)) : strdup(text), *value = NULL;
	int key, r = 0;

	if (!name)
		return err_oom(e);
	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	key = find(name, keys);
	if (!eq)
		return lone(p, text, key, e);
	if (key < 0) {
		_cleanup_free_ char *what = strf("unexpected key '%.100s' in '%.100s'", name, text);

		return what ? unknown(what, name, keys, e) : err_oom(e);
	}
	if (key == KEY_FROM && env && strchr(eq, '$') && strchr(eq, '$')[1])
		return err_new(e, ERR_INVALID,
			       "'from' doesn't support variable expansion, define alias stage instead");
	if (env)
		r = dockerfile_lex_word(&(DockerfileLex){.escape = escape, .env = env}, eq + 1, &value, e);
	return r < 0 ? r : assign(p, (Key)key, value ?: eq + 1, e);
}

static int check_secret(const Parser *p, Err *e)
{
	const DockerfileMount *m = &p->m;

	if (m->from)
		return err_new(e, ERR_INVALID, "secret mount should not have a from");
	if (p->has_sharing)
		return err_new(e, ERR_INVALID, "secret mount should not define sharing");
	if (!m->source && !m->target && !m->id)
		return err_new(e, ERR_INVALID, "invalid secret mount. one of source, target required");
	if (m->source && m->id)
		return err_new(e, ERR_INVALID, "both source and id can't be set");
	return 0;
}

/* What of all the fields does not go together, whatever their order. */
static int check(Parser *p, Err *e)
{
	DockerfileMount *m = &p->m;
	const char *file = m->has_mode ? "mode" : m->has_uid ? "uid" : m->has_gid ? "gid" : NULL;

	if (file && (m->type == DF_MOUNT_BIND || m->type == DF_MOUNT_TMPFS))
		return err_new(e, ERR_INVALID, "%s not allowed for \"%s\" type mounts", file, types[m->type]);
	if (!m->has_read_only)
		m->read_only = m->type != DF_MOUNT_CACHE && m->type != DF_MOUNT_TMPFS;
	if (m->type == DF_MOUNT_SECRET)
		return check_secret(p, e);
	if (m->type == DF_MOUNT_SSH && m->source)
		return err_new(e, ERR_INVALID, "ssh does not support source");
	if (p->has_sharing && m->type != DF_MOUNT_CACHE)
		return err_new(e, ERR_INVALID, "invalid cache sharing set for %s mount", types[m->type]);
	return 0;
}

int dockerfile_mount_expand(const char *spec, char escape, char *const *env, DockerfileMount *ret, Err *e)
{
	_cleanup_strv_ char **fields = NULL;
	Parser p = {0};
	int r;

	if (strlen(spec) > SPEC_MAX)
		return err_new(e, ERR_INVALID, "the value of --mount is longer than %d bytes", SPEC_MAX);
	r = strv_split_csv(spec, &fields);
	if (r < 0)
		return r == -EINVAL ? err_new(e, ERR_INVALID,
					      "failed to parse csv mounts: a quote in '%.100s' is not closed "
					      "or in the middle of a field",
					      spec)
				    : err_oom(e);
	for (size_t i = 0; r >= 0 && fields[i]; i++)
		r = field(&p, fields[i], escape, env, e);
	if (r >= 0)
		r = check(&p, e);
	if (r < 0) {
		dockerfile_mount_done(&p.m);
		return r;
	}
	*ret = p.m;
	return 0;
}

int dockerfile_mount_parse(const char *spec, DockerfileMount *ret, Err *e)
{
	return dockerfile_mount_expand(spec, '\\', NULL, ret, e);
}
