/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/mux.h"

/* Bytes of the head at hand that were there, or -EPROTO. */
static ssize_t take_head(MuxReader *m, const uint8_t *p, size_t len)
{
	size_t n = MIN2(len, sizeof(m->head) - m->have);

	memcpy(m->head + m->have, p, n);
	m->have += (unsigned)n;
	if (m->have < sizeof(m->head))
		return (ssize_t)n;
	if ((m->head[0] != 1 && m->head[0] != 2) || m->head[1] || m->head[2] || m->head[3])
		return -EPROTO;
	m->left =
	    (uint32_t)m->head[4] << 24 | (uint32_t)m->head[5] << 16 | (uint32_t)m->head[6] << 8 | m->head[7];
	if (m->left == 0)
		m->have = 0;
	return (ssize_t)n;
}

int mux_read(MuxReader *m, const void *data, size_t len, MuxSink sink, void *user)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n;
		int r;

		if (m->left == 0) {
			n = take_head(m, p, len);
			if (n < 0)
				return (int)n;
		} else {
			n = (ssize_t)MIN2(len, (size_t)m->left);
			r = sink(user, m->head[0], p, (size_t)n);
			if (r < 0)
				return r;
			m->left -= (uint32_t)n;
			if (m->left == 0)
				m->have = 0;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}
