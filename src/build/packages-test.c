/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "build/packages.h"

#include "base/str.h"

static Packages parsed(PackageKind kind, const char *text)
{
	Packages p = {.kind = kind};
	Err e = {0};

	if (packages_parse(text, strlen(text), &p, &e) < 0)
		fail_msg("%s", e.msg);
	return p;
}

static void test_dpkg(void **state _unused_)
{
	Packages p = parsed(PACKAGE_DEB, "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n"
					 "Description: C library\n Package: no field\nSource: glibc\n"
					 "Version: 1:2.36-9+deb12u1\n\n"
					 "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
					 "Package: nameless version\n\nVersion: 3\n\n\n"
					 "Package: tzdata\nVersion: 2024a\n");
	_cleanup_free_ char *url = NULL, *bare = NULL;

	assert_int_equal(p.n, 2);
	assert_string_equal(p.v[0].name, "libc6");
	assert_string_equal(p.v[0].version, "1:2.36-9+deb12u1");
	assert_string_equal(p.v[0].source, "glibc");
	assert_string_equal(p.v[1].name, "tzdata");
	url = package_url(&p.v[0], p.kind, "debian", "12");
	assert_string_equal(url, "pkg:deb/debian/libc6@1:2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12");
	bare = package_url(&p.v[1], p.kind, NULL, NULL);
	assert_string_equal(bare, "pkg:deb/debian/tzdata@2024a");
	packages_done(&p);
}

static void test_apk(void **state _unused_)
{
	Packages p = parsed(PACKAGE_APK,
			    "C:Q1abc=\nP:musl\nV:1.2.5-r1\nA:x86_64\nL:MIT\no:musl\n\nP:busybox\nV:1.36\n\n");

	assert_int_equal(p.n, 2);
	assert_string_equal(p.v[0].license, "MIT");
	assert_string_equal(p.v[1].name, "busybox");
	assert_null(p.v[1].arch);
	packages_done(&p);
}

static void test_os_release(void **state _unused_)
{
	static const char text[] =
	    "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\nEMPTY=\nQ='a b'";
	_cleanup_free_ char *id = os_release_value(text, "ID"),
			    *release = os_release_value(text, "VERSION_ID");
	_cleanup_free_ char *none = os_release_value(text, "NAME"), *empty = os_release_value(text, "EMPTY");
	_cleanup_free_ char *quoted = os_release_value(text, "Q");

	assert_string_equal(id, "debian");
	assert_string_equal(release, "12");
	assert_null(none);
	assert_string_equal(empty, "");
	assert_string_equal(quoted, "a b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_dpkg),
	    cmocka_unit_test(test_apk),
	    cmocka_unit_test(test_os_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
