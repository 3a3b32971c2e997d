/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses for containers: a pool hands out those of one subnet and takes them back.
 *
 * Taken ones are a sorted vector, so that looking one up costs the logarithm of a few thousand and no more memory
 * than the addresses themselves. New ones go round: one just freed, which others may still remember, is the last to be given again.
 */
#include "network/network-internal.h"

struct NetworkPool {
	pthread_mutex_t lock;
	NetworkSubnet subnet;
	IpAddress first, last; /* what is given unasked */
	IpAddress cursor;      /* the last one given so */
	IpAddress *taken;
	size_t n;
};

int network_pool_new(const NetworkSubnet *s, const NetworkSubnet *range, NetworkPool **ret, Err *e)
{
	NetworkPool *p = calloc(1, sizeof(*p));
	const NetworkSubnet *part = range ? range : s;

	if (!p)
		return err_oom(e);
	pthread_mutex_init(&p->lock, NULL);
	p->subnet = *s;
	p->first = MAX2(part->address, s->address + 1);
	p->last = MIN2(subnet_last(part), ip_is_v4(s->address) ? subnet_last(s) - 1 : subnet_last(s));
	p->cursor = p->last;
	*ret = p;
	return 0;
}

void network_pool_free(NetworkPool *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p->taken);
	free(p);
}

/* Where a is, or would be. */
static size_t place_of(const NetworkPool *p, IpAddress a)
{
	size_t from = 0, to = p->n;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (p->taken[middle] < a)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool is_taken(const NetworkPool *p, IpAddress a)
{
	size_t i = place_of(p, a);

	return i < p->n && p->taken[i] == a;
}

static int enter(NetworkPool *p, IpAddress a, Err *e)
{
	size_t i = place_of(p, a);

	/* A power of two is full: double it. */
	if ((p->n & (p->n - 1)) == 0) {
		IpAddress *v = reallocarray(p->taken, MAX2(p->n * 2, (size_t)1), sizeof(*v));

		if (!v)
			return err_oom(e);
		p->taken = v;
	}
	memmove(p->taken + i + 1, p->taken + i, (p->n - i) * sizeof(*p->taken));
	p->taken[i] = a;
	p->n++;
	return 0;
}

static int check_wanted(const NetworkPool *p, IpAddress want, Err *e)
{
	const NetworkSubnet *s = &p->subnet;
	AddressText text = ip_text(want), subnet = network_subnet_text(s);

	if (!network_subnet_contains(s, want) || want == s->address ||
	    (ip_is_v4(want) && want == subnet_last(s)))
		return err_new(
		    e, ERR_INVALID,
		    "no configured subnet contains the IP address %s: address %s is not a host address of "
		    "subnet %s",
		    text.s, text.s, subnet.s);
	if (want == s->gateway)
		return err_new(
		    e, ERR_DENIED,
		    "Address already in use: address %s is the gateway of subnet %s: choose another", text.s,
		    subnet.s);
	if (is_taken(p, want))
		return err_new(
		    e, ERR_DENIED,
		    "Address already in use: address %s is in use by another container, or set aside: choose "
		    "another",
		    text.s);
	return 0;
}

static int choose(const NetworkPool *p, IpAddress *ret, Err *e)
{
	IpAddress size = p->last - p->first + 1;

	/* No more than are taken, and the gateway, can be in the way. */
	for (IpAddress i = 1; i <= size; i++) {
		IpAddress a = p->first + (p->cursor - p->first + i) % size;

		if (a == p->subnet.gateway || is_taken(p, a))
			continue;
		*ret = a;
		return 0;
	}
	return err_new(
	    e, ERR_EXHAUSTED,
	    "subnet %s has no free address left: remove containers, or use a network with a larger subnet",
	    network_subnet_text(&p->subnet).s);
}

int network_pool_take(NetworkPool *p, IpAddress want, IpAddress *ret, Err *e)
{
	IpAddress a = want;
	int r;

	SCOPE_LOCK(&p->lock);
	r = want ? check_wanted(p, want, e) : choose(p, &a, e);
	if (r >= 0)
		r = enter(p, a, e);
	if (r < 0)
		return r;
	if (!want)
		p->cursor = a;
	*ret = a;
	return 0;
}

void network_pool_give(NetworkPool *p, IpAddress address)
{
	size_t i;

	SCOPE_LOCK(&p->lock);
	i = place_of(p, address);
	if (i >= p->n || p->taken[i] != address)
		return;
	memmove(p->taken + i, p->taken + i + 1, (p->n - i - 1) * sizeof(*p->taken));
	/* The vector stays as long as its length's power of two, which enter() relies on. */
	p->n--;
}
