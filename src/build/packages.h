/* SPDX-License-Identifier: Apache-2.0 */
/* What dpkg and apk write down of the packages that they have installed. Pure; the files are an image's, so anything may be in them. */
#pragma once

#include "base/err.h"

#define PACKAGES_MAX 100000

typedef enum PackageKind { PACKAGE_DEB, PACKAGE_APK } PackageKind;

typedef struct Package {
	char *name, *version;
	char *arch, *license, *source; /* or NULL */
} Package;

typedef struct Packages {
	PackageKind kind;
	Package *v;
	size_t n;
} Packages;

/* Appends the packages that are installed, of /var/lib/dpkg/status, a file of /var/lib/dpkg/status.d, or /lib/apk/db/installed. What has no name or version is left
 * out. ERR_INVALID: more than PACKAGES_MAX. */
int packages_parse(const char *text, size_t len, Packages *p, Err *e);
void packages_done(Packages *p);
/* "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12" (the package-url specification); distro and release as /etc/os-release has them, or
 * NULL. malloc'ed, NULL without memory. */
char *package_url(const Package *p, PackageKind kind, const char *distro, const char *release);
/* A value of /etc/os-release, without its quotes; malloc'ed, NULL if there is none. */
char *os_release_value(const char *text, const char *key);
