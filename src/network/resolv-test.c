/* SPDX-License-Identifier: Apache-2.0 */
/* resolv.conf and hosts texts, with the host's files as various machines have them (in a private mount namespace). */
#include "network/test-net.h"

#include <sys/mount.h>

static void put(const char *path, const char *text)
{
	assert_int_equal(file_replace_at(AT_FDCWD, path, text, strlen(text), 0644, false), 0);
}

static int private_files(void **state _unused_)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/etc", "tmpfs", 0, "size=1m") < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, "size=1m") < 0)
		return -1;
	return mkdir_parents_at(AT_FDCWD, "/run/systemd/resolve", 0755);
}

static char *conf(bool host_mode)
{
	char *text = NULL;
	Err e = {0};

	ok(network_resolv_conf(NULL, NULL, NULL, host_mode, &text, &e));
	return text;
}

static void assert_conf(const char *host, const char *want)
{
	put("/etc/resolv.conf", host);
	_cleanup_free_ char *text = conf(false);

	assert_string_equal(text, want);
}

#define PUBLIC                                                                                               \
	"# The host lists no resolver that a container can reach, so Google's public ones are used.\n"       \
	"# Choose others with --dns or in the daemon's configuration.\n"                                     \
	"nameserver 8.8.8.8\nnameserver 8.8.4.4\n"

static void test_hosts_file_as_it_is(void **state _unused_)
{
	assert_conf("# c\nnameserver 192.0.2.53 # x\n\nnameserver\t10.0.0.53\nsearch a.example b.example\n"
		    "options ndots:2 edns0\n",
		    "nameserver 192.0.2.53\nnameserver 10.0.0.53\nsearch a.example b.example\noptions "
		    "ndots:2 edns0\n");
	assert_conf("domain old.example\nsearch new.example\nnameserver 192.0.2.53",
		    "nameserver 192.0.2.53\nsearch new.example\n");
	assert_conf("nameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver 192.0.2.53\n",
		    "nameserver 192.0.2.53\n");
}

static void test_loopback_resolvers(void **state _unused_)
{
	put("/run/systemd/resolve/resolv.conf",
	    "nameserver 192.0.2.9\nnameserver 2001:db8::9\nsearch ignored\n");
	assert_conf("nameserver 127.0.0.53\nsearch lan\n", "nameserver 192.0.2.9\nsearch lan\n");
	assert_conf("nameserver 127.0.0.1\nnameserver 192.0.2.53\n", "nameserver 192.0.2.53\n");
	put("/etc/resolv.conf", "nameserver 127.0.0.53\n");
	_cleanup_free_ char *text = conf(true);
	assert_string_equal(text, "nameserver 127.0.0.53\n"); /* the host's network has the host's loopback */

	assert_int_equal(unlink("/run/systemd/resolve/resolv.conf"), 0);
	assert_conf("nameserver 127.0.0.53\nsearch lan\n", PUBLIC "search lan\n");
	assert_conf("", PUBLIC);
	assert_int_equal(unlink("/etc/resolv.conf"), 0);
	_cleanup_free_ char *missing = conf(false);
	assert_string_equal(missing, PUBLIC);
}

static void test_hostile_host_file(void **state _unused_)
{
	enum { BIG = 60000 };
	char *big = malloc(BIG + 200);

	assert_conf("nameserver\nnameserver x\nnameserver 1.2.3\nsearch\noptions\nnameserver 192.0.2.53 "
		    "junk\n\r\n\x01\n",
		    "nameserver 192.0.2.53\n");
	memset(big, 'a', BIG);
	memcpy(big, "search ", 7);
	snprintf(big + BIG, 200, " ok.example\nnameserver 192.0.2.53\n");
	assert_conf(big, "nameserver 192.0.2.53\nsearch ok.example\n"); /* no domain name is that long */
	for (size_t i = 7; i < BIG; i += 2)
		big[i] = ' ';
	put("/etc/resolv.conf", big);
	_cleanup_free_ char *text = conf(false);
	assert_true(strlen(text) < 300);
	free(big);

	_cleanup_free_ char *huge = malloc(100001), *none = NULL;
	Err e = {0};
	memset(huge, '\n', 100000);
	huge[100000] = '\0';
	put("/etc/resolv.conf", huge);
	assert_int_equal(network_resolv_conf(NULL, NULL, NULL, false, &none, &e), -EFBIG);
}

static void test_given_values(void **state _unused_)
{
	char *dns[] = {"192.0.2.1", "2001:db8::1", NULL}, *search[] = {"x.example", NULL},
	     *dot[] = {".", NULL};
	char *options[] = {"ndots:1", NULL}, *none[] = {NULL};
	_cleanup_free_ char *a = NULL, *b = NULL;
	Err e = {0};

	put("/etc/resolv.conf", "nameserver 192.0.2.53\nsearch host.example\noptions edns0\n");
	ok(network_resolv_conf(dns, search, options, false, &a, &e));
	assert_string_equal(
	    a, "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch x.example\noptions ndots:1\n");
	ok(network_resolv_conf(NULL, dot, none, false, &b, &e));
	assert_string_equal(b, "nameserver 192.0.2.53\n");
}

static void test_nothing_can_be_slipped_in(void **state _unused_)
{
	static char *bad_dns[] = {"1.2.3.4\nsearch evil", "not-an-address", "", "1.2.3.4 5.6.7.8",
				  "1.2.3.4%eth0"};
	static char *bad_word[] = {"a\nnameserver 6.6.6.6", "a b", "", "a\tb", "x#y"};
	static char *bad_host[] = {"name",          "name:",
				   ":1.2.3.4",      "name:1.2.3.4\n6.6.6.6 bank",
				   "a b:1.2.3.4",   "a\nb:1.2.3.4",
				   "name:1.2.3.400"};
	char *text = NULL, *v[2] = {NULL, NULL}, *own[] = {(char *)"172.17.0.2", NULL};
	Err e = {0};

	for (size_t i = 0; i < ELEMENTSOF(bad_dns); i++) {
		v[0] = bad_dns[i];
		assert_int_equal(network_resolv_conf(v, NULL, NULL, false, &text, &e), -EINVAL);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad_word); i++) {
		v[0] = bad_word[i];
		assert_int_equal(network_resolv_conf(NULL, v, NULL, false, &text, &e), -EINVAL);
		assert_int_equal(network_resolv_conf(NULL, NULL, v, false, &text, &e), -EINVAL);
		if (*bad_word[i])
			assert_int_equal(network_hosts_file(own, bad_word[i], NULL, NULL, &text, &e),
					 -EINVAL);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad_host); i++) {
		v[0] = bad_host[i];
		assert_int_equal(network_hosts_file(NULL, NULL, NULL, v, &text, &e), -EINVAL);
		assert_int_equal(e.kind, ERR_INVALID);
	}
	assert_null(text);
}

#define STANDARD                                                                                             \
	"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"            \
	"ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

static void test_hosts(void **state _unused_)
{
	char *extra[] = {"db:10.1.2.3", "six:[2001:db8::5]", "six2:::1", NULL};
	char *one[] = {"172.17.0.2", NULL}, *two[] = {"172.17.0.2", "10.0.0.2", NULL};
	_cleanup_free_ char *a = NULL, *b = NULL, *c = NULL, *d = NULL;
	Err e = {0};

	ok(network_hosts_file(one, "web", NULL, NULL, &a, &e));
	assert_string_equal(a, STANDARD "172.17.0.2\tweb\n");
	ok(network_hosts_file(one, "web", "example.org", extra, &b, &e));
	assert_string_equal(b, STANDARD
			    "10.1.2.3\tdb\n2001:db8::5\tsix\n::1\tsix2\n172.17.0.2\tweb.example.org web\n");
	ok(network_hosts_file(NULL, "web", NULL, NULL, &c, &e));
	assert_string_equal(c, STANDARD);
	ok(network_hosts_file(two, "web", NULL, NULL, &d, &e));
	assert_string_equal(d, STANDARD "172.17.0.2\tweb\n10.0.0.2\tweb\n");
}

static void test_hosts_change(void **state _unused_)
{
	_cleanup_free_ char *a = NULL, *b = NULL, *c = NULL, *d = NULL;
	Err e = {0};

	ok(network_hosts_change("10.0.0.2\tweb\n10.0.0.22\tother\nmine", "10.0.0.2", NULL, "web", NULL, &a,
				&e));
	assert_string_equal(a, "10.0.0.22\tother\nmine");
	ok(network_hosts_change(a, NULL, "10.1.0.5", "web", "example.org", &b, &e));
	assert_string_equal(b, "10.0.0.22\tother\nmine\n10.1.0.5\tweb.example.org web\n");
	ok(network_hosts_change("10.0.0.2", "10.0.0.2", NULL, "web", NULL, &c, &e)); /* no name behind it */
	assert_string_equal(c, "10.0.0.2");
	ok(network_hosts_change("", "10.0.0.2", "10.1.0.5", "web", NULL, &d, &e));
	assert_string_equal(d, "10.1.0.5\tweb\n");
}

#define INTERNAL "# Generated by ireko.\n\nnameserver 127.0.0.11\n"
#define BASED    "\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n"

static void test_internal(void **state _unused_)
{
	char *dns[] = {"192.0.2.1", NULL}, *options[] = {"ndots:3", NULL}, *dot[] = {".", NULL};
	_cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;
	Err e = {0};

	put("/etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch lan\noptions edns0\n");
	ok(network_resolv_conf_internal(NULL, NULL, NULL, &a, &e));
	assert_string_equal(a, INTERNAL "search lan\noptions edns0 ndots:0\n" BASED
					"# ExtServers: [host(127.0.0.53) host(192.0.2.53)]\n# Overrides: []\n"
					"# Option ndots from: internal\n");
	ok(network_resolv_conf_internal(dns, dot, options, &b, &e));
	assert_string_equal(b, INTERNAL "options ndots:3\n" BASED "# ExtServers: [192.0.2.1]\n"
					"# Overrides: [nameservers search options]\n"
					"# Option ndots from: override\n");
	put("/etc/resolv.conf", "options ndots:2\n");
	ok(network_resolv_conf_internal(NULL, NULL, NULL, &c, &e));
	assert_string_equal(c, INTERNAL "options ndots:2\n" BASED "# ExtServers: []\n# Overrides: []\n"
					"# Option ndots from: host\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hosts_file_as_it_is),
	    cmocka_unit_test(test_loopback_resolvers),
	    cmocka_unit_test(test_hostile_host_file),
	    cmocka_unit_test(test_given_values),
	    cmocka_unit_test(test_nothing_can_be_slipped_in),
	    cmocka_unit_test(test_hosts),
	    cmocka_unit_test(test_hosts_change),
	    cmocka_unit_test(test_internal),
	};
	return cmocka_run_group_tests(tests, private_files, NULL);
}
