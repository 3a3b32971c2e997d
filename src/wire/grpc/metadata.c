/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata: the fields of a call's head and trailers, in and out, and the encodings of gRPC in them.
 *
 * What arrives is kept as nghttp2 has it, by reference: an entry of the HPACK table that is named a thousand times is in memory once.
 */
#include "wire/grpc/grpc-internal.h"
#include "base/base64.h"
#include "base/str.h"

#include <ctype.h>

/* ---- in ---- */

int grpc_fields_add(GrpcFieldsIn *f, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 12;
		GrpcFieldIn *v = realloc(f->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		f->v = v;
		f->cap = cap;
	}
	nghttp2_rcbuf_incref(name);
	nghttp2_rcbuf_incref(value);
	f->v[f->n++] = (GrpcFieldIn){name, value};
	return 0;
}

void grpc_fields_done(GrpcFieldsIn *f)
{
	for (size_t i = 0; i < f->n; i++) {
		nghttp2_rcbuf_decref(f->v[i].name);
		nghttp2_rcbuf_decref(f->v[i].value);
	}
	free(f->v);
	*f = (GrpcFieldsIn){0};
}

/* nghttp2 ends every buffer with NUL, and takes no NUL inside of one. */
static const char *text_of(const nghttp2_rcbuf *b)
{
	return (const char *)nghttp2_rcbuf_get_buf((nghttp2_rcbuf *)(uintptr_t)b).base;
}

const char *grpc_fields_get(const GrpcFieldsIn *f, const char *name, size_t nth)
{
	for (size_t i = 0; i < f->n; i++)
		if (streq(text_of(f->v[i].name), name) && nth-- == 0)
			return text_of(f->v[i].value);
	return NULL;
}

bool grpc_metadata_each(const GrpcCall *call, size_t idx, GrpcField *ret)
{
	bool have;

	pthread_mutex_lock(&call->c->lock);
	have = idx < call->in.n;
	if (have)
		*ret = (GrpcField){text_of(call->in.v[idx].name), text_of(call->in.v[idx].value)};
	pthread_mutex_unlock(&call->c->lock);
	return have;
}

const char *grpc_metadata(const GrpcCall *call, const char *name, size_t nth)
{
	const char *value;

	pthread_mutex_lock(&call->c->lock);
	value = grpc_fields_get(&call->in, name, nth);
	pthread_mutex_unlock(&call->c->lock);
	return value;
}

/* Several values of one name may stand in one field, with commas between: the nth of all. malloc'ed; NULL if there is none. */
static char *nth_binary(const GrpcCall *call, const char *name, size_t nth)
{
	const char *value;

	for (size_t i = 0; (value = grpc_metadata(call, name, i)); i++) {
		for (;;) {
			size_t n = strcspn(value, ",");

			if (nth-- == 0)
				return strndup(value, n);
			if (!value[n])
				break;
			value += n + 1;
		}
	}
	return NULL;
}

int grpc_metadata_bin(const GrpcCall *call, const char *name, size_t nth, uint8_t **ret, size_t *ret_len,
		      Err *e)
{
	_cleanup_free_ char *text = nth_binary(call, name, nth);
	char *data;
	int r;

	if (!text)
		return 0;
	r = base64_decode(text, &data, ret_len);
	if (r == -ENOMEM)
		return err_oom(e);
	if (r < 0)
		return err_new(e, ERR_INVALID, "metadata %s: no base64", name);
	*ret = (uint8_t *)data;
	return 1;
}

/* ---- out ---- */

int grpc_field_check(const char *name, const char *value, Err *e)
{
	size_t len = strlen(value);

	if (!nghttp2_check_header_name((const uint8_t *)name, strlen(name)) || name[0] == ':')
		return err_new(
		    e, ERR_INVALID,
		    "metadata \"%s\": not a name of lower-case letters, digits, \"-\", \"_\" and \".\"",
		    name);
	if (!nghttp2_check_header_value_rfc9113((const uint8_t *)value, len))
		return err_new(e, ERR_INVALID,
			       "metadata %s: its value has control characters, or blanks at an end", name);
	if (len > FIELD_MAX)
		return err_new(e, ERR_INVALID, "metadata %s: %zu bytes, more than %d", name, len, FIELD_MAX);
	return 0;
}

int grpc_fields_out_add(GrpcFieldsOut *f, const char *name, const char *value, Err *e)
{
	int r = grpc_field_check(name, value, e);
	GrpcFieldOut *v;

	if (r < 0)
		return r;
	v = realloc(f->v, (f->n + 1) * sizeof(*v));
	if (!v)
		return err_oom(e);
	f->v = v;
	v[f->n] = (GrpcFieldOut){strdup(name), strdup(value)};
	if (!v[f->n].name || !v[f->n].value) {
		free(v[f->n].name);
		free(v[f->n].value);
		return err_oom(e);
	}
	f->n++;
	return 0;
}

void grpc_fields_out_done(GrpcFieldsOut *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->v[i].name);
		free(f->v[i].value);
	}
	free(f->v);
	*f = (GrpcFieldsOut){0};
}

/* ---- encodings ---- */

int grpc_timeout_parse(const char *s, int64_t *ret_ns)
{
	static const struct {
		char unit;
		int64_t ns;
	} units[] = {{'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000},
		     {'m', 1000000},       {'u', 1000},        {'n', 1}};
	size_t digits = strspn(s, "0123456789");
	int64_t n = 0;

	if (digits < 1 || digits > 8 || !s[digits] || s[digits + 1])
		return -EINVAL;
	for (size_t i = 0; i < digits; i++)
		n = n * 10 + (s[i] - '0');
	for (size_t i = 0; i < ELEMENTSOF(units); i++) {
		if (units[i].unit != s[digits])
			continue;
		*ret_ns = n > INT64_MAX / 4 / units[i].ns ? INT64_MAX / 4 : n * units[i].ns;
		return 0;
	}
	return -EINVAL;
}

char *grpc_percent_encode(const char *s)
{
	StrBuf b = {0};

	for (const char *p = s; *p; p++) {
		unsigned char ch = (unsigned char)*p;
		bool at_end = p == s || !p[1]; /* where a field may not have blanks */

		if (ch >= 0x20 && ch <= 0x7E && ch != '%' && !(ch == ' ' && at_end))
			strbuf_add_c(&b, *p);
		else
			strbuf_addf(&b, "%%%02X", ch);
	}
	return strbuf_steal(&b);
}

static int hex_of(char ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : isxdigit((unsigned char)ch) ? (ch | 32) - 'a' + 10 : -1;
}

/* What is no escape stays as it is, as gRPC has it; what is no UTF-8 then becomes U+FFFD. */
char *grpc_percent_decode(const char *s)
{
	_cleanup_free_ char *raw = malloc(strlen(s) + 1);
	size_t n = 0;

	if (!raw)
		return NULL;
	while (*s) {
		int high = *s == '%' ? hex_of(s[1]) : -1, low = high >= 0 ? hex_of(s[2]) : -1;

		raw[n++] = low >= 0 ? (char)(high * 16 + low) : *s;
		s += low >= 0 ? 3 : 1;
	}
	return str_utf8_clean(raw, n);
}
