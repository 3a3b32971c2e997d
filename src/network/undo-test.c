/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fails half way leaves nothing: every netlink message of an operation fails once, one at a time, and then the operation is done
 * again. A message fails in two ways: it cannot be sent at all (the rest of its batch is not either), or the kernel refuses it (and
 * goes on with the rest of an rtnetlink batch).
 *
 * sendto(2) of this program is ours, in the libraries too: it counts, and spoils the message whose turn it is.
 */
#include "network/test-net.h"

#include <dlfcn.h>
#include <ifaddrs.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <stdatomic.h>
#include <sys/syscall.h>

typedef enum FaultKind { NOT_SENT, REFUSED } FaultKind;

/* 0: none. Threads of the floor count as well. */
static struct {
	FaultKind kind;
	_Atomic unsigned at, seen;
} fault;

static int socket_option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static bool is_netlink(int fd)
{
	return socket_option(fd, SO_DOMAIN) == AF_NETLINK;
}

static bool is_turn(void)
{
	return atomic_fetch_add(&fault.seen, 1) + 1 == atomic_load(&fault.at);
}

/* Of no type that the kernel knows, in its subsystem. What opens and closes a transaction is no step of it. */
static void spoil(int fd, void *batch, size_t len)
{
	bool nf = socket_option(fd, SO_PROTOCOL) == NETLINK_NETFILTER;
	struct nlmsghdr *m = batch;
	int left = (int)len;

	for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left)) {
		if (nf && (m->nlmsg_type == NFNL_MSG_BATCH_BEGIN || m->nlmsg_type == NFNL_MSG_BATCH_END))
			continue;
		if (is_turn())
			m->nlmsg_type |= 0xFF;
	}
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	_cleanup_free_ void *copy = NULL;

	if (atomic_load(&fault.at) && is_netlink(fd)) {
		if (fault.kind == NOT_SENT && is_turn()) {
			errno = ENOBUFS;
			return -1;
		}
		if (fault.kind == REFUSED) {
			copy = malloc(len);
			assert_non_null(copy);
			memcpy(copy, buf, len);
			spoil(fd, copy, len);
		}
	}
	return syscall(SYS_sendto, fd, copy ?: buf, len, flags, to, to_len);
}

/* What libnftables is told is one step: it ends the program when its own questions cannot be sent. */
int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *text)
{
	int (*real)(struct nft_ctx *, const char *) = NULL;
	unsigned at = atomic_load(&fault.at);
	void *symbol = dlsym(RTLD_NEXT, "nft_run_cmd_from_buffer");
	int r;

	memcpy(&real, &symbol, sizeof(real));
	assert_non_null(real);
	if (at && is_turn())
		return -1;
	atomic_store(&fault.at, 0);
	r = real(nft, text);
	atomic_store(&fault.at, at);
	return r;
}

/* ---- what is there ---- */

static int list_here(void *arg, Err *e _unused_)
{
	struct if_nameindex *names = if_nameindex();
	struct ifaddrs *all, *a;
	StrBuf *text = arg;

	for (struct if_nameindex *i = names; i && i->if_name; i++)
		strbuf_addf(text, "%s ", i->if_name);
	if_freenameindex(names);
	assert_int_equal(getifaddrs(&all), 0);
	for (a = all; a; a = a->ifa_next) {
		const struct sockaddr_in *four = (const void *)a->ifa_addr;
		const struct sockaddr_in6 *six = (const void *)a->ifa_addr;

		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET)
			strbuf_addf(text, "%s=%s ", a->ifa_name,
				    ip_text(ip_from_bytes(&four->sin_addr, 4)).s);
		else if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET6 &&
			 !IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
			strbuf_addf(text, "%s=%s ", a->ifa_name,
				    ip_text(ip_from_bytes(&six->sin6_addr, 16)).s);
	}
	freeifaddrs(all);
	return 0;
}

/* Interfaces and addresses of the host and of the container, and the table of rules. */
static char *list_all(int ns)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	StrBuf text = {0};
	Err e = {0};

	(void)list_here(&text, &e);
	ok(netns_call(ns, list_here, &text, &e));
	nft_ctx_buffer_output(nft);
	nft_ctx_buffer_error(nft);
	if (nft_run_cmd_from_buffer(nft, "list table inet " TEST_TABLE) == 0)
		strbuf_addf(&text, "\n%s", nft_ctx_get_output_buffer(nft));
	nft_ctx_free(nft);
	assert_false(text.oom);
	return text.s;
}

/* ---- operations ---- */

static const NetworkSublink upon_uplink = {.parent = "up0", .mode = MACVLAN_MODE_BRIDGE},
			    upon_island = {.parent = "", .mode = MACVLAN_MODE_BRIDGE};

typedef struct World {
	NetworkHost *h;
	NetworkBridge a;
	int outside, ns;
	bool shared; /* an operation that fails may leave what is the network's, not the endpoint's */
} World;

static void world_make(World *w)
{
	Err e = {0};

	test_enter_host();
	*w = (World){0};
	ok(network_host_new(TEST_TABLE, &w->h, &e));
	w->outside = test_uplink(w->h);
	ok(network_namespace_new(&w->ns, &e));
	w->a = test_bridge("br-a", "172.20.0.0/16");
	ok(network_subnet_parse("fd00:20::/64", NULL, &w->a.ip[IP_V6], &e));
}

static void world_end(World *w)
{
	close(w->outside);
	close(w->ns);
	network_host_free(w->h);
}

static NetworkEndpoint endpoint(const World *w, const NetworkSublink *sub, unsigned neighbours)
{
	NetworkEndpoint ep = {
	    .host_if = "va1", .container_if = "eth0", .bridge = "br-a", .sub = sub, .neighbours = neighbours};

	ep.ip[IP_V4] = (NetworkEndpointIp){ip("172.20.0.2"), 16, sub ? 0 : w->a.ip[IP_V4].gateway};
	ep.ip[IP_V6] = (NetworkEndpointIp){ip("fd00:20::2"), 64, sub ? 0 : w->a.ip[IP_V6].gateway};
	return ep;
}

static int make_bridge(World *w, Err *e)
{
	return network_bridge_ensure(w->h, &w->a, e);
}

static int remove_bridge(World *w, Err *e)
{
	return network_bridge_remove(w->h, "br-a", e);
}

static int add(World *w, const NetworkSublink *sub, unsigned neighbours, Err *e)
{
	NetworkEndpoint ep = endpoint(w, sub, neighbours);

	return network_endpoint_add(w->h, w->ns, &ep, e);
}

static int add_endpoint(World *w, Err *e)
{
	return add(w, NULL, 0, e);
}

static int remove_endpoint(World *w, Err *e)
{
	return network_endpoint_remove(w->h, "va1", e);
}

static int add_macvlan(World *w, Err *e)
{
	return add(w, &upon_uplink, 0, e);
}

static int add_island(World *w, Err *e)
{
	return add(w, &upon_island, 0, e);
}

static int remove_inside(World *w, Err *e)
{
	return network_interface_remove(w->ns, "eth0", e);
}

/* As for the thousandth: the first bridge is full. */
static int add_to_shard(World *w, Err *e)
{
	return add(w, NULL, 1000, e);
}

static int remove_from_shard(World *w, Err *e)
{
	int r = network_endpoint_remove(w->h, "va1", e);

	SCOPE_LOCK(&w->h->lock);
	return r < 0 ? r : shards_remove(w->h, "br-a", e);
}

/* The first family's, then the other's, as the engine does; both are the caller's to undo. */
static const NetworkPort
    ports4[] = {{TCP, .host_port = 8080, .container_port = 80},
		{UDP, .host_port = 5353, .container_port = 53}},
    ports6[] = {
	{.protocol = IPPROTO_TCP, .host_address = IP_V6_ANY, .host_port = 8080, .container_port = 80},
	{.protocol = IPPROTO_UDP, .host_address = IP_V6_ANY, .host_port = 5353, .container_port = 53}};

static int publish4(World *w, Err *e)
{
	return network_ports_publish(w->h, "br-a", ip("172.20.0.2"), ports4, 2, e);
}

static int unpublish4(World *w, Err *e)
{
	return network_ports_unpublish(w->h, "br-a", ip("172.20.0.2"), ports4, 2, e);
}

static int publish6(World *w, Err *e)
{
	return network_ports_publish(w->h, "br-a", ip("fd00:20::2"), ports6, 2, e);
}

static int unpublish6(World *w, Err *e)
{
	return network_ports_unpublish(w->h, "br-a", ip("fd00:20::2"), ports6, 2, e);
}

static int reconcile(World *w, Err *e)
{
	NetworkKnown none = {0};

	return network_reconcile(w->h, &none, e);
}

/* ---- each message fails once ---- */

typedef int (*Operation)(World *w, Err *e);

static int with_fault(World *w, Operation run, FaultKind kind, unsigned at, Err *e)
{
	fault.kind = kind;
	atomic_store(&fault.seen, 0);
	atomic_store(&fault.at, at);
	int r = run(w, e);

	atomic_store(&fault.at, 0);
	return r;
}

static void assert_is(int ns, const char *want, const char *what, unsigned at)
{
	_cleanup_free_ char *now = list_all(ns);

	if (!streq(now, want))
		fail_msg("%s, message %u:\n%s\n---- and it should be\n%s", what, at, now, want);
}

/* `run` makes something and `undo` removes it. Returns how many messages there were. */
static unsigned fail_making(World *w, Operation run, Operation undo, FaultKind kind)
{
	_cleanup_free_ char *before = list_all(w->ns);
	_cleanup_free_ char *after = NULL;
	unsigned failed = 0;
	Err e = {0};

	ok(run(w, &e));
	after = list_all(w->ns);
	ok(undo(w, &e));
	assert_is(w->ns, before, "undone", 0);
	for (unsigned at = 1;; at++) {
		int r = with_fault(w, run, kind, at, &e);

		if (atomic_load(&fault.seen) < at) {
			ok(r);
			ok(undo(w, &e));
			return failed;
		}
		if (r < 0) {
			failed++;
			if (!w->shared)
				assert_is(w->ns, before, "it failed and left", at);
			ok(run(w, &e));
		}
		assert_is(w->ns, after, "done again", at);
		ok(undo(w, &e));
		assert_is(w->ns, before, "removed again", at);
	}
}

/* `run` removes what `make` has made: it may fail, and then it is called again. */
static unsigned fail_removing(World *w, Operation make, Operation run, FaultKind kind)
{
	_cleanup_free_ char *before = list_all(w->ns);
	unsigned failed = 0;
	Err e = {0};

	for (unsigned at = 1;; at++) {
		ok(make(w, &e));
		int r = with_fault(w, run, kind, at, &e);
		bool over = atomic_load(&fault.seen) < at;

		if (r < 0) {
			failed++;
			ok(run(w, &e));
		}
		assert_is(w->ns, before, "removed", at);
		if (over)
			return failed;
	}
}

/* Both ways to fail (a removal stops at its first failure, whichever it is), and at least so many messages that the operation cannot do without. */
static void fails(World *w, Operation run, Operation undo, unsigned at_least)
{
	assert_in_range(fail_making(w, run, undo, NOT_SENT), 1, 1000);
	assert_in_range(fail_making(w, run, undo, REFUSED), at_least, 1000);
	assert_in_range(fail_removing(w, run, undo, REFUSED), 1, 1000);
}

static void test_bridge_undone(void **state _unused_)
{
	World w;

	world_make(&w);
	fails(&w, make_bridge, remove_bridge, 8);
	world_end(&w);
}

static void test_endpoint_undone(void **state _unused_)
{
	World w;
	Err e = {0};

	world_make(&w);
	ok(make_bridge(&w, &e));
	fails(&w, add_endpoint, remove_endpoint, 8);
	ok(remove_bridge(&w, &e));
	world_end(&w);
}

static void test_macvlan(void **state _unused_)
{
	World w;

	world_make(&w);
	fails(&w, add_macvlan, remove_inside, 4);
	world_end(&w);
}

/* The network's own parent interface stays with the network. */
static int remove_island(World *w, Err *e)
{
	int r = remove_inside(w, e);

	SCOPE_LOCK(&w->h->lock);
	return r < 0 ? r : shards_remove(w->h, "br-a", e);
}

static void test_macvlan_of_no_parent(void **state _unused_)
{
	World w;
	Err e = {0};

	world_make(&w);
	w.shared = true;
	ok(make_bridge(&w, &e));
	fails(&w, add_island, remove_island, 6);
	ok(remove_bridge(&w, &e));
	world_end(&w);
}

static void test_shard(void **state _unused_)
{
	World w;
	Err e = {0};

	world_make(&w);
	w.shared = true;
	ok(make_bridge(&w, &e));
	test_fill_bridge(w.h, "br-a", 965);
	/* A thousand interfaces are slow to list: one way to fail is enough. */
	assert_in_range(fail_making(&w, add_to_shard, remove_from_shard, REFUSED), 12, 1000);
	assert_in_range(fail_removing(&w, add_to_shard, remove_from_shard, REFUSED), 4, 1000);
	ok(remove_bridge(&w, &e));
	world_end(&w);
}

static void test_ports(void **state _unused_)
{
	World w;
	Err e = {0};

	world_make(&w);
	ok(make_bridge(&w, &e));
	ok(add_endpoint(&w, &e));
	fails(&w, publish4, unpublish4, 4);
	fails(&w, publish6, unpublish6, 4);
	ok(remove_endpoint(&w, &e));
	ok(remove_bridge(&w, &e));
	world_end(&w);
}

static const NetworkPort others4[] = {{TCP, .host_port = 8081, .container_port = 80},
				      {UDP, .host_port = 5353, .container_port = 54}};

static int change_ports(World *w, Err *e)
{
	return network_ports_change(w->h, "br-a", ip("172.20.0.2"), ports4, 2, others4, 2, e);
}

static int change_ports_back(World *w, Err *e)
{
	return network_ports_change(w->h, "br-a", ip("172.20.0.2"), others4, 2, ports4, 2, e);
}

/* Whatever a change that failed has left, the opposite one makes of it what was. */
static void test_ports_change(void **state _unused_)
{
	World w;
	Err e = {0};

	world_make(&w);
	w.shared = true;
	ok(make_bridge(&w, &e));
	ok(publish4(&w, &e));
	fails(&w, change_ports, change_ports_back, 4);

	_cleanup_free_ char *before = list_all(w.ns);
	bool over = false;

	for (unsigned at = 1; !over; at++) {
		int r = with_fault(&w, change_ports, REFUSED, at, &e);

		over = atomic_load(&fault.seen) < at;
		assert_int_equal(r < 0, !over);
		ok(change_ports_back(&w, &e));
		assert_is(w.ns, before, "changed back", at);
	}
	ok(remove_bridge(&w, &e));
	world_end(&w);
}

static int make_all(World *w, Err *e)
{
	int r = make_bridge(w, e);

	if (r >= 0)
		r = add_endpoint(w, e);
	if (r >= 0)
		r = publish4(w, e);
	return r < 0 ? r : publish6(w, e);
}

static void test_reconcile(void **state _unused_)
{
	World w;

	world_make(&w);
	assert_in_range(fail_removing(&w, make_all, reconcile, REFUSED), 4, 1000);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bridge_undone), cmocka_unit_test(test_endpoint_undone),
	    cmocka_unit_test(test_macvlan),       cmocka_unit_test(test_macvlan_of_no_parent),
	    cmocka_unit_test(test_shard),         cmocka_unit_test(test_ports),
	    cmocka_unit_test(test_ports_change),  cmocka_unit_test(test_reconcile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
