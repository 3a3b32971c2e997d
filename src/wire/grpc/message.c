/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of protobuf-c.
 *
 * A message of two bytes an element asks for some forty times its size while it is unpacked; so unpacking has a budget. The memory is malloc's
 * own, and may be freed without naming an allocator.
 */
#include "wire/grpc/grpc-internal.h"

#define UNPACK_FACTOR 16
#define UNPACK_BASE   (1024 * 1024)

static void *budget_alloc(void *data, size_t size)
{
	size_t *left = data;

	if (size > *left)
		return NULL;
	*left -= size;
	return malloc(size);
}

static void budget_free(void *data, void *p)
{
	free(p);
}

int grpc_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
			ProtobufCMessage **ret, Err *e)
{
	size_t budget = UNPACK_BASE + len * UNPACK_FACTOR;
	ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &allocator, len, data);

	if (!m)
		return err_new(e, ERR_INVALID, "the message of %zu bytes is no %s", len, type->name);
	*ret = m;
	return 0;
}

int grpc_receive_message(GrpcCall *call, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
			 Err *e)
{
	_cleanup_free_ uint8_t *data = NULL;
	size_t len;
	int r = grpc_receive(call, &data, &len, e);

	if (r > 0) {
		r = grpc_message_unpack(type, data, len, ret, e);
		r = r < 0 ? r : 1;
	}
	return r;
}

int grpc_receive_only(GrpcCall *call, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, Err *e)
{
	_cleanup_free_ uint8_t *second = NULL;
	ProtobufCMessage *m;
	size_t len;
	int r = grpc_receive_message(call, type, &m, e);

	if (r == 0)
		return err_new(e, ERR_INVALID, "%s: the stream ended without a message",
			       grpc_call_path(call));
	if (r < 0)
		return r;
	r = grpc_receive(call, &second, &len, e);
	if (r == 0) {
		*ret = m;
		return 0;
	}
	protobuf_c_message_free_unpacked(m, NULL);
	return r < 0 ? r : err_new(e, ERR_INVALID, "%s: more than one message", grpc_call_path(call));
}

static int send_packed(GrpcCall *call, const ProtobufCMessage *m,
		       int (*send)(GrpcCall *, const void *, size_t, Err *), Err *e)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t small[2048];
	_cleanup_free_ uint8_t *large = len > sizeof(small) ? malloc(len) : NULL;
	uint8_t *p = large ? large : small;

	if (len > sizeof(small) && !large)
		return err_oom(e);
	protobuf_c_message_pack(m, p);
	return send(call, p, len, e);
}

int grpc_send_message(GrpcCall *call, const ProtobufCMessage *message, Err *e)
{
	return send_packed(call, message, grpc_send, e);
}

int grpc_send_message_more(GrpcCall *call, const ProtobufCMessage *message, Err *e)
{
	return send_packed(call, message, grpc_send_more, e);
}
