/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts and networks as people write them in rules: "10.0.0.0/8", "fd00::/8", "[::1]:5000". Pure but for address_range_has_host. */
#pragma once

#include "base/err.h"

#include <sys/socket.h>

typedef struct AddressRange {
	int family, bits;
	uint8_t address[16];
} AddressRange;

/* "10.0.0.0/8". -EINVAL, -ERANGE. */
int address_range_parse(const char *s, AddressRange *ret);
/* ip is an address in text form; false for a name. */
bool address_range_has(const AddressRange *r, const char *ip);
/* Asks the resolver. */
bool address_range_has_host(const AddressRange *r, const char *host);

/* "host" of "host[:port]"; brackets of an IPv6 address are kept off. malloc'ed. */
char *address_host(const char *host);
/* "localhost", 127.0.0.0/8 or ::1. */
bool address_is_loopback(const char *name);
