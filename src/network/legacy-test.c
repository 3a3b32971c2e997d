/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of iptables-legacy: which of them drop all that a bridge sends out. */
#include "base/test.h"
#include "network/foreign-internal.h"

#include <linux/netfilter_ipv4/ip_tables.h>

typedef struct Entry {
	struct ipt_entry entry;
	struct xt_standard_target target;
} Entry;

#define ACCEPT (-NF_ACCEPT - 1)
#define DROP   (-NF_DROP - 1)

static Entry entry(const char *in, int verdict)
{
	Entry e = {.entry = {.target_offset = sizeof(struct ipt_entry), .next_offset = sizeof(Entry)},
		   .target = {.target = {.u = {.user = {.target_size = sizeof(struct xt_standard_target)}}},
			      .verdict = verdict}};

	snprintf(e.entry.ip.iniface, sizeof(e.entry.ip.iniface), "%s", in);
	memset(e.entry.ip.iniface_mask, 0xFF, *in ? strlen(in) + 1 : 0);
	return e;
}

static bool drops(const Entry *v, size_t n)
{
	return legacy_chain_drops(v, n * sizeof(*v), 0, (n - 1) * sizeof(*v), "br-a");
}

static void test_chains(void **state _unused_)
{
	Entry policy[] = {entry("", DROP)}, open[] = {entry("", ACCEPT)};
	Entry helped[] = {entry("br-a", ACCEPT), entry("", DROP)};
	Entry other[] = {entry("br-ab", ACCEPT), entry("", DROP)};
	Entry closed[] = {entry("br-a", DROP), entry("", ACCEPT)};
	Entry some[] = {entry("br-a", ACCEPT), entry("", DROP)};
	Entry call[] = {entry("", 4096), entry("", DROP)}; /* a chain of the user's: not followed */
	Entry all[] = {entry("br-", ACCEPT), entry("", DROP)};
	Entry reject[] = {entry("", 0), entry("", ACCEPT)};

	assert_true(drops(policy, 1));
	assert_false(drops(open, 1));
	assert_false(drops(helped, 2));
	assert_true(drops(other, 2));
	assert_true(drops(closed, 2));
	some[0].entry.ip.proto = IPPROTO_TCP; /* lets out some of it */
	assert_true(drops(some, 2));
	some[0].entry.ip.proto = 0;
	some[0].entry.ip.invflags = IPT_INV_VIA_IN;
	assert_true(drops(some, 2));
	assert_true(drops(call, 2));
	assert_true(drops(all, 2));
	all[0].entry.ip.iniface_mask[3] = 0; /* "br-+" */
	assert_false(drops(all, 2));
	memcpy(reject[0].target.target.u.user.name, "REJECT", sizeof("REJECT"));
	assert_true(drops(reject, 2));
}

static void test_broken_tables(void **state _unused_)
{
	Entry v[] = {entry("br-x", ACCEPT), entry("", DROP)};

	assert_true(drops(v, 2));
	assert_false(legacy_chain_drops(v, sizeof(v) - 1, 0, sizeof(v[0]), "br-a")); /* cut off */
	assert_false(legacy_chain_drops(v, sizeof(v), sizeof(v), sizeof(v), "br-a"));
	assert_false(legacy_chain_drops(v, sizeof(v), SIZE_MAX - 3, SIZE_MAX, "br-a"));
	assert_false(legacy_chain_drops(v, 0, 0, 0, "br-a"));
	v[0].entry.next_offset = 0; /* would never end */
	assert_false(drops(v, 2));
	v[0].entry.next_offset = 65535;
	assert_false(drops(v, 2));
	v[0].entry.next_offset = sizeof(Entry);
	v[0].entry.target_offset = 65535;
	assert_false(drops(v, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_chains),
	    cmocka_unit_test(test_broken_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
