/* SPDX-License-Identifier: Apache-2.0 */
/* See note.h. A note has come through the database, which a crash or an administrator may have damaged: nothing of it is trusted to be there. */
#include "api/cri/note.h"

#include "base/base64.h"
#include "base/str.h"
#include "wire/grpc/grpc.h"

static char *packed_text(const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	_cleanup_free_ uint8_t *data = malloc(len + 1);

	if (!data)
		return NULL;
	protobuf_c_message_pack(m, data);
	return base64_encode(data, len, false);
}

int cri_note_make(const ProtobufCMessage *listed, const ProtobufCMessage *whole, char **ret, Err *e)
{
	size_t len = protobuf_c_message_get_packed_size(listed) + protobuf_c_message_get_packed_size(whole);
	_cleanup_free_ char *a = NULL, *b = NULL;

	if (len > CRI_NOTE_MAX)
		return err_new(e, ERR_INVALID,
			       "the configuration takes %zu bytes, of %u at most: are labels, annotations or "
			       "variables that large?",
			       len, CRI_NOTE_MAX);
	a = packed_text(listed);
	b = packed_text(whole);
	*ret = a && b ? strf("%s.%s", a, b) : NULL;
	return *ret ? 0 : err_oom(e);
}

static int damaged(Err *e)
{
	return err_new_no(e, ERR_INTERNAL, EBADMSG, "what was asked for of it cannot be read in its record");
}

static int decode(char *text, uint8_t **ret, size_t *ret_len, Err *e)
{
	char *data = NULL;
	int r = base64_decode(text, &data, ret_len);

	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0)
		return damaged(e);
	*ret = (uint8_t *)data;
	return 0;
}

int cri_note_listed(const char *note, uint8_t **ret, size_t *ret_len, Err *e)
{
	const char *dot = note ? strchr(note, '.') : NULL;
	_cleanup_free_ char *text = dot ? strndup(note, (size_t)(dot - note)) : NULL;

	if (!dot)
		return damaged(e);
	return text ? decode(text, ret, ret_len, e) : err_oom(e);
}

int cri_note_whole(const char *note, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, Err *e)
{
	char *dot = note ? strchr(note, '.') : NULL;
	_cleanup_free_ uint8_t *data = NULL;
	size_t len;
	int r = dot ? decode(dot + 1, &data, &len, e) : damaged(e);

	return r < 0 ? r : grpc_message_unpack(type, data, len, ret, e);
}
