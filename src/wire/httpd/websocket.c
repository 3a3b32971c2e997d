/* SPDX-License-Identifier: Apache-2.0 */
/* Frames and the handshake; the pump is websocket-serve.c. */
#include "wire/httpd/websocket.h"

#include "wire/httpd/httpd-internal.h"

#include <openssl/evp.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455, 1.3 */

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* 5.2 and 5.5: clients mask, nobody uses the reserved bits, control frames are short and whole, lengths are written in the shortest way. */
static bool head_allowed(const uint8_t *buf, const WsHead *h, size_t extra)
{
	if ((buf[0] & 0x70) || !(buf[1] & 0x80) || h->len >> 63)
		return false;
	if ((extra == 2 && h->len < 126) || (extra == 8 && h->len <= UINT16_MAX))
		return false;
	if (h->opcode >= WS_CLOSE)
		return h->opcode <= WS_PONG && h->fin && h->len <= WS_CONTROL_MAX;
	return h->opcode <= WS_BINARY;
}

int ws_head_read(const uint8_t *buf, size_t n, WsHead *ret)
{
	size_t extra, len;
	WsHead h;

	if (n < 2)
		return 0;
	extra = (buf[1] & 0x7f) == 126 ? 2 : (buf[1] & 0x7f) == 127 ? 8 : 0;
	len = 2 + extra + 4;
	h = (WsHead){.opcode = buf[0] & 0x0f, .fin = buf[0] & 0x80, .len = buf[1] & 0x7f};
	if (n >= 2 + extra && extra > 0)
		h.len = big_endian(buf + 2, extra);
	/* What is wrong already need not be waited for. */
	if (!head_allowed(buf, &h, n >= 2 + extra ? extra : 0))
		return -EPROTO;
	if (n < len)
		return 0;
	memcpy(h.mask, buf + 2 + extra, sizeof(h.mask));
	*ret = h;
	return (int)len;
}

size_t ws_head_write(uint8_t to[WS_HEAD_MAX], WsOpcode opcode, uint64_t len)
{
	size_t extra = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;

	to[0] = (uint8_t)(0x80 | opcode);
	to[1] = (uint8_t)(extra == 0 ? len : extra == 2 ? 126 : 127);
	for (size_t i = 0; i < extra; i++)
		to[2 + i] = (uint8_t)(len >> 8 * (extra - 1 - i));
	return 2 + extra;
}

void ws_unmask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t at)
{
	for (size_t i = 0; i < n; i++)
		p[i] ^= mask[(at + i) & 3];
}

int ws_accept_key(const char *key, char ret[WS_KEY_LEN + 1])
{
	_cleanup_free_ char *text = strf("%s" GUID, key);
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (!text || EVP_Digest(text, strlen(text), sum, &n, EVP_sha1(), NULL) != 1 || n != 20)
		return -ENOMEM;
	return EVP_EncodeBlock((unsigned char *)ret, sum, (int)n) == WS_KEY_LEN ? 0 : -EINVAL;
}

bool ws_wanted(const HttpRequest *rq)
{
	return http_wants_upgrade(rq) && strcasecmp(http_header(rq, "Upgrade"), "websocket") == 0;
}

/* A word of a list that commas separate, which may be offered in several lines. */
static const char *known_word(const char *word, size_t len, const char *const *known)
{
	for (; *known; known++)
		if (strlen(*known) == len && strncmp(*known, word, len) == 0)
			return *known;
	return NULL;
}

const char *ws_choose_protocol(const HttpRequest *rq, const char *const *known)
{
	const char *line, *found = NULL;
	size_t n = 0;

	for (; !found && (line = http_header_nth(rq, "Sec-WebSocket-Protocol", n)); n++)
		while (*line && !found) {
			size_t blanks = strspn(line, ", \t"), len = strcspn(line + blanks, ", \t");

			found = len ? known_word(line + blanks, len, known) : NULL;
			line += blanks + len;
		}
	return found || n > 0 ? found : "";
}

int ws_begin(HttpRequest *rq, HttpHijack *ret, Err *e)
{
	const char *key = http_header(rq, "Sec-WebSocket-Key"),
		   *version = http_header(rq, "Sec-WebSocket-Version");
	_cleanup_free_ char *head = NULL;
	char accept[WS_KEY_LEN + 1];
	int r;

	if (!ws_wanted(rq) || str_empty(key) || strlen(key) > 100)
		return err_new(
		    e, ERR_INVALID,
		    "not a WebSocket handshake: expected Upgrade: websocket, Connection: Upgrade and "
		    "Sec-WebSocket-Key");
	if (!version || strcmp(version, "13") != 0) {
		http_set_header(rq, "Sec-WebSocket-Version", "13");
		return err_new(e, ERR_INVALID, "WebSocket version %.20s is not supported: expected 13",
			       version ? version : "(none)");
	}
	r = ws_accept_key(key, accept);
	if (r < 0)
		return err_sys(e, r, "answer a WebSocket handshake");
	head = strf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		    "Sec-WebSocket-Accept: %s\r\n",
		    accept);
	return head ? http_take_over(rq, head, true, ret, e) : err_oom(e);
}
