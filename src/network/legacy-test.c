/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of iptables-legacy: which of them drop all that a bridge sends out. */
#include "base/test.h"
#include "network/foreign-internal.h"

#include <linux/netfilter_ipv4/ip_tables.h>

/* An entry without matches, and its target behind it. */
typedef struct Entry {
	_Alignas(8) char room[sizeof(struct ipt_entry) + sizeof(struct xt_standard_target)];
} Entry;

#define ACCEPT (-NF_ACCEPT - 1)
#define DROP   (-NF_DROP - 1)

static struct ipt_entry *head(Entry *e)
{
	return (void *)e->room;
}

static struct xt_standard_target *target(Entry *e)
{
	return (void *)(e->room + sizeof(struct ipt_entry));
}

static Entry entry(const char *in, int verdict)
{
	Entry e = {{0}};

	head(&e)->target_offset = sizeof(struct ipt_entry);
	head(&e)->next_offset = sizeof(Entry);
	snprintf(head(&e)->ip.iniface, IFNAMSIZ, "%s", in);
	memset(head(&e)->ip.iniface_mask, 0xFF, *in ? strlen(in) + 1 : 0);
	target(&e)->target.u.user.target_size = sizeof(struct xt_standard_target);
	target(&e)->verdict = verdict;
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
	head(&some[0])->ip.proto = IPPROTO_TCP; /* lets out some of it */
	assert_true(drops(some, 2));
	head(&some[0])->ip.proto = 0;
	head(&some[0])->ip.invflags = IPT_INV_VIA_IN;
	assert_true(drops(some, 2));
	assert_true(drops(call, 2));
	assert_true(drops(all, 2));
	head(&all[0])->ip.iniface_mask[3] = 0; /* "br-+" */
	assert_false(drops(all, 2));
	memcpy(target(&reject[0])->target.u.user.name, "REJECT", sizeof("REJECT"));
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
	head(&v[0])->next_offset = 0; /* would never end */
	assert_false(drops(v, 2));
	head(&v[0])->next_offset = 65535;
	assert_false(drops(v, 2));
	head(&v[0])->next_offset = sizeof(Entry);
	head(&v[0])->target_offset = 65535;
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
