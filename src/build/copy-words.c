/* SPDX-License-Identifier: Apache-2.0 */
/* COPY and ADD as they were written: flags, sources, here-documents, destination. */
#include "build/copy.h"

/* A flag's value, variables replaced; NULL if it was not given. */
static int flag(const DockerfileLex *lex, const char *value, char **ret, Err *e)
{
	return value ? dockerfile_lex_word(lex, value, ret, e) : 0;
}

static int excludes(const DockerfileStep *step, const DockerfileLex *lex, Ignore *ret, Err *e)
{
	const char *value;

	for (size_t at = 0; (value = dockerfile_flag_next(step, "exclude", &at));) {
		_cleanup_free_ char *pattern = NULL;
		Ignore one = {0};
		int r = flag(lex, value, &pattern, e);

		if (r >= 0)
			r = ignore_parse(pattern, &one, e);
		for (char **p = one.patterns; r >= 0 && p && *p; p++)
			if (ignore_add(ret, *p) < 0)
				r = err_oom(e);
		ignore_done(&one);
		if (r < 0)
			return err_ctx(e, r, "--exclude=%.200s", value);
	}
	return 0;
}

static int take_flags(const DockerfileStep *step, const DockerfileLex *lex, char *const *global_args,
		      CopyStep *c, Err *e)
{
	/* Which stages wait for one another is known before there are any values of a stage. */
	const DockerfileLex global = {.escape = lex->escape, .env = global_args};
	int r = flag(&global, dockerfile_flag(step, "from"), &c->from, e);

	if (r >= 0)
		r = flag(lex, dockerfile_flag(step, "chown"), &c->chown, e);
	if (r >= 0)
		r = flag(lex, dockerfile_flag(step, "chmod"), &c->chmod, e);
	if (r >= 0)
		r = flag(lex, dockerfile_flag(step, "checksum"), &c->checksum, e);
	if (r >= 0)
		r = excludes(step, lex, &c->exclude, e);
	if (r >= 0 && !str_empty(c->chmod)) {
		c->changes_mode = true;
		r = mode_change_parse(c->chmod, &c->mode, e);
	}
	c->link = dockerfile_flag_true(step, "link");
	c->parents = dockerfile_flag_true(step, "parents");
	c->keeps_git = dockerfile_flag_true(step, "keep-git-dir");
	c->says_keep_git = dockerfile_flag(step, "keep-git-dir") != NULL;
	c->unpacks_remote = dockerfile_flag_true(step, "unpack");
	c->unpacks = dockerfile_flag(step, "unpack") ? c->unpacks_remote : c->add;
	return r;
}

/* ---- words ---- */

static int words_of(const DockerfileStep *step, const DockerfileLex *lex, char ***ret, Err *e)
{
	_cleanup_strv_ char **words = NULL;

	for (size_t i = 0; i < step->n_args; i++) {
		char *word = NULL;
		int r = dockerfile_lex_word(lex, step->args[i], &word, e);

		if (r >= 0 && strv_take(&words, word) < 0)
			r = err_oom(e);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(words);
	return 0;
}

static CopyKind kind_of(const char *word)
{
	if (git_ref_is_one(word, false))
		return COPY_GIT;
	return str_starts(word, "http://") || str_starts(word, "https://") ? COPY_HTTP : COPY_LOCAL;
}

static int take_item(const DockerfileStep *step, const char *word, size_t *heredoc, const DockerfileLex *lex,
		     CopyStep *c, Err *e)
{
	CopyItem *i = &c->items[c->n++];
	const DockerfileHeredoc *h = NULL;

	if (str_starts(word, "<<") && *heredoc < step->n_heredocs)
		h = &step->heredocs[(*heredoc)++];
	*i = (CopyItem){.kind = h ? COPY_TEXT : kind_of(word), .word = strdup(h ? h->name : word)};
	if (!i->word)
		return err_oom(e);
	if (i->kind == COPY_GIT && !c->add)
		return err_new(e, ERR_INVALID, "source can't be a git ref for COPY");
	if (i->kind == COPY_HTTP && !c->add)
		return err_new(e, ERR_INVALID, "source can't be a URL for COPY");
	if (!h)
		return 0;
	if (strchr(h->name, '/') || streq(h->name, ".") || streq(h->name, ".."))
		return err_new(e, ERR_INVALID, "a here-document called %s cannot be a file", h->name);
	if (h->expand) {
		DockerfileLex inside = *lex;

		inside.literal_quotes = true;
		return dockerfile_lex_word(&inside, h->text, &i->text, e);
	}
	i->text = strdup(h->text);
	return i->text ? 0 : err_oom(e);
}

static int take_words(const Stage *s, const DockerfileStep *step, char **words, const DockerfileLex *lex,
		      CopyStep *c, Err *e)
{
	const char *wd = str_empty(s->config.run.working_dir) ? "/" : s->config.run.working_dir;
	size_t n = strv_len(words), len, heredoc = 0;
	int r = 0;

	if (n < 2)
		return err_new(
		    e, ERR_INVALID,
		    "%s requires at least two arguments, but only one was provided. Destination could "
		    "not be determined.",
		    c->verb);
	c->items = calloc(n, sizeof(*c->items));
	c->dest_word = strdup(words[n - 1]);
	c->dest = path_join_clean(wd, words[n - 1]);
	if (!c->items || !c->dest_word || !c->dest)
		return err_oom(e);
	len = strlen(c->dest_word);
	c->into_dir = len > 0 && (c->dest_word[len - 1] == '/' || streq(c->dest_word, ".") ||
				  str_ends(c->dest_word, "/."));
	if (n > 2 && !c->into_dir)
		return err_new(
		    e, ERR_INVALID,
		    "When using %s with more than one source file, the destination must be a directory "
		    "and end with a /",
		    c->verb);
	for (size_t i = 0; r >= 0 && i < n - 1; i++)
		r = take_item(step, words[i], &heredoc, lex, c, e);
	return r;
}

static int check(const CopyStep *c, Err *e)
{
	if (!c->checksum)
		return 0;
	if (c->n != 1)
		return err_new(e, ERR_INVALID, "checksum can't be specified for multiple sources");
	if (c->items[0].kind != COPY_HTTP && c->items[0].kind != COPY_GIT)
		return err_new(e, ERR_INVALID, "checksum requires HTTP(S) or Git sources");
	return 0;
}

int copy_step_parse(Build *b, const Stage *s, const DockerfileStep *step, CopyStep *ret, Err *e)
{
	_cleanup_strv_ char **env = NULL, **words = NULL;
	int r = stage_environment(s, &env, e);

	*ret = (CopyStep){.verb = dockerfile_verb_name(step->verb), .add = step->verb == DF_ADD};
	const DockerfileLex lex = {.escape = b->df.escape, .env = env};
	if (r >= 0)
		r = take_flags(step, &lex, b->global_args, ret, e);
	if (r >= 0)
		r = words_of(step, &lex, &words, e);
	if (r >= 0)
		r = take_words(s, step, words, &lex, ret, e);
	return r < 0 ? r : check(ret, e);
}

void copy_step_done(CopyStep *c)
{
	for (size_t i = 0; i < c->n; i++) {
		free(c->items[i].word);
		free(c->items[i].text);
		sources_done(&c->items[i].sources);
		fetch_done(&c->items[i].fetch);
	}
	free(c->items);
	free(c->from);
	free(c->chown);
	free(c->chmod);
	free(c->checksum);
	ignore_done(&c->exclude);
	free(c->dest);
	free(c->dest_word);
}

char *copy_step_told(const CopyStep *c)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, c->verb);
	if (c->parents)
		strbuf_add(&b, " --parents");
	if (!str_empty(c->chown))
		strbuf_addf(&b, " --chown=%s", c->chown);
	if (!str_empty(c->chmod))
		strbuf_addf(&b, " --chmod=%s", c->chmod);
	for (size_t i = 0; i < c->n; i++)
		strbuf_addf(&b, c->items[i].kind == COPY_TEXT ? " <<%s" : " %s", c->items[i].word);
	strbuf_addf(&b, " %s # buildkit", c->dest_word);
	return strbuf_steal(&b);
}
