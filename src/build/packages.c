/* SPDX-License-Identifier: Apache-2.0 */
/* Databases of package managers: records of lines, ended by an empty one; see packages.h, deb-control(5) and apk-package(5). */
#include "build/packages.h"

#include "base/str.h"

#include <ctype.h>

typedef struct Record {
	Package p;
	bool gone; /* known, and not installed */
} Record;

static void package_done(Package *p)
{
	free(p->name);
	free(p->version);
	free(p->arch);
	free(p->license);
	free(p->source);
	*p = (Package){0};
}

void packages_done(Packages *p)
{
	for (size_t i = 0; i < p->n; i++)
		package_done(&p->v[i]);
	free(p->v);
	p->v = NULL;
	p->n = 0;
}

/* The value of a line "KEY VALUE", without what is blank at its ends; false if the line is another. */
static bool line_value(const char *line, size_t len, const char *key, const char **ret, size_t *ret_len)
{
	size_t n = strlen(key);

	if (len < n || strncasecmp(line, key, n) != 0)
		return false;
	for (line += n, len -= n; len > 0 && isspace((unsigned char)*line); line++)
		len--;
	while (len > 0 && isspace((unsigned char)line[len - 1]))
		len--;
	*ret = line;
	*ret_len = len;
	return true;
}

/* The first one counts. */
static int take(char **to, const char *text, size_t len, Err *e)
{
	if (*to || len == 0)
		return 0;
	*to = strndup(text, len);
	return *to ? 0 : err_oom(e);
}

static int read_line(Record *r, PackageKind kind, const char *line, size_t len, Err *e)
{
	const struct {
		const char *deb, *apk;
		char **to;
	} fields[] = {
	    {"Package:", "P:", &r->p.name},      {"Version:", "V:", &r->p.version},
	    {"Architecture:", "A:", &r->p.arch}, {NULL, "L:", &r->p.license},
	    {"Source:", "o:", &r->p.source},
	};
	const char *value;
	size_t n;

	for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
		const char *key = kind == PACKAGE_DEB ? fields[i].deb : fields[i].apk;

		if (key && line_value(line, len, key, &value, &n))
			return take(fields[i].to, value, n, e);
	}
	/* "install ok installed"; files of status.d have no such line. */
	if (kind == PACKAGE_DEB && line_value(line, len, "Status:", &value, &n))
		r->gone = n < 10 || strncmp(value + n - 10, " installed", 10) != 0;
	return 0;
}

static int record_end(Packages *p, Record *r, Err *e)
{
	Package *grown;

	if (!r->p.name || !r->p.version || r->gone) {
		package_done(&r->p);
		*r = (Record){0};
		return 0;
	}
	if (p->n == PACKAGES_MAX)
		return err_new(e, ERR_INVALID, "more than %d packages", PACKAGES_MAX);
	if ((p->n & (p->n - 1)) == 0) {
		grown = reallocarray(p->v, p->n ? p->n * 2 : 1, sizeof(*grown));
		if (!grown)
			return err_oom(e);
		p->v = grown;
	}
	p->v[p->n++] = r->p;
	*r = (Record){0};
	return 0;
}

int packages_parse(const char *text, size_t len, Packages *p, Err *e)
{
	const char *end = text + len;
	Record r = {0};
	int no = 0;

	while (no >= 0 && text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text)) ?: end;

		if (stop == text)
			no = record_end(p, &r, e);
		else if (*text != ' ' && *text != '\t') /* else it goes on with the line before */
			no = read_line(&r, p->kind, text, (size_t)(stop - text), e);
		text = stop + (stop < end);
	}
	if (no >= 0)
		no = record_end(p, &r, e);
	package_done(&r.p);
	return no;
}

/* Percent-encoded but for what the specification lets stand. */
static void add_encoded(StrBuf *b, const char *s)
{
	for (; *s; s++)
		if (isalnum((unsigned char)*s) || strchr("-._~:", *s))
			strbuf_add_c(b, *s);
		else
			strbuf_addf(b, "%%%02X", (unsigned char)*s);
}

char *package_url(const Package *p, PackageKind kind, const char *distro, const char *release)
{
	_cleanup_strbuf_ StrBuf b = {0};
	const char *vendor = str_empty(distro) ? kind == PACKAGE_DEB ? "debian" : "alpine" : distro;

	strbuf_add(&b, kind == PACKAGE_DEB ? "pkg:deb/" : "pkg:apk/");
	add_encoded(&b, vendor);
	strbuf_add_c(&b, '/');
	add_encoded(&b, p->name);
	strbuf_add_c(&b, '@');
	add_encoded(&b, p->version);
	if (p->arch) {
		strbuf_add(&b, "?arch=");
		add_encoded(&b, p->arch);
	}
	if (!str_empty(distro)) {
		strbuf_add(&b, p->arch ? "&distro=" : "?distro=");
		add_encoded(&b, distro);
		if (!str_empty(release)) {
			strbuf_add_c(&b, '-');
			add_encoded(&b, release);
		}
	}
	return b.oom ? NULL : strbuf_steal(&b);
}

char *os_release_value(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
		const char *value = text + n + 1;

		if (strncmp(text, key, n) != 0 || text[n] != '=')
			continue;
		size_t len = strcspn(value, "\n");
		if (len >= 2 && (*value == '"' || *value == '\'') && value[len - 1] == *value)
			return strndup(value + 1, len - 2);
		return strndup(value, len);
	}
	return NULL;
}
