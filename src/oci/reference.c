/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing and writing of image references; the grammar is that of the distribution project's
 * reference package, read by hand because POSIX regular expressions know no possessive groups and
 * a reference arrives from the network.
 *
 * Two readings meet here. The grammar says what a domain and a path may look like; the familiar
 * form leaves the domain out, so the first component of "a/b" counts as a domain only if it cannot be
 * mistaken for a path: it has a '.' or a ':', or an upper-case letter, or is "localhost". Invariant: what
 * reference_full() and reference_familiar() write parses to the same reference again.
 */
#include "oci/reference.h"
#include "base/str.h"

#include <ctype.h>

#define NAME_MAX_LEN 255
#define TAG_MAX_LEN  128
#define TEXT_MAX_LEN 4096

/* The locale must not decide what a letter is. */
static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
	return is_lower_alnum(c) || is_upper(c);
}

static bool has_upper(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_upper(s[i]))
			return true;
	return false;
}

static bool is_hex64(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* The length of the separator at s: one dot, one or two underscores, any number of dashes; else 0. */
static size_t separator_length(const char *s, size_t left)
{
	size_t n = 0;

	if (s[0] == '.')
		return 1;
	if (s[0] == '_')
		return left > 1 && s[1] == '_' ? 2 : 1;
	while (n < left && s[n] == '-')
		n++;
	return n;
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool is_path_component(const char *s, size_t len)
{
	size_t i = 0;

	for (;;) {
		size_t start = i;

		while (i < len && is_lower_alnum(s[i]))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;

		size_t n = separator_length(s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
}

static bool is_path(const char *s)
{
	for (;;) {
		const char *end = strchrnul(s, '/');

		if (!is_path_component(s, (size_t)(end - s)))
			return false;
		if (!*end)
			return true;
		s = end + 1;
	}
}

/* Labels of letters, digits and inner dashes, joined by dots; or an IPv6 address in brackets. */
static const char *skip_host(const char *s)
{
	if (*s == '[') {
		size_t n = strspn(s + 1, "0123456789abcdefABCDEF:");

		return n > 0 && s[1 + n] == ']' ? s + n + 2 : NULL;
	}
	for (;;) {
		const char *start = s;

		while (is_alnum(*s) || *s == '-')
			s++;
		if (s == start || *start == '-' || s[-1] == '-')
			return NULL;
		if (*s != '.')
			return s;
		s++;
	}
}

static bool is_domain(const char *s)
{
	s = skip_host(s);
	if (s && *s == ':') {
		size_t n = strspn(s + 1, "0123456789");

		s = n > 0 ? s + 1 + n : NULL;
	}
	return s && !*s;
}

/* [A-Za-z0-9_][A-Za-z0-9_.-]{0,127} */
static bool is_tag(const char *s)
{
	size_t n = 0;

	while (is_alnum(s[n]) || s[n] == '_' || (n > 0 && (s[n] == '.' || s[n] == '-')))
		n++;
	return n > 0 && n <= TAG_MAX_LEN && s[n] == '\0';
}

static bool looks_like_domain(const char *s, size_t len)
{
	if (memchr(s, '.', len) || memchr(s, ':', len) || has_upper(s, len))
		return true;
	return len == strlen("localhost") && strncmp(s, "localhost", len) == 0;
}

static int invalid(Err *e, const char *s, const char *why)
{
	return err_new(e, ERR_INVALID, "invalid reference format: %s: \"%s\"", why, s);
}

/* Cuts the optional domain off the front of name; the rest is what is returned. */
static const char *split_domain(const char *name, char **ret_domain)
{
	const char *slash = strchr(name, '/');

	if (!slash || !looks_like_domain(name, (size_t)(slash - name))) {
		*ret_domain = strdup("docker.io");
		return name;
	}
	*ret_domain = strndup(name, (size_t)(slash - name));
	if (*ret_domain && streq(*ret_domain, "index.docker.io"))
		memmove(*ret_domain, "docker.io", sizeof("docker.io"));
	return slash + 1;
}

/* Cuts "@digest" and ":tag" off the end of rest, which is writable. */
static int split_tail(char *rest, const char *s, Reference *r, Err *e)
{
	char *at = strchr(rest, '@');

	if (at) {
		*at = '\0';
		if (!digest_is_valid(at + 1))
			return invalid(e, s,
				       "the part behind '@' must be sha256: and 64 lower-case hex digits");
		r->digest = strdup(at + 1);
		if (!r->digest)
			return err_oom(e);
	}

	char *colon = strchr(rest, ':');
	if (colon) {
		*colon = '\0';
		if (!is_tag(colon + 1))
			return invalid(e, s,
				       "a tag is at most 128 letters, digits, '_', '.' and '-', and "
				       "starts with none of the last two");
		r->tag = strdup(colon + 1);
		if (!r->tag)
			return err_oom(e);
	}
	return 0;
}

static int check_name(const char *path, const char *domain, const char *s, Err *e)
{
	if (!*path)
		return invalid(e, s, "repository name must have at least one component");
	if (has_upper(path, strlen(path)))
		return err_new(e, ERR_INVALID,
			       "invalid reference format: repository name (%s) must be lowercase", path);
	if (strlen(path) > NAME_MAX_LEN)
		return err_new(
		    e, ERR_INVALID,
		    "invalid reference format: repository name must not be more than %d characters",
		    NAME_MAX_LEN);
	if (!is_path(path))
		return invalid(
		    e, s,
		    "the repository name has a character or an order of separators that names must not have");
	if (!is_domain(domain))
		return invalid(e, s, "the registry must be a host name or address with an optional :port");
	return 0;
}

static int parse_into(const char *s, Reference *r, Err *e)
{
	if (strlen(s) > TEXT_MAX_LEN)
		return err_new(e, ERR_INVALID, "invalid reference format: longer than %d bytes",
			       TEXT_MAX_LEN);
	if (is_hex64(s))
		return err_new(e, ERR_INVALID,
			       "invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s);

	const char *rest = split_domain(s, &r->domain);
	if (!r->domain)
		return err_oom(e);

	_cleanup_free_ char *path = strdup(rest);
	if (!path)
		return err_oom(e);
	int rc = split_tail(path, s, r, e);
	if (rc < 0)
		return rc;

	bool official = *path && streq(r->domain, "docker.io") && !strchr(path, '/');
	r->path = strf("%s%s", official ? "library/" : "", path);
	if (!r->tag && !r->digest)
		r->tag = strdup("latest");
	if (!r->path || (!r->tag && !r->digest))
		return err_oom(e);
	return check_name(r->path, r->domain, s, e);
}

int reference_parse(const char *s, Reference *ret, Err *e)
{
	Reference r = {0};
	int rc = parse_into(s, &r, e);

	if (rc < 0) {
		reference_done(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

void reference_done(Reference *r)
{
	free(r->domain);
	free(r->path);
	free(r->tag);
	free(r->digest);
	*r = (Reference){0};
}

static char *with_tail(char *name, const Reference *r)
{
	_cleanup_free_ char *owned = name;

	if (!name)
		return NULL;
	return strf("%s%s%s%s%s", name, r->tag ? ":" : "", r->tag ? r->tag : "", r->digest ? "@" : "",
		    r->digest ? r->digest : "");
}

char *reference_full(const Reference *r)
{
	return with_tail(strf("%s/%s", r->domain, r->path), r);
}

char *reference_familiar(const Reference *r)
{
	return with_tail(reference_familiar_name(r), r);
}

char *reference_familiar_name(const Reference *r)
{
	const char *official = str_after(r->path, "library/"), *slash = strchr(r->path, '/');

	if (!streq(r->domain, "docker.io"))
		return strf("%s/%s", r->domain, r->path);
	if (official && !strchr(official, '/'))
		return strdup(is_hex64(official) ? r->path : official);
	/* docker.io/a.b/c: without its domain it would be taken for a path on the host a.b. */
	if (slash && looks_like_domain(r->path, (size_t)(slash - r->path)))
		return strf("docker.io/%s", r->path);
	return strdup(r->path);
}
