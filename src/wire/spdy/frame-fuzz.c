/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes are what a client sends, or, after a first byte of 1, a header block that was decompressed. A handler reads each stream and sends it back. */
#include "wire/spdy/spdy-internal.h"

#include "base/fd.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const SpdyLimits limits = {.streams_max = 8, .headers_max = 4096};

static void echo(SpdyStream *s)
{
	uint8_t buf[512];
	ssize_t n;

	if (spdy_header(s, "streamtype") && strlen(spdy_header(s, "streamtype")) > 4096)
		abort();
	(void)spdy_reply(s, NULL);
	while ((n = spdy_read(s, buf, sizeof(buf), NULL)) > 0)
		if (spdy_write(s, buf, (size_t)n, NULL) < 0)
			break;
	(void)spdy_write_end(s, NULL);
	spdy_stream_close(s);
}

static void attack(const uint8_t *data, size_t size)
{
	SpdyConnection *c;
	SpdyStream *s;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    spdy_serve(pair[0], NULL, 0, &limits, &c, NULL) < 0)
		abort();
	if (fd_write_all(pair[1], data, size) < 0 && errno != EPIPE && errno != ECONNRESET)
		abort();
	(void)shutdown(pair[1], SHUT_WR);
	while (spdy_accept(c, -1, &s, NULL) > 0)
		echo(s);
	spdy_connection_close(c);
	(void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SpdyFields f;

	if (size < 1 || size > 32768)
		return 0;
	if (data[0] != 1) {
		attack(data + 1, size - 1);
	} else if (spdy_fields_read(data + 1, size - 1, &f) >= 0) {
		for (size_t i = 0; i < f.n; i++)
			if (!spdy_fields_get(&f, f.v[i].name))
				abort();
		spdy_fields_done(&f);
	}
	return 0;
}
