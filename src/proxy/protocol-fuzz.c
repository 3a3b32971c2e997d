/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request and as an answer: what is taken has ended strings and lengths that fit. */
#include "proxy/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static ProxyReply reply;
	ProxyRequest q;
	Err e = {0};

	for (size_t fds = 0; fds < 3; fds++) {
		if (proxy_request_parse(data, size, fds, &q, &e) < 0) {
			if (e.msg[0] == '\0')
				abort();
			continue;
		}
		if (q.op >= PROXY_OP_MAX || (q.op == PROXY_ADD) != (q.op != PROXY_QUIT && fds == 1))
			abort();
		if (q.op == PROXY_ADD && (q.port.target_port == 0 || strlen(q.port.key) >= PROXY_KEY_MAX))
			abort();
	}
	memset(&reply, 0, sizeof(reply));
	memcpy(&reply, data, MIN2(size, sizeof(reply)));
	if (proxy_reply_check(&reply, size, &e) >= 0 && proxy_reply_size(&reply) != size)
		abort();
	return 0;
}
