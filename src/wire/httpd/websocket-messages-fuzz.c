/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a client, whole and in two pieces, of which the first byte says where the first ends: the messages are the same. */
#include "wire/httpd/websocket.h"

#include "base/fd.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A sum of all messages. */
static uint64_t receive(const uint8_t *data, size_t size, size_t first)
{
	uint64_t sum = 0;
	WsConnection *w;
	WsPiece p;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	HttpHijack h = {.fd = pair[0], .prefix = data, .prefix_len = first};
	if (ws_open(&h, 0, &w, NULL) < 0 || fd_write_all(pair[1], data + first, size - first) < 0)
		abort();
	(void)shutdown(pair[1], SHUT_WR);
	while (ws_receive(w, -1, &p, NULL) > 0) {
		if (p.len > size || (p.len == 0 && !p.ends))
			abort();
		for (size_t i = 0; i < p.len; i++)
			sum = sum * 31 + p.data[i];
		sum = p.ends ? sum * 31 + 7 : sum;
	}
	(void)close(pair[1]);
	ws_close(w, WS_NORMAL);
	(void)close(pair[0]);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 32768)
		return 0;
	if (receive(data + 1, size - 1, MIN2((size_t)data[0], size - 1)) != receive(data + 1, size - 1, 0))
		abort();
	return 0;
}
