/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as they arrive at a parked connection: in pieces, whose sizes are the first bytes of the input. What is taken for a whole request lies in the
 * buffer, and the pieces make no difference. */
#include "wire/httpd/httpd-internal.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static HttpServer server = {.o = {.body_max = 4096},
			    .lock = PTHREAD_MUTEX_INITIALIZER,
			    .changed = PTHREAD_COND_INITIALIZER};

/* The length of the first request, 0 if there is none, -status. */
static long feed(const uint8_t *data, size_t size, size_t first)
{
	int pair[2];
	HttpConnection *c;
	long r = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	c = http_conn_new(&server, pair[0], HTTP_UNIX);
	for (size_t at = 0, n = first; c && r == 0 && at < size; at += n, n = MIN2(n * 2, (size_t)8192)) {
		n = MIN2(n, size - at);
		if (send(pair[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n ||
		    http_conn_receive(c) != (ssize_t)n)
			break;
		if (http_conn_scan(c))
			r = c->refuse ? -c->refuse : (long)(c->head_len + c->body_wait);
		if (r > 0 && c->pos + (size_t)r > c->len)
			abort();
	}
	if (c)
		http_conn_free(c);
	(void)close(pair[1]);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 16384)
		return 0;
	if (feed(data + 1, size - 1, (size_t)data[0] + 1) != feed(data + 1, size - 1, size))
		abort();
	return 0;
}
