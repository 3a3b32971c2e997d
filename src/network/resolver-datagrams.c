/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients ask by datagram.
 *
 * A client has its turn: as many questions as fit into one call of recvmmsg(2), their answers in one of sendmmsg(2), then the next client that
 * has something to ask. What is left waits in its socket, so a flood costs its own sender's answers and nobody else's.
 */
#include "network/resolver-internal.h"

static void turn_prepare(Turn *t)
{
	for (int i = 0; i < TURN; i++) {
		t->in_data[i] = (struct iovec){t->query[i], sizeof(t->query[i])};
		t->in[i].msg_hdr = (struct msghdr){.msg_name = &t->from[i],
						   .msg_namelen = sizeof(t->from[i]),
						   .msg_iov = &t->in_data[i],
						   .msg_iovlen = 1};
		t->out[i].msg_hdr = (struct msghdr){.msg_name = &t->to[i],
						    .msg_namelen = sizeof(t->to[i]),
						    .msg_iov = &t->out_data[i],
						    .msg_iovlen = 1};
	}
	t->prepared = true;
}

/* A datagram that finds no room is lost, as datagrams are; those behind it are not. */
static void turn_flush(Turn *t)
{
	unsigned sent = 0;

	while (sent < t->n) {
		int n = t->n - sent == 1
			    ? (int)(sendmsg(t->fd, &t->out[sent].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			    : sendmmsg(t->fd, t->out + sent, t->n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (unsigned)n : 1;
	}
	t->n = 0;
}

void datagram_send(Resolver *r, const Asker *to, const uint8_t *m, size_t len)
{
	Turn *t = &r->turn;
	int fd = to->client->udp->fd;

	if (fd != t->fd || t->n == TURN || len > sizeof(t->answer[0])) {
		(void)sendto(fd, m, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&to->from,
			     sizeof(to->from));
		return;
	}
	memcpy(t->answer[t->n], m, len);
	t->to[t->n] = to->from;
	t->out_data[t->n] = (struct iovec){t->answer[t->n], len};
	t->n++;
}

void datagrams_ready(Resolver *r, Slot *s, uint32_t events _unused_)
{
	Turn *t = &r->turn;
	Asker asker = {.client = s->owner};
	int n;

	if (!t->prepared)
		turn_prepare(t);
	n = recvmmsg(s->fd, t->in, TURN, MSG_DONTWAIT, NULL);
	t->fd = s->fd;
	for (int i = 0; i < n; i++) {
		struct msghdr *m = &t->in[i].msg_hdr;

		asker.from = t->from[i];
		if (t->in[i].msg_len <= DNS_QUERY_MAX && m->msg_namelen == sizeof(asker.from))
			question(r, &asker, t->query[i], t->in[i].msg_len);
		m->msg_namelen = sizeof(t->from[i]);
	}
	turn_flush(t);
	t->fd = -1;
}
