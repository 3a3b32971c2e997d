/* SPDX-License-Identifier: Apache-2.0 */
/* IP addresses: their bytes and texts. */
#include "network/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

size_t ip_to_bytes(IpAddress a, uint8_t ret[16])
{
	size_t n = ip_is_v4(a) ? 4 : 16;

	for (size_t i = n; i-- > 0; a >>= 8)
		ret[i] = (uint8_t)a;
	return n;
}

IpAddress ip_from_bytes(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	IpAddress a = 0;

	for (size_t i = 0; i < n; i++)
		a = a << 8 | p[i];
	return n == 4 ? IP_V4_BASE | a : a;
}

int ip_parse(const char *text, IpAddress *ret)
{
	uint8_t bytes[16];
	IpAddress a;

	if (inet_pton(AF_INET, text, bytes) == 1) {
		*ret = ip_from_bytes(bytes, 4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return -EINVAL;
	a = ip_from_bytes(bytes, 16);
	if (ip_is_v4(a))
		return -EINVAL;
	*ret = a;
	return 0;
}

socklen_t ip_to_sockaddr(IpAddress a, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	*ret = (struct sockaddr_storage){.ss_family = (sa_family_t)ip_af(a)};
	if (ip_is_v4(a)) {
		v4->sin_port = htons(port);
		v4->sin_addr.s_addr = htonl((uint32_t)a);
		return sizeof(*v4);
	}
	v6->sin6_port = htons(port);
	ip_to_bytes(a, v6->sin6_addr.s6_addr);
	return sizeof(*v6);
}

AddressText ip_text(IpAddress a)
{
	AddressText t = {0};
	uint8_t bytes[16];

	ip_to_bytes(a, bytes);
	inet_ntop(ip_af(a), bytes, t.s, sizeof(t.s));
	return t;
}

AddressPortText ip_port_text(IpAddress a, uint16_t port)
{
	AddressPortText t = {0};

	snprintf(t.s, sizeof(t.s), ip_is_v4(a) ? "%s:%u" : "[%s]:%u", ip_text(a).s, port);
	return t;
}
