/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See git-ref.h. What git would take for an option or for another transport (a leading dash, "ext::") never gets as far as git.
 */
#include "build/git-ref.h"

#include "base/path.h"
#include "base/str.h"

#include <ctype.h>

#define TEXT_MAX 4096

void git_ref_done(GitRef *r)
{
	free(r->remote);
	free(r->ref);
	free(r->subdir);
	free(r->checksum);
	*r = (GitRef){0};
}

bool git_is_commit(const char *s)
{
	size_t n = strlen(s);

	return n >= 7 && n <= 64 && strspn(s, "0123456789abcdef") == n;
}

/* "user@host:path", where scp would find a host and no scheme. */
static bool is_scp(const char *text)
{
	const char *at = strchr(text, '@'), *colon = strchr(text, ':');

	if (!at || !colon || at == text || colon < at + 2 || colon[1] == '\0' || strstr(text, "://"))
		return false;
	for (const char *p = text; p < colon; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-._@", *p))
			return false;
	return *text != '-' && at[1] != '-';
}

static bool path_is_repository(const char *text)
{
	size_t n = strcspn(text, "?#");

	return n > 4 && strncmp(text + n - 4, ".git", 4) == 0;
}

typedef enum Form { FORM_NONE, FORM_URL, FORM_SSH, FORM_SHORT } Form;

static Form form_of(const char *text, bool context)
{
	if (str_starts(text, "http://") || str_starts(text, "https://"))
		return path_is_repository(text) ? FORM_URL : FORM_NONE;
	if (str_starts(text, "git://"))
		return FORM_URL;
	if (str_starts(text, "ssh://") || is_scp(text))
		return FORM_SSH;
	return context && str_starts(text, "github.com/") ? FORM_SHORT : FORM_NONE;
}

bool git_ref_is_one(const char *text, bool context)
{
	return form_of(text, context) != FORM_NONE;
}

static int decode(const char *s, size_t n, char **ret, Err *e)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (c == '%' && i + 2 < n + 0 && isxdigit((unsigned char)s[i + 1]) &&
		    isxdigit((unsigned char)s[i + 2])) {
			char hex[3] = {s[i + 1], s[i + 2], 0};

			c = (char)strtoul(hex, NULL, 16);
			i += 2;
		} else if (c == '+') {
			c = ' ';
		}
		if (c == '\0')
			return err_new(e, ERR_INVALID, "a query with a NUL in it");
		strbuf_add_c(&b, c);
	}
	*ret = strbuf_steal(&b);
	return *ret ? 0 : err_oom(e);
}

static int set_once(char **to, char *value, const char *what, Err *e)
{
	int r = *to && !streq(*to, value)
		    ? err_new(e, ERR_INVALID, "%s conflicts: \"%.200s\" vs \"%.200s\"", what, *to, value)
		    : 0;

	free(*to);
	*to = value;
	return r;
}

static int query_bool(const char *key, const char *value, bool *ret, Err *e)
{
	static const char *const yes[] = {"", "1", "t", "T", "true", "TRUE", "True"};
	static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++)
		if (streq(value, yes[i])) {
			*ret = true;
			return 0;
		}
	for (size_t i = 0; i < ELEMENTSOF(no); i++)
		if (streq(value, no[i])) {
			*ret = false;
			return 0;
		}
	return err_new(e, ERR_INVALID, "invalid %s value: \"%.100s\"", key, value);
}

static int query_one(GitRef *r, const char *key, char *value, Err *e)
{
	_cleanup_free_ char *own = value;
	bool yes = false;
	int no = 0;

	if (streq(key, "keep-git-dir") || streq(key, "submodules"))
		no = query_bool(key, value, &yes, e);
	else if (!*value)
		return err_new(e, ERR_INVALID, "query \"%.100s\" has no value", key);
	if (no < 0)
		return no;
	if (streq(key, "keep-git-dir")) {
		r->keep_git_dir = yes;
		r->says_keep_git_dir = true;
		return 0;
	}
	if (streq(key, "submodules")) {
		r->no_submodules = !yes;
		return 0;
	}
	if (streq(key, "subdir"))
		return set_once(&r->subdir, take_ptr(own), "subdir", e);
	if (streq(key, "checksum") || streq(key, "commit"))
		return set_once(&r->checksum, take_ptr(own), key, e);
	if (streq(key, "ref"))
		return set_once(&r->ref, take_ptr(own), "ref", e);
	if (!streq(key, "tag") && !streq(key, "branch"))
		return err_new(e, ERR_INVALID, "unexpected query \"%.100s\"", key);
	const char *prefix = streq(key, "tag") ? "refs/tags/" : "refs/heads/";
	char *full = str_starts(value, prefix) ? take_ptr(own) : strf("%s%s", prefix, value);
	return full ? set_once(&r->ref, full, "ref", e) : err_oom(e);
}

static int query(GitRef *ret, const char *text, size_t len, Err *e)
{
	for (const char *p = text, *end = text + len; p < end;) {
		size_t n = strcspn(p, "&#"), equals = strcspn(p, "=&#");
		_cleanup_free_ char *key = NULL;
		char *value = NULL;
		int r;

		n = MIN2(n, (size_t)(end - p));
		equals = MIN2(equals, n);
		r = decode(p, equals, &key, e);
		if (r >= 0)
			r = equals < n ? decode(p + equals + 1, n - equals - 1, &value, e)
				       : decode("", 0, &value, e);
		if (r >= 0)
			r = query_one(ret, key, value, e);
		if (r < 0)
			return r;
		p += n + 1;
	}
	return 0;
}

static int fragment(GitRef *ret, const char *text, Err *e)
{
	size_t n = strcspn(text, ":");
	char *ref = n ? strndup(text, n) : NULL,
	     *subdir = text[n] && text[n + 1] ? strdup(text + n + 1) : NULL;
	int r = 0;

	if ((n && !ref) || (text[n] && text[n + 1] && !subdir))
		r = err_oom(e);
	if (ref)
		r = r < 0 ? r : set_once(&ret->ref, take_ptr(ref), "ref", e);
	if (subdir)
		r = r < 0 ? r : set_once(&ret->subdir, take_ptr(subdir), "subdir", e);
	free(ref);
	free(subdir);
	return r;
}

static bool has_control(const char *s)
{
	for (; s && *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

/* What git is told must be no option, and lead nowhere but into the repository. */
static int check(GitRef *r, Err *e)
{
	_cleanup_free_ char *rooted = r->subdir ? strf("/%s", r->subdir) : NULL;
	char *clean = rooted ? path_clean(rooted) : NULL;

	if (r->subdir && !clean)
		return err_oom(e);
	if (clean) {
		free(r->subdir);
		r->subdir = clean[1] ? strdup(clean + 1) : NULL;
		if (clean[1] && !r->subdir) {
			free(clean);
			return err_oom(e);
		}
		free(clean);
	}
	if (has_control(r->remote) || has_control(r->ref) || has_control(r->subdir) ||
	    strpbrk(r->remote, " \\"))
		return err_new(e, ERR_INVALID,
			       "the name of a git repository has blanks or control characters");
	if (r->ref && (*r->ref == '-' || strpbrk(r->ref, " ~^:?*[\\") || strstr(r->ref, "..")))
		return err_new(e, ERR_INVALID, "invalid git ref: %.200s", r->ref);
	if (r->checksum && !git_is_commit(r->checksum))
		return err_new(e, ERR_INVALID,
			       "invalid checksum %.100s: expected 7 to 64 hexadecimal digits of a commit",
			       r->checksum);
	if (r->checksum && !r->ref) {
		r->ref = strdup(r->checksum);
		return r->ref ? 0 : err_oom(e);
	}
	return 0;
}

int git_ref_parse(const char *text, bool context, GitRef *ret, Err *e)
{
	Form form = form_of(text, context);
	size_t n = strcspn(text, "?#");
	const char *hash = strchr(text, '#');
	GitRef r = {.ssh = form == FORM_SSH};
	int no = 0;

	if (form == FORM_NONE)
		return 0;
	if (strlen(text) > TEXT_MAX)
		return err_new(e, ERR_INVALID, "the name of a git repository is longer than %d bytes",
			       TEXT_MAX);
	/* scp's form has no query. */
	if (!strstr(text, "://") && form == FORM_SSH)
		n = strcspn(text, "#");
	r.remote = strf("%s%.*s", form == FORM_SHORT ? "https://" : "", (int)n, text);
	if (!r.remote)
		no = err_oom(e);
	if (no >= 0 && hash)
		no = fragment(&r, hash + 1, e);
	if (no >= 0 && text[n] == '?')
		no = query(&r, text + n + 1, hash ? (size_t)(hash - text) - n - 1 : strlen(text + n + 1), e);
	if (no >= 0)
		no = check(&r, e);
	if (no < 0) {
		git_ref_done(&r);
		return no;
	}
	*ret = r;
	return 1;
}
