/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of servers, kept for as long as they say.
 *
 * Bounded in number and bytes, as a whole and for each client whose questions brought them. One that asks for many names loses its own oldest
 * answers; where there is no room for all, whoever has brought most does. Of a client that has gone they stay, and are the first to go.
 * No locking and no I/O.
 */
#pragma once

#include "network/dns-message.h"

#define CACHE_MESSAGE_MAX 4096
#define CACHE_ALL         4096 /* answers */
#define CACHE_ALL_BYTES   (2 << 20)
#define CACHE_SHARE       512 /* of one client */
#define CACHE_SHARE_BYTES (256 << 10)

typedef struct DnsCache DnsCache;
typedef struct DnsKept DnsKept;

/* What a client brought, oldest first. All zero to begin with; it stays where it is until dns_cache_leave. */
typedef struct DnsShare {
	DnsKept *first;
	size_t n, bytes;
	struct DnsShare *prev, *next; /* of those that have any */
} DnsShare;

/* NULL without memory. */
DnsCache *dns_cache_new(void);
void dns_cache_free(DnsCache *c);

/* Keeps a message for `life` seconds from now (a clock in nanoseconds that goes on while the machine sleeps); an older one of the key goes. What is
 * too long, and what there is no memory for, is not kept. */
void dns_cache_put(DnsCache *c, DnsShare *share, const uint8_t *key, size_t key_len, const uint8_t *m,
		   size_t len, uint32_t life, int64_t now);
/* The length of a copy in out (CACHE_MESSAGE_MAX bytes), its times to live as they are now and its addresses in turn; 0: there is none. */
size_t dns_cache_get(DnsCache *c, const uint8_t *key, size_t key_len, int64_t now, uint8_t *out);
/* Forgets what has keys of a scope. */
void dns_cache_forget(DnsCache *c, uint64_t scope);
/* The client goes; its answers are nobody's. */
void dns_cache_leave(DnsCache *c, DnsShare *share);
size_t dns_cache_count(const DnsCache *c);
