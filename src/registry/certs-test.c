/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of certs.d: which one counts, what is taken from it, what is refused. */
#include "registry/certs.h"
#include "base/str.h"
#include "base/test-dir.h"

#define PEM "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"

typedef struct World {
	char *ours, *docker;
	char *dirs[3];
} World;

static void world_open(World *w, const TestDir *d)
{
	w->ours = strf("%s/o\xCC\x88 urs", d->path);
	w->docker = strf("%s/docker", d->path);
	w->dirs[0] = w->ours;
	w->dirs[1] = w->docker;
	w->dirs[2] = NULL;
}

static void world_close(World *w)
{
	free(w->ours);
	free(w->docker);
}

static void put(const char *dir, const char *host, const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *folder = strf("%s/%s", dir, host);
	_cleanup_free_ char *path = strf("%s/%s", folder, name);

	assert_int_equal(mkdir_parents_at(AT_FDCWD, folder, 0755), 0);
	assert_int_equal(file_replace_at(AT_FDCWD, path, text, strlen(text), mode, false), 0);
}

static void test_none(void **state)
{
	World w;
	HostFiles f = {0};
	HostAuth a = {0};

	world_open(&w, *state);
	assert_int_equal(host_files_read(w.dirs, "quay.io:443", &f, NULL), 0);
	assert_true(!f.authorities && !f.cert && !f.key);
	assert_int_equal(host_auth_read(w.dirs, "quay.io:443", &a, NULL), 0);
	assert_true(!a.username && !a.password && !a.identity_token);
	world_close(&w);
}

static void test_everything(void **state)
{
	World w;
	HostFiles f = {0};

	world_open(&w, *state);
	put(w.ours, "reg.lan:5000", "a.crt", PEM "A", 0644);
	put(w.ours, "reg.lan:5000", "b.crt", PEM "B", 0644);
	put(w.ours, "reg.lan:5000", "z.cert", PEM, 0644);
	put(w.ours, "reg.lan:5000", "z.key", "k", 0600);
	put(w.ours, "reg.lan:5000", "m.cert", PEM, 0644);
	put(w.ours, "reg.lan:5000", "m.key", "k", 0600);
	put(w.ours, "reg.lan:5000", ".x.crt", "hidden", 0600);
	put(w.ours, "reg.lan:5000", "README", "text", 0600);
	assert_int_equal(host_files_read(w.dirs, "reg.lan:5000", &f, NULL), 0);
	assert_string_equal(f.authorities, PEM "A\n" PEM "B\n");
	assert_true(str_ends(f.cert, "/reg.lan:5000/m.cert"));
	assert_true(str_ends(f.key, "/reg.lan:5000/m.key"));
	host_files_done(&f);
	assert_int_equal(host_files_read(w.dirs, "reg.lan:5001", &f, NULL), 0);
	assert_null(f.authorities);
	assert_int_equal(host_files_read(w.dirs, "reg.lan:443", &f, NULL), 0);
	assert_null(f.authorities);
	world_close(&w);
}

static void expect_authority(World *w, const char *host, const char *text)
{
	HostFiles f = {0};

	assert_int_equal(host_files_read(w->dirs, host, &f, NULL), 0);
	if (!f.authorities || !strstr(f.authorities, text))
		fail_msg("%s: expected %s, got %s", host, text, f.authorities ? f.authorities : "nothing");
	host_files_done(&f);
}

static void test_which_folder(void **state)
{
	World w;

	world_open(&w, *state);
	put(w.docker, "quay.io", "ca.crt", PEM "docker's", 0644);
	expect_authority(&w, "quay.io:443", "docker's");
	put(w.ours, "quay.io", "ca.crt", PEM "ours", 0644);
	expect_authority(&w, "quay.io:443", "ours");
	put(w.ours, "quay.io:443", "ca.crt", PEM "exact", 0644);
	expect_authority(&w, "quay.io:443", "exact");
	put(w.docker, "docker.io", "ca.crt", PEM "hub", 0644);
	expect_authority(&w, "registry-1.docker.io:443", "hub");
	world_close(&w);
}

static void test_names_of_strangers(void **state)
{
	static const char *const hosts[] = {"..:443", ".:443", "../x:443", "a/b:1", "", ":"};
	World w;

	world_open(&w, *state);
	put(w.ours, "..", "ca.crt", PEM, 0644);
	put(w.ours, "a/b:1", "ca.crt", PEM, 0644);
	for (size_t i = 0; i < ELEMENTSOF(hosts); i++) {
		HostFiles f = {0};

		assert_int_equal(host_files_read(w.dirs, hosts[i], &f, NULL), 0);
		if (f.authorities)
			fail_msg("\"%s\" found something", hosts[i]);
	}
	world_close(&w);
}

static void test_refused(void **state)
{
	World w;
	HostFiles f = {0};
	Err e = {0};

	world_open(&w, *state);
	put(w.ours, "one", "client.cert", PEM, 0644);
	assert_true(host_files_read(w.dirs, "one:443", &f, &e) < 0);
	assert_non_null(strstr(e.msg, "missing key"));
	assert_non_null(strstr(e.msg, "CA certificates must use the extension .crt"));
	put(w.ours, "two", "ca.crt", "not PEM", 0644);
	assert_true(host_files_read(w.dirs, "two:443", &f, &e) < 0);
	assert_non_null(strstr(e.msg, "/two/ca.crt holds no certificate"));
	world_close(&w);
}

static void test_auth(void **state)
{
	World w;
	HostAuth a = {0};
	Err e = {0};

	world_open(&w, *state);
	put(w.ours, "m.lan:5000", "auth.json", "{\"username\":\"u\",\"password\":\"geheim\"}", 0600);
	assert_int_equal(host_auth_read(w.dirs, "m.lan:5000", &a, NULL), 0);
	assert_string_equal(a.username, "u");
	assert_string_equal(a.password, "geheim");
	host_auth_done(&a);
	put(w.ours, "m.lan:5000", "auth.json", "{\"username\":\"u\",\"password\":\"geheim\"}", 0644);
	assert_true(host_auth_read(w.dirs, "m.lan:5000", &a, &e) < 0);
	assert_non_null(strstr(e.msg, "chmod 600"));
	static const char *const bad[] = {"{}", "{\"username\":\"u\"}", "[]", "{\"password\":\"geheim\"}",
					  "geheim"};
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		put(w.ours, "m.lan:5000", "auth.json", bad[i], 0600);
		assert_true(host_auth_read(w.dirs, "m.lan:5000", &a, &e) < 0);
		assert_null(strstr(e.msg, "geheim"));
	}
	put(w.ours, "m.lan:5000", "auth.json", "{\"identitytoken\":\"t\"}", 0600);
	assert_int_equal(host_auth_read(w.dirs, "m.lan:5000", &a, NULL), 0);
	assert_string_equal(a.identity_token, "t");
	host_auth_done(&a);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {test_in_dir(test_none),
					   test_in_dir(test_everything),
					   test_in_dir(test_which_folder),
					   test_in_dir(test_names_of_strangers),
					   test_in_dir(test_refused),
					   test_in_dir(test_auth)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
