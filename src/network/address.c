/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses for containers. The used ones are the caller's to know; what is kept here is where each subnet's
 * round has come to, so that an address just freed, which others may still remember, is the last to be given again.
 */
#include "network/network-internal.h"

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static AddressCursor *cursor_of(NetworkHost *h, const NetworkSubnet *s)
{
	AddressCursor *grown;

	for (size_t i = 0; i < h->n_cursors; i++)
		if (h->cursors[i].subnet == s->address && h->cursors[i].prefix == s->prefix)
			return &h->cursors[i];
	grown = realloc(h->cursors, (h->n_cursors + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	h->cursors = grown;
	grown[h->n_cursors] = (AddressCursor){s->address, s->prefix, s->address};
	return &grown[h->n_cursors++];
}

static bool is_free(const NetworkSubnet *s, const uint32_t *sorted, size_t n, uint32_t a)
{
	return a != s->gateway && (n == 0 || !bsearch(&a, sorted, n, sizeof(a), compare));
}

static int check_wanted(const NetworkSubnet *s, const uint32_t *sorted, size_t n, uint32_t want, Err *e)
{
	AddressText text = network_address_text(want), subnet = network_subnet_text(s);

	if (want <= s->address || want >= subnet_broadcast(s))
		return err_new(e, ERR_INVALID, "address %s is not a host address of subnet %s", text.s,
			       subnet.s);
	if (want == s->gateway)
		return err_new(e, ERR_CONFLICT, "address %s is the gateway of subnet %s: choose another",
			       text.s, subnet.s);
	if (!is_free(s, sorted, n, want))
		return err_new(e, ERR_CONFLICT, "address %s is in use by another container: choose another",
			       text.s);
	return 0;
}

int network_address_choose(NetworkHost *h, const NetworkSubnet *s, const uint32_t *used, size_t n_used,
			   uint32_t want, uint32_t *ret, Err *e)
{
	uint32_t hosts = subnet_broadcast(s) - s->address - 1; /* they start behind s->address */
	_cleanup_free_ uint32_t *sorted = malloc((n_used + 1) * sizeof(*sorted));
	AddressCursor *cursor;

	if (!sorted)
		return err_oom(e);
	if (n_used > 0)
		memcpy(sorted, used, n_used * sizeof(*sorted));
	qsort(sorted, n_used, sizeof(*sorted), compare);
	if (want) {
		int r = check_wanted(s, sorted, n_used, want, e);

		if (r == 0)
			*ret = want;
		return r;
	}

	SCOPE_LOCK(&h->lock);
	cursor = cursor_of(h, s);
	if (!cursor)
		return err_oom(e);
	for (uint32_t i = 0; i < hosts; i++) {
		uint32_t a = s->address + 1 + (uint32_t)(((uint64_t)(cursor->last - s->address) + i) % hosts);

		if (!is_free(s, sorted, n_used, a))
			continue;
		*ret = cursor->last = a;
		return 0;
	}
	return err_new(
	    e, ERR_EXHAUSTED,
	    "subnet %s has no free address left: remove containers, or use a network with a larger subnet",
	    network_subnet_text(s).s);
}
