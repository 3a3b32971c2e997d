/* SPDX-License-Identifier: Apache-2.0 */
/* The eight bytes that every frame begins with. All numbers are big-endian. */
#include "wire/spdy/spdy-internal.h"

uint32_t spdy_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void spdy_put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

SpdyHead spdy_head_read(const uint8_t buf[SPDY_HEAD_LEN])
{
	uint32_t first = spdy_get32(buf), second = spdy_get32(buf + 4);
	SpdyHead h = {.control = first >> 31, .flags = (uint8_t)(second >> 24), .len = second & SPDY_LEN_MAX};

	if (h.control) {
		h.version = first >> 16 & 0x7fff;
		h.type = first & 0xffff;
	} else {
		h.stream = first;
	}
	return h;
}

void spdy_head_write(uint8_t buf[SPDY_HEAD_LEN], SpdyType type, uint8_t flags, uint32_t len)
{
	spdy_put32(buf, 1u << 31 | SPDY_VERSION << 16 | (uint32_t)type);
	spdy_put32(buf + 4, (uint32_t)flags << 24 | len);
}

void spdy_data_head_write(uint8_t buf[SPDY_HEAD_LEN], uint32_t stream, uint8_t flags, uint32_t len)
{
	spdy_put32(buf, stream);
	spdy_put32(buf + 4, (uint32_t)flags << 24 | len);
}
