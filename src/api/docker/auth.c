/* SPDX-License-Identifier: Apache-2.0 */
#include "api/docker/auth.h"

#include "base/str.h"

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	return c == '/' || c == '_' ? 63 : -1;
}

int base64_decode(const char *s, char **ret, size_t *ret_len)
{
	size_t n = strlen(s), len = 0;
	_cleanup_free_ char *out = NULL;
	uint32_t acc = 0;
	int bits = 0;

	while (n > 0 && s[n - 1] == '=')
		n--;
	if (n % 4 == 1)
		return -EINVAL;
	out = malloc(n / 4 * 3 + 4);
	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int v = digit(s[i]);

		if (v < 0)
			return -EINVAL;
		acc = acc << 6 | (uint32_t)v;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[len] = (char)(acc >> bits & 0xff);
			if (!out[len++])
				return -EINVAL;
		}
	}
	out[len] = '\0';
	*ret = take_ptr(out);
	if (ret_len)
		*ret_len = len;
	return 0;
}

char *base64_encode(const void *data, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = data;
	char *out = malloc((len + 2) / 3 * 4 + 1), *to = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;

		if (i + 1 < len)
			v |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < len)
			v |= p[i + 2];
		*to++ = alphabet[v >> 18];
		*to++ = alphabet[v >> 12 & 63];
		*to++ = i + 1 < len ? alphabet[v >> 6 & 63] : '=';
		*to++ = i + 2 < len ? alphabet[v & 63] : '=';
	}
	*to = '\0';
	return out;
}

int auth_header_parse(const char *header, json_t **ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *doc = NULL;
	size_t len;

	if (str_empty(header)) {
		*ret = json_object();
		return *ret ? 0 : err_oom(e);
	}
	/* The message never quotes the header: it is a secret. */
	if (strlen(header) > AUTH_HEADER_MAX || base64_decode(header, &text, &len) < 0)
		return err_new(e, ERR_INVALID, "invalid registry credentials: the header is not base64");
	if (json_parse(text, len, "registry credentials", &doc, NULL) < 0 ||
	    !(json_is_object(doc) || json_is_null(doc)))
		return err_new(e, ERR_INVALID,
			       "invalid registry credentials: the header is not a JSON object");
	*ret = json_is_null(doc) ? json_object() : json_incref(doc);
	return *ret ? 0 : err_oom(e);
}

static const char *member(const json_t *o, const char *key)
{
	const char *s = json_get_str(o, key);

	return str_empty(s) ? NULL : s;
}

void auth_account(const json_t *account, const char **username, const char **password, const char **token)
{
	*username = member(account, "username");
	*password = member(account, "password");
	*token = member(account, "identitytoken");
}

const json_t *auth_config_find(const json_t *config, const char *domain)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)config, key, value) {
		const char *host = str_after(key, "https://");
		size_t n;

		host = host ? host : str_after(key, "http://");
		host = host ? host : key;
		n = strcspn(host, "/");
		if (strlen(domain) == n && strncmp(host, domain, n) == 0)
			return value;
		if (streq(domain, "docker.io") && n == 15 && strncmp(host, "index.docker.io", n) == 0)
			return value;
	}
	return NULL;
}
