/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network interfaces that move between namespaces, over rtnetlink(7): the few requests that a runtime needs, small enough for a
 * static program. (The engine's own networks are made in src/network.)
 *
 * The kernel takes the addresses off an interface that leaves its namespace. They are read before, and given back by a process
 * inside: interface_read and interface_move outside, then interface_restore inside.
 */
#pragma once

#include "base/err.h"

#include <net/if.h>

#define INTERFACE_ADDRESSES_MAX 64

typedef struct InterfaceAddress {
	uint8_t family, prefix, scope;
	uint8_t bytes[16], broadcast[4];
	bool has_broadcast;
} InterfaceAddress;

typedef struct Interface {
	int index;
	InterfaceAddress addresses[INTERFACE_ADDRESSES_MAX];
	size_t n;
} Interface;

/* What the kernel takes as a name: 1 to 15 bytes, no '/', ':' or blank, not "." or "..". */
bool interface_is_name(const char *name);
/* Its number and its permanent addresses of global scope. ERR_NOT_FOUND if there is none of this name. */
int interface_read(const char *name, Interface *ret, Err *e);
/* Into the network namespace, under a name that must be free there. */
int interface_move(const Interface *i, int netns_fd, const char *name, Err *e);
/* In the namespace that it is in now: gives it its addresses and brings it up. */
int interface_restore(const Interface *i, const char *name, Err *e);
