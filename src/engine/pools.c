/* SPDX-License-Identifier: Apache-2.0 */
/* The pools that the engine was given for subnets of networks: read here, and chosen from by the floor below. */
#include "engine/engine-internal.h"

static int pool_parse(const char *text, NetworkAddressPool *ret)
{
	int prefix, size;
	IpAddress a;
	char base[INET6_ADDRSTRLEN];

	if (sscanf(text, "base=%45[0-9a-fA-F.:]/%d,size=%d", base, &prefix, &size) != 3 ||
	    ip_parse(base, &a) < 0 || prefix < 1 || size < prefix || size > ip_bits(a) - 2)
		return -EINVAL;
	*ret = (NetworkAddressPool){
	    .base = {.address = a & (~(IpAddress)0 << (ip_bits(a) - prefix)), .prefix = (uint8_t)prefix},
	    .size = (uint8_t)size,
	};
	return 0;
}

int pools_set(Engine *en, Err *e)
{
	char *const *texts = en->options.address_pools;
	size_t n = strv_len(texts);
	_cleanup_free_ NetworkAddressPool *pools = calloc(n + 1, sizeof(*pools));

	if (n == 0)
		return 0;
	if (!pools)
		return err_oom(e);
	for (size_t i = 0; i < n; i++)
		if (pool_parse(texts[i], &pools[i]) < 0)
			return err_new(e, ERR_INVALID, "address pool %.80s: expected base=CIDR,size=N",
				       texts[i]);
	return network_host_set_pools(en->nethost, pools, n, e);
}
