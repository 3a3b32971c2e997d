/* SPDX-License-Identifier: Apache-2.0 */
/* The vault in a home of its own: what it keeps, what it shows to nobody, and what it does when it or its key was tampered with. */
#include "vault.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "dirs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

static int setup(void **state)
{
	if (test_dir_setup(state) < 0)
		return -1;
	const TestDir *dir = *state;
	_cleanup_free_ char *data = strf("%s/d\xc3\xa4ta home", dir->path),
			    *key = strf("%s/state home", dir->path);

	return setenv("XDG_DATA_HOME", data, 1) < 0 || setenv("XDG_STATE_HOME", key, 1) < 0 ? -1 : 0;
}

static void put(const char *server, const char *secret)
{
	Vault v;
	Err e = {0};

	if (vault_open_to_write(&v, &e) < 0)
		fail_msg("%s", e.msg);
	json_object_set_new(v.entries, server, json_pack("{s:s, s:s}", "Username", "u", "Secret", secret));
	if (vault_save(&v, 0, &e) < 0)
		fail_msg("%s", e.msg);
	vault_done(&v);
}

static void expect(const char *server, const char *secret)
{
	Vault v;
	Err e = {0};

	if (vault_open(&v, &e) < 0)
		fail_msg("%s", e.msg);
	const char *have = json_get_str(json_object_get(v.entries, server), "Secret");
	if (secret)
		assert_string_equal(have, secret);
	else
		assert_null(have);
	vault_done(&v);
}

static char *read_vault(size_t *len)
{
	_cleanup_free_ char *path = dirs_data_file("credentials");
	char *text = NULL;

	assert_int_equal(file_read_at(AT_FDCWD, path, VAULT_MAX, &text, len), 0);
	return text;
}

static void write_vault(const char *text, size_t len)
{
	_cleanup_free_ char *path = dirs_data_file("credentials");

	assert_int_equal(file_replace_at(AT_FDCWD, path, text, len, 0600, false), 0);
}

/* The only key file, or NULL. */
static char *key_file(void)
{
	_cleanup_free_ char *one = dirs_state_file("");
	DIR *d = opendir(one);
	char *found = NULL;

	for (struct dirent *entry; d && (entry = readdir(d));)
		if (str_ends(entry->d_name, ".key")) {
			assert_null(found);
			found = strf("%s%s", one, entry->d_name);
		}
	if (d)
		closedir(d);
	return found;
}

static void test_keeps_and_hides(void **state _unused_)
{
	size_t len = 0, again = 0;
	struct stat st;

	expect("h:5000", NULL);
	put("h:5000", "geheim-1");
	put("other.example", "geheim-2");
	expect("h:5000", "geheim-1");
	expect("other.example", "geheim-2");
	_cleanup_free_ char *text = read_vault(&len), *key = key_file(),
			    *path = dirs_data_file("credentials");
	assert_null(memmem(text, len, "geheim", 6));
	assert_null(memmem(text, len, "example", 7));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* The same contents, written again, look different: no nonce is used twice. */
	put("other.example", "geheim-2");
	_cleanup_free_ char *second = read_vault(&again);
	assert_int_equal(len, again);
	assert_memory_not_equal(text, second, len);
}

/* Whatever bit is turned, nothing comes out of it, and a write does not destroy it. */
static void test_tampering(void **state _unused_)
{
	size_t len = 0;

	put("h:5000", "geheim");
	_cleanup_free_ char *text = read_vault(&len);
	for (size_t i = 0; i < len; i++) {
		Err e = {0};
		Vault v;

		text[i] ^= 1;
		write_vault(text, len);
		if (vault_open(&v, &e) == 0)
			fail_msg("a change of byte %zu was not noticed", i);
		assert_true(e.kind == ERR_INVALID || e.kind == ERR_NOT_FOUND || e.kind == ERR_UNSUPPORTED);
		assert_null(strstr(e.msg, "geheim"));
		if (e.kind == ERR_INVALID)
			assert_true(vault_open_to_write(&v, NULL) < 0);
		text[i] ^= 1;
	}
	for (size_t n = 0; n < len; n++) {
		Vault v;

		write_vault(text, n);
		assert_true(vault_open(&v, NULL) < 0);
	}
	write_vault(text, len);
	expect("h:5000", "geheim");
}

static void test_lost_key(void **state _unused_)
{
	Err e = {0};
	Vault v;

	put("h:5000", "geheim");
	_cleanup_free_ char *key = key_file();
	assert_int_equal(unlink(key), 0);
	assert_true(vault_open(&v, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	assert_non_null(strstr(e.msg, "log in again"));
	/* To log in again is what helps. */
	put("new:1", "x");
	expect("new:1", "x");
	expect("h:5000", NULL);
}

static void test_damaged_key(void **state _unused_)
{
	Err e = {0};
	Vault v;

	put("h:5000", "geheim");
	_cleanup_free_ char *key = key_file();
	assert_int_equal(file_write_at(AT_FDCWD, key, "zz"), 0);
	assert_true(vault_open(&v, &e) < 0);
	assert_int_equal(e.kind, ERR_INVALID);
}

static void test_empty_leaves_nothing(void **state _unused_)
{
	_cleanup_free_ char *path = dirs_data_file("credentials");
	Vault v;

	put("h:5000", "geheim");
	assert_int_equal(vault_open_to_write(&v, NULL), 0);
	json_object_clear(v.entries);
	assert_int_equal(vault_save(&v, 0, NULL), 0);
	vault_done(&v);
	assert_int_equal(access(path, F_OK), -1);
	assert_null(key_file());
}

/* Several programs at once: every entry is there in the end. */
static void test_concurrent_writers(void **state _unused_)
{
	enum { N = 8 };
	pid_t pids[N];

	for (int i = 0; i < N; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (int k = 0; k < 5; k++) {
				_cleanup_free_ char *server = strf("h%d-%d", i, k);

				put(server, "geheim");
			}
			_exit(0);
		}
	}
	for (int i = 0; i < N; i++) {
		int status = -1;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 5; k++) {
			_cleanup_free_ char *server = strf("h%d-%d", i, k);

			expect(server, "geheim");
		}
}

/* What a writer that was killed has left goes with the next write; what another may be writing just now stays. */
static void test_sweeps(void **state _unused_)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	_cleanup_free_ char *data = dirs_data_file(".tmp-dead"), *key = dirs_state_file(".tmp-dead"),
			    *fresh = dirs_state_file(".tmp-fresh"), *other = dirs_data_file("other");

	put("h:5000", "geheim");
	char *const files[] = {data, key, fresh, other};
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		assert_int_equal(file_replace_at(AT_FDCWD, files[i], "x", 1, 0600, false), 0);
	assert_int_equal(utimensat(AT_FDCWD, key, old, 0), 0);
	put("h:5000", "geheim");
	assert_int_equal(access(data, F_OK), -1);
	assert_int_equal(access(key, F_OK), -1);
	assert_int_equal(access(fresh, F_OK), 0);
	assert_int_equal(access(other, F_OK), 0);
	expect("h:5000", "geheim");
}

/* Where the kernel has no keyring for us (a container's seccomp filter), that is what the error says. */
static void test_keyring(void **state _unused_)
{
	VaultKey key;
	Err e = {0};
	Vault v;

	put("h:5000", "geheim");
	assert_int_equal(vault_open_to_write(&v, NULL), 0);
	int r = vault_save(&v, KEY_KEYRING, &e);
	vault_done(&v);
	if (r < 0) {
		assert_int_equal(e.kind, ERR_UNSUPPORTED);
		assert_non_null(strstr(e.msg, "--store file"));
		expect("h:5000", "geheim");
		return;
	}
	assert_null(key_file());
	expect("h:5000", "geheim");
	put("other", "x"); /* stays there */
	assert_null(key_file());
	assert_int_equal(vault_open(&v, NULL), 0);
	assert_int_equal(v.place, KEY_KEYRING);
	assert_int_equal(key_remove(KEY_KEYRING, v.key_id, NULL), 0);
	assert_true(key_find(KEY_KEYRING, v.key_id, &key, &e) < 0);
	assert_int_equal(e.kind, ERR_NOT_FOUND);
	vault_done(&v);
	assert_true(vault_open(&v, &e) < 0);
	assert_non_null(strstr(e.msg, "log in again"));
	/* Back to a file. */
	assert_int_equal(vault_open_to_write(&v, NULL), 0);
	json_object_set_new(v.entries, "back", json_pack("{s:s, s:s}", "Username", "u", "Secret", "y"));
	assert_int_equal(vault_save(&v, KEY_FILE, NULL), 0);
	vault_done(&v);
	expect("back", "y");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, test_dir_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_keeps_and_hides),      T(test_tampering),          T(test_lost_key), T(test_damaged_key),
	    T(test_empty_leaves_nothing), T(test_concurrent_writers), T(test_keyring),  T(test_sweeps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
