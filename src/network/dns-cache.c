/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of servers: see dns-cache.h. Each share's list keeps the order in which they came. */
#include "network/dns-cache.h"

#include <uthash.h>
#include <utlist.h>

#define SECOND_NS INT64_C(1000000000)

struct DnsKept {
	DnsShare *share;
	int64_t since, until;
	DnsKept *prev, *next; /* of the share */
	UT_hash_handle hh;
	unsigned turn;
	size_t key_len, len;
	uint8_t bytes[]; /* key, message */
};

struct DnsCache {
	DnsKept *all;
	size_t bytes;
	DnsShare *shares;
	DnsShare nobody; /* what those brought who have gone; not one of the shares */
};

DnsCache *dns_cache_new(void)
{
	return calloc(1, sizeof(DnsCache));
}

static size_t weight(const DnsKept *k)
{
	return sizeof(*k) + k->key_len + k->len;
}

static void drop(DnsCache *c, DnsKept *k)
{
	HASH_DEL(c->all, k);
	DL_DELETE(k->share->first, k);
	k->share->n--;
	k->share->bytes -= weight(k);
	c->bytes -= weight(k);
	if (k->share->n == 0 && k->share != &c->nobody)
		DL_DELETE(c->shares, k->share);
	free(k);
}

void dns_cache_free(DnsCache *c)
{
	while (c && c->all)
		drop(c, c->all);
	free(c);
}

size_t dns_cache_count(const DnsCache *c)
{
	return HASH_COUNT(c->all);
}

static DnsKept *find(DnsCache *c, const uint8_t *key, size_t key_len)
{
	DnsKept *k;

	HASH_FIND(hh, c->all, key, key_len, k);
	return k;
}

static DnsShare *largest(DnsCache *c)
{
	DnsShare *s, *most = c->shares;

	if (c->nobody.first)
		return &c->nobody;
	DL_FOREACH(c->shares, s)
	if (s->bytes > most->bytes)
		most = s;
	return most;
}

/* What has run out goes with the room that its share asks for. */
static void make_room(DnsCache *c, DnsShare *share, size_t bytes, int64_t now)
{
	while (share->first && (share->first->until <= now || share->n >= CACHE_SHARE ||
				share->bytes + bytes > CACHE_SHARE_BYTES))
		drop(c, share->first);
	while (c->all && (dns_cache_count(c) >= CACHE_ALL || c->bytes + bytes > CACHE_ALL_BYTES))
		drop(c, largest(c)->first);
}

void dns_cache_put(DnsCache *c, DnsShare *share, const uint8_t *key, size_t key_len, const uint8_t *m,
		   size_t len, uint32_t life, int64_t now)
{
	DnsKept *k = find(c, key, key_len);

	if (k)
		drop(c, k);
	if (life == 0 || len > CACHE_MESSAGE_MAX)
		return;
	k = malloc(sizeof(*k) + key_len + len);
	if (!k)
		return;
	*k = (DnsKept){
	    .share = share, .since = now, .until = now + life * SECOND_NS, .key_len = key_len, .len = len};
	memcpy(k->bytes, key, key_len);
	memcpy(k->bytes + key_len, m, len);
	make_room(c, share, weight(k), now);
	HASH_ADD_KEYPTR(hh, c->all, k->bytes, key_len, k);
	DL_APPEND(share->first, k);
	if (share->n++ == 0)
		DL_APPEND(c->shares, share);
	share->bytes += weight(k);
	c->bytes += weight(k);
}

size_t dns_cache_get(DnsCache *c, const uint8_t *key, size_t key_len, int64_t now, uint8_t *out)
{
	DnsKept *k = find(c, key, key_len);
	size_t len;

	if (!k)
		return 0;
	if (k->until <= now) {
		drop(c, k);
		return 0;
	}
	len = k->len;
	memcpy(out, k->bytes + k->key_len, len);
	dns_age(out, len, (uint32_t)((now - k->since) / SECOND_NS));
	dns_rotate(out, len, ++k->turn);
	return len;
}

void dns_cache_forget(DnsCache *c, uint64_t scope)
{
	DnsKept *k, *next;

	HASH_ITER (hh, c->all, k, next)
		if (memcmp(k->bytes, &scope, sizeof(scope)) == 0)
			drop(c, k);
}

void dns_cache_leave(DnsCache *c, DnsShare *share)
{
	DnsKept *k;

	if (share->n > 0)
		DL_DELETE(c->shares, share);
	DL_FOREACH(share->first, k)
	k->share = &c->nobody;
	DL_CONCAT(c->nobody.first, share->first);
	c->nobody.n += share->n;
	c->nobody.bytes += share->bytes;
	*share = (DnsShare){0};
}
