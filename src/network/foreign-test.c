/* SPDX-License-Identifier: Apache-2.0 */
/* Beside other people's forward chains: what gets through, where our rules lie, and that nothing of them stays. */
#include "network/foreign-internal.h"
#include "network/test-net.h"

#include <nftables/libnftables.h>

/* nft wants a new line behind each closing brace. */
static void nft_with(struct nft_ctx *ctx, const char *text)
{
	_cleanup_free_ char *lines = strdup(text);

	for (char *p = lines; (p = strstr(p, "} "));)
		p[1] = '\n';
	nft_ctx_buffer_error(ctx);
	if (nft_run_cmd_from_buffer(ctx, lines) != 0)
		fail_msg("nft: %s: %s", lines, nft_ctx_get_error_buffer(ctx));
}

static void nft(const char *text)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	nft_with(ctx, text);
	nft_ctx_free(ctx);
}

/* malloc'ed: what nft shows of it. */
static char *nft_list(const char *what)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	char *command = strf("list %s", what), *text;

	nft_ctx_output_set_flags(ctx, NFT_CTX_OUTPUT_STATELESS);
	nft_ctx_buffer_output(ctx);
	assert_int_equal(nft_run_cmd_from_buffer(ctx, command), 0);
	text = strdup(nft_ctx_get_output_buffer(ctx));
	nft_ctx_free(ctx);
	free(command);
	return text;
}

static size_t times(const char *text, const char *what)
{
	size_t n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* Of one chain, the first words of each rule that tell it: "O" ours, else the rule's last word. */
static void assert_order(const char *chain, const char *want)
{
	_cleanup_free_ char *what = strf("chain %s", chain), *text = nft_list(what);
	_cleanup_strbuf_ StrBuf got = {0};

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		line += strspn(line, "\t");
		if (str_starts(line, "table") || str_starts(line, "chain") || str_starts(line, "type") ||
		    *line == '}')
			continue;
		if (strstr(line, "\"ireko:" TEST_TABLE " "))
			strbuf_addf(&got, "%s", got.len && got.s[got.len - 1] == 'O' ? "" : "O");
		else
			strbuf_addf(&got, "%c", *line);
	}
	assert_string_equal(got.s ?: "", want);
}

/* A network with a container that serves port 80, another, and an internal one with two; the outside serves 99. */
typedef struct World {
	NetworkHost *h;
	NetworkBridge a, b, in;
	int outside, a1, a2, b1, i1, i2;
	pid_t servers[5];
	char *before; /* the rules of others */
} World;

static void world_make(World *w, const char *theirs, bool open)
{
	NetworkPort p[2] = {{TCP, .host_port = 8080, .container_port = 80},
			    {UDP, .host_port = 5353, .container_port = 53}};
	Err e = {0};

	*w = (World){0};
	test_enter_host();
	ok(network_host_new(TEST_TABLE, &w->h, &e));
	w->outside = test_uplink(w->h);
	if (*theirs)
		nft(theirs);
	w->before = nft_list("ruleset");
	w->a = test_bridge("br-a", "172.20.0.0/16");
	w->b = test_bridge("br-b", "172.21.0.0/16");
	w->in = test_bridge("br-in", "172.22.0.0/16");
	w->a.open = open;
	w->in.internal = true;
	ok(network_bridge_ensure(w->h, &w->a, &e));
	ok(network_bridge_ensure(w->h, &w->b, &e));
	ok(network_bridge_ensure(w->h, &w->in, &e));
	w->a1 = test_container(w->h, &w->a, "va1", "172.20.0.2");
	w->a2 = test_container(w->h, &w->a, "va2", "172.20.0.3");
	w->b1 = test_container(w->h, &w->b, "vb1", "172.21.0.2");
	w->i1 = test_container(w->h, &w->in, "vi1", "172.22.0.2");
	w->i2 = test_container(w->h, &w->in, "vi2", "172.22.0.3");
	w->servers[0] = test_serve(w->a1, 80, false);
	w->servers[1] = test_serve(w->b1, 80, false);
	w->servers[2] = test_serve(w->i1, 80, false);
	w->servers[3] = test_serve(w->outside, 99, false);
	w->servers[4] = test_serve(w->a1, 53, true);
	ok(network_ports_publish(w->h, "br-a", ip("172.20.0.2"), p, 2, &e));
}

/* Nothing of ours is left in what is theirs, to the byte. */
static void world_end(World *w)
{
	_cleanup_free_ char *after = NULL;
	Err e = {0};

	ok(network_bridge_remove(w->h, "br-a", &e));
	ok(network_bridge_remove(w->h, "br-in", &e));
	ok(network_bridge_remove(w->h, "br-b", &e));
	after = nft_list("ruleset");
	assert_string_equal(after, w->before);
	for (size_t i = 0; i < ELEMENTSOF(w->servers); i++)
		test_stop(w->servers[i]);
	close(w->a1);
	close(w->a2);
	close(w->b1);
	close(w->i1);
	close(w->i2);
	close(w->outside);
	free(w->before);
	network_host_free(w->h);
}

#define INET_DROP "table inet house { chain forward { type filter hook forward priority filter; policy drop; "
#define IPT_DROP                                                                                             \
	"table ip filter { chain INPUT { type filter hook input priority filter; policy accept; } "          \
	"chain FORWARD { type filter hook forward priority filter; policy drop; "

/* What ufw makes of FORWARD, and firewalld of filter_FORWARD, in short. */
#define UFW                                                                                                  \
	"table ip filter { chain ulog { limit rate 3/minute burst 10 packets counter log prefix \"[UFW "     \
	"BLOCK] \"; } "                                                                                      \
	"chain ureject { } chain uuser { } chain ubefore { ct state related,established counter accept; "    \
	"jump uuser; } "                                                                                     \
	"chain FORWARD { type filter hook forward priority filter; policy drop; counter jump ubefore; "      \
	"counter jump ulog; counter jump ureject; } }"
#define FIREWALLD                                                                                            \
	"table inet firewalld { chain filter_FWD_public { jump filter_FWD_public_allow; reject with icmpx "  \
	"type admin-prohibited; } "                                                                          \
	"chain filter_FWD_public_allow { } chain filter_FORWARD_ZONES { goto filter_FWD_public; } "          \
	"chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; ct state "     \
	"established,related accept; "                                                                       \
	"ct status dnat accept; iifname \"lo\" accept; ct state invalid drop; jump filter_FORWARD_ZONES; "   \
	"reject with icmpx type admin-prohibited; } }"

typedef struct House {
	const char *what, *rules;
	bool open;                 /* our user says so */
	bool out, published;       /* what a container reaches, and what reaches it */
	const char *chain, *order; /* where ours lie; NULL: there are none */
} House;

static const House houses[] = {
    {"none", "", .out = true, .published = true},
    {"policy accept",
     "table inet house { chain forward { type filter hook forward priority 0; policy accept; ip saddr "
     "10.9.9.9 drop; } }",
     .out = true, .published = true},
    {"policy drop", INET_DROP "} }", .out = true, .chain = "inet house forward", .order = "O"},
    {"policy drop, ports open", INET_DROP "} }", .open = true, .out = true, .published = true,
     .chain = "inet house forward", .order = "O"},
    {"an explicit drop wins",
     INET_DROP "ct state established accept; iifname \"br-a\" ip daddr 192.0.2.2 drop; } }",
     .chain = "inet house forward", .order = "ciO"},
    {"an explicit drop wins over open ports",
     INET_DROP "oifname \"br-a\" iifname \"up0\" ct state new drop; } }", .open = true, .out = true,
     .chain = "inet house forward", .order = "oO"},
    {"the user lets the port in", INET_DROP "ct status dnat accept; } }", .out = true, .published = true,
     .chain = "inet house forward", .order = "cO"},
    {"catch-all at the end",
     "table inet house { chain forward { type filter hook forward priority 0; ip saddr 10.9.9.9 accept; "
     "limit rate 1/second log prefix \"x\"; counter; reject with icmpx type admin-prohibited; } }",
     .out = true, .chain = "inet house forward", .order = "iOlcr"},
    {"two chains",
     INET_DROP "} chain also { type filter hook forward priority 5; policy drop; counter drop; } }",
     .out = true, .chain = "inet house also", .order = "Oc"},
    {"iptables", IPT_DROP "} }", .out = true, .chain = "ip filter FORWARD", .order = "O"},
    {"iptables, ports open", IPT_DROP "counter drop; } }", .open = true, .out = true, .published = true,
     .chain = "ip filter FORWARD", .order = "Oc"},
    {"like ufw", UFW, .out = true, .chain = "ip filter FORWARD", .order = "cOcc"},
    {"like ufw, rejecting", UFW " add rule ip filter ureject counter reject", .out = true,
     .chain = "ip filter FORWARD", .order = "cOcc"},
    {"like firewalld", FIREWALLD, .out = true, .published = true, .chain = "inet firewalld filter_FORWARD",
     .order = "ccicOjr"},
};

static void check(int netns, const char *address, uint16_t port, bool udp, bool want, const House *house,
		  const char *way)
{
	Answer a = test_ask(netns, address, port, udp, want ? 3000 : 120);
	bool got = !streq(a.s, "timeout") && !streq(a.s, "refused") && !str_starts(a.s, "error");

	if (got != want)
		fail_msg("%s: %s %s: %s", house->what, way, got ? "gets through" : "does not get through",
			 a.s);
}

static void check_ways(const World *w, const House *house)
{
	check(w->a1, OUTSIDE, 99, false, house->out, house, "a container's way out");
	check(w->outside, UPLINK, 8080, false, house->published, house, "a published port");
	check(w->outside, UPLINK, 5353, true, house->published, house, "a published udp port");
	check(HERE, UPLINK, 8080, false, true, house, "the host to a published port");
	check(HERE, "127.0.0.1", 8080, false, true, house, "localhost to a published port");
	check(w->b1, UPLINK, 8080, false, true, house, "another network to a published port");
	check(w->a2, "172.20.0.2", 80, false, true, house, "a neighbour");
	check(w->b1, "172.20.0.2", 80, false, false, house, "another network");
	check(w->outside, "172.20.0.2", 80, false, false, house, "the outside to an inner address");
	check(w->i2, "172.22.0.2", 80, false, true, house, "a neighbour in an internal network");
	check(w->i1, OUTSIDE, 99, false, false, house, "the way out of an internal network");
}

static void test_matrix(void **state _unused_)
{
	for (size_t i = 0; i < ELEMENTSOF(houses); i++) {
		const House *house = &houses[i];
		World w;

		world_make(&w, house->rules, house->open);
		if (house->chain)
			assert_order(house->chain, house->order);
		else {
			_cleanup_free_ char *all = nft_list("ruleset");

			assert_int_equal(times(all, "\"ireko:"), 0);
		}
		check_ways(&w, house);
		world_end(&w);
	}
}

/* The same where frames within a bridge pass the forward chains (where the kernel has br_netfilter). */
static void test_bridged_frames(void **state _unused_)
{
	const House house = {.what = "br_netfilter"};
	World w;

	world_make(&w, INET_DROP "} }", false);
	(void)file_write_at(AT_FDCWD, "/proc/sys/net/bridge/bridge-nf-call-iptables", "1");
	check(w.a2, "172.20.0.2", 80, false, true, &house, "a neighbour");
	check(w.i2, "172.22.0.2", 80, false, true, &house, "a neighbour in an internal network");
	check(w.b1, "172.20.0.2", 80, false, false, &house, "another network");
	world_end(&w);
}

/* Two bridges and no containers: what is done to the rules. */
static NetworkHost *small_world(const char *theirs)
{
	NetworkBridge a, b;
	NetworkHost *h;
	Err e = {0};

	test_enter_host();
	ok(network_host_new(TEST_TABLE, &h, &e));
	a = test_bridge("br-a", "172.20.0.0/16");
	b = test_bridge("br-b", "172.21.0.0/16");
	nft(theirs);
	ok(network_bridge_ensure(h, &a, &e));
	ok(network_bridge_ensure(h, &b, &e));
	return h;
}

static void small_end(NetworkHost *h)
{
	Err e = {0};

	ok(network_bridge_remove(h, "br-a", &e));
	ok(network_bridge_remove(h, "br-b", &e));
	network_host_free(h);
}

static size_t ours(void)
{
	_cleanup_free_ char *all = nft_list("ruleset");

	return times(all, "\"ireko:" TEST_TABLE " ");
}

static void test_rules_are_put_back(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "ct state established accept; } }");
	Err e = {0};

	assert_int_equal(ours(), 4);
	assert_int_equal(ok(network_firewall_sync(h, &e)), 0);
	nft("flush chain inet house forward");
	assert_int_equal(ours(), 0);
	assert_int_equal(ok(network_firewall_sync(h, &e)), 1);
	assert_int_equal(ours(), 4);

	/* A rule that comes behind ours is obeyed from the next look on. */
	nft("add rule inet house forward iifname \"br-a\" tcp dport 25 drop");
	assert_order("inet house forward", "Oi");
	ok(network_firewall_sync(h, &e));
	assert_order("inet house forward", "iO");

	/* And when the chain lets all through, nothing of ours is in it. */
	nft("chain inet house forward { policy accept; }");
	ok(network_firewall_sync(h, &e));
	assert_int_equal(ours(), 0);

	nft("delete table inet house");
	assert_int_equal(ok(network_firewall_sync(h, &e)), 0);
	small_end(h);
}

/* The daemon was killed between its table and theirs: the next look makes both agree. */
static void test_leftovers_go(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "} }");
	Err e = {0};

	nft("add rule inet house forward iifname \"br-gone\" accept comment \"ireko:" TEST_TABLE
	    " br-gone out\"");
	nft("add rule inet house forward iifname \"br-a\" accept comment \"ireko:" TEST_TABLE " br-a out\"");
	nft("add rule inet house forward iifname \"br-z\" accept comment \"ireko:another br-z out\"");
	assert_int_equal(ours(), 6);
	ok(network_firewall_sync(h, &e));
	assert_int_equal(ours(), 4);
	ok(network_reconcile(h, &(NetworkKnown){0}, &e));
	assert_int_equal(ours(), 0);
	assert_order("inet house forward", "i"); /* another daemon's */
	small_end(h);
}

static void test_many_bridges_at_once(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "} }");
	Err e = {0};

	network_firewall_hold(h);
	for (unsigned i = 0; i < 40; i++) {
		NetworkBridge b = test_bridge("br-x", "172.24.0.0/24");

		snprintf(b.name, sizeof(b.name), "br-m%u", i);
		b.ip[IP_V4].address += i << 8;
		b.ip[IP_V4].gateway += i << 8;
		ok(network_bridge_ensure(h, &b, &e));
	}
	assert_int_equal(ours(), 4);
	assert_int_equal(ok(network_firewall_sync(h, &e)), 1);
	assert_int_equal(ours(), 84);
	for (unsigned i = 0; i < 40; i++) {
		char name[NETWORK_IFNAME];

		snprintf(name, sizeof(name), "br-m%u", i);
		ok(network_bridge_remove(h, name, &e));
	}
	assert_int_equal(ours(), 4);
	small_end(h);
}

/* Somebody changes the rule set all the time: what was looked at is not true any more when ours is sent, and is looked at again. */
static void test_while_others_change(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "ct state established accept; } }");
	pid_t pid = fork();
	Err e = {0};

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			nft("insert rule inet house forward tcp dport 25 drop");
			nft("flush chain inet house forward");
			(void)usleep(2000);
		}
	}
	for (unsigned i = 0; i < 40; i++) {
		NetworkBridge b = test_bridge("br-c", "172.23.0.0/16");

		ok(network_bridge_ensure(h, &b, &e));
		assert_null(h->foreign_trouble);
		ok(network_bridge_remove(h, "br-c", &e));
		assert_null(h->foreign_trouble);
	}
	test_stop(pid);
	nft("flush chain inet house forward; add rule inet house forward tcp dport 25 drop");
	ok(network_firewall_sync(h, &e));
	assert_order("inet house forward", "tO");
	assert_int_equal(ours(), 4);
	small_end(h);
}

/* A table that its owner keeps for himself (flag "owner") is not touched, and the user hears of it. */
static void test_chain_of_an_owner(void **state _unused_)
{
	_cleanup_strv_ char **warnings = NULL;
	struct nft_ctx *owner;
	NetworkBridge a;
	NetworkHost *h;
	Err e = {0};

	test_enter_host();
	owner = nft_ctx_new(NFT_CTX_DEFAULT);
	nft_with(owner, "table inet kept { flags owner; chain forward { type filter hook forward priority 0; "
			"policy drop; } }");
	ok(network_host_new(TEST_TABLE, &h, &e));
	a = test_bridge("br-a", "172.20.0.0/16");
	ok(network_bridge_ensure(h, &a, &e));
	assert_int_equal(ours(), 0);
	ok(network_firewall_warnings(h, &warnings, &e));
	assert_int_equal(strv_len(warnings), 2);
	assert_non_null(strstr(warnings[0], "chain forward of nftables table inet kept"));
	ok(network_bridge_remove(h, "br-a", &e));
	nft_ctx_free(owner);
	network_host_free(h);
}

static void test_warning_about_closed_ports(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "} }");
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16"), b = test_bridge("br-b", "172.21.0.0/16");
	char **warnings;
	Err e = {0};

	ok(network_firewall_warnings(h, &warnings, &e));
	assert_int_equal(strv_len(warnings), 1);
	assert_non_null(strstr(warnings[0], "published-ports"));
	strv_free(warnings);
	/* The daemon starts again, and has been told that ports are open. */
	a.open = b.open = true;
	ok(network_reconcile(h, &(NetworkKnown){.bridges = (NetworkBridge[]){a, b}, .n_bridges = 2}, &e));
	assert_int_equal(ok(network_firewall_sync(h, &e)), 1);
	assert_int_equal(ours(), 6);
	ok(network_firewall_warnings(h, &warnings, &e));
	assert_int_equal(strv_len(warnings), 0);
	strv_free(warnings);
	small_end(h);
}

/* IPv6 passes where a network has it, and only there. */
static void test_ipv6(void **state _unused_)
{
	NetworkHost *h =
	    small_world(INET_DROP "} } table ip6 filter { chain FORWARD { type filter hook forward priority "
				  "filter; policy drop; } }");
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	_cleanup_free_ char *none = nft_list("chain ip6 filter FORWARD"), *both = NULL, *inet = NULL;
	Err e = {0};

	assert_int_equal(times(none, "ireko"), 0);
	ok(network_bridge_remove(h, "br-a", &e));
	ok(network_subnet_parse("fd00:1::/64", NULL, &a.ip[IP_V6], &e));
	ok(network_bridge_ensure(h, &a, &e));
	both = nft_list("chain ip6 filter FORWARD");
	assert_int_equal(times(both, "ifname \"br-a\""), 2);
	assert_int_equal(times(both, "ireko:"), 2);
	inet = nft_list("chain inet house forward");
	assert_int_equal(times(inet,
			       "meta nfproto ipv4 oifname \"br-b\" ct state established,related accept"),
			 1);
	assert_int_equal(times(inet, "meta nfproto ipv4"), 2);
	assert_int_equal(times(inet, "ifname \"br-a\""), 2);
	small_end(h);
}

/* Containers that are reached at their own addresses: what is published there is not translated. */
static void test_open_ports_of_a_routed_network(void **state _unused_)
{
	NetworkHost *h = small_world(INET_DROP "} }");
	NetworkBridge a = test_bridge("br-a", "172.20.0.0/16");
	_cleanup_free_ char *text = NULL;
	Err e = {0};

	ok(network_bridge_remove(h, "br-a", &e));
	a.gateway[IP_V4] = NETWORK_GATEWAY_ROUTED;
	a.open = true;
	ok(network_bridge_ensure(h, &a, &e));
	text = nft_list("chain inet house forward");
	assert_int_equal(times(text, "oifname \"br-a\" accept comment \"ireko:" TEST_TABLE " br-a inbound\""),
			 1);
	assert_int_equal(times(text, "dnat"), 0);
	small_end(h);
}

static void test_rules_of_ours_are_counted(void **state _unused_)
{
	NetworkHost *h = small_world("table inet other");
	Err e = {0};

	assert_int_equal(ok(network_rules_whole(h, &e)), 1);
	nft("add rule inet " TEST_TABLE " forward counter");
	assert_int_equal(ok(network_rules_whole(h, &e)), 0);
	ok(network_rules_remake(h, &e));
	assert_int_equal(ok(network_rules_whole(h, &e)), 1);
	nft("flush chain inet " TEST_TABLE " guard");
	assert_int_equal(ok(network_rules_whole(h, &e)), 0);
	nft("flush ruleset");
	assert_int_equal(ok(network_rules_whole(h, &e)), 0);
	small_end(h);
}

/* ---- the watch ---- */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* What another program does. */
static void nft_elsewhere(const char *text)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_NAME, "elsewhere");
		nft(text);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_watch(void **state _unused_)
{
	NetworkHost *h = small_world(
	    INET_DROP "} } table ip nothing { chain input { type filter hook input priority 0; } }");
	NetworkBridge c = test_bridge("br-c", "172.22.0.0/16");
	NetworkPort port = {TCP, .host_port = 8080, .container_port = 80};
	char by[NETWORK_PROGRAM];
	Err e = {0};
	int fd;

	ok(network_watch_open(h, &fd, &e));
	assert_int_equal(network_watch_read(h, by), 0);

	/* What we do ourselves does not even wake us. */
	ok(network_bridge_ensure(h, &c, &e));
	ok(network_ports_publish(h, "br-c", ip("172.22.0.2"), &port, 1, &e));
	ok(network_ports_unpublish(h, "br-c", ip("172.22.0.2"), &port, 1, &e));
	ok(network_bridge_remove(h, "br-c", &e));
	assert_false(readable(fd));
	ok(network_rules_remake(h, &e)); /* through libnftables' sockets */
	assert_int_equal(network_watch_read(h, by), 0);

	nft_elsewhere("add rule inet house forward tcp dport 25 drop");
	assert_true(readable(fd));
	assert_int_equal(network_watch_read(h, by), NETWORK_CHANGE_OTHERS);
	assert_string_equal(by, "elsewhere");
	assert_false(readable(fd));

	nft_elsewhere("add rule ip nothing input tcp dport 25 drop");
	assert_int_equal(network_watch_read(h, by), 0);
	nft_elsewhere("chain inet house forward { policy accept; }");
	assert_int_equal(network_watch_read(h, by), NETWORK_CHANGE_OTHERS);
	nft_elsewhere("add element inet " TEST_TABLE " nat4 { \"br-q\" }");
	assert_int_equal(network_watch_read(h, by), NETWORK_CHANGE_OURS);
	nft_elsewhere("flush ruleset");
	assert_int_equal(network_watch_read(h, by), NETWORK_CHANGE_OURS | NETWORK_CHANGE_OTHERS);
	small_end(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_matrix),
	    cmocka_unit_test(test_bridged_frames),
	    cmocka_unit_test(test_rules_are_put_back),
	    cmocka_unit_test(test_leftovers_go),
	    cmocka_unit_test(test_many_bridges_at_once),
	    cmocka_unit_test(test_while_others_change),
	    cmocka_unit_test(test_chain_of_an_owner),
	    cmocka_unit_test(test_warning_about_closed_ports),
	    cmocka_unit_test(test_ipv6),
	    cmocka_unit_test(test_open_ports_of_a_routed_network),
	    cmocka_unit_test(test_rules_of_ours_are_counted),
	    cmocka_unit_test(test_watch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
