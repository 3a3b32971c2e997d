/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of bytes and of chains of layers (OCI image-spec, "Layer ChainID"). */
#include "store/digest.h"
#include "store/store.h"

#include <openssl/evp.h>

struct Hasher {
	EVP_MD_CTX *ctx;
	bool failed;
};

static void write_digest(const uint8_t *sum, char ret[DIGEST_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	char *p = ret + 7;

	memcpy(ret, "sha256:", 7);
	for (int i = 0; i < 32; i++) {
		*p++ = hex[sum[i] >> 4];
		*p++ = hex[sum[i] & 15];
	}
	*p = 0;
}

Hasher *hasher_new(void)
{
	Hasher *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->ctx = EVP_MD_CTX_new();
	if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
		hasher_free(h);
		return NULL;
	}
	return h;
}

void hasher_free(Hasher *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void hasher_add(Hasher *h, const void *data, size_t len)
{
	if (EVP_DigestUpdate(h->ctx, data, len) != 1)
		h->failed = true;
}

int hasher_digest(Hasher *h, char ret[DIGEST_LEN + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	if (h->failed || EVP_DigestFinal_ex(h->ctx, sum, NULL) != 1)
		return -EIO;
	write_digest(sum, ret);
	return 0;
}

void digest_of(const void *data, size_t len, char ret[DIGEST_LEN + 1])
{
	uint8_t sum[EVP_MAX_MD_SIZE];

	/* Hashing memory can only fail for want of memory, and a digest that is wrong must never be used. */
	if (EVP_Digest(data, len, sum, NULL, EVP_sha256(), NULL) != 1)
		abort();
	write_digest(sum, ret);
}

void chain_id_next(const char *parent, const char *diff_id, char ret[DIGEST_LEN + 1])
{
	char text[2 * DIGEST_LEN + 2];

	if (!parent) {
		snprintf(ret, DIGEST_LEN + 1, "%s", diff_id);
		return;
	}
	snprintf(text, sizeof(text), "%s %s", parent, diff_id);
	digest_of(text, strlen(text), ret);
}
