/* SPDX-License-Identifier: Apache-2.0 */
/* See items.h. */
#include "api/cri/items.h"

#define PIECE_MAX (1u << 20) /* of a stream's messages, but for one large item */

void cri_items_done(CriItems *l)
{
	strbuf_done(&l->out);
	free(l->ends);
	*l = (CriItems){0};
}

void cri_items_end(CriItems *l)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64, *ends = reallocarray(l->ends, room, sizeof(*ends));

		if (!ends) {
			l->out.oom = true;
			return;
		}
		l->ends = ends;
		l->room = room;
	}
	l->ends[l->n++] = l->out.len;
}

static void append(ProtobufCBuffer *b, size_t len, const uint8_t *data)
{
	CriItems *l = *(CriItems **)(b + 1);

	strbuf_add_n(&l->out, (const char *)data, len);
}

void cri_items_add(CriItems *l, const ProtobufCMessage *item)
{
	struct {
		ProtobufCBuffer base;
		CriItems *items;
	} to = {{.append = append}, l};

	strbuf_add_c(&l->out, 1 << 3 | 2);
	for (size_t v = protobuf_c_message_get_packed_size(item);; v >>= 7) {
		strbuf_add_c(&l->out, (char)(v > 127 ? (v & 127) | 128 : v));
		if (v <= 127)
			break;
	}
	(void)protobuf_c_message_pack_to_buffer(item, &to.base);
	cri_items_end(l);
}

int cri_items_send(const CriItems *l, GrpcCall *call, Err *e)
{
	return l->out.oom ? err_oom(e) : grpc_send_more(call, l->out.s ?: "", l->out.len, e);
}

int cri_items_stream(const CriItems *l, GrpcCall *call, Err *e)
{
	size_t from = 0;
	int r = l->out.oom ? err_oom(e) : 0;

	for (size_t i = 0; r >= 0 && i < l->n; i++) {
		if (i + 1 < l->n && l->ends[i + 1] - from <= PIECE_MAX)
			continue;
		r = grpc_send(call, l->out.s + from, l->ends[i] - from, e);
		from = l->ends[i];
	}
	return r;
}
