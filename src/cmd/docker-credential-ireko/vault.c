/* SPDX-License-Identifier: Apache-2.0 */
/* See vault.h. */
#include "vault.h"
#include "base/fd.h"
#include "base/secret.h"
#include "base/str.h"
#include "dirs.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/file.h>

#define FILE_NAME   "credentials"
#define MAGIC       "ireko-credentials-1\n"
#define NONCE_BYTES 12
#define TAG_BYTES   16
#define LOCK_TRIES  300 /* of a thirtieth of a second */

typedef struct Header {
	char magic[sizeof(MAGIC) - 1];
	uint8_t place;
	uint8_t key_id[KEY_ID_BYTES];
	uint8_t nonce[NONCE_BYTES];
	uint8_t tag[TAG_BYTES];
} Header;
_Static_assert(sizeof(Header) == 20 + 1 + 16 + 12 + 16, "a file's layout has no holes");
#define SEALED offsetof(Header, tag) /* what is authenticated of it */

void vault_done(Vault *v)
{
	close_fd(&v->dir);
	json_decref(v->entries);
	v->entries = NULL;
}

/* ---- sealing ---- */

static void cipher_freep(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c);
}

/* AES-256-GCM in one piece; `out` takes len bytes. False if the library fails, or, opening, if anything was changed. */
static bool run_cipher(bool seal, const VaultKey *k, Header *h, const void *in, size_t len, uint8_t *out)
{
	_cleanup_(cipher_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;

	if (!c || len > VAULT_MAX ||
	    EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, h->nonce, seal) != 1)
		return false;
	if (EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)h, SEALED) != 1 ||
	    EVP_CipherUpdate(c, out, &n, in, (int)len) != 1)
		return false;
	if (!seal && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, h->tag) != 1)
		return false;
	if (EVP_CipherFinal_ex(c, out + n, &last) != 1 || (size_t)n + (size_t)last != len)
		return false;
	return !seal || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, h->tag) == 1;
}

static char *path_for_error(void)
{
	char *path = dirs_data_file(FILE_NAME);

	return path ? path : strdup("the credentials");
}

static int damaged(Err *e)
{
	_cleanup_free_ char *path = path_for_error();

	return err_new(e, ERR_INVALID, "%s is damaged, or not ours: remove it, and log in again",
		       path ? path : "");
}

static int unseal(Vault *v, const char *text, size_t len, Err *e)
{
	_cleanup_secret_ char *plain = NULL;
	VaultKey key = {0};
	Header h;

	if (len < sizeof(h) || memcmp(text, MAGIC, sizeof(h.magic)) != 0)
		return damaged(e);
	memcpy(&h, text, sizeof(h));
	if (h.place != KEY_FILE && h.place != KEY_KEYRING)
		return damaged(e);
	v->place = (KeyPlace)h.place;
	memcpy(v->key_id, h.key_id, KEY_ID_BYTES);
	len -= sizeof(h);
	plain = malloc(len + 1);
	if (!plain)
		return err_oom(e);
	int r = key_find(v->place, h.key_id, &key, e);
	if (r < 0) {
		_cleanup_free_ char *path = path_for_error();

		return err_ctx(e, r, "%s cannot be opened; log in again", path ? path : "");
	}
	bool good = run_cipher(false, &key, &h, text + sizeof(h), len, (uint8_t *)plain);
	key_done(&key);
	plain[good ? len : 0] = '\0';
	if (!good || json_parse(plain, len, "credentials", &v->entries, NULL) < 0 ||
	    !json_is_object(v->entries))
		return damaged(e);
	return 0;
}

/* ---- opening ---- */

static int lock(int dir, int how, Err *e)
{
	for (int i = 0; flock(dir, how | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, errno, "lock the credentials");
		if (i == LOCK_TRIES)
			return err_new(
			    e, ERR_UNAVAILABLE,
			    "the credentials have been locked by another program for %d seconds; try again",
			    LOCK_TRIES / 30);
		(void)usleep(1000000 / 30);
	}
	return 0;
}

static int load(Vault *v, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read_at(v->dir, FILE_NAME, VAULT_MAX, &text, &len);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sys(e, r, "read the credentials");
	v->there = true;
	return unseal(v, text, len, e);
}

static int open_locked(bool write, Vault *v, Err *e)
{
	*v = (Vault){.dir = dirs_open_data(write, e)};
	int r = v->dir < 0 ? v->dir : lock(v->dir, write ? LOCK_EX : LOCK_SH, e);

	return r < 0 ? r : load(v, e);
}

static int or_empty(int r, Vault *v, Vault *ret, Err *e)
{
	if (r == 0 && !v->entries) {
		v->entries = json_object();
		r = v->entries ? 0 : err_oom(e);
	}
	if (r < 0)
		vault_done(v);
	else
		*ret = *v;
	return r;
}

int vault_open(Vault *ret, Err *e)
{
	Err why = {0};
	Vault v;
	int r = open_locked(false, &v, &why);

	/* No folder: nothing was ever kept. */
	if (r < 0 && v.dir < 0 && why.kind == ERR_NOT_FOUND)
		r = 0;
	if (r < 0 && e)
		*e = why;
	return or_empty(r, &v, ret, e);
}

int vault_open_to_write(Vault *ret, Err *e)
{
	Err why = {0};
	Vault v;
	int r = open_locked(true, &v, &why);

	if (r < 0 && v.there && why.kind == ERR_NOT_FOUND)
		r = 0;
	if (r < 0 && e)
		*e = why;
	return or_empty(r, &v, ret, e);
}

/* ---- saving ---- */

static int write_sealed(Vault *v, const VaultKey *key, Err *e)
{
	_cleanup_secret_ char *plain = json_text(v->entries);
	size_t len = plain ? strlen(plain) : 0;
	_cleanup_free_ uint8_t *file = plain ? malloc(sizeof(Header) + len) : NULL;
	Header h = {.place = (uint8_t)key->place};

	if (!file)
		return err_oom(e);
	if (len > VAULT_MAX - sizeof(h) || json_object_size(v->entries) > VAULT_ENTRIES_MAX)
		return err_new(e, ERR_EXHAUSTED, "the credentials of more than %d servers, or too large ones",
			       VAULT_ENTRIES_MAX);
	memcpy(h.magic, MAGIC, sizeof(h.magic));
	memcpy(h.key_id, key->id, KEY_ID_BYTES);
	if (RAND_bytes(h.nonce, NONCE_BYTES) != 1 || !run_cipher(true, key, &h, plain, len, file + sizeof(h)))
		return err_new(e, ERR_INTERNAL, "OpenSSL cannot encrypt with AES-256-GCM");
	memcpy(file, &h, sizeof(h));
	int r = file_replace_at(v->dir, FILE_NAME, file, sizeof(h) + len, 0600, true);
	return r < 0 ? err_sys(e, r, "write the credentials") : 0;
}

static int remove_all(Vault *v, Err *e)
{
	if (unlinkat(v->dir, FILE_NAME, 0) < 0 && errno != ENOENT)
		return err_sys(e, errno, "remove the credentials");
	return v->there ? key_remove(v->place, v->key_id, e) : 0;
}

int vault_save(Vault *v, KeyPlace place, Err *e)
{
	KeyPlace wanted = place ? place : v->there ? v->place : KEY_FILE;
	bool same = v->there && wanted == v->place;
	VaultKey key = {0};
	Err gone = {0};

	dirs_sweep(v->dir);
	if (json_object_size(v->entries) == 0)
		return remove_all(v, e);
	int r = same ? key_find(v->place, v->key_id, &key, &gone) : -ENOKEY;
	if (r < 0 && same && gone.kind != ERR_NOT_FOUND) {
		if (e)
			*e = gone;
		return r;
	}
	if (r < 0)
		r = key_make(wanted, &key, e);
	if (r == 0)
		r = write_sealed(v, &key, e);
	/* The old key goes last: until the new file stands, it is what opens the old one. */
	if (r == 0 && v->there && v->place != wanted)
		r = key_remove(v->place, v->key_id, e);
	if (r == 0) {
		v->there = true;
		v->place = wanted;
		memcpy(v->key_id, key.id, KEY_ID_BYTES);
	}
	key_done(&key);
	return r;
}
