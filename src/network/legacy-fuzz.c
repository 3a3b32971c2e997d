/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes are a table of iptables-legacy, and any two numbers the places of its chain: after them the bytes are looked at, and none beyond. */
#include "network/foreign-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ void *entries = NULL;
	uint32_t at[2];

	if (size < sizeof(at))
		return 0;
	memcpy(at, data, sizeof(at));
	size -= sizeof(at);
	entries = malloc(size ? size : 1);
	if (!entries)
		return 0;
	memcpy(entries, data + sizeof(at), size);
	(void)legacy_chain_drops(entries, size, at[0], at[1], "br-a");
	return 0;
}
