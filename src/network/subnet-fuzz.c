/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that clients say: addresses, subnets, gateways, ranges, settings of an interface. What is taken says the same again. */
#include "network/network-internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_address(const char *text)
{
	IpAddress a, again;

	if (ip_parse(text, &a) < 0)
		return;
	if (ip_parse(ip_text(a).s, &again) < 0 || again != a)
		abort();
}

/* Whatever way it was said, it is a subnet with a gateway inside. */
static void one_subnet(const NetworkSubnet *s)
{
	NetworkSubnet again;

	if (!network_subnet_contains(s, s->gateway) || s->gateway == s->address ||
	    (s->address & ip_mask(s->address, s->prefix)) != s->address)
		abort();
	if (network_subnet_parse(network_subnet_text(s).s, ip_text(s->gateway).s, &again, NULL) < 0 ||
	    again.address != s->address || again.gateway != s->gateway)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const withins[] = {"172.30.0.0/16", "fd00:30::/64"};
	char text[256];
	NetworkSubnet s, within, range;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	one_address(text);
	if (network_subnet_parse(text, NULL, &s, NULL) >= 0)
		one_subnet(&s);
	if (network_gateway_parse(text, &s, NULL) >= 0)
		one_subnet(&s);
	for (size_t i = 0; i < ELEMENTSOF(withins); i++) {
		if (network_subnet_parse(withins[i], NULL, &within, NULL) < 0)
			abort();
		if (network_range_parse(text, &within, &range, NULL) >= 0 &&
		    (!network_subnet_contains(&within, range.address) ||
		     !network_subnet_contains(&within, subnet_last(&range))))
			abort();
	}
	/* What is let through cannot name a file outside of the interface's own settings. */
	if (network_endpoint_sysctl_check(text, NULL) >= 0 && (strchr(text, '/') || strstr(text, "..")) &&
	    strcspn(text, "/") < strcspn(text, "="))
		abort();
	return 0;
}
