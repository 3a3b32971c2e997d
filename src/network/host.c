/* SPDX-License-Identifier: Apache-2.0 */
/* The handle that holds the sockets and the lock of one daemon's networking. */
#include "network/foreign-internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <linux/netlink.h>

static bool table_name_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= 64 || !isalpha((unsigned char)*s))
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && *s != '_')
			return false;
	return true;
}

int network_host_new(const char *table, NetworkHost **ret, Err *e)
{
	NetworkHost *h;
	int r;

	/* The name is put into rule text, so nothing but a plain word may be one. */
	if (!table_name_ok(table))
		return err_new(
		    e, ERR_INVALID,
		    "invalid nftables table name \"%.80s\": use a letter, then letters, digits and \"_\", "
		    "at most 63",
		    table);
	h = calloc(1, sizeof(*h));
	if (!h)
		return err_oom(e);
	snprintf(h->table, sizeof(h->table), "%s", table);
	pthread_mutex_init(&h->lock, NULL);
	r = netlink_open(&h->route, NETLINK_ROUTE, e);
	if (r >= 0)
		r = netlink_open(&h->filter, NETLINK_NETFILTER, e);
	if (r < 0) {
		network_host_free(h);
		return err_ctx(e, r, "set up networking");
	}
	*ret = h;
	return 0;
}

void network_host_free(NetworkHost *h)
{
	if (!h)
		return;
	watch_free(h->watch);
	strv_free(h->foreign_trouble);
	strv_free(h->forward_tables);
	netlink_close(&h->route);
	netlink_close(&h->filter);
	pthread_mutex_destroy(&h->lock);
	free(h->pools);
	free(h);
}
