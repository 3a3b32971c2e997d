/* SPDX-License-Identifier: Apache-2.0 */
/* See address.h. */
#include "registry/address.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <netdb.h>

char *address_host(const char *host)
{
	if (*host == '[')
		return strndup(host + 1, strcspn(host + 1, "]"));
	return strndup(host, strcspn(host, ":"));
}

bool address_is_loopback(const char *name)
{
	struct in_addr v4;

	return streq(name, "localhost") || streq(name, "::1") ||
	       (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

int address_range_parse(const char *s, AddressRange *ret)
{
	const char *slash = strchr(s, '/');
	_cleanup_free_ char *address = slash ? strndup(s, (size_t)(slash - s)) : NULL;

	if (!address)
		return -EINVAL;
	ret->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ret->family, address, ret->address) != 1)
		return -EINVAL;
	return str_to_int(slash + 1, 0, ret->family == AF_INET ? 32 : 128, &ret->bits);
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, int bits)
{
	if (memcmp(a, b, (size_t)bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8)) == 0;
}

bool address_range_has(const AddressRange *r, const char *ip)
{
	uint8_t address[16];

	return inet_pton(r->family, ip, address) == 1 && prefix_equal(r->address, address, r->bits);
}

static bool has_sockaddr(const AddressRange *r, const struct sockaddr *a)
{
	if (a->sa_family != r->family)
		return false;
	const void *address = r->family == AF_INET
				  ? (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr
				  : (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	return prefix_equal(r->address, address, r->bits);
}

bool address_range_has_host(const AddressRange *r, const char *host)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	bool found = false;

	if (getaddrinfo(host, NULL, &hints, &list) != 0)
		return false;
	for (const struct addrinfo *a = list; a && !found; a = a->ai_next)
		found = has_sockaddr(r, a->ai_addr);
	freeaddrinfo(list);
	return found;
}
