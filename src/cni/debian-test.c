/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugins of Debian's containernetworking-plugins, on a host of the test's own: bridge, host-local, portmap and bandwidth, in both address families. What they make is
 * looked at with ip, tc and iptables, and so is that nothing of it stays.
 */
#include "cni/test-cni.h"

#include <sched.h>
#include <sys/wait.h>

#define PLUGINS "/usr/lib/cni"
#define ID      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char format[] =
    "{\"cniVersion\":\"1.0.0\",\"name\":\"podnet\",\"plugins\":["
    "{\"type\":\"bridge\",\"bridge\":\"cni9\",\"isGateway\":true,\"ipMasq\":true,\"hairpinMode\":true,"
    "\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\","
    "\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}],\"ranges\":[[{\"subnet\":\"10.77.0.0/"
    "24\"}],[{\"subnet\":\"fd77::/64\"}]]}},"
    "{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true}},"
    "{\"type\":\"bandwidth\",\"capabilities\":{\"bandwidth\":true}}]}";

static int home = -1;

/* A namespace beside ours; its path is good for other processes. */
static char *new_netns(int *ret)
{
	int fd;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	*ret = fd;
	return must(strf("/proc/%d/fd/%d", (int)getpid(), fd));
}

/* What a command says, run in that namespace (-1: the host's). */
static char *said(int netns, const char *command)
{
	char buf[16384];
	size_t n;
	FILE *f;

	if (netns >= 0)
		assert_int_equal(setns(netns, CLONE_NEWNET), 0);
	f = popen(command, "re");
	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	(void)pclose(f);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	return must(strdup(buf));
}

#define assert_says(netns, command, text)                                                                    \
	do {                                                                                                 \
		_cleanup_free_ char *_said = said(netns, command);                                           \
		if (!strstr(_said, text))                                                                    \
			fail_msg("%s: no %s in %s", command, text, _said);                                   \
	} while (0)
#define assert_silent(netns, command, text)                                                                  \
	do {                                                                                                 \
		_cleanup_free_ char *_said = said(netns, command);                                           \
		if (strstr(_said, text))                                                                     \
			fail_msg("%s: %s in %s", command, text, _said);                                      \
	} while (0)

static void configure(World *w)
{
	_cleanup_free_ char *text = must(strf(format, w->root));

	if (access(PLUGINS "/bridge", X_OK) < 0 || access(PLUGINS "/portmap", X_OK) < 0 ||
	    access(PLUGINS "/bandwidth", X_OK) < 0)
		fail_msg("no CNI plugins in " PLUGINS
			 ": install Debian's containernetworking-plugins (tools/deps test does)");
	put_at(w->conf, "10-podnet.conflist", text, 0644);
	w->bins[0] = (char *)(uintptr_t)PLUGINS;
}

static const CniPort port = {.protocol = "tcp", .host_ip = "", .host_port = 18077, .container_port = 80};

static CniAttachment pod(const char *netns)
{
	return (CniAttachment){.container_id = ID,
			       .netns = netns,
			       .ifname = "eth0",
			       .pod_name = "web",
			       .pod_namespace = "default",
			       .pod_uid = "1",
			       .ports = &port,
			       .n_ports = 1,
			       .ingress_rate = 8000000};
}

static void no_lease_or_port_stays(World *w)
{
	_cleanup_free_ char *files = must(strf("ls '%s/ipam/podnet' '%s/results'", w->root, w->cache));

	assert_says(-1, files, "last_reserved_ip"); /* of what is no lease */
	assert_silent(-1, files, "10.77.0.");
	assert_silent(-1, files, "fd77");
	assert_silent(-1, files, ID);
	assert_silent(-1, "ip -o link", "veth");
	assert_silent(-1, "ip -o link", "bwp"); /* of bandwidth */
	assert_silent(-1, "iptables-save -t nat; ip6tables-save -t nat", "18077");
}

static void nothing_stays(World *w)
{
	no_lease_or_port_stays(w);
	assert_silent(-1, "iptables-save -t nat; ip6tables-save -t nat", ID);
}

static void a_pod(void **state)
{
	World *w = *state;
	_cleanup_cni_result_ CniResult res = {0};
	_cleanup_close_ int netns = -1;
	_cleanup_free_ char *path = new_netns(&netns);
	CniAttachment a = pod(path);
	Cni *c;
	Err e = {0};

	configure(w);
	c = world_cni(w, 0);
	ok(cni_status(c, &e));
	ok(cni_add(c, &a, -1, &res, &e));
	assert_int_equal(strv_len(res.ips), 2);
	assert_string_equal(res.ips[0], "10.77.0.2");
	assert_string_equal(res.ips[1], "fd77::2");
	assert_says(netns, "ip -o addr show eth0", "10.77.0.2/24");
	assert_says(netns, "ip -o addr show eth0", "fd77::2/64");
	assert_says(-1, "ip -o addr show cni9", "10.77.0.1/24");
	assert_says(-1, "iptables-save -t nat", "18077");
	assert_says(-1, "tc qdisc", "tbf");
	ok(clean_up(c, (char *[]){(char *)(uintptr_t)ID " eth0", NULL}, &e));
	assert_says(netns, "ip -o addr show eth0", "10.77.0.2/24");
	ok(cni_del(c, &a, &e));
	nothing_stays(w);
	a.netns = "";
	ok(cni_del(c, &a, &e));
}

/* Without ports: portmap of Debian 12 looks for IPv4's rules among IPv6's. */
static void one_that_is_looked_at(void **state)
{
	World *w = *state;
	_cleanup_cni_result_ CniResult res = {0};
	_cleanup_close_ int netns = -1;
	_cleanup_free_ char *path = new_netns(&netns);
	CniAttachment a = pod(path);
	Cni *c;
	Err e = {0};

	configure(w);
	c = world_cni(w, 0);
	a.n_ports = 0;
	ok(cni_add(c, &a, -1, &res, &e));
	ok(cni_check(c, &a, -1, &e));
	/* Somebody takes the address away. */
	free(said(netns, "ip addr del 10.77.0.2/24 dev eth0"));
	fails(cni_check(c, &a, -1, &e), ERR_INTERNAL,
	      "CNI plugin bridge of network podnet: CHECK for pod default/web: ");
	free(said(netns, "ip addr add 10.77.0.2/24 dev eth0"));
	ok(cni_del(c, &a, &e));
	nothing_stays(w);
}

/* The last plugin refuses: what the others made goes, and its address can be had again. */
static void a_pod_that_fails(void **state)
{
	World *w = *state;
	_cleanup_cni_result_ CniResult res = {0};
	_cleanup_close_ int netns = -1;
	_cleanup_free_ char *path = new_netns(&netns);
	CniAttachment a = pod(path);
	Err e = {0};

	configure(w);
	a.ingress_rate = INT64_MAX;
	fails(cni_add(world_cni(w, 0), &a, -1, &res, &e), ERR_INTERNAL,
	      "CNI plugin bandwidth of network podnet: ADD for pod default/web: ");
	nothing_stays(w);
	assert_silent(netns, "ip -o link", "eth0");
}

/* The namespace is gone: the record is enough. (For masquerading, bridge of Debian 12 looks into the namespace for the addresses; its rules stay.) */
static void a_pod_that_nobody_knows(void **state)
{
	World *w = *state;
	_cleanup_cni_result_ CniResult res = {0};
	int netns = -1;
	_cleanup_free_ char *path = new_netns(&netns);
	CniAttachment a = pod(path);
	Cni *c;
	Err e = {0};

	configure(w);
	c = world_cni(w, 0);
	ok(cni_add(c, &a, -1, &res, &e));
	(void)close(netns);
	ok(clean_up(c, NULL, &e));
	no_lease_or_port_stays(w);
}

static int own_host(void **state)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0) {
		print_message("a network namespace is needed: run as root\n");
		return -1;
	}
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	return home < 0 || system("ip link set lo up") != 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    in_world(a_pod),
	    in_world(one_that_is_looked_at),
	    in_world(a_pod_that_fails),
	    in_world(a_pod_that_nobody_knows),
	};

	return cmocka_run_group_tests(tests, own_host, NULL);
}
