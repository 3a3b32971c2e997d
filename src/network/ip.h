/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses of both families as one number, so that code which chooses, compares and hands out addresses is written once.
 *
 * IPv4 is what IPv6 makes of it: ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). The two families never overlap then, and a prefix of an IPv4 subnet,
 * said in its own 32 bits, is 96 more here. 0 is no address, or every IPv6 one where sockets are bound.
 */
#pragma once

#include "base/macro.h"

#include <netinet/in.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 IpAddress;

#define IP_V4_BASE ((IpAddress)0xFFFF << 32)
#define IP_V4_ANY  IP_V4_BASE /* 0.0.0.0 */
#define IP_V6_ANY  ((IpAddress)0)
#define IP_V6_LO   ((IpAddress)1)

/* Where there is one of each family: an index. */
enum { IP_V4, IP_V6, IP_FAMILIES };

/* From host byte order. */
static inline IpAddress ip_v4(uint32_t a)
{
	return IP_V4_BASE | a;
}
static inline bool ip_is_v4(IpAddress a)
{
	return a >> 32 == 0xFFFF;
}
static inline int ip_index(IpAddress a)
{
	return ip_is_v4(a) ? IP_V4 : IP_V6;
}
static inline int ip_af(IpAddress a)
{
	return ip_is_v4(a) ? AF_INET : AF_INET6;
}
static inline uint8_t ip_bits(IpAddress a)
{
	return ip_is_v4(a) ? 32 : 128;
}
/* 0.0.0.0 or ::. */
static inline bool ip_is_any(IpAddress a)
{
	return a == IP_V4_ANY || a == IP_V6_ANY;
}
static inline bool ip_is_loopback(IpAddress a)
{
	return ip_is_v4(a) ? (uint32_t)a >> 24 == 127 : a == IP_V6_LO;
}
static inline bool ip_is_link_local(IpAddress a)
{
	return ip_is_v4(a) ? (uint32_t)a >> 16 == 0xA9FE : a >> 118 == 0x3FA;
}

/* The 4 or 16 bytes of the wire; their number. */
size_t ip_to_bytes(IpAddress a, uint8_t ret[16]);
/* n is 4 or 16. */
IpAddress ip_from_bytes(const void *bytes, size_t n);
/* "10.0.0.1" and "fd00::1"; an IPv4 address in the IPv6 form is none of either. */
int ip_parse(const char *text, IpAddress *ret);
/* A socket's address. Its length. */
socklen_t ip_to_sockaddr(IpAddress a, uint16_t port, struct sockaddr_storage *ret);

typedef struct AddressText {
	char s[INET6_ADDRSTRLEN + 4];
} AddressText;
AddressText ip_text(IpAddress a);
/* "10.0.0.1:80" and "[fd00::1]:80". */
typedef struct AddressPortText {
	char s[INET6_ADDRSTRLEN + 8];
} AddressPortText;
AddressPortText ip_port_text(IpAddress a, uint16_t port);
