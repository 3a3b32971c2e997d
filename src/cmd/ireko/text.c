/* SPDX-License-Identifier: Apache-2.0 */
/* See text.h. Widths follow Unicode's east-asian blocks coarsely: enough to keep columns straight. */
#include "text.h"
#include "base/clock.h"

#include <ctype.h>
#include <math.h>
#include <time.h>

#define NS_PER_S 1000000000LL

static Human scaled(double v, double base, const char *const *units, size_t n_units, int digits)
{
	Human h;
	size_t i = 0;

	while (v >= base && i + 1 < n_units) {
		v /= base;
		i++;
	}
	snprintf(h.s, sizeof(h.s), "%.*g%s", digits, v, units[i]);
	return h;
}

Human text_size(double bytes, int digits)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};

	return scaled(bytes, 1000, units, ELEMENTSOF(units), digits);
}

Human text_binary_size(double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};

	return scaled(bytes, 1024, units, ELEMENTSOF(units), 4);
}

static int parse_local_time(const char *s, int64_t *ret_ns)
{
	static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < ELEMENTSOF(formats); i++) {
		struct tm tm = {.tm_isdst = -1};
		const char *end = strptime(s, formats[i], &tm);
		bool utc = end && streq(end, "Z");

		if (!end || (*end && !utc))
			continue;
		time_t t = utc ? timegm(&tm) : mktime(&tm);
		*ret_ns = (int64_t)t * NS_PER_S;
		return 0;
	}
	return -EINVAL;
}

char *text_timestamp(const char *s, int64_t now_ns)
{
	int64_t ns;

	/* Plain seconds go through as they are: they may be zero or in the future. */
	if (*s && strspn(s, "0123456789.") == strlen(s) && isdigit((unsigned char)*s))
		return strdup(s);
	if (clock_parse_duration(s, &ns) == 0)
		ns = now_ns - ns;
	else if (clock_parse(s, &ns) < 0 && parse_local_time(s, &ns) < 0) {
		errno = EINVAL;
		return NULL;
	}
	return strf("%lld.%09lld", (long long)(ns / NS_PER_S), (long long)(ns % NS_PER_S));
}

char *text_local_time(int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char s[64];

	if (!localtime_r(&t, &tm) || strftime(s, sizeof(s), "%Y-%m-%d %H:%M:%S %z %Z", &tm) == 0)
		return NULL;
	return strdup(s);
}

char *text_go_time(int64_t ns)
{
	time_t t = (time_t)(ns / NS_PER_S);
	long fraction = (long)(ns % NS_PER_S);
	char date[40], zone[40], nanos[16] = "";
	struct tm tm;
	size_t n;

	if (!gmtime_r(&t, &tm) || strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return NULL;
	snprintf(zone, sizeof(zone), "+0000 UTC");
	if (fraction > 0) {
		snprintf(nanos, sizeof(nanos), ".%09ld", fraction);
		for (n = strlen(nanos); nanos[n - 1] == '0'; n--)
			nanos[n - 1] = '\0';
	}
	return strf("%s%s %s", date, nanos, zone);
}

char *text_local_rfc3339(int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char date[40], zone[8];

	if (!localtime_r(&t, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0 ||
	    strftime(zone, sizeof(zone), "%z", &tm) == 0)
		return NULL;
	return tm.tm_gmtoff == 0 ? strf("%sZ", date) : strf("%s%.3s:%s", date, zone, zone + 3);
}

char *text_ago(int64_t then_ns, int64_t now_ns)
{
	_cleanup_free_ char *d = clock_human_duration(MAX2(now_ns - then_ns, (int64_t)0));

	return d ? strf("%s ago", d) : NULL;
}

/* The next character, its length in bytes (1 and a value of 0xFFFD for anything that is no UTF-8). */
static size_t next_char(const char *s, uint32_t *ret)
{
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;

	*ret = 0xFFFD;
	if (n == 0 || strnlen(s, n) < n || !str_is_utf8(s, n))
		return 1;
	*ret = n == 1 ? c : c & (0xFFu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		*ret = *ret << 6 | ((unsigned char)s[i] & 0x3F);
	return n;
}

static size_t char_width(uint32_t c)
{
	static const struct {
		uint32_t first, last;
		size_t width;
	} ranges[] = {
	    {0x300, 0x36F, 0},     {0x200B, 0x200F, 0},   {0xFE00, 0xFE0F, 0},   {0x1100, 0x115F, 2},
	    {0x2E80, 0x303E, 2},   {0x3041, 0xA4CF, 2},   {0xAC00, 0xD7A3, 2},   {0xF900, 0xFAFF, 2},
	    {0xFE30, 0xFE6F, 2},   {0xFF00, 0xFF60, 2},   {0xFFE0, 0xFFE6, 2},   {0x1F300, 0x1F64F, 2},
	    {0x1F680, 0x1F6FF, 2}, {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
	};

	if (c < 0x300)
		return 1;
	for (size_t i = 0; i < ELEMENTSOF(ranges); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return ranges[i].width;
	return 1;
}

size_t text_width(const char *s)
{
	size_t width = 0;
	uint32_t c;

	while (*s) {
		if (*s >= ' ' && *s < 0x7F) {
			width++;
			s++;
			continue;
		}
		s += next_char(s, &c);
		width += char_width(c);
	}
	return width;
}

char *text_ellipsis(const char *s, size_t max)
{
	size_t width = 0;
	const char *p = s;
	uint32_t c;

	if (text_width(s) <= max)
		return strdup(s);
	if (max == 0)
		return strdup("");
	for (;;) {
		size_t n = next_char(p, &c);

		if (width + char_width(c) > max - 1)
			break;
		width += char_width(c);
		p += n;
	}
	return strf("%.*s\xe2\x80\xa6", (int)(p - s), s);
}

char *text_short_id(const char *id)
{
	const char *hex = str_after(id, "sha256:");

	return strndup(hex ? hex : id, 12);
}

void text_escape(StrBuf *b, const char *s, bool lines)
{
	while (*s) {
		uint32_t c;
		size_t n = next_char(s, &c);
		bool bad = c == 0xFFFD && n == 1;

		if ((c < ' ' && !(lines && (c == '\n' || c == '\t'))) || c == 0x7F ||
		    (c >= 0x80 && c < 0xA0) || bad)
			for (size_t i = 0; i < n; i++)
				strbuf_addf(b, "\\x%02x", (unsigned char)s[i]);
		else
			strbuf_add_n(b, s, n);
		s += n;
	}
}

void text_put(FILE *f, const char *s, bool tty)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (tty) {
		text_escape(&b, s, true);
		s = b.s && !b.oom ? b.s : "";
	}
	(void)fputs(s, f);
}

void text_url_escape(StrBuf *b, const char *s, bool keep_slash)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~:@", *s) || (keep_slash && *s == '/'))
			strbuf_add_c(b, *s);
		else
			strbuf_addf(b, "%%%02X", (unsigned char)*s);
	}
}

void text_query(StrBuf *b, const char *key, const char *value)
{
	strbuf_addf(b, "%c%s=", b->s && strchr(b->s, '?') ? '&' : '?', key);
	text_url_escape(b, value, false);
}
