/* SPDX-License-Identifier: Apache-2.0 */
/* A question is answered whatever it is, within the room given; an answer is compared with one. */
#include "network/dns-message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[DNS_UDP_PLAIN];
	DnsQuestion q;
	DnsAnswer a;
	IpAddress address = 0;
	int r = dns_question_parse(data, size, &q);
	size_t half = size / 2;

	if (r < 0)
		return 0;
	if (strlen(q.name) > 255 || q.end > size)
		abort();
	dns_answer_begin(&a, out, sizeof(out), data, &q, r, r == 0);
	(void)dns_reverse_name(q.name, &address);
	dns_answer_name(&a, q.name, 1);
	for (uint32_t i = 0; i < 100; i++)
		dns_answer_address(&a, address + i, 1);
	if (dns_answer_end(&a) > sizeof(out))
		abort();
	(void)dns_answers(data + half, size - half, data, &q, q.id);
	return 0;
}
