/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are kept: as long as they say, in bounds, and for nobody at another's cost. */
#include "network/dns-cache.h"

#include "base/test.h"

#define SECOND INT64_C(1000000000)

/* An answer with one A record of the given time to live. */
static const uint8_t MESSAGE[] = "\0\0\x81\x80\0\1\0\1\0\0\0\0\3web\4test\0\0\1\0\1"
				 "\xc0\x0c\0\1\0\1\0\0\0\x64\0\4\xc0\0\2\1";
#define LEN    (sizeof(MESSAGE) - 1)
#define TTL_AT (LEN - 7) /* its last byte */

static void put(DnsCache *c, DnsShare *share, uint64_t scope, uint32_t name, uint32_t life, int64_t now)
{
	uint64_t key[2] = {scope, name};

	dns_cache_put(c, share, (uint8_t *)key, sizeof(key), MESSAGE, LEN, life, now);
}

static size_t get(DnsCache *c, uint64_t scope, uint32_t name, int64_t now, uint8_t out[CACHE_MESSAGE_MAX])
{
	uint64_t key[2] = {scope, name};

	return dns_cache_get(c, (uint8_t *)key, sizeof(key), now, out);
}

static void test_time(void **state _unused_)
{
	DnsCache *c = dns_cache_new();
	uint8_t out[CACHE_MESSAGE_MAX];
	DnsShare share = {0};

	put(c, &share, 1, 1, 100, 5 * SECOND);
	assert_int_equal(get(c, 1, 1, 5 * SECOND, out), LEN);
	assert_int_equal(out[TTL_AT], 100);
	assert_int_equal(get(c, 1, 1, 35 * SECOND + 1, out), LEN);
	assert_int_equal(out[TTL_AT], 70);
	assert_int_equal(get(c, 2, 1, 6 * SECOND, out), 0);
	assert_int_equal(get(c, 1, 1, 105 * SECOND, out), 0);
	assert_int_equal(dns_cache_count(c), 0);
	assert_int_equal(share.n + share.bytes, 0);
	/* A later answer takes the place; one that is not to be kept takes it away. */
	put(c, &share, 1, 1, 100, 0);
	put(c, &share, 1, 1, 10, SECOND);
	assert_int_equal(get(c, 1, 1, 12 * SECOND, out), 0);
	put(c, &share, 1, 1, 100, 0);
	put(c, &share, 1, 1, 0, SECOND);
	assert_int_equal(get(c, 1, 1, SECOND, out), 0);
	dns_cache_free(c);
}

static void test_shares(void **state _unused_)
{
	DnsCache *c = dns_cache_new();
	uint8_t out[CACHE_MESSAGE_MAX];
	DnsShare quiet = {0}, loud[CACHE_ALL / CACHE_SHARE + 1] = {0};

	put(c, &quiet, 1, 0, 100, 0);
	for (uint32_t i = 1; i <= 10 * CACHE_SHARE; i++)
		put(c, &loud[0], 1, i, 100, 0);
	assert_int_equal(loud[0].n, CACHE_SHARE);
	assert_int_equal(get(c, 1, 0, 0, out), LEN);
	assert_int_equal(get(c, 1, 1, 0, out), 0);
	assert_int_equal(get(c, 1, 10 * CACHE_SHARE, 0, out), LEN);
	/* All of them together, too. */
	for (uint32_t k = 1; k < ELEMENTSOF(loud); k++)
		for (uint32_t i = 1; i <= 2 * CACHE_SHARE; i++)
			put(c, &loud[k], 1 + k, i, 100, 0);
	assert_true(dns_cache_count(c) <= CACHE_ALL);
	assert_int_equal(get(c, 1, 0, 0, out), LEN);
	/* What those have left who went makes room before anything else. */
	dns_cache_leave(c, &loud[1]);
	put(c, &quiet, 1, 1, 100, 0);
	assert_int_equal(get(c, 1, 0, 0, out), LEN);
	assert_int_equal(quiet.n, 2);
	dns_cache_forget(c, 1);
	assert_int_equal(quiet.n + loud[0].n, 0);
	assert_int_equal(get(c, 3, 2 * CACHE_SHARE, 0, out), LEN);
	dns_cache_free(c);
}

static void test_bytes(void **state _unused_)
{
	DnsCache *c = dns_cache_new();
	uint8_t big[CACHE_MESSAGE_MAX + 1] = {0}, out[CACHE_MESSAGE_MAX];
	DnsShare share = {0};

	memcpy(big, MESSAGE, LEN);
	for (uint64_t i = 0; i < 1000; i++) {
		dns_cache_put(c, &share, (uint8_t *)&i, sizeof(i), big, CACHE_MESSAGE_MAX, 100, 0);
		assert_true(share.bytes <= CACHE_SHARE_BYTES);
	}
	for (uint64_t i = 999; i > 989; i--)
		assert_int_equal(dns_cache_get(c, (uint8_t *)&i, sizeof(i), 0, out), CACHE_MESSAGE_MAX);
	dns_cache_put(c, &share, (const uint8_t *)"x", 1, big, sizeof(big), 100, 0);
	assert_int_equal(dns_cache_get(c, (const uint8_t *)"x", 1, 0, out), 0);
	/* What has run out is gone once something comes. */
	dns_cache_put(c, &share, (const uint8_t *)"y", 1, big, 100, 100, 200 * SECOND);
	assert_int_equal(dns_cache_count(c), 1);
	dns_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_time),
	    cmocka_unit_test(test_shares),
	    cmocka_unit_test(test_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
