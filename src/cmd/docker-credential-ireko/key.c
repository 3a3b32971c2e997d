/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See key.h. A key file is one line in hexadecimal. Both the file and the key in the keyring are named after the id. Permission to
 * search and read a key in the keyring goes to the user and not to the possessor alone, because a session need not be
 * linked to the user's keyring (keyrings(7)).
 */
#include "key.h"
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"
#include "dirs.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/syscall.h>

#define FILE_MAX 512
#define KEY_PERMISSIONS                                                                                      \
	0x3f3f0000u /* all to the possessor and to the user, nothing to group and others (KEY_POS_ALL | KEY_USR_ALL) */

void key_done(VaultKey *k)
{
	OPENSSL_cleanse(k, sizeof(*k));
}

static void to_hex(const uint8_t *bytes, size_t n, char *to)
{
	for (size_t i = 0; i < n; i++)
		snprintf(to + i * 2, 3, "%02x", bytes[i]);
}

static int of_hex(const char *s, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned v = 0;

		for (int k = 0; k < 2; k++) {
			char c = s[i * 2 + (size_t)k];

			if (c >= '0' && c <= '9')
				v = v << 4 | (unsigned)(c - '0');
			else if (c >= 'a' && c <= 'f')
				v = v << 4 | (unsigned)(c - 'a' + 10);
			else
				return -EINVAL;
		}
		to[i] = (uint8_t)v;
	}
	return 0;
}

/* ---- the file ---- */

static char *path_of(const uint8_t id[KEY_ID_BYTES])
{
	char name[KEY_ID_BYTES * 2 + 1];
	_cleanup_free_ char *file = NULL;

	to_hex(id, KEY_ID_BYTES, name);
	file = strf("credentials-%s.key", name);
	return file ? dirs_state_file(file) : NULL;
}

static int file_find(const uint8_t id[KEY_ID_BYTES], VaultKey *ret, Err *e)
{
	_cleanup_free_ char *path = path_of(id);
	_cleanup_secret_ char *text = NULL;
	VaultKey k = {.place = KEY_FILE};
	size_t len = 0;

	if (!path)
		return err_oom(e);
	int r = file_read_at(AT_FDCWD, path, FILE_MAX, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return err_new(e, ERR_NOT_FOUND, "its key %s is gone", path);
	if (r < 0)
		return err_sys(e, r, "read its key %s", path);
	if (len < KEY_BYTES * 2 || of_hex(text, k.bytes, KEY_BYTES) < 0)
		return err_new(e, ERR_INVALID, "its key %s is damaged", path);
	memcpy(k.id, id, KEY_ID_BYTES);
	*ret = k;
	key_done(&k);
	return 0;
}

static int file_put(const VaultKey *k, Err *e)
{
	_cleanup_free_ char *path = path_of(k->id);
	char line[KEY_BYTES * 2 + 2];
	int r = path ? dirs_make_state(e) : err_oom(e);

	if (r < 0)
		return r;
	to_hex(k->bytes, KEY_BYTES, line);
	line[KEY_BYTES * 2] = '\n';
	r = file_replace_at(AT_FDCWD, path, line, KEY_BYTES * 2 + 1, 0600, true);
	OPENSSL_cleanse(line, sizeof(line));
	return r < 0 ? err_sys(e, r, "write the key %s", path) : 0;
}

static int file_remove(const uint8_t id[KEY_ID_BYTES], Err *e)
{
	_cleanup_free_ char *path = path_of(id);

	if (!path)
		return err_oom(e);
	if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
		return err_sys(e, errno, "remove the key %s", path);
	return 0;
}

/* ---- the keyring ---- */

typedef struct KeyName {
	char s[64];
} KeyName;

static KeyName name_of(const uint8_t id[KEY_ID_BYTES])
{
	KeyName n = {"ireko-credentials:"};

	to_hex(id, KEY_ID_BYTES, n.s + strlen(n.s));
	return n;
}

static long keyctl(int op, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	return syscall(SYS_keyctl, op, a, b, c, d);
}

/* Key ids and the names of special keyrings are 32 bits, and some are negative. */
static unsigned long ring(void)
{
	return (unsigned long)KEY_SPEC_USER_KEYRING;
}

static int keyring_error(int no, Err *e)
{
	if (no == ENOSYS || no == EPERM || no == EOPNOTSUPP)
		return err_new_no(
		    e, ERR_UNSUPPORTED, no,
		    "the kernel's keyring cannot be used here (%s); keep the key in a file: log in with "
		    "--store file",
		    strerror(no));
	return err_sys(e, no, "the kernel's keyring");
}

static long keyring_search(const uint8_t id[KEY_ID_BYTES])
{
	const KeyName name = name_of(id);

	return keyctl(KEYCTL_SEARCH, ring(), (unsigned long)"user", (unsigned long)name.s, 0);
}

static int keyring_find(const uint8_t id[KEY_ID_BYTES], VaultKey *ret, Err *e)
{
	VaultKey k = {.place = KEY_KEYRING};
	long key = keyring_search(id);

	if (key < 0 && (errno == ENOKEY || errno == EKEYEXPIRED || errno == EKEYREVOKED))
		return err_new(e, ERR_NOT_FOUND,
			       "its key was in the kernel's keyring, which ends with the boot, and is gone");
	if (key < 0)
		return keyring_error(errno, e);
	long n = keyctl(KEYCTL_READ, (unsigned long)key, (unsigned long)k.bytes, KEY_BYTES, 0);
	int r = 0;
	if (n < 0)
		r = keyring_error(errno, e);
	else if (n != KEY_BYTES)
		r = err_new(e, ERR_INVALID, "its key in the kernel's keyring is damaged");
	memcpy(k.id, id, KEY_ID_BYTES);
	if (r == 0)
		*ret = k;
	key_done(&k);
	return r;
}

static int keyring_put(const VaultKey *k, Err *e)
{
	const KeyName name = name_of(k->id);
	long key = syscall(SYS_add_key, "user", name.s, k->bytes, (size_t)KEY_BYTES, ring());

	if (key < 0)
		return keyring_error(errno, e);
	if (keyctl(KEYCTL_SETPERM, (unsigned long)key, KEY_PERMISSIONS, 0, 0) < 0) {
		int no = errno;

		(void)keyctl(KEYCTL_UNLINK, (unsigned long)key, ring(), 0, 0);
		return keyring_error(no, e);
	}
	return 0;
}

static int keyring_remove(const uint8_t id[KEY_ID_BYTES])
{
	long key = keyring_search(id);

	if (key >= 0)
		(void)keyctl(KEYCTL_UNLINK, (unsigned long)key, ring(), 0, 0);
	return 0;
}

/* ---- either ---- */

int key_find(KeyPlace place, const uint8_t id[KEY_ID_BYTES], VaultKey *ret, Err *e)
{
	return place == KEY_KEYRING ? keyring_find(id, ret, e) : file_find(id, ret, e);
}

int key_make(KeyPlace place, VaultKey *ret, Err *e)
{
	VaultKey k = {.place = place};
	int r = 0;

	if (RAND_bytes(k.id, KEY_ID_BYTES) != 1 || RAND_priv_bytes(k.bytes, KEY_BYTES) != 1)
		r = err_new(e, ERR_INTERNAL, "OpenSSL gives no random bytes");
	if (r == 0)
		r = place == KEY_KEYRING ? keyring_put(&k, e) : file_put(&k, e);
	if (r == 0)
		*ret = k;
	key_done(&k);
	return r;
}

int key_remove(KeyPlace place, const uint8_t id[KEY_ID_BYTES], Err *e)
{
	return place == KEY_KEYRING ? keyring_remove(id) : file_remove(id, e);
}
