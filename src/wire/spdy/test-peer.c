/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "wire/spdy/test-peer.h"

#include <poll.h>
#include <sys/socket.h>

#define PATIENCE_MS 10000

void peer_open(Peer *p, const SpdyLimits *o)
{
	uint8_t dictionary[SPDY_DICTIONARY_LEN];
	int pair[2];

	*p = (Peer){.fd = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p->fd = pair[0];
	assert_int_equal(spdy_serve(pair[1], NULL, 0, o, &p->c, NULL), 0);
	spdy_dictionary(dictionary);
	assert_int_equal(deflateInit(&p->z, Z_BEST_COMPRESSION), Z_OK);
	assert_int_equal(deflateSetDictionary(&p->z, dictionary, sizeof(dictionary)), Z_OK);
}

void peer_close(Peer *p)
{
	close_fd(&p->fd);
	spdy_connection_close(p->c);
	deflateEnd(&p->z);
	spdy_inflate_done(&p->inflate);
}

int peer_put(Peer *p, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		struct pollfd w = {.fd = p->fd, .events = POLLOUT};
		ssize_t n = send(p->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0 && poll(&w, 1, PATIENCE_MS) == 0)
			return -ETIMEDOUT;
		at += MAX2(n, (ssize_t)0);
		len -= (size_t)MAX2(n, (ssize_t)0);
	}
	return 0;
}

int peer_control(Peer *p, unsigned type, uint8_t flags, const void *payload, size_t len)
{
	_cleanup_free_ uint8_t *frame = malloc(SPDY_HEAD_LEN + len);

	assert_non_null(frame);
	spdy_head_write(frame, type, flags, (uint32_t)len);
	if (len > 0)
		memcpy(frame + SPDY_HEAD_LEN, payload, len);
	return peer_put(p, frame, SPDY_HEAD_LEN + len);
}

int peer_data(Peer *p, uint32_t stream, uint8_t flags, const void *data, size_t len)
{
	uint8_t head[SPDY_HEAD_LEN];
	int r;

	spdy_data_head_write(head, stream, flags, (uint32_t)len);
	r = peer_put(p, head, sizeof(head));
	return r < 0 ? r : peer_put(p, data, len);
}

int peer_number2(Peer *p, unsigned type, uint32_t a, uint32_t b)
{
	uint8_t payload[8];

	spdy_put32(payload, a);
	spdy_put32(payload + 4, b);
	return peer_control(p, type, 0, payload, sizeof(payload));
}

static int open_stream(Peer *p, uint32_t id, uint8_t flags, const void *block, size_t len)
{
	size_t cap = deflateBound(&p->z, len) + 64;
	_cleanup_free_ uint8_t *payload = calloc(1, 10 + cap);

	assert_non_null(payload);
	spdy_put32(payload, id);
	p->z.next_in = (Bytef *)(uintptr_t)block;
	p->z.avail_in = (unsigned)len;
	p->z.next_out = payload + 10;
	p->z.avail_out = (unsigned)cap;
	assert_int_equal(deflate(&p->z, Z_SYNC_FLUSH), Z_OK);
	return peer_control(p, SPDY_SYN_STREAM, flags, payload, 10 + cap - p->z.avail_out);
}

int peer_open_raw(Peer *p, uint32_t id, const void *block, size_t len)
{
	return open_stream(p, id, 0, block, len);
}

int peer_open_stream(Peer *p, uint32_t id, uint8_t flags, const char *const *fields)
{
	uint8_t block[4096];
	size_t at = 4, n = 0;

	for (; fields[n]; n++) {
		size_t len = strlen(fields[n]);

		assert_true(at + 4 + len <= sizeof(block));
		spdy_put32(block + at, (uint32_t)len);
		memcpy(block + at + 4, fields[n], len);
		at += 4 + len;
	}
	spdy_put32(block, (uint32_t)n / 2);
	return open_stream(p, id, flags, block, at);
}

static bool read_full(Peer *p, uint8_t *buf, size_t len)
{
	for (size_t have = 0; have < len;) {
		struct pollfd w = {.fd = p->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&w, 1, PATIENCE_MS) == 0)
			fail_msg("the server says nothing");
		n = recv(p->fd, buf + have, len - have, 0);
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

bool peer_read(Peer *p, PeerFrame *ret)
{
	uint8_t head[SPDY_HEAD_LEN];

	free(take_ptr(ret->data));
	if (!read_full(p, head, sizeof(head)))
		return false;
	ret->head = spdy_head_read(head);
	ret->data = calloc(1, (size_t)ret->head.len + 1);
	assert_non_null(ret->data);
	return read_full(p, ret->data, ret->head.len);
}

void peer_expect(Peer *p, unsigned type, PeerFrame *ret)
{
	do
		assert_true(peer_read(p, ret));
	while (!ret->head.control || ret->head.type != type);
}

void peer_expect_end(Peer *p)
{
	PeerFrame f = {0};

	while (peer_read(p, &f))
		;
	free(f.data);
}
