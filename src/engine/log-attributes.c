/* SPDX-License-Identifier: Apache-2.0 */
/* What a log says of its container: the tag, and the attributes taken from labels and environment. */
#include "engine/log-options.h"

#include "base/pattern.h"

#include <ctype.h>
#include <regex.h>

/* ---- the tag ---- */

/* The value of a template's field, or NULL if there is no such field. malloc'ed. */
static char *field_value(const Container *c, const char *name, size_t n)
{
	const struct {
		const char *name, *value;
		int most;
	} fields[] = {
	    {"ID", c->id, 12},
	    {"FullID", c->id, 64},
	    {"ContainerID", c->id, 64},
	    {"Name", c->name, 4096},
	    {"ImageID", c->image_id, 12},
	    {"ImageFullID", c->image_id, 128},
	    {"ContainerImageID", c->image_id, 128},
	    {"ImageName", c->config.image, 4096},
	    {"ContainerImageName", c->config.image, 4096},
	    {"ContainerEntrypoint", c->path, 4096},
	    {"DaemonName", "docker", 64},
	};

	for (size_t i = 0; i < ELEMENTSOF(fields); i++)
		if (strlen(fields[i].name) == n && memcmp(fields[i].name, name, n) == 0)
			return strf("%.*s", fields[i].most, fields[i].value ? fields[i].value : "");
	if (n == strlen("ContainerName") && memcmp(name, "ContainerName", n) == 0)
		return strf("/%s", c->name ? c->name : "");
	if (n == strlen("Command") && memcmp(name, "Command", n) == 0) {
		_cleanup_free_ char *args = strv_join(c->args, " ");

		return args ? strf("%s%s%s", c->path ? c->path : "", *args ? " " : "", args) : NULL;
	}
	return NULL;
}

/* One action, "{{.Name}}" with blanks and trim marks allowed; returns what follows it, or NULL. */
static const char *expand_action(const char *p, const Container *c, StrBuf *out)
{
	const char *end = strstr(p, "}}"), *from = p + 2, *to = end;

	if (!end)
		return NULL;
	if (from[0] == '-' && from[1] == ' ') {
		from++;
		while (out->len > 0 && isspace((unsigned char)out->s[out->len - 1]))
			out->len--;
	}
	bool trims = to - from > 2 && to[-1] == '-' && to[-2] == ' ';
	to -= trims ? 1 : 0;
	while (from < to && isspace((unsigned char)*from))
		from++;
	while (to > from && isspace((unsigned char)to[-1]))
		to--;
	if (from == to || *from != '.')
		return NULL;
	_cleanup_free_ char *value = field_value(c, from + 1, (size_t)(to - from - 1));
	if (!value)
		return NULL;
	strbuf_add(out, value);
	end += 2;
	while (trims && isspace((unsigned char)*end))
		end++;
	return end;
}

int log_tag_expand(const char *template, const Container *c, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf out = {0};

	for (const char *p = template; *p;) {
		size_t plain = strcspn(p, "{");

		if (p[plain] == '{' && p[plain + 1] != '{')
			plain++;
		strbuf_add_n(&out, p, plain);
		p += plain;
		if (!str_starts(p, "{{"))
			continue;
		p = expand_action(p, c, &out);
		if (!p)
			return err_new(
			    e, ERR_INVALID,
			    "invalid log tag \"%.200s\": expected text with {{.ID}}, {{.FullID}}, "
			    "{{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}}, {{.Command}} or "
			    "{{.DaemonName}}",
			    template);
	}
	*ret = strbuf_steal(&out);
	return *ret ? 0 : err_oom(e);
}

/* ---- attributes ---- */

/* Go's \d, \D and (?: as POSIX has them. What costs more than any log is worth is refused. */
static int pattern_compile(const char *option, const char *text, regex_t *ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};
	bool fits = true;

	for (const char *p = text; fits && *p; p++) {
		if (p[0] == '\\' && p[1]) {
			p++;
			if (isdigit((unsigned char)*p))
				fits = false;
			else if (*p == 'd' || *p == 'D')
				strbuf_add(&b, *p == 'd' ? "[0-9]" : "[^0-9]");
			else
				strbuf_addf(&b, "\\%c", *p);
		} else if (str_starts(p, "(?:")) {
			strbuf_add_c(&b, '(');
			p += 2;
		} else {
			strbuf_add_c(&b, *p);
		}
	}
	if (!fits || b.oom || !pattern_is_bounded(b.s ? b.s : "") ||
	    regcomp(ret, b.s ? b.s : "", REG_EXTENDED | REG_NOSUB) != 0)
		return err_new(
		    e, ERR_INVALID,
		    "%s: \"%.100s\" is not supported: expected an extended regular expression of at "
		    "most %d bytes, without counted repetitions, back references and nested +",
		    option, text, PATTERN_MAX);
	return 0;
}

static int add_named(json_t *attrs, const char *names, char *const *from)
{
	_cleanup_strv_ char **list = strv_split(names, ',');

	for (char **p = list; p && *p; p++) {
		const char *value = **p ? strv_env_get(from, *p) : NULL;

		if (value && json_object_set_new(attrs, *p, json_string(value)) < 0)
			return -ENOMEM;
	}
	return list ? 0 : -ENOMEM;
}

static int add_matching(json_t *attrs, const regex_t *re, char *const *from)
{
	for (char *const *p = from; p && *p; p++) {
		_cleanup_free_ char *key = strndup(*p, strcspn(*p, "="));

		if (!key)
			return -ENOMEM;
		if (!strchr(*p, '=') || regexec(re, key, 0, NULL, 0) != 0)
			continue;
		if (json_object_set_new(attrs, key, json_string(strchr(*p, '=') + 1)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int add_attributes(const Container *c, const char *option, char *const *from, json_t *attrs, Err *e)
{
	_cleanup_free_ char *pattern_option = strf("%s-regex", option);
	const char *names = strv_env_get(c->config.host.log.config, option);
	const char *pattern = pattern_option ? strv_env_get(c->config.host.log.config, pattern_option) : NULL;
	regex_t re;
	int r = str_empty(names) ? 0 : add_named(attrs, names, from);

	if (r < 0 || !pattern_option)
		return err_oom(e);
	if (str_empty(pattern))
		return 0;
	r = pattern_compile(pattern_option, pattern, &re, e);
	if (r < 0)
		return r;
	r = add_matching(attrs, &re, from);
	regfree(&re);
	return r < 0 ? err_oom(e) : 0;
}

int log_attributes(const Container *c, json_t **ret, Err *e)
{
	_cleanup_json_ json_t *attrs = json_object();
	int r = attrs ? add_attributes(c, "labels", c->config.labels, attrs, e) : err_oom(e);

	if (r >= 0)
		r = add_attributes(c, "env", c->config.env, attrs, e);
	if (r >= 0)
		*ret = take_ptr(attrs);
	return r;
}
