/* SPDX-License-Identifier: Apache-2.0 */
/* What a server says to a question: compared, weighed, kept, aged and cut, whatever it is. Two bytes of length, the question, the answer. */
#include "network/dns-cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keep(const uint8_t *query, const DnsQuestion *q, const uint8_t *m, size_t len, uint32_t life)
{
	DnsCache *c = dns_cache_new();
	uint8_t key[DNS_KEY_MAX], out[CACHE_MESSAGE_MAX], cut[DNS_UDP_PLAIN];
	size_t n = dns_key(key, 1, query, q), kept;
	DnsShare share = {0};

	if (!c)
		return;
	if (n > sizeof(key))
		abort();
	dns_cache_put(c, &share, key, n, m, len, life, 0);
	kept = dns_cache_get(c, key, n, INT64_C(1000000000), out);
	if (kept != (life > 1 && len <= sizeof(out) ? len : 0))
		abort();
	if (kept && memcmp(out, m, q->end) != 0)
		abort();
	if (kept && dns_cut(cut, out, q->end, q->edns) > sizeof(cut))
		abort();
	dns_cache_leave(c, &share);
	dns_cache_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = size >= 2 ? (size_t)(data[0] << 8 | data[1]) : 0;
	const uint8_t *query = data + 2, *m = query + n;
	DnsQuestion q;
	bool negative;
	uint32_t life;

	if (size < 2 || n > size - 2 || dns_question_parse(query, n, &q) != 0)
		return 0;
	size -= 2 + n;
	if (!dns_answers(m, size, query, &q, q.id))
		return 0;
	life = dns_life(m, size, q.end, &negative);
	if (life > 0 && (dns_truncated(m) || dns_rcode(m) > DNS_NXDOMAIN))
		abort();
	keep(query, &q, m, size, life);
	return 0;
}
