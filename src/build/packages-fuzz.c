/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any file of an image as the database of a package manager, and as /etc/os-release; its words as annotations. */
#include "base/str.h"
#include "build/annotation.h"
#include "build/packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void as(PackageKind kind, const char *text, size_t len, const char *distro)
{
	Packages p = {.kind = kind};

	if (packages_parse(text, len, &p, NULL) >= 0)
		for (size_t i = 0; i < p.n; i++) {
			_cleanup_free_ char *url = package_url(&p.v[i], kind, distro, distro);

			must(*p.v[i].name && *p.v[i].version && url && !strpbrk(url, " \n\"<>"));
		}
	packages_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *id = NULL;
	Annotation a = {0};

	if (!text)
		return 0;
	id = os_release_value(text, "ID");
	must(!id || !strchr(id, '\n'));
	as(PACKAGE_DEB, (const char *)data, size, id);
	as(PACKAGE_APK, (const char *)data, size, id);
	if (annotation_parse(text, &a, NULL) >= 0)
		must(a.places && *a.key && a.value);
	annotation_done(&a);
	return 0;
}
