/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The software in an image: the packages that dpkg and apk have installed in it, as an SPDX 2.3 document.
 *
 * Nothing of the image is run. Its files are looked up in the result's own tree and nowhere else, whatever links there are in it. What was installed by
 * other means (language package managers, COPY) is not listed.
 */
#include "build/packages.h"
#include "build/result.h"

#include <dirent.h>

#define DATABASE_MAX   (64u << 20)
#define OS_RELEASE_MAX (64u << 10)
#define STATUS_D_MAX   10000 /* files */

typedef struct Sbom {
	int root;
	char *distro, *release;
	json_t *packages, *relations;
	size_t n;
} Sbom;

/* 0 if there is no such file. */
static int read_file(int dir, const char *path, size_t max, char **ret, size_t *ret_len, Err *e)
{
	_cleanup_close_ int fd = path_open_in_root(dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : err_sys(e, fd, "open %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	r = fd_read_all(fd, max, ret, ret_len);
	return r < 0 ? err_sys(e, r, "read %s", path) : 1;
}

static int find_release(Sbom *s, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = read_file(s->root, "etc/os-release", OS_RELEASE_MAX, &text, &len, e);

	if (r == 0)
		r = read_file(s->root, "usr/lib/os-release", OS_RELEASE_MAX, &text, &len, e);
	if (r > 0) {
		s->distro = os_release_value(text, "ID");
		s->release = os_release_value(text, "VERSION_ID");
	}
	return MIN2(r, 0);
}

/* Text of an image that is no UTF-8 is left out. */
static json_t *entry(const Sbom *s, const Package *p, PackageKind kind, const char *id)
{
	_cleanup_free_ char *url = package_url(p, kind, s->distro, s->release);
	const char *license = p->license ?: "NOASSERTION";
	json_t *doc = url ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s, s:s}]}", "SPDXID", id,
				      "name", p->name, "versionInfo", p->version, "downloadLocation",
				      "NOASSERTION", "licenseConcluded", "NOASSERTION", "copyrightText",
				      "NOASSERTION", "externalRefs", "referenceCategory", "PACKAGE-MANAGER",
				      "referenceType", "purl", "referenceLocator", url)
			  : NULL;

	/* apk's are SPDX expressions by its own rules; others stay unsaid. */
	if (doc && json_object_set_new(doc, "licenseDeclared", json_string(license)) < 0)
		(void)json_object_set_new(doc, "licenseDeclared", json_string("NOASSERTION"));
	return doc;
}

static int add(Sbom *s, const Packages *p, Err *e)
{
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_free_ char *id = strf("SPDXRef-Package-%zu", s->n);
		json_t *doc = id ? entry(s, &p->v[i], p->kind, id) : NULL;

		if (!doc)
			continue;
		if (json_array_append_new(s->packages, doc) < 0 ||
		    json_array_append_new(s->relations, json_pack("{s:s, s:s, s:s}", "spdxElementId",
								  "SPDXRef-DOCUMENT", "relationshipType",
								  "DESCRIBES", "relatedSpdxElement", id)) < 0)
			return err_oom(e);
		s->n++;
	}
	return 0;
}

static int add_file(Sbom *s, int dir, const char *path, PackageKind kind, Err *e)
{
	_cleanup_free_ char *text = NULL;
	Packages p = {.kind = kind};
	size_t len = 0;
	int r = read_file(dir, path, DATABASE_MAX, &text, &len, e);

	if (r > 0)
		r = packages_parse(text, len, &p, e);
	if (r >= 0)
		r = add(s, &p, e);
	packages_done(&p);
	return r < 0 ? err_ctx(e, r, "%s of the image", path) : 0;
}

/* A file a package, as images without dpkg have them. */
static int add_status_d(Sbom *s, Err *e)
{
	_cleanup_(closedirp) DIR *d = NULL;
	struct dirent *entry;
	int fd = path_open_in_root(s->root, "var/lib/dpkg/status.d", O_RDONLY | O_DIRECTORY, 0), r = 0;

	if (fd < 0)
		return 0;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close_fd(&fd);
		return err_sys(e, r, "read var/lib/dpkg/status.d");
	}
	for (int n = 0; r >= 0 && n < STATUS_D_MAX && (entry = readdir(d)); n++)
		if (*entry->d_name != '.' && !str_ends(entry->d_name, ".md5sums"))
			r = add_file(s, fd, entry->d_name, PACKAGE_DEB, e);
	return r;
}

static json_t *document(const Sbom *s, const BuildResult *r)
{
	char digest[DIGEST_LEN + 1];
	_cleanup_free_ char *space = NULL;

	digest_of(r->text, strlen(r->text), digest);
	space = strf("urn:ireko:sbom:%s", digest_hex(digest));
	return space ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:[s]}, s:O, s:O}", "spdxVersion",
				 "SPDX-2.3", "dataLicense", "CC0-1.0", "SPDXID", "SPDXRef-DOCUMENT", "name",
				 "image", "documentNamespace", space, "creationInfo", "created",
				 r->config.created, "creators", "Tool: ireko-" IREKO_VERSION, "packages",
				 s->packages, "relationships", s->relations)
		     : NULL;
}

int sbom_make(const BuildResult *r, json_t **ret, Err *e)
{
	_cleanup_close_ int root = -1;
	Sbom s = {.packages = json_array(), .relations = json_array()};
	int no = s.packages && s.relations ? 0 : err_oom(e);

	if (no >= 0 && r->chain)
		no = store_layers_mount(r->store, r->chain, &root, e);
	s.root = root;
	if (no >= 0 && r->chain)
		no = find_release(&s, e);
	if (no >= 0 && r->chain)
		no = add_file(&s, root, "var/lib/dpkg/status", PACKAGE_DEB, e);
	if (no >= 0 && r->chain)
		no = add_status_d(&s, e);
	if (no >= 0 && r->chain)
		no = add_file(&s, root, "lib/apk/db/installed", PACKAGE_APK, e);
	if (no >= 0) {
		*ret = document(&s, r);
		no = *ret ? 0 : err_oom(e);
	}
	json_decref(s.packages);
	json_decref(s.relations);
	free(s.distro);
	free(s.release);
	return no < 0 ? err_ctx(e, no, "list the packages") : 0;
}
