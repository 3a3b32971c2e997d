/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Dockerfile instruction applied to a run config.
 *
 * Words are Docker's shell-like ones: blanks separate, 'x' is literal, in "x" a backslash escapes
 * ", $ and itself, elsewhere any character. Splitting comes before expansion, so a variable's value never
 * makes new words (but for EXPOSE and VOLUME, where Docker splits again). Results are bounded: text doubles with each ENV A=$A$A.
 */
#include "engine/change.h"
#include "engine/engine-internal.h"

#include <arpa/inet.h>
#include <ctype.h>

#define WORD_MAX      (1u << 20)
#define NESTING_MAX   16
#define PORT_LIST_MAX 65536

/* ---- words ---- */

static size_t skip_quoted(const char *s)
{
	char quote = s[0];
	size_t n = 1;

	while (s[n] && s[n] != quote)
		n += quote == '"' && s[n] == '\\' && s[n + 1] ? 2 : 1;
	return s[n] ? n + 1 : n;
}

static size_t word_length(const char *s)
{
	size_t n = 0;

	while (s[n] && !isspace((unsigned char)s[n])) {
		if (s[n] == '\'' || s[n] == '"')
			n += skip_quoted(s + n);
		else
			n += s[n] == '\\' && s[n + 1] ? 2 : 1;
	}
	return n;
}

char **change_split_words(const char *text)
{
	_cleanup_strv_ char **v = calloc(1, sizeof(char *));

	while (v) {
		while (isspace((unsigned char)*text))
			text++;
		if (!*text)
			return take_ptr(v);
		size_t n = word_length(text);
		if (strv_take(&v, strndup(text, n)) < 0)
			return NULL;
		text += n;
	}
	return NULL;
}

typedef struct Lexer {
	const char *word; /* the whole, for messages */
	char *const *env;
	int depth;
} Lexer;

static int expand_into(const Lexer *lx, const char *s, size_t n, StrBuf *out, Err *e);

static size_t name_length(const char *s, size_t n)
{
	size_t k = 0;

	if (n > 0 && isdigit((unsigned char)*s))
		return 1;
	while (k < n && (isalnum((unsigned char)s[k]) || s[k] == '_'))
		k++;
	return k;
}

/* The length of "{...}" with its braces, or 0 if it does not end. */
static size_t braces_length(const char *s, size_t n)
{
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\\' && i + 1 < n)
			i++;
		else if (s[i] == '{')
			depth++;
		else if (s[i] == '}' && --depth == 0)
			return i + 1;
	}
	return 0;
}

/* s is the inside of ${...}. */
static int expand_braces(const Lexer *lx, const char *s, size_t n, StrBuf *out, Err *e)
{
	size_t name = name_length(s, n);
	_cleanup_free_ char *key = strndup(s, name);
	bool colon = name < n && s[name] == ':';
	char op = name + colon < n ? s[name + colon] : '\0';
	Lexer inner = {lx->word, lx->env, lx->depth + 1};

	if (!key)
		return err_oom(e);
	const char *value = strv_env_get(lx->env, key);
	bool is_set = value && (!colon || *value);
	if (name == 0 || (name < n && op != '-' && op != '+' && op != '?') || (colon && !op))
		return err_new(e, ERR_INVALID, "failed to process \"%s\": unsupported modifier in ${%.*s}",
			       lx->word, (int)n, s);
	if (op == '+')
		return is_set ? expand_into(&inner, s + name + colon + 1, n - name - colon - 1, out, e) : 0;
	if (!is_set && op == '-')
		return expand_into(&inner, s + name + colon + 1, n - name - colon - 1, out, e);
	if (!is_set && op == '?')
		return err_new(e, ERR_INVALID, "failed to process \"%s\": %s: %.*s", lx->word, key,
			       (int)(n - name - colon - 1), s + name + colon + 1);
	strbuf_add(out, value ? value : "");
	return 0;
}

/* s stands at '$'; *used is how much was consumed. */
static int expand_dollar(const Lexer *lx, const char *s, size_t n, size_t *used, StrBuf *out, Err *e)
{
	if (n > 1 && s[1] == '{') {
		size_t len = braces_length(s + 1, n - 1);

		if (len == 0)
			return err_new(
			    e, ERR_INVALID,
			    "failed to process \"%s\": unexpected end of statement: ${ is not closed",
			    lx->word);
		*used = len + 1;
		return expand_braces(lx, s + 2, len - 2, out, e);
	}
	size_t name = name_length(s + 1, n - 1);
	*used = name + 1;
	if (name == 0) {
		strbuf_add_c(out, '$');
		return 0;
	}
	_cleanup_free_ char *key = strndup(s + 1, name);
	if (!key)
		return err_oom(e);
	const char *value = strv_env_get(lx->env, key);
	strbuf_add(out, value ? value : "");
	return 0;
}

static int expand_into(const Lexer *lx, const char *s, size_t n, StrBuf *out, Err *e)
{
	char quote = '\0';

	if (lx->depth > NESTING_MAX)
		return err_new(e, ERR_INVALID, "failed to process \"%s\": nested too deeply", lx->word);
	for (size_t i = 0; i < n;) {
		size_t used = 1;
		char c = s[i];
		int r = 0;

		if (c == quote && quote) {
			quote = '\0';
		} else if (!quote && (c == '\'' || c == '"')) {
			quote = c;
		} else if (c == '\\' && quote != '\'' && i + 1 < n && (!quote || strchr("\"$\\", s[i + 1]))) {
			strbuf_add_c(out, s[i + 1]);
			used = 2;
		} else if (c == '$' && quote != '\'' && lx->env) {
			r = expand_dollar(lx, s + i, n - i, &used, out, e);
		} else {
			strbuf_add_c(out, c);
		}
		if (r < 0)
			return r;
		if (out->len > WORD_MAX)
			return err_new(e, ERR_INVALID, "the expansion of \"%.80s\" is larger than 1 MiB",
				       lx->word);
		i += used;
	}
	if (quote)
		return err_new(e, ERR_INVALID,
			       "failed to process \"%s\": unexpected end of statement while looking for "
			       "matching %s-quote",
			       lx->word, quote == '"' ? "double" : "single");
	return 0;
}

int change_expand_word(const char *raw, char *const *env, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf out = {0};
	Lexer lx = {.word = raw, .env = env};
	int r = expand_into(&lx, raw, strlen(raw), &out, e);

	if (r < 0)
		return r;
	*ret = strbuf_steal(&out);
	return *ret ? 0 : err_oom(e);
}

/* ---- instructions ---- */

typedef struct Change {
	ImageRunConfig *c;
	const char *keyword; /* upper case */
	const char *rest;    /* trimmed */
	char *const *env;
} Change;

static void replace_strv(char ***field, char **v)
{
	strv_free(*field);
	*field = v;
}

static int command(const Change *k, char ***field, Err *e)
{
	char **v = change_json_form(k->rest);
	int r = 0;

	if (!v) {
		const char *const plain[] = {"/bin/sh", "-c", NULL};
		char *const *shell = k->c->shell && k->c->shell[0] ? k->c->shell : (char *const *)plain;

		v = strv_dup(shell);
		r = v ? strv_add(&v, k->rest) : -ENOMEM;
	}
	if (r < 0) {
		strv_free(v);
		return err_oom(e);
	}
	replace_strv(field, v);
	k->c->args_escaped = false;
	return 0;
}

static int set_pair(const Change *k, char ***field, const char *name, const char *value, Err *e)
{
	_cleanup_free_ char *n = NULL, *v = NULL, *pair = NULL;
	int r = change_expand_word(name, k->env, &n, e);

	if (r >= 0)
		r = change_expand_word(value, k->env, &v, e);
	if (r < 0)
		return r;
	if (!*n)
		return err_new(e, ERR_INVALID, "%s names can not be blank", k->keyword);
	pair = strf("%s=%s", n, v);
	if (!pair || strv_env_set(field, pair) < 0)
		return err_oom(e);
	return 0;
}

/* The first '=' that is not quoted. */
static size_t equals_at(const char *word)
{
	size_t n = 0;

	while (word[n] && word[n] != '=')
		n += word[n] == '\'' || word[n] == '"' ? skip_quoted(word + n) : 1;
	return n;
}

/* "K=V K2=V2", or the old "K the rest is the value". */
static int pairs(const Change *k, char ***field, Err *e)
{
	_cleanup_strv_ char **w = change_split_words(k->rest);
	_cleanup_strv_ char **fresh = strv_dup(*field);
	int r = 0;

	if (!w || !fresh)
		return err_oom(e);
	if (!w[0][equals_at(w[0])]) {
		const char *value = k->rest + strlen(w[0]);

		if (!w[1])
			return err_new(e, ERR_INVALID, "%s must have two arguments", k->keyword);
		r = set_pair(k, &fresh, w[0], value + strspn(value, " \t"), e);
	} else {
		for (size_t i = 0; r >= 0 && w[i]; i++) {
			size_t eq = equals_at(w[i]);

			if (!w[i][eq])
				return err_new(
				    e, ERR_INVALID,
				    "Syntax error - can't find = in \"%s\". Must be of the form: name=value",
				    w[i]);
			w[i][eq] = '\0';
			r = set_pair(k, &fresh, w[i], w[i] + eq + 1, e);
		}
	}
	if (r >= 0)
		replace_strv(field, take_ptr(fresh));
	return r;
}

/* The words after expansion, split again. */
static int expanded_words(const Change *k, char ***ret, Err *e)
{
	_cleanup_strv_ char **raw = change_split_words(k->rest), **all = calloc(1, sizeof(char *));

	if (!raw || !all)
		return err_oom(e);
	for (size_t i = 0; raw[i]; i++) {
		_cleanup_free_ char *one = NULL;
		int r = change_expand_word(raw[i], k->env, &one, e);

		if (r < 0)
			return r;
		_cleanup_strv_ char **more = strpbrk(raw[i], "'\"\\") ? NULL : change_split_words(one);
		if (!more && strv_add(&all, one) < 0)
			return err_oom(e);
		for (size_t m = 0; more && more[m]; m++)
			if (strv_add(&all, more[m]) < 0)
				return err_oom(e);
	}
	*ret = take_ptr(all);
	return 0;
}

/* Which of the ports low to high of a protocol are there: a range may be of all, and lists are long then. */
static int ports_there(const ImageRunConfig *c, int low, int high, const char *proto, bool **ret)
{
	bool *there = calloc((size_t)(high - low) + 1, sizeof(*there));

	for (size_t i = 0; there && c->exposed_ports && c->exposed_ports[i]; i++) {
		char *end;
		long port = strtol(c->exposed_ports[i], &end, 10);

		if (*end == '/' && strcasecmp(end + 1, proto) == 0 && port >= low && port <= high)
			there[port - low] = true;
	}
	*ret = there;
	return there ? 0 : -ENOMEM;
}

static int expose_range(ImageRunConfig *c, int low, int high, const char *proto, Err *e)
{
	size_t n = strv_len(c->exposed_ports), more = (size_t)(high - low) + 1;
	_cleanup_free_ bool *there = NULL;
	char **grown = reallocarray(c->exposed_ports, n + more + 1, sizeof(*grown));

	if (!grown)
		return err_oom(e);
	c->exposed_ports = grown;
	grown[n] = NULL;
	if (ports_there(c, low, high, proto, &there) < 0)
		return err_oom(e);
	for (int port = low; port <= high; port++) {
		if (there[port - low])
			continue;
		char *p = strf("%d/%s", port, proto);

		if (!p)
			return err_oom(e);
		for (char *x = p; *x; x++)
			*x = (char)tolower((unsigned char)*x);
		grown[n++] = p;
		grown[n] = NULL;
	}
	return 0;
}

/* "80" or "80-90". */
static int port_range(const char *text, const char *what, int *low, int *high, Err *e)
{
	_cleanup_free_ char *copy = strdup(text);
	char *dash = copy ? strchr(copy, '-') : NULL;

	if (!copy)
		return err_oom(e);
	if (dash)
		*dash = '\0';
	if (str_to_int(copy, 1, 65535, low) < 0 || str_to_int(dash ? dash + 1 : copy, 1, 65535, high) < 0 ||
	    *high < *low)
		return err_new(e, ERR_INVALID, "invalid %s: %.200s", what, text);
	return 0;
}

/* "[IP:][PORT]", which an image cannot promise: it is looked at, and that is all. */
static int host_part(char *text, Err *e)
{
	uint8_t address[16];
	char *port = strrchr(text, ':'), *ip = port ? text : NULL;
	int low, high;

	if (port)
		*port++ = '\0';
	else
		port = text;
	if (ip && *ip == '[' && str_ends(ip, "]")) {
		ip[strlen(ip) - 1] = '\0';
		ip++;
	}
	if (ip && *ip && inet_pton(AF_INET, ip, address) != 1 && inet_pton(AF_INET6, ip, address) != 1)
		return err_new(e, ERR_INVALID, "invalid IP address: %.100s", ip);
	return *port ? port_range(port, "hostPort", &low, &high, e) : 0;
}

int change_expose(ImageRunConfig *c, const char *spec, Err *e)
{
	const char *slash = strrchr(spec, '/'), *proto = slash && slash[1] ? slash + 1 : "tcp";
	_cleanup_free_ char *ports = slash ? strndup(spec, (size_t)(slash - spec)) : strdup(spec);
	char *own = ports ? strrchr(ports, ':') : NULL;
	int low, high, r = ports ? 0 : err_oom(e);

	if (r >= 0 && strcasecmp(proto, "tcp") != 0 && strcasecmp(proto, "udp") != 0 &&
	    strcasecmp(proto, "sctp") != 0)
		r = err_new(e, ERR_INVALID, "invalid port: \"%.200s\": invalid proto: %.100s", spec, proto);
	if (r >= 0 && own) {
		*own++ = '\0';
		r = host_part(ports, e);
	}
	if (r >= 0)
		r = port_range(own ?: ports, "containerPort", &low, &high, e);
	if (r >= 0 && strv_len(c->exposed_ports) > PORT_LIST_MAX)
		r = err_new(e, ERR_INVALID, "too many exposed ports");
	return r < 0 ? r : expose_range(c, low, high, proto, e);
}

static int expose(const Change *k, Err *e)
{
	_cleanup_strv_ char **w = NULL;
	int r = expanded_words(k, &w, e);

	for (size_t i = 0; r >= 0 && w[i]; i++)
		r = change_expose(k->c, w[i], e);
	return r;
}

int change_volume(ImageRunConfig *c, const char *path, Err *e)
{
	_cleanup_free_ char *v = str_trim_dup(path);

	if (!v)
		return err_oom(e);
	if (!*v)
		return err_new(e, ERR_INVALID, "VOLUME specified can not be an empty string");
	return !strv_has(c->volumes, v) && strv_add(&c->volumes, v) < 0 ? err_oom(e) : 0;
}

static int volumes(const Change *k, Err *e)
{
	_cleanup_strv_ char **w = change_json_form(k->rest);
	int r = w ? 0 : expanded_words(k, &w, e);

	for (size_t i = 0; r >= 0 && w[i]; i++)
		r = change_volume(k->c, w[i], e);
	return r;
}

static int onbuild(const Change *k, Err *e)
{
	_cleanup_free_ char *trigger = strndup(k->rest, strcspn(k->rest, " \t"));

	if (!trigger)
		return err_oom(e);
	if (strcasecmp(trigger, "ONBUILD") == 0)
		return err_new(e, ERR_INVALID, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
	if (strcasecmp(trigger, "FROM") == 0 || strcasecmp(trigger, "MAINTAINER") == 0)
		return err_new(e, ERR_INVALID, "%s isn't allowed as an ONBUILD trigger", trigger);
	return strv_add(&k->c->on_build, k->rest) < 0 ? err_oom(e) : 0;
}

int change_stop_signal(ImageRunConfig *c, const char *value, Err *e)
{
	int signal, r = signal_parse(value, &signal, e);
	char *copy = r < 0 ? NULL : strdup(value);

	if (r < 0)
		return r;
	if (!copy)
		return err_oom(e);
	free(c->stop_signal);
	c->stop_signal = copy;
	return 0;
}

/* USER, STOPSIGNAL: exactly one word. */
static int single(const Change *k, char **field, Err *e)
{
	_cleanup_strv_ char **w = change_split_words(k->rest);
	char *value = NULL;
	int r;

	if (!w)
		return err_oom(e);
	if (strv_len(w) != 1)
		return err_new(e, ERR_INVALID, "%s requires exactly one argument", k->keyword);
	r = change_expand_word(w[0], k->env, &value, e);
	if (r < 0)
		return r;
	if (field == &k->c->stop_signal) {
		r = change_stop_signal(k->c, value, e);
		free(value);
		return r;
	}
	free(*field);
	*field = value;
	return 0;
}

static int workdir(const Change *k, Err *e)
{
	_cleanup_free_ char *value = NULL;
	char *path;
	int r = change_expand_word(k->rest, k->env, &value, e);

	if (r < 0)
		return r;
	if (!*value)
		return err_new(e, ERR_INVALID, "WORKDIR requires exactly one argument");
	_cleanup_free_ char *base =
	    path_join_clean("/", str_empty(k->c->working_dir) ? "/" : k->c->working_dir);
	path = base ? path_join_clean(base, value) : NULL;
	if (!path)
		return err_oom(e);
	free(k->c->working_dir);
	k->c->working_dir = path;
	return 0;
}

/* "--interval=30s --retries=2 CMD x": flags come before the text. */
static int healthcheck(const Change *k, Err *e)
{
	_cleanup_strv_ char **flags = NULL;
	const char *text = k->rest;

	while (str_starts(text, "--")) {
		size_t n = strcspn(text, " \t");

		if (strv_take(&flags, strndup(text + 2, n - 2)) < 0)
			return err_oom(e);
		text += n + strspn(text + n, " \t");
	}
	return change_health(k->c, flags, text, e);
}

static int dispatch(const Change *k, Err *e)
{
	const char *w = k->keyword;

	if (streq(w, "CMD"))
		return command(k, &k->c->cmd, e);
	if (streq(w, "ENTRYPOINT"))
		return command(k, &k->c->entrypoint, e);
	if (streq(w, "ENV"))
		return pairs(k, &k->c->env, e);
	if (streq(w, "LABEL"))
		return pairs(k, &k->c->labels, e);
	if (streq(w, "EXPOSE"))
		return expose(k, e);
	if (streq(w, "VOLUME"))
		return volumes(k, e);
	if (streq(w, "ONBUILD"))
		return onbuild(k, e);
	if (streq(w, "USER"))
		return single(k, &k->c->user, e);
	if (streq(w, "STOPSIGNAL"))
		return single(k, &k->c->stop_signal, e);
	if (streq(w, "WORKDIR"))
		return workdir(k, e);
	if (streq(w, "HEALTHCHECK"))
		return healthcheck(k, e);
	if (streq(w, "SHELL"))
		return change_shell(k->c, k->rest, e);
	return err_new(e, ERR_INVALID,
		       "%s is not a valid change command (known: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL "
		       "ONBUILD SHELL STOPSIGNAL USER VOLUME WORKDIR)",
		       w);
}

int change_apply(ImageRunConfig *c, const char *keyword, const char *rest, char *const *env, Err *e)
{
	_cleanup_free_ char *upper = strdup(keyword), *trimmed = str_trim_dup(rest);

	if (!upper || !trimmed)
		return err_oom(e);
	for (char *p = upper; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	if (!*trimmed && !streq(upper, "CMD") && !streq(upper, "ENTRYPOINT"))
		return err_new(e, ERR_INVALID, "%s requires at least one argument", upper);
	if (!str_is_utf8(trimmed, strlen(trimmed)))
		return err_new(e, ERR_INVALID, "%s: the text is not valid UTF-8", upper);
	Change k = {c, upper, trimmed, env};
	if (*trimmed)
		return dispatch(&k, e);
	/* CMD and ENTRYPOINT with nothing clear the field. */
	replace_strv(streq(upper, "CMD") ? &c->cmd : &c->entrypoint, NULL);
	return 0;
}

static char *keyword_of(const char **instruction)
{
	const char *s = *instruction + strspn(*instruction, " \t\r\n");
	size_t n = strcspn(s, " \t\r\n");

	*instruction = s + n;
	return strndup(s, n);
}

int engine_apply_change(ImageRunConfig *c, const char *instruction, Err *e)
{
	const char *rest = instruction;
	_cleanup_free_ char *keyword = keyword_of(&rest);
	/* A copy: ENV replaces what it reads from. An empty vector, not NULL, so that dollars are replaced. */
	_cleanup_strv_ char **env = strv_dup(c->env);

	if (!keyword || !env)
		return err_oom(e);
	if (!*keyword)
		return err_new(e, ERR_INVALID, "an empty change: expected an instruction such as CMD or ENV");
	return err_ctx(e, change_apply(c, keyword, rest, env, e), "change \"%.200s\"", instruction);
}

int change_apply_all(ImageRunConfig *c, char *const *instructions, Err *e)
{
	bool own_cmd = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && instructions && instructions[i]; i++) {
		const char *rest = instructions[i];
		_cleanup_free_ char *keyword = keyword_of(&rest);

		if (!keyword)
			return err_oom(e);
		if (strcasecmp(keyword, "CMD") == 0)
			own_cmd = true;
		if (strcasecmp(keyword, "ENTRYPOINT") == 0 && !own_cmd)
			replace_strv(&c->cmd, NULL);
		r = engine_apply_change(c, instructions[i], e);
	}
	return r;
}
