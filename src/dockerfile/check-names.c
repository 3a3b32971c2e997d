/* SPDX-License-Identifier: Apache-2.0 */
/* What texts look like: references of images, names of secrets, platforms. */
#include "dockerfile/check-internal.h"

#include "base/str.h"

#include <ctype.h>

/* ---- references: [domain/]path[:tag][@digest] ---- */

static bool is_small(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters and digits, with '.', '_', "__" or any number of '-' between. */
static bool path_part(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n) {
		size_t start = i, sign;

		while (i < n && is_small(s[i]))
			i++;
		if (i == start)
			return false;
		if (i == n)
			return true;
		for (sign = i; i < n && (s[i] == '.' || s[i] == '_' || s[i] == '-');)
			i++;
		for (size_t k = sign; k < i; k++)
			if (s[k] != s[sign])
				return false;
		if (s[sign] != '-' && i - sign > (s[sign] == '_' ? 2u : 1u))
			return false;
	}
	return false;
}

static bool domain(const char *s, size_t n)
{
	size_t host = 0;

	if (s[0] == '[')
		return memchr(s, ']', n) != NULL;
	while (host < n && (isalnum((unsigned char)s[host]) || s[host] == '-' || s[host] == '.'))
		host++;
	if (host == 0 || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[host - 1]))
		return false;
	if (host < n && s[host++] != ':')
		return false;
	for (size_t i = host; i < n; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return true;
}

/* The first part is a domain if it cannot be of a path. */
static bool looks_like_domain(const char *s, size_t n)
{
	if (n == 9 && strncmp(s, "localhost", 9) == 0)
		return true;
	for (size_t i = 0; i < n; i++)
		if (s[i] == '.' || s[i] == ':' || isupper((unsigned char)s[i]))
			return true;
	return false;
}

static bool tag_valid(const char *s, size_t n)
{
	if (n == 0 || n > 128 || (!isalnum((unsigned char)*s) && *s != '_'))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i]))
			return false;
	return true;
}

static bool digest_valid(const char *s)
{
	const char *colon = strchr(s, ':');
	size_t n = colon ? strspn(colon + 1, "0123456789abcdefABCDEF") : 0;

	return colon && isalpha((unsigned char)*s) && n >= 32 && !colon[1 + n];
}

/* An image's id is no name. */
static bool is_id(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

bool check_reference_valid(const char *s)
{
	const char *at = strchr(s, '@'), *end = at ?: s + strlen(s),
		   *slash = memchr(s, '/', (size_t)(end - s)), *colon;
	size_t n;

	if (!*s || is_id(s) || (at && !digest_valid(at + 1)))
		return false;
	if (slash && looks_like_domain(s, (size_t)(slash - s))) {
		if (!domain(s, (size_t)(slash - s)))
			return false;
		s = slash + 1;
	}
	colon = memchr(s, ':', (size_t)(end - s));
	if (colon && !tag_valid(colon + 1, (size_t)(end - colon - 1)))
		return false;
	if (colon)
		end = colon;
	if (end - s > 255)
		return false;
	for (;; s += n + 1) {
		slash = memchr(s, '/', (size_t)(end - s));
		n = (size_t)((slash ?: end) - s);
		if (!path_part(s, n))
			return false;
		if (!slash)
			return true;
	}
}

/* ---- secrets ---- */

/* One of the words is a part of the name, as '_' divides it. */
static bool has_part(const char *name, const char *const *words)
{
	for (const char *p = name;; p++) {
		size_t n = strcspn(p, "_");

		for (size_t i = 0; words[i]; i++)
			if (strlen(words[i]) == n && strncasecmp(p, words[i], n) == 0)
				return true;
		p += n;
		if (!*p)
			return false;
	}
}

bool check_secret_name(const char *s)
{
	static const char *const secret[] = {"apikey", "auth",     "credential", "credentials",
					     "key",    "password", "pword",      "passwd",
					     "secret", "token",    NULL};
	static const char *const open[] = {"public", "file", "version", NULL};

	return has_part(s, secret) && !has_part(s, open);
}

/* ---- platforms ---- */

static const char *const known_os[] = {"linux",   "windows", "darwin",  "freebsd", "netbsd", "openbsd",
				       "solaris", "aix",     "android", "plan9",   NULL};
static const char *const known_arch[] = {"386",     "amd64",   "arm",    "arm64",    "loong64",
					 "mips",    "mipsle",  "mips64", "mips64le", "ppc64",
					 "ppc64le", "riscv64", "s390x",  "wasm",     NULL};

static bool known(const char *s, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		if (streq(s, words[i]))
			return true;
	return false;
}

static void normalize(char arch[64], char variant[64])
{
	static const char *const same[][3] = {{"x86_64", "amd64", ""}, {"x86-64", "amd64", ""},
					      {"i386", "386", ""},     {"aarch64", "arm64", ""},
					      {"armhf", "arm", "v7"},  {"armel", "arm", "v6"}};

	for (size_t i = 0; i < ELEMENTSOF(same); i++) {
		if (streq(arch, same[i][0])) {
			(void)snprintf(arch, 64, "%s", same[i][1]);
			if (*same[i][2])
				(void)snprintf(variant, 64, "%s", same[i][2]);
		}
	}
	if (streq(arch, "arm64") && (streq(variant, "v8") || streq(variant, "8")))
		variant[0] = '\0';
	if (streq(arch, "amd64") && streq(variant, "v1"))
		variant[0] = '\0';
}

bool check_platform_parse(const char *s, char os[64], char arch[64], char variant[64])
{
	char *const parts[] = {os, arch, variant};
	size_t n = 0;

	os[0] = arch[0] = variant[0] = '\0';
	for (;; n++) {
		size_t len = strcspn(s, "/");

		if (n == 3 || len == 0 || len > 63 ||
		    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") < len)
			return false;
		for (size_t i = 0; i < len; i++)
			parts[n][i] = (char)tolower((unsigned char)s[i]);
		parts[n][len] = '\0';
		if (!s[len])
			break;
		s += len + 1;
	}
	if (n > 0) {
		normalize(arch, variant);
		return true;
	}
	/* A single word is either. */
	if (known(os, known_os)) {
		(void)snprintf(arch, 64, "amd64");
		return true;
	}
	(void)snprintf(arch, 64, "%s", os);
	(void)snprintf(os, 64, "linux");
	normalize(arch, variant);
	return known(arch, known_arch);
}
