/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which archive a base image is made from (bootstrap.h).
 *
 * The host's own mirror and keyring are preferred: it is what the machine's owner trusts and can reach. Signatures are
 * always checked against a keyring of the distribution, never against all that the host happens to trust.
 */
#include "engine/bootstrap.h"

#include "base/fd.h"
#include "base/str.h"
#include "oci/reference.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>

#define SOURCES_MAX (1u << 20)

static const struct {
	const char *distribution, *tag, *suite;
	bool stable; /* has -updates and -security */
} suites[] = {
    {"debian", "latest", "stable", true},     {"debian", "stable", "stable", true},
    {"debian", "11", "bullseye", true},       {"debian", "bullseye", "bullseye", true},
    {"debian", "12", "bookworm", true},       {"debian", "bookworm", "bookworm", true},
    {"debian", "13", "trixie", true},         {"debian", "trixie", "trixie", true},
    {"debian", "testing", "testing", false},  {"debian", "forky", "forky", false},
    {"debian", "sid", "sid", false},          {"debian", "unstable", "unstable", false},
    {"ubuntu", "latest", "noble", true},      {"ubuntu", "20.04", "focal", true},
    {"ubuntu", "focal", "focal", true},       {"ubuntu", "22.04", "jammy", true},
    {"ubuntu", "jammy", "jammy", true},       {"ubuntu", "24.04", "noble", true},
    {"ubuntu", "noble", "noble", true},       {"ubuntu", "25.04", "plucky", true},
    {"ubuntu", "plucky", "plucky", true},     {"ubuntu", "25.10", "questing", true},
    {"ubuntu", "questing", "questing", true},
};

void base_source_done(BaseSource *b)
{
	free(b->suite);
	free(b->uri);
	free(b->security_uri);
	free(b->keyring);
	*b = (BaseSource){0};
}

static int defaults(BaseSource *b, Err *e)
{
	bool debian = streq(b->distribution, "debian");
#if defined(__x86_64__) || defined(__i386__)
	const char *ubuntu = "http://archive.ubuntu.com/ubuntu",
		   *ubuntu_security = "http://security.ubuntu.com/ubuntu";
#else
	const char *ubuntu = "http://ports.ubuntu.com/ubuntu-ports", *ubuntu_security = ubuntu;
#endif

	b->uri = strdup(debian ? "http://deb.debian.org/debian" : ubuntu);
	b->security_uri = strdup(debian ? "http://deb.debian.org/debian-security" : ubuntu_security);
	b->keyring = strf("/usr/share/keyrings/%s-archive-keyring.gpg", b->distribution);
	b->components = debian ? "main" : "main universe";
	return b->suite && b->uri && b->security_uri && b->keyring ? 0 : err_oom(e);
}

static int pick_suite(BaseSource *b, const char *name, const char *tag, Err *e)
{
	for (size_t i = 0; i < ELEMENTSOF(suites); i++) {
		if (!streq(suites[i].distribution, name) || !streq(suites[i].tag, tag))
			continue;
		b->distribution = suites[i].distribution;
		b->suite = strdup(suites[i].suite);
		b->has_updates = b->has_security = suites[i].stable;
		return defaults(b, e);
	}
	return err_new(e, ERR_INVALID,
		       "%s:%s cannot be bootstrapped: offered are debian:bookworm (also 11, 12, 13, "
		       "bullseye, trixie, testing, "
		       "sid, stable; with -slim) and ubuntu:noble (also 20.04, 22.04, 24.04, 25.10, focal, "
		       "jammy, questing)",
		       name, tag);
}

int base_source_parse(const char *reference, BaseSource *ret, Err *e)
{
	Reference ref = {0};
	BaseSource b = {0};
	int r = reference_parse(reference, &ref, e);

	if (r < 0)
		return r;
	const char *name = str_after(ref.path, "library/");
	_cleanup_free_ char *tag = strdup(ref.tag ? ref.tag : "");
	if (!tag) {
		r = err_oom(e);
	} else if (!name || !streq(ref.domain, "docker.io") || ref.digest) {
		r = err_new(e, ERR_INVALID, "%s cannot be bootstrapped: offered are debian and ubuntu by tag",
			    reference);
	} else {
		b.slim = str_ends(tag, "-slim");
		if (b.slim)
			tag[strlen(tag) - strlen("-slim")] = '\0';
		r = pick_suite(&b, name, tag, e);
	}
	reference_done(&ref);
	if (r < 0) {
		base_source_done(&b);
		return r;
	}
	*ret = b;
	return 0;
}

/* ---- the host's sources ---- */

typedef struct Entry {
	char *types, *uris, *suites, *signed_by, *enabled;
} Entry;

static void entry_done(Entry *x)
{
	free(x->types);
	free(x->uris);
	free(x->suites);
	free(x->signed_by);
	free(x->enabled);
	*x = (Entry){0};
}

static char **words_of(const char *s)
{
	_cleanup_free_ char *copy = strdup(s ? s : "");
	char **v = calloc(1, sizeof(char *)), *cursor = copy, *w;

	while (v && copy && (w = strsep(&cursor, " \t\r\n")))
		if (*w && strv_add(&v, w) < 0)
			break;
	return v;
}

/* Is this suite one of the distribution's, and is it the security one? */
static bool suite_known(const char *distribution, const char *suite, bool *ret_security)
{
	_cleanup_free_ char *base = strndup(suite, strcspn(suite, "-/"));

	*ret_security = str_ends(suite, "-security") || str_ends(suite, "/updates");
	for (size_t i = 0; base && i < ELEMENTSOF(suites); i++)
		if (streq(suites[i].distribution, distribution) && streq(suites[i].suite, base))
			return true;
	return false;
}

static bool uri_usable(const char *uri)
{
	if (!str_starts(uri, "http://") && !str_starts(uri, "https://"))
		return false;
	for (const char *p = uri; *p; p++)
		if (!isgraph((unsigned char)*p) || strchr("[]'\"\\", *p))
			return false;
	return true;
}

static int take(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int entry_apply(BaseSource *b, const Entry *x)
{
	_cleanup_strv_ char **types = words_of(x->types), **uris = words_of(x->uris),
			    **names = words_of(x->suites);
	_cleanup_strv_ char **keys = words_of(x->signed_by);
	int r = 0;

	if (!types || !uris || !names || !keys)
		return -ENOMEM;
	if (!strv_has(types, "deb") || !uris[0] || !uri_usable(uris[0]) || streq0(x->enabled, "no"))
		return 0;
	for (size_t i = 0; r >= 0 && names[i]; i++) {
		bool security;

		if (!suite_known(b->distribution, names[i], &security))
			continue;
		r = take(security ? &b->security_uri : &b->uri, uris[0]);
		/* An embedded key has no path; the distribution's own keyring serves then. */
		if (r >= 0 && !security && keys[0] && keys[0][0] == '/' && access(keys[0], R_OK) == 0)
			r = take(&b->keyring, keys[0]);
	}
	return r;
}

/* "deb [signed-by=/k arch=amd64] http://m/debian bookworm main" */
static int scan_line(BaseSource *b, const char *line)
{
	_cleanup_free_ char *rest = strdup(line + strspn(line, " \t"));
	Entry x = {0};
	int r;

	if (!rest)
		return -ENOMEM;
	rest[strcspn(rest, "#")] = '\0';
	char *open = strchr(rest, '['), *close = open ? strchr(open, ']') : NULL;
	if (open && close) {
		char *key;

		*close = '\0';
		key = strstr(open, "signed-by=");
		if (key) {
			key += strlen("signed-by=");
			x.signed_by = strndup(key, strcspn(key, " ,\t"));
		}
		memset(open, ' ', (size_t)(close - open) + 1);
	}
	_cleanup_strv_ char **w = words_of(rest);
	if (w && strv_len(w) >= 3) {
		x.types = strdup(w[0]);
		x.uris = strdup(w[1]);
		x.suites = strdup(w[2]);
	}
	r = w ? entry_apply(b, &x) : -ENOMEM;
	entry_done(&x);
	return r;
}

static char **deb822_field(Entry *x, const char *line, size_t name)
{
	const struct {
		const char *name;
		char **field;
	} known[] = {{"Types", &x->types},
		     {"URIs", &x->uris},
		     {"Suites", &x->suites},
		     {"Signed-By", &x->signed_by},
		     {"Enabled", &x->enabled}};

	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (strlen(known[i].name) == name && strncasecmp(line, known[i].name, name) == 0)
			return known[i].field;
	return NULL;
}

static int scan_deb822(BaseSource *b, char **lines)
{
	Entry x = {0};
	int r = 0;

	for (size_t i = 0; r >= 0 && lines[i]; i++) {
		const char *line = lines[i];
		size_t name = strcspn(line, ":");

		if (line[strspn(line, " \t\r")] == '\0') {
			r = entry_apply(b, &x);
			entry_done(&x);
		} else if (line[0] != '#' && line[0] != ' ' && line[0] != '\t' && line[name]) {
			char **field = deb822_field(&x, line, name);

			r = field ? take(field, line + name + 1) : 0;
			if (field == &x.enabled && x.enabled)
				r = take(&x.enabled, x.enabled + strspn(x.enabled, " \t"));
		}
	}
	if (r >= 0)
		r = entry_apply(b, &x);
	entry_done(&x);
	return r;
}

int base_source_scan(BaseSource *b, const char *text, bool deb822)
{
	_cleanup_strv_ char **lines = strv_split(text, '\n');
	int r = lines ? 0 : -ENOMEM;

	if (r >= 0 && deb822)
		return scan_deb822(b, lines);
	for (size_t i = 0; r >= 0 && lines[i]; i++)
		r = scan_line(b, lines[i]);
	return r;
}

static int scan_file(BaseSource *b, int dir, const char *name, bool deb822, Err *e)
{
	_cleanup_free_ char *text = NULL;
	int r = file_read_at(dir, name, SOURCES_MAX, &text, NULL);

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = base_source_scan(b, text, deb822);
	return r < 0 ? err_sys(e, r, "read %s of /etc/apt", name) : 0;
}

int base_source_scan_host(BaseSource *b, Err *e)
{
	DIR *d = opendir("/etc/apt/sources.list.d");
	const struct dirent *de;
	int r = 0;

	while (d && r >= 0 && (de = readdir(d))) {
		bool deb822 = str_ends(de->d_name, ".sources");

		if (deb822 || str_ends(de->d_name, ".list"))
			r = scan_file(b, dirfd(d), de->d_name, deb822, e);
	}
	if (d)
		closedir(d);
	if (r >= 0)
		r = scan_file(b, AT_FDCWD, "/etc/apt/sources.list", false, e);
	return r;
}

char **base_source_lines(const BaseSource *b)
{
	char **v = NULL;
	int r =
	    strv_take(&v, strf("deb [signed-by=%s] %s %s %s", b->keyring, b->uri, b->suite, b->components));

	if (r >= 0 && b->has_updates)
		r = strv_take(&v, strf("deb [signed-by=%s] %s %s-updates %s", b->keyring, b->uri, b->suite,
				       b->components));
	if (r >= 0 && b->has_security)
		r = strv_take(&v, strf("deb [signed-by=%s] %s %s-security %s", b->keyring, b->security_uri,
				       b->suite, b->components));
	if (r < 0) {
		strv_free(v);
		return NULL;
	}
	return v;
}
