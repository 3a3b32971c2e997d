/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capability sets as 64-bit masks, and giving a process exactly the ones it may have (capabilities(7)).
 *
 * Raw capset(2) and prctl(2): the sets apply to the calling thread, which is the only one.
 */
#pragma once

#include "base/err.h"

typedef struct CapabilitySets {
	uint64_t bounding, effective, permitted, inheritable, ambient;
} CapabilitySets;

/* "CAP_CHOWN" of 0; NULL above the last one that is known here. */
const char *capability_name(int cap);
/* "CAP_NET_ADMIN" or "net_admin" to its number, -1 if unknown. */
int capability_by_name(const char *name);
/* Names to a mask. Unknown ones are left out and, once each, added to *unknown. 0 or -ENOMEM. */
int capability_mask(char *const *names, uint64_t *ret, char ***unknown);
/* Those of the mask that this kernel and our own bounding set have: nothing beyond it can be given away. */
uint64_t capability_available(uint64_t mask);
/* Takes everything outside `mask` from the bounding set. */
int capability_bound(uint64_t mask, Err *e);
/* Keeps the permitted set over the coming change of user. */
int capability_keep_over_setuid(Err *e);
/* Of what is permitted, makes this effective. */
int capability_set_effective(uint64_t mask, Err *e);
/* Makes all that is permitted effective again (a change to a user other than root clears that). */
int capability_raise_permitted(Err *e);
/* The final sets but the bounding one, which must have been set before. */
int capability_apply(const CapabilitySets *s, Err *e);
