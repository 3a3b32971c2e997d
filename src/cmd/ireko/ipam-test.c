/* SPDX-License-Identifier: Apache-2.0 */
#include "ipam.h"
#include "base/test.h"

#define V(...) ((char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define S(s)   ((char[]){s})

static void places(char *const *subnets, char *const *ranges, char *const *gateways, char *const *aux,
		   const char *want)
{
	Err e = {0};
	_cleanup_json_ json_t *j = ipam_config(subnets, ranges, gateways, aux, &e);
	_cleanup_free_ char *got = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : strdup(e.msg);

	assert_string_equal(got, want);
}

static void everything_finds_its_subnet(void **state)
{
	places(NULL, NULL, NULL, NULL, "[]");
	places(V(S("10.1.0.0/16"), S("fd00::/64")), V(S("10.1.2.0/24")), V(S("fd00::1"), S("10.1.0.1")),
	       V(S("nas=10.1.0.9")),
	       "[{\"AuxiliaryAddresses\":{\"nas\":\"10.1.0.9\"},\"Gateway\":\"10.1.0.1\",\"IPRange\":\"10.1."
	       "2.0/24\","
	       "\"Subnet\":\"10.1.0.0/16\"},{\"Gateway\":\"fd00::1\",\"Subnet\":\"fd00::/64\"}]");
	places(V(S("10.1.2.128/25")), NULL, V(S("10.1.2.129")), NULL,
	       "[{\"Gateway\":\"10.1.2.129\",\"Subnet\":\"10.1.2.128/25\"}]");
}

static void mistakes(void **state)
{
	places(V(S("10.1.2.128/25")), NULL, V(S("10.1.2.1")), NULL,
	       "no matching subnet for gateway 10.1.2.1");
	places(V(S("10.1.0.0/24")), V(S("10.1.0.0/16")), NULL, NULL,
	       "no matching subnet for ip-range 10.1.0.0/16");
	places(NULL, NULL, V(S("10.1.2.1")), NULL, "no matching subnet for gateway 10.1.2.1");
	places(V(S("10.1.0.0")), NULL, NULL, NULL,
	       "invalid subnet 10.1.0.0: expected an address and a prefix length, as in 10.1.0.0/16");
	places(V(S("10.1.0.0/33")), NULL, NULL, NULL,
	       "invalid subnet 10.1.0.0/33: expected an address and a prefix length, as in 10.1.0.0/16");
	places(V(S("10.0.0.0/8"), S("10.1.0.0/16")), NULL, NULL, NULL,
	       "multiple overlapping subnet configuration is not supported: 10.0.0.0/8 and 10.1.0.0/16");
	places(V(S("10.0.0.0/8")), NULL, V(S("10.0.0.1"), S("10.0.0.2")), NULL,
	       "cannot configure multiple gateways (10.0.0.1, 10.0.0.2) on the same subnet (10.0.0.0/8)");
	places(V(S("10.0.0.0/8")), NULL, NULL, V(S("10.0.0.2")),
	       "invalid --aux-address 10.0.0.2: expected NAME=IP");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(everything_finds_its_subnet),
	    cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
