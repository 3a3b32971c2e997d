/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message as a JSON object, by its descriptor: for people only, nothing reads it back.
 *
 * Names are those of the protocol ("linux" where it is linux_part here). Bytes and text that is no UTF-8 are shown with U+FFFD for what cannot be shown.
 */
#include "api/cri/verbose.h"

#include "base/str.h"

#define DEPTH_MAX 16

static json_t *message_json(const ProtobufCMessage *m, unsigned depth);

static json_t *text_json(const char *s, size_t len)
{
	_cleanup_free_ char *clean = str_utf8_clean(s ?: "", s ? len : 0);

	return clean ? json_string(clean) : NULL;
}

static json_t *enum_json(const ProtobufCFieldDescriptor *f, int number)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, number);

	return v ? json_string(v->name) : json_integer(number);
}

static json_t *value_json(const ProtobufCFieldDescriptor *f, const void *at, unsigned depth)
{
	const ProtobufCBinaryData *bytes = at;
	const char *text;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		text = *(const char *const *)at;
		return text_json(text, text ? strlen(text) : 0);
	case PROTOBUF_C_TYPE_BYTES:
		return text_json((const char *)bytes->data, bytes->len);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_json(*(const ProtobufCMessage *const *)at, depth + 1);
	case PROTOBUF_C_TYPE_ENUM:
		return enum_json(f, *(const int *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_real(*(const double *)at);
	case PROTOBUF_C_TYPE_INT32:
		return json_integer(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT32:
		return json_integer(*(const uint32_t *)at);
	default:
		return json_integer(*(const int64_t *)at);
	}
}

static size_t value_size(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_BOOL:
		return 4;
	default:
		return 8;
	}
}

/* The entry of a map: a message of a key and a value, both text. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;

	return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE &&
	       d->n_fields == 2 && str_ends(d->short_name, "Entry");
}

static json_t *map_json(CriPair *const *pairs, size_t n)
{
	json_t *j = json_object();

	for (size_t i = 0; j && i < n; i++) {
		_cleanup_free_ char *key = str_utf8_clean(pairs[i]->key, strlen(pairs[i]->key));

		if (!key ||
		    json_object_set_new(j, key, text_json(pairs[i]->value, strlen(pairs[i]->value))) < 0) {
			json_decref(j);
			return NULL;
		}
	}
	return j;
}

static json_t *list_json(const ProtobufCFieldDescriptor *f, const char *items, size_t n, unsigned depth)
{
	json_t *j = json_array();

	for (size_t i = 0; j && i < n; i++)
		if (json_array_append_new(j, value_json(f, items + i * value_size(f), depth)) < 0) {
			json_decref(j);
			return NULL;
		}
	return j;
}

static bool is_empty(const ProtobufCFieldDescriptor *f, const void *at)
{
	static const char zeros[8];

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return str_empty(*(const char *const *)at);
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)at)->len == 0;
	default:
		return memcmp(at, zeros, value_size(f)) == 0;
	}
}

/* False: without memory. */
static bool add_field(json_t *j, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, unsigned depth)
{
	const char *at = (const char *)m + f->offset;
	const char *name = streq(f->name, "linux_part") ? "linux" : f->name;
	size_t n;

	if (f->label != PROTOBUF_C_LABEL_REPEATED)
		return is_empty(f, at) || json_object_set_new(j, name, value_json(f, at, depth)) == 0;
	n = *(const size_t *)((const char *)m + f->quantifier_offset);
	if (!n)
		return true;
	return json_object_set_new(j, name,
				   is_map(f) ? map_json(*(CriPair *const *const *)at, n)
					     : list_json(f, *(const char *const *)at, n, depth)) == 0;
}

static json_t *message_json(const ProtobufCMessage *m, unsigned depth)
{
	json_t *j = json_object();

	for (unsigned i = 0; j && m && depth < DEPTH_MAX && i < m->descriptor->n_fields; i++)
		if (!add_field(j, m, &m->descriptor->fields[i], depth)) {
			json_decref(j);
			return NULL;
		}
	return j;
}

json_t *cri_message_json(const ProtobufCMessage *m)
{
	return message_json(m, 0);
}
