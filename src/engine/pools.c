/* SPDX-License-Identifier: Apache-2.0 */
/* Subnets from the pools that the engine was given: the first of a pool's size that neither a network nor a route of the host has. */
#include "engine/engine-internal.h"

#include <arpa/inet.h>

#define TRIES_MAX 65536

typedef struct Pool {
	uint32_t base;
	int prefix, size;
} Pool;

static int pool_parse(const char *text, Pool *ret)
{
	struct in_addr a;
	char base[32];

	if (sscanf(text, "base=%31[0-9.]/%d,size=%d", base, &ret->prefix, &ret->size) != 3 ||
	    inet_pton(AF_INET, base, &a) != 1 || ret->prefix < 1 || ret->size < ret->prefix || ret->size > 30)
		return -EINVAL;
	ret->base = ntohl(a.s_addr) & (~0u << (32 - ret->prefix));
	return 0;
}

static bool is_used(uint32_t address, int prefix, const NetworkSubnet *used, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int p = MIN2((int)used[i].prefix, prefix);
		uint32_t mask = p ? ~0u << (32 - p) : 0;

		if ((used[i].address & mask) == (address & mask))
			return true;
	}
	return false;
}

int pools_choose(Engine *en, const NetworkSubnet *used, size_t n_used, NetworkSubnet *ret, Err *e)
{
	for (char *const *text = en->options.address_pools; *text; text++) {
		Pool p;
		uint64_t count;

		if (pool_parse(*text, &p) < 0)
			return err_new(e, ERR_INVALID, "address pool %.80s: expected base=CIDR,size=N",
				       *text);
		count = MIN2((uint64_t)1 << (p.size - p.prefix), (uint64_t)TRIES_MAX);
		for (uint64_t i = 0; i < count; i++) {
			uint32_t address = p.base + (uint32_t)(i << (32 - p.size));
			_cleanup_free_ char *cidr = NULL;

			if (is_used(address, p.size, used, n_used))
				continue;
			cidr = strf("%s/%d", network_address_text(address).s, p.size);
			if (!cidr)
				return err_oom(e);
			if (network_subnet_parse(cidr, NULL, ret, NULL) >= 0 &&
			    network_subnet_check(en->nethost, ret, NULL) >= 0)
				return 0;
		}
	}
	return err_new(e, ERR_EXHAUSTED,
		       "all predefined address pools have been fully subnetted: remove networks, or give "
		       "irekod another --default-address-pool");
}
