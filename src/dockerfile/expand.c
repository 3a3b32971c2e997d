/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of a Dockerfile: quotes, escapes and variables, shell-like, in the forms that the Dockerfile reference lists; nothing is ever run.
 *
 * One pass from left to right. What a variable holds is not looked at again: neither variables nor quotes in it count. It may be
 * split at its blanks where words are asked for and it stands outside of quotes.
 */
#include "dockerfile/dockerfile.h"
#include "dockerfile/replace.h"
#include "dockerfile/utf8.h"

#include "base/str.h"

#include <ctype.h>

#define EXPANDED_MAX (1u << 20) /* bytes: ${a} in a's own value would otherwise double at every line */
#define WORDS_MAX    100000
#define NESTED_MAX   50
#define TOLD_MAX     1000 /* names that are told of */

/* Where the text goes; as one text, or as words too. */
typedef struct Out {
	StrBuf text;
	bool split, keep_empty;
	StrBuf word;
	bool in_word;
	char **words;
	size_t n_words;
} Out;

typedef struct Lexer {
	const DockerfileLex *o;
	bool plain; /* '$' is a letter like others */
	bool
	    protect; /* quotes and escapes stay, and what variables hold is escaped so that it stays one word */
	const char *p;
	int depth;
	size_t made; /* bytes in all texts so far */
} Lexer;

static int scan(Lexer *x, char stop, bool raw_escapes, Out *out, Err *e);

static void out_done(Out *out)
{
	strbuf_done(&out->text);
	strbuf_done(&out->word);
	strv_free(out->words);
}

/* Room for the word that n_words counts already, and for the end behind it; grows by doubling. */
static int reserve_words(Out *out)
{
	size_t n = out->n_words;

	if (n & (n - 1))
		return 0;
	char **grown = reallocarray(out->words, 2 * n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	out->words = grown;
	return 0;
}

static int end_word(Out *out, Err *e)
{
	if (!out->in_word || (out->word.len == 0 && !out->keep_empty))
		return 0;
	out->in_word = false;
	if (++out->n_words > WORDS_MAX)
		return err_new(e, ERR_INVALID, "more than %d words", WORDS_MAX);
	char *word = out->word.s || out->word.oom ? strbuf_steal(&out->word) : strdup("");

	if (!word || reserve_words(out) < 0) {
		free(word);
		return err_oom(e);
	}
	out->words[out->n_words - 1] = word;
	out->words[out->n_words] = NULL;
	return 0;
}

/* Text that is part of the word whatever it is. */
static void put_raw(Lexer *x, Out *out, const char *s, size_t n)
{
	x->made += n;
	strbuf_add_n(&out->text, s, n);
	if (out->split) {
		strbuf_add_n(&out->word, s, n);
		out->in_word = true;
	}
}

/* Text whose blanks are between words. */
static int put_text(Lexer *x, Out *out, const char *s, size_t n, Err *e)
{
	int r = 0;

	x->made += n;
	strbuf_add_n(&out->text, s, n);
	for (const char *end = s + n; out->split && r >= 0 && s < end;) {
		size_t blank = df_blank(s);
		uint32_t c;

		if (blank) {
			r = end_word(out, e);
			s += blank;
			continue;
		}
		size_t len = MIN2(df_char(s, &c), (size_t)(end - s));

		strbuf_add_n(&out->word, s, len);
		out->in_word = true;
		s += len;
	}
	return r;
}

/* What a variable came to, so that reading words again finds it as it is. */
static void put_protected(Lexer *x, Out *out, const char *value, bool quoted)
{
	const char *special = quoted ? "\"" : " \t\n\v\f\r\"'";

	for (; *value; value++) {
		if (*value == x->o->escape || *value == '$' || strchr(special, *value))
			put_raw(x, out, &x->o->escape, 1);
		put_raw(x, out, value, 1);
	}
}

/* ---- variables ---- */

/* One more name that is told of; NULL: nobody wants to know. */
static int tell(char ***names, const char *name, Err *e)
{
	if (!names || strv_has(*names, name) || strv_len(*names) >= TOLD_MAX)
		return 0;
	return strv_add(names, name) < 0 ? err_oom(e) : 0;
}

static int lookup(Lexer *x, const char *name, const char **ret, Err *e)
{
	*ret = *name ? strv_env_get(x->o->env, name) : NULL;
	return tell(*ret ? x->o->used : x->o->unset, name, e);
}

/* A name, a number or one of the signs that are the shell's own; "" if there is none. */
static int take_name(Lexer *x, char **ret, Err *e)
{
	const char *start = x->p;

	if (isdigit((unsigned char)*x->p)) {
		while (isdigit((unsigned char)*x->p))
			x->p++;
	} else if (*x->p && strchr("@*#?-$!", *x->p)) {
		x->p++;
	} else {
		for (size_t n; *x->p && (n = df_name_char(x->p));)
			x->p += n;
	}
	*ret = strndup(start, (size_t)(x->p - start));
	return *ret ? 0 : err_oom(e);
}

/* A word in ${...}, expanded by itself, up to `stop`, which is passed. */
static int operand(Lexer *x, char stop, bool raw_escapes, char **ret, Err *e)
{
	DockerfileLex o = *x->o;
	Lexer sub = {.o = &o, .p = x->p, .depth = x->depth + 1, .made = x->made};
	Out out = {0};
	int r;

	if (x->protect)
		o.raw_quotes = o.raw_escapes = false;
	r = sub.depth > NESTED_MAX ? err_new(e, ERR_INVALID, "variables are nested too deeply")
				   : scan(&sub, stop, raw_escapes, &out, e);
	x->p = sub.p;
	x->made = sub.made;
	if (r >= 0) {
		*ret = out.text.s || out.text.oom ? strbuf_steal(&out.text) : strdup("");
		r = *ret ? 0 : err_oom(e);
	} else if (!*sub.p && sub.depth <= NESTED_MAX) {
		r = err_new(e, ERR_INVALID,
			    stop == '/' ? "syntax error: missing '/' in ${}" : "syntax error: missing '}'");
	}
	out_done(&out);
	return r;
}

/* ${v/p/r} and ${v//p/r}, from behind the first slash on. */
static int substitution(Lexer *x, const char *name, char **ret, Err *e)
{
	_cleanup_free_ char *pattern = NULL, *replacement = NULL;
	const char *value = NULL;
	bool all = *x->p == '/';
	int r;

	x->p += all;
	r = operand(x, '/', true, &pattern, e);
	if (r >= 0)
		r = operand(x, '}', true, &replacement, e);
	if (r >= 0)
		r = lookup(x, name, &value, e);
	if (r < 0)
		return r;
	if (!value && x->o->keep_unset) {
		*ret = strf("${%s/%s/%s}", name, pattern, replacement);
		return *ret ? 0 : err_oom(e);
	}
	return dockerfile_replace(value ?: "", all ? REPLACE_ALL : REPLACE_FIRST, pattern, replacement, ret,
				  e);
}

static int trimmed(const char *value, char op, const char *word, char **ret, Err *e)
{
	bool longest = *word == op;
	ReplaceWhere where = op == '#' ? (longest ? REPLACE_LONGEST_PREFIX : REPLACE_PREFIX)
				       : (longest ? REPLACE_LONGEST_SUFFIX : REPLACE_SUFFIX);

	return dockerfile_replace(value ?: "", where, word + longest, "", ret, e);
}

/* ${v:-word} and the like, from behind the operator on. */
static int modified(Lexer *x, const char *name, char op, bool colon, char **ret, Err *e)
{
	_cleanup_free_ char *word = NULL;
	const char *value = NULL;
	bool cut = op == '#' || op == '%';
	int r = operand(x, '}', cut, &word, e);

	if (r >= 0)
		r = lookup(x, name, &value, e);
	if (r < 0)
		return r;
	if (!value && x->o->keep_unset) {
		*ret = strf("${%s%s%c%s}", name, colon ? ":" : "", op, word);
		return *ret ? 0 : err_oom(e);
	}
	if (cut)
		return trimmed(value, op, word, ret, e);
	bool set = value && (!colon || *value);
	if (op == '?' && !set)
		return err_new(e, ERR_INVALID, "%s: %s", name,
			       *word   ? word
			       : value ? "is not allowed to be empty"
				       : "is not allowed to be unset");
	*ret = strdup(op == '+' ? (set ? word : "") : set ? value : op == '-' ? word : "");
	return *ret ? 0 : err_oom(e);
}

/* Behind "${". */
static int braced(Lexer *x, char **ret, Err *e)
{
	_cleanup_free_ char *name = NULL;
	int r;

	if (!*x->p)
		return err_new(e, ERR_INVALID, "syntax error: missing '}'");
	if (strchr("{}:", *x->p))
		return err_new(e, ERR_INVALID, "syntax error: bad substitution");
	r = take_name(x, &name, e);
	if (r < 0)
		return r;
	const char *op = x->p;
	bool colon = *op == ':';

	if (*op == '}') {
		const char *value = NULL;

		x->p++;
		r = lookup(x, name, &value, e);
		if (r < 0)
			return r;
		*ret = !value && x->o->keep_unset ? strf("${%s}", name) : strdup(value ?: "");
		return *ret ? 0 : err_oom(e);
	}
	if (*op == '/') {
		x->p++;
		return substitution(x, name, ret, e);
	}
	if (!*op || !op[colon])
		return err_new(e, ERR_INVALID, "syntax error: missing '}'");
	if (!strchr(colon ? "-+?" : "-+?#%", op[colon]))
		return err_new(e, ERR_INVALID, "unsupported modifier (%.*s) in substitution", 1 + colon, op);
	x->p += 1 + colon;
	return modified(x, name, op[colon], colon, ret, e);
}

/* At "$": what it comes to. */
static int variable(Lexer *x, char **ret, Err *e)
{
	_cleanup_free_ char *name = NULL;
	const char *value = NULL;
	int r;

	x->p++;
	if (*x->p == '{') {
		x->p++;
		return braced(x, ret, e);
	}
	r = take_name(x, &name, e);
	if (r >= 0 && *name)
		r = lookup(x, name, &value, e);
	if (r < 0)
		return r;
	*ret = !*name || (!value && x->o->keep_unset) ? strf("$%s", name) : strdup(value ?: "");
	return *ret ? 0 : err_oom(e);
}

static int put_variable(Lexer *x, Out *out, bool quoted, Err *e)
{
	_cleanup_free_ char *value = NULL;
	const char *start = x->p;
	int r = variable(x, &value, e);

	if (r < 0)
		return r;
	/* A '$' without a name is no variable. */
	if (x->protect && !(streq(value, "$") && x->p == start + 1))
		put_protected(x, out, value, quoted);
	else if (quoted)
		put_raw(x, out, value, strlen(value));
	else
		r = put_text(x, out, value, strlen(value), e);
	return r;
}

/* ---- quotes and escapes ---- */

static int single_quoted(Lexer *x, Out *out, Err *e)
{
	const char *start = x->p + 1, *end = strchr(start, '\'');
	bool raw = x->o->raw_quotes;

	if (!end) {
		x->p += strlen(x->p);
		return err_new(e, ERR_INVALID,
			       "unexpected end of statement while looking for matching single-quote");
	}
	put_raw(x, out, start - raw, (size_t)(end - start) + 2u * raw);
	x->p = end + 1;
	return 0;
}

static void escaped_in_quotes(Lexer *x, bool raw_escapes, Out *out)
{
	const char *escape = x->p++;
	bool special = *x->p && (*x->p == '"' || *x->p == '$' || *x->p == *escape);

	if (raw_escapes || (*x->p && !special))
		put_raw(x, out, escape, 1);
	if (special)
		put_raw(x, out, x->p++, 1);
}

static int double_quoted(Lexer *x, bool raw_escapes, Out *out, Err *e)
{
	int r = 0;

	put_raw(x, out, x->p++, x->o->raw_quotes);
	while (r >= 0 && *x->p && *x->p != '"') {
		if (*x->p == '$' && !x->plain)
			r = put_variable(x, out, true, e);
		else if (*x->p == x->o->escape)
			escaped_in_quotes(x, raw_escapes, out);
		else
			put_raw(x, out, x->p++, 1);
	}
	if (r < 0)
		return r;
	if (!*x->p)
		return err_new(e, ERR_INVALID,
			       "unexpected end of statement while looking for matching double-quote");
	put_raw(x, out, x->p++, x->o->raw_quotes);
	return 0;
}

static void escaped(Lexer *x, bool raw_escapes, Out *out)
{
	uint32_t c;
	size_t n;

	if (raw_escapes)
		put_raw(x, out, x->p, 1);
	x->p++;
	n = *x->p ? df_char(x->p, &c) : 0;
	if (n)
		put_raw(x, out, x->p, n);
	x->p += n;
}

/* "<<" and the blanks behind it are one word with what follows: the name of a here-document may stand apart from it. */
static void angle(Lexer *x, Out *out)
{
	const char *start = x->p++;

	if (*x->p == '<') {
		x->p++;
		x->p += strspn(x->p, "\t\r ");
	}
	put_raw(x, out, start, (size_t)(x->p - start));
}

static int scan_one(Lexer *x, bool raw_escapes, Out *out, Err *e)
{
	uint32_t c;
	size_t n;

	if (*x->p == '$' && !x->plain)
		return put_variable(x, out, false, e);
	if (*x->p == '\'' && !x->o->literal_quotes)
		return single_quoted(x, out, e);
	if (*x->p == '"' && !x->o->literal_quotes)
		return double_quoted(x, raw_escapes, out, e);
	if (*x->p == '<')
		angle(x, out);
	else if (*x->p == x->o->escape)
		escaped(x, raw_escapes, out);
	else {
		n = df_char(x->p, &c);
		x->p += n;
		return put_text(x, out, x->p - n, n, e);
	}
	return 0;
}

/* Up to `stop`, which is passed, or to the end if that is NUL. */
static int scan(Lexer *x, char stop, bool raw_escapes, Out *out, Err *e)
{
	while (*x->p && *x->p != stop) {
		int r = scan_one(x, raw_escapes, out, e);

		if (r < 0)
			return r;
		if (x->made > EXPANDED_MAX)
			return err_new(e, ERR_INVALID, "expands to more than %u bytes", EXPANDED_MAX);
	}
	if (*x->p)
		x->p++;
	else if (stop)
		return err_new(e, ERR_INVALID, "unexpected end of statement while looking for matching %c",
			       stop);
	return end_word(out, e);
}

/* ---- interface ---- */

static int run(Lexer *x, const char *text, Out *out, Err *e)
{
	x->p = text;
	return err_ctx(e, scan(x, '\0', x->o->raw_escapes, out, e), "failed to process \"%.200s%s\"", text,
		       strlen(text) > 200 ? "..." : "");
}

static int one(Lexer *x, const char *text, char **ret, Err *e)
{
	Out out = {0};
	int r = run(x, text, &out, e);

	if (r >= 0) {
		*ret = strbuf_steal(&out.text);
		if (!*ret)
			r = err_oom(e);
	}
	out_done(&out);
	return r;
}

static int many(Lexer *x, const char *text, bool keep_empty, char ***ret, Err *e)
{
	Out out = {.split = true, .keep_empty = keep_empty};
	int r = run(x, text, &out, e);

	if (r >= 0) {
		*ret = out.words ? take_ptr(out.words) : calloc(1, sizeof(char *));
		if (!*ret)
			r = err_oom(e);
	}
	out_done(&out);
	return r;
}

int dockerfile_lex_word(const DockerfileLex *lex, const char *text, char **ret, Err *e)
{
	Lexer x = {.o = lex};

	return one(&x, text, ret, e);
}

int dockerfile_lex_words(const DockerfileLex *lex, const char *text, char ***ret, Err *e)
{
	Lexer x = {.o = lex};

	return many(&x, text, false, ret, e);
}

int dockerfile_expand(const char *text, char escape, char *const *env, bool words, char **ret, Err *e)
{
	DockerfileLex o = {.escape = escape, .env = env, .raw_quotes = words, .raw_escapes = words};
	Lexer x = {.o = &o, .protect = words};

	return one(&x, text, ret, e);
}

int dockerfile_word(const char *text, char escape, char **ret, Err *e)
{
	DockerfileLex o = {.escape = escape};
	Lexer x = {.o = &o, .plain = true};

	return one(&x, text, ret, e);
}

int dockerfile_words(const char *text, char escape, char ***ret, Err *e)
{
	DockerfileLex o = {.escape = escape};
	Lexer x = {.o = &o, .plain = true};

	return many(&x, text, true, ret, e);
}
