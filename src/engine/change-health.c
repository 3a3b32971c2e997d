/* SPDX-License-Identifier: Apache-2.0 */
/* HEALTHCHECK and SHELL, the instructions whose arguments are not words. Commands are kept as they are: their shell expands them. */
#include "base/clock.h"
#include "engine/change.h"
#include "engine/engine-internal.h"

#define RETRIES_MAX 1000000

char **change_json_form(const char *text)
{
	char **v = NULL;

	if (*text != '[')
		return NULL;
	_cleanup_json_ json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_array(doc))
		return NULL;
	for (size_t i = 0; i < json_array_size(doc); i++)
		if (!json_is_string(json_array_get(doc, i)))
			return NULL;
	if (json_to_strv(doc, &v) < 0)
		return NULL;
	return v ? v : calloc(1, sizeof(char *));
}

static int duration(const char *flag, const char *value, int64_t *ret, Err *e)
{
	int64_t ns;

	if (clock_parse_duration(value, &ns) < 0 || ns < 0 || (ns > 0 && ns < 1000000))
		return err_new(e, ERR_INVALID,
			       "HEALTHCHECK --%s=%s: expected a duration of at least 1ms, such as 30s", flag,
			       value);
	*ret = ns;
	return 0;
}

static int health_flag(ImageHealth *h, const char *flag, Err *e)
{
	const struct {
		const char *name;
		int64_t *ns;
	} times[] = {{"interval", &h->interval_ns},
		     {"timeout", &h->timeout_ns},
		     {"start-period", &h->start_period_ns},
		     {"start-interval", &h->start_interval_ns}};
	_cleanup_free_ char *name = strndup(flag, strcspn(flag, "="));
	const char *value = strchr(flag, '=');
	int retries;

	if (!name)
		return err_oom(e);
	for (size_t i = 0; value && i < ELEMENTSOF(times); i++)
		if (streq(name, times[i].name))
			return duration(name, value + 1, times[i].ns, e);
	if (!value || !streq(name, "retries"))
		return err_new(e, ERR_INVALID, "HEALTHCHECK --%.40s: unknown flag, or one without a value",
			       flag);
	if (str_to_int(value + 1, 0, RETRIES_MAX, &retries) < 0)
		return err_new(e, ERR_INVALID, "HEALTHCHECK --retries=%.40s: expected a number", value + 1);
	h->retries = retries;
	return 0;
}

/* "NONE", or "CMD" and a command in either form. */
static int health_test(const char *text, char ***ret, Err *e)
{
	const char *command = strncasecmp(text, "CMD", 3) == 0 && strchr(" \t[", text[3]) ? text + 3 : NULL;
	_cleanup_free_ char *trimmed = command ? str_trim_dup(command) : NULL;
	_cleanup_strv_ char **exec = trimmed ? change_json_form(trimmed) : NULL;
	int r;

	if (strcasecmp(text, "NONE") == 0)
		return strv_add(ret, "NONE") < 0 ? err_oom(e) : 0;
	if (!command)
		return err_new(e, ERR_INVALID, "Unknown type \"%.40s\" in HEALTHCHECK (try CMD or NONE)",
			       text);
	if (!trimmed)
		return err_oom(e);
	if (!*trimmed || (exec && !exec[0]))
		return err_new(e, ERR_INVALID, "Missing command after HEALTHCHECK CMD");
	r = strv_add(ret, exec ? "CMD" : "CMD-SHELL");
	for (char **x = exec; r >= 0 && x && *x; x++)
		r = strv_add(ret, *x);
	if (r >= 0 && !exec)
		r = strv_add(ret, trimmed);
	return r < 0 ? err_oom(e) : 0;
}

int change_health(ImageRunConfig *c, char *const *flags, const char *text, Err *e)
{
	_cleanup_strv_ char **test = NULL;
	ImageHealth h = {0};
	int r = health_test(text, &test, e);

	for (; r >= 0 && flags && *flags; flags++)
		r = health_flag(&h, *flags, e);
	if (r < 0)
		return r;
	if (streq(test[0], "NONE"))
		h = (ImageHealth){0};
	strv_free(c->health.test);
	h.test = take_ptr(test);
	c->health = h;
	c->has_health = true;
	return 0;
}

int change_shell(ImageRunConfig *c, const char *text, Err *e)
{
	char **v = change_json_form(text);

	if (!v || !v[0]) {
		const char *said = v ? "SHELL requires at least one argument"
				     : "SHELL requires the arguments to be in JSON form";

		strv_free(v);
		return err_new(e, ERR_INVALID, "%s", said);
	}
	strv_free(c->shell);
	c->shell = v;
	return 0;
}
