/* SPDX-License-Identifier: Apache-2.0 */
/* What is said on the channels beside the bytes: how it ended, and how large the terminal is; and base64, for the protocols that have it. */
#include "api/cri/stream-parts.h"

#include "base/json.h"

static char *as_text(json_t *doc)
{
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;

	json_decref(doc);
	return text;
}

char *cri_status_success(void)
{
	return as_text(json_pack("{s:{}, s:s}", "metadata", "status", "Success"));
}

char *cri_status_exit(int code)
{
	char text[16], message[64];

	snprintf(text, sizeof(text), "%d", code);
	snprintf(message, sizeof(message), "the command has ended with exit code %d", code);
	return as_text(json_pack("{s:{}, s:s, s:s, s:s, s:{s:[{s:s, s:s}]}}", "metadata", "status", "Failure",
				 "message", message, "reason", "NonZeroExitCode", "details", "causes",
				 "reason", "ExitCode", "message", text));
}

char *cri_status_error(const char *message)
{
	_cleanup_free_ char *clean = str_utf8_clean(message, strlen(message));

	return clean ? as_text(json_pack("{s:{}, s:s, s:s, s:s, s:{s:[{s:s}]}, s:i}", "metadata", "status",
					 "Failure", "message", clean, "reason", "InternalError", "details",
					 "causes", "message", clean, "code", 500))
		     : NULL;
}

/* ---- sizes ---- */

static uint16_t side(const json_t *doc, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(doc, name));

	return v > 0 && v <= UINT16_MAX ? (uint16_t)v : 0;
}

static void read_size(CriResizeReader *r, bool *ret_got, uint16_t *ret_rows, uint16_t *ret_cols)
{
	_cleanup_json_ json_t *doc = json_loadb(r->buf, r->len, 0, NULL);
	uint16_t rows = side(doc, "Height"), cols = side(doc, "Width");

	r->len = 0;
	r->broken = !json_is_object(doc);
	if (rows == 0 || cols == 0)
		return;
	*ret_got = true;
	*ret_rows = rows;
	*ret_cols = cols;
}

size_t cri_resize_feed(CriResizeReader *r, const void *data, size_t len, bool *ret_got, uint16_t *ret_rows,
		       uint16_t *ret_cols)
{
	const char *p = data;

	*ret_got = false;
	for (size_t i = 0; i < len && !r->broken; i++) {
		if (r->len == sizeof(r->buf)) {
			r->broken = true;
			break;
		}
		r->buf[r->len++] = p[i];
		if (p[i] == '}')
			read_size(r, ret_got, ret_rows, ret_cols);
		if (*ret_got)
			return i + 1;
	}
	return len;
}

/* ---- base64 ---- */

static int digit(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four digits are together. */
static size_t put_group(CriBase64 *b, uint8_t *to)
{
	size_t n = 3 - b->pads;

	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(b->bits >> (16 - 8 * i));
	b->n = 0;
	b->bits = 0;
	return n;
}

ssize_t cri_base64_feed(CriBase64 *b, const void *data, size_t len, uint8_t *to)
{
	const unsigned char *p = data;
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		int v = digit(p[i]);

		/* Nothing but a second '=' comes behind the first, which is not the first or second of its four. */
		if (p[i] == '=' && b->n >= 2 && b->pads < 2 && (b->pads > 0 || b->n < 4)) {
			b->pads++;
			v = 0;
		} else if (v < 0 || b->pads > 0) {
			return -EPROTO;
		}
		b->bits = b->bits << 6 | (uint32_t)v;
		if (++b->n == 4)
			out += put_group(b, to + out);
	}
	return (ssize_t)out;
}
