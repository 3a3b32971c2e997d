/* SPDX-License-Identifier: Apache-2.0 */
/* containerd's filter syntax as far as a build cache has fields. */
#include "api/buildkit/usage-filter.h"

#include "base/pattern.h"
#include "base/str.h"

#include <ctype.h>

#define TERMS_MAX 64

enum { IS_THERE, EQUAL, NOT_EQUAL, MATCHES };

static const char *const operators[] = {[EQUAL] = "==", [NOT_EQUAL] = "!=", [MATCHES] = "~="};

typedef enum Field { ID, DESCRIPTION, IN_USE, MUTABLE, IMMUTABLE, TYPE, SHARED, PRIVATE } Field;

static const char *const fields[] = {
    [ID] = "id",           [DESCRIPTION] = "description", [IN_USE] = "inuse",
    [MUTABLE] = "mutable", [IMMUTABLE] = "immutable",     [TYPE] = "type",
    [SHARED] = "shared",   [PRIVATE] = "private",
};

const char *usage_type(const StoreCacheEntry *c)
{
	return c->chain_id || c->empty ? "regular" : "exec.cachemount";
}

const char *usage_description(const StoreCacheEntry *c)
{
	return c->step ?: "build step";
}

/* What a field says; of the kind that is or is not, "true" or "". */
static const char *field_of(const StoreCacheEntry *c, int field)
{
	bool is = false;

	switch ((Field)field) {
	case ID:
		return c->key;
	case DESCRIPTION:
		return usage_description(c);
	case TYPE:
		return usage_type(c);
	case IN_USE:
		is = c->in_use;
		break;
	case MUTABLE:
		break;
	case IMMUTABLE:
		is = true;
		break;
	case SHARED:
		is = c->shared;
		break;
	case PRIVATE:
		is = !c->shared;
		break;
	}
	return is ? "true" : "";
}

static bool is_flag(int field)
{
	return field != ID && field != DESCRIPTION && field != TYPE;
}

static bool flag_value(const char *value, bool *ret)
{
	*ret = streq(value, "true") || streq(value, "1");
	return *ret || streq(value, "false") || streq(value, "0");
}

/* ---- reading ---- */

static int find_field(const char *name, size_t len, Err *e)
{
	for (size_t i = 0; i < ELEMENTSOF(fields); i++)
		if (strlen(fields[i]) == len && strncmp(fields[i], name, len) == 0)
			return (int)i;
	return err_new(e, ERR_INVALID,
		       "filter \"%.*s\" is not known: there are id, description, type, inuse, mutable, "
		       "immutable, shared and private",
		       (int)MIN2(len, (size_t)60), name);
}

/* Up to a comma, or in double quotes, where a backslash keeps what follows. -> behind it; NULL: it does not end. */
static const char *read_value(const char *s, char **ret)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (*s != '"') {
		size_t n = strcspn(s, ",");

		*ret = strndup(s, n);
		return s + n;
	}
	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\' && s[1])
			s++;
		strbuf_add_c(&b, *s);
	}
	if (*s != '"')
		return NULL;
	*ret = strbuf_steal(&b) ?: strdup("");
	return s + 1;
}

static int check_value(UsageTerm *t, Err *e)
{
	bool on;
	int r;

	if (is_flag(t->field))
		return t->op != MATCHES && flag_value(t->value, &on)
			   ? 0
			   : err_new(e, ERR_INVALID, "filter %s: expected it alone, or ==true or ==false",
				     fields[t->field]);
	if (t->op != MATCHES)
		return 0;
	if (!pattern_is_bounded(t->value))
		return err_new(
		    e, ERR_INVALID,
		    "filter %s: the pattern \"%.100s\" is too long, or has back references, {n} or nested +",
		    fields[t->field], t->value);
	r = regcomp(&t->pattern, t->value, REG_EXTENDED | REG_NOSUB);
	t->compiled = r == 0;
	return t->compiled ? 0
			   : err_new(e, ERR_INVALID, "filter %s: \"%.100s\" is no pattern", fields[t->field],
				     t->value);
}

static int read_operator(UsageTerm *t, const char **s, Err *e)
{
	for (int op = EQUAL; op <= MATCHES; op++)
		if (strncmp(*s, operators[op], 2) == 0) {
			t->op = op;
			*s += 2;
			return 0;
		}
	return err_new(e, ERR_INVALID, "filter %s: expected ==, != or ~= instead of \"%.20s\"",
		       fields[t->field], *s);
}

/* -> what follows. */
static int read_term(UsageTerm *t, const char **s, Err *e)
{
	size_t len = 0;
	int r;

	while (isalnum((unsigned char)(*s)[len]) || (*s)[len] == '_' || (*s)[len] == '.')
		len++;
	r = find_field(*s, len, e);
	if (r < 0)
		return r;
	t->field = r;
	*s += len;
	if (**s == ',' || !**s)
		return 0;
	r = read_operator(t, s, e);
	if (r < 0)
		return r;
	*s = read_value(*s, &t->value);
	if (!*s)
		return err_new(e, ERR_INVALID, "filter %s: the quotes do not end", fields[t->field]);
	if (!t->value)
		return err_oom(e);
	return check_value(t, e);
}

static int read_text(UsageFilter *f, const char *s, Err *e)
{
	int r = 0;

	while (r >= 0 && *s) {
		UsageTerm *grown;

		if (f->n == TERMS_MAX)
			return err_new(e, ERR_INVALID, "more than %d filters", TERMS_MAX);
		grown = reallocarray(f->terms, f->n + 1, sizeof(*grown));
		if (!grown)
			return err_oom(e);
		f->terms = grown;
		grown[f->n] = (UsageTerm){0};
		r = read_term(&grown[f->n++], &s, e);
		if (r >= 0 && *s && *s++ != ',')
			r = err_new(e, ERR_INVALID, "expected a comma between filters, not \"%.20s\"", s - 1);
	}
	return r;
}

int usage_filter_parse(char *const *texts, size_t n, UsageFilter *ret, Err *e)
{
	UsageFilter *f = ret;
	int r = 0;

	*f = (UsageFilter){.ends = calloc(MIN2(n, (size_t)TERMS_MAX) + 1, sizeof(size_t))};
	if (!f->ends)
		return err_oom(e);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (!*texts[i])
			continue; /* clients send one when there is none */
		r = read_text(f, texts[i], e);
		if (r >= 0 && f->n_texts == TERMS_MAX)
			r = err_new(e, ERR_INVALID, "more than %d filters", TERMS_MAX);
		if (r >= 0)
			f->ends[f->n_texts++] = f->n;
	}
	return r;
}

void usage_filter_done(UsageFilter *f)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->terms[i].compiled)
			regfree(&f->terms[i].pattern);
		free(f->terms[i].value);
	}
	free(f->terms);
	free(f->ends);
	*f = (UsageFilter){0};
}

/* ---- matching ---- */

static bool term_matches(const UsageTerm *t, const StoreCacheEntry *c)
{
	const char *is = field_of(c, t->field);
	bool wanted;

	switch (t->op) {
	case IS_THERE:
		return *is;
	case MATCHES:
		return regexec(&t->pattern, is, 0, NULL, 0) == 0;
	default:
		if (is_flag(t->field) && flag_value(t->value, &wanted))
			return (*is != '\0') == (wanted == (t->op == EQUAL));
		return streq(is, t->value) == (t->op == EQUAL);
	}
}

bool usage_filter_matches(const UsageFilter *f, const StoreCacheEntry *c)
{
	size_t at = 0;

	for (size_t i = 0; i < f->n_texts; i++) {
		bool all = true;

		for (; at < f->ends[i]; at++)
			all = all && term_matches(&f->terms[at], c);
		if (all)
			return true;
	}
	return f->n_texts == 0;
}
