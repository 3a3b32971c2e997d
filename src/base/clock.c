/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times in UTC only: no TZ is consulted, so the same instant has the same text in every process.
 * An int64_t of nanoseconds reaches from 1677 to 2262; texts beyond that are refused, except Go's
 * zero time, which is our 0.
 */
#include "base/clock.h"
#include "base/str.h"

#include <ctype.h>
#include <math.h>
#include <time.h>

#define NS_PER_S 1000000000LL

static int64_t read_clock(clockid_t id)
{
	struct timespec ts = {0};

	(void)clock_gettime(id, &ts); /* fails for unknown clocks only */
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Day and month of a day counted from 1970. gmtime_r() would read /etc/localtime first, to no use. Years are counted from
 * March, so that the leap day is their last, in cycles of 400 (146,097 days). */
static struct tm civil_date(int64_t days)
{
	int64_t since = days + 719468, cycle = (since >= 0 ? since : since - 146096) / 146097;
	int64_t day = since - cycle * 146097;                                 /* of the cycle */
	int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365; /* of the cycle */
	int64_t of_year = day - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;

	return (struct tm){
	    .tm_mday = (int)(of_year - (153 * month + 2) / 5 + 1),
	    .tm_mon = (int)(month < 10 ? month + 2 : month - 10),
	    .tm_year = (int)(year + cycle * 400 + (month >= 10) - 1900),
	};
}

static struct tm civil_time(int64_t s)
{
	int64_t days = (s >= 0 ? s : s - 86399) / 86400, rest = s - days * 86400;
	struct tm tm = civil_date(days);

	tm.tm_hour = (int)(rest / 3600);
	tm.tm_min = (int)(rest / 60 % 60);
	tm.tm_sec = (int)(rest % 60);
	return tm;
}

TimeText clock_rfc3339_fixed(int64_t ns)
{
	TimeText t;
	struct tm tm;
	int64_t s = ns / NS_PER_S, frac = ns % NS_PER_S;

	if (frac < 0) {
		s--;
		frac += NS_PER_S;
	}
	tm = civil_time(s);
	if (ns == 0)
		snprintf(t.s, sizeof(t.s), "0001-01-01T00:00:00.000000000Z");
	else
		snprintf(t.s, sizeof(t.s), "%04d-%02u-%02uT%02u:%02u:%02u.%09uZ", (tm.tm_year + 1900) % 10000,
			 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
			 (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
			 (unsigned)frac);
	return t;
}

TimeText clock_rfc3339(int64_t ns)
{
	TimeText t = clock_rfc3339_fixed(ns);
	size_t n = strlen(t.s) - 1; /* at the Z */

	while (t.s[n - 1] == '0')
		n--;
	if (t.s[n - 1] == '.')
		n--;
	memcpy(t.s + n, "Z", 2);
	return t;
}

/* Exactly n digits, no more than max; moves *s behind them. */
static int take_number(const char **s, size_t n, int max, int *ret)
{
	int v = 0;

	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)(*s)[i]))
			return -EINVAL;
		v = v * 10 + ((*s)[i] - '0');
	}
	if (v > max)
		return -EINVAL;
	*s += n;
	*ret = v;
	return 0;
}

static int take_char(const char **s, const char *any)
{
	if (!**s || !strchr(any, **s))
		return -EINVAL;
	(*s)++;
	return 0;
}

/* An optional fraction as nanoseconds; digits beyond the ninth are dropped. */
static int take_fraction(const char **s, int64_t *ret)
{
	int64_t v = 0, unit = NS_PER_S / 10;

	if (**s == '.') {
		(*s)++;
		if (!isdigit((unsigned char)**s))
			return -EINVAL;
		for (; isdigit((unsigned char)**s); (*s)++) {
			v += (**s - '0') * unit;
			unit /= 10;
		}
	}
	*ret = v;
	return 0;
}

/* "Z" or "+hh:mm": seconds east of UTC. */
static int take_offset(const char **s, int *ret)
{
	bool west = **s == '-';
	int h, m;

	if (take_char(s, "Zz") == 0) {
		*ret = 0;
		return 0;
	}
	if (take_char(s, "+-") < 0 || take_number(s, 2, 23, &h) < 0 || take_char(s, ":") < 0 ||
	    take_number(s, 2, 59, &m) < 0)
		return -EINVAL;
	*ret = (h * 3600 + m * 60) * (west ? -1 : 1);
	return 0;
}

static int join(int64_t s, int64_t frac, int64_t *ret)
{
	int64_t ns;

	/* One second at a time from zero, so that the very first representable second is not lost. */
	if (s < 0 && frac > 0) {
		s++;
		frac -= NS_PER_S;
	}
	if (__builtin_mul_overflow(s, NS_PER_S, &ns) || __builtin_add_overflow(ns, frac, &ns))
		return -EINVAL;
	*ret = ns;
	return 0;
}

static int take_date_time(const char **s, struct tm *tm)
{
	if (take_number(s, 4, 9999, &tm->tm_year) < 0 || take_char(s, "-") < 0 ||
	    take_number(s, 2, 12, &tm->tm_mon) < 0 || take_char(s, "-") < 0 ||
	    take_number(s, 2, 31, &tm->tm_mday) < 0 || take_char(s, "Tt") < 0 ||
	    take_number(s, 2, 23, &tm->tm_hour) < 0 || take_char(s, ":") < 0 ||
	    take_number(s, 2, 59, &tm->tm_min) < 0 || take_char(s, ":") < 0 ||
	    take_number(s, 2, 59, &tm->tm_sec) < 0)
		return -EINVAL;
	tm->tm_year -= 1900;
	tm->tm_mon -= 1;
	return 0;
}

static int parse_rfc3339(const char *s, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t frac;
	int offset;

	if (take_date_time(&s, &tm) < 0 || take_fraction(&s, &frac) < 0 || take_offset(&s, &offset) < 0 || *s)
		return -EINVAL;
	if (tm.tm_year == 1 - 1900 && tm.tm_mon == 0 && tm.tm_mday == 1 && tm.tm_hour == 0 &&
	    tm.tm_min == 0 && tm.tm_sec == 0 && frac == 0 && offset == 0) {
		*ret_ns = 0;
		return 0;
	}

	/* timegm() turns 31 February into March instead of refusing it. */
	struct tm normal = tm;
	time_t when = timegm(&normal);

	if (normal.tm_mday != tm.tm_mday || normal.tm_mon != tm.tm_mon)
		return -EINVAL;
	return join((int64_t)when - offset, frac, ret_ns);
}

static int parse_unix(const char *s, int64_t *ret_ns)
{
	int64_t seconds = 0, frac;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(seconds, 10, &seconds) ||
		    __builtin_add_overflow(seconds, *s - '0', &seconds))
			return -EINVAL;
	if (take_fraction(&s, &frac) < 0 || *s)
		return -EINVAL;
	return join(seconds, frac, ret_ns);
}

int clock_parse(const char *s, int64_t *ret_ns)
{
	if (!s)
		return -EINVAL;
	return strspn(s, "0123456789") == 4 && s[4] == '-' ? parse_rfc3339(s, ret_ns) : parse_unix(s, ret_ns);
}

/* "12.5" of 12500 thousandths. */
static char *with_fraction(long long whole, long long part, int digits)
{
	while (digits > 0 && part % 10 == 0) {
		part /= 10;
		digits--;
	}
	return digits > 0 ? strf("%lld.%0*lld", whole, digits, part) : strf("%lld", whole);
}

char *clock_go_duration(int64_t ns)
{
	long long n = ns < 0 ? -ns : ns, s = n / NS_PER_S;
	const char *sign = ns < 0 ? "-" : "";
	int digits = n < 1000 ? 0 : n < 1000000 ? 3 : n < NS_PER_S ? 6 : 9;
	const char *unit = n == 0 || digits == 9 ? "s"
			   : digits == 6         ? "ms"
			   : digits == 3         ? "\xc2\xb5s"
						 : "ns";
	long long scale = digits == 0 ? 1 : digits == 3 ? 1000 : digits == 6 ? 1000000 : NS_PER_S;
	_cleanup_free_ char *text =
	    with_fraction(digits == 9 ? s % 60 : n / scale, digits ? n % scale : 0, digits);

	if (!text)
		return NULL;
	if (s >= 3600)
		return strf("%s%lldh%lldm%ss", sign, s / 3600, s / 60 % 60, text);
	if (s >= 60)
		return strf("%s%lldm%ss", sign, s / 60, text);
	return strf("%s%s%s", sign, text, unit);
}

/* The steps and the rounding (whole seconds, minutes, days; the nearest hour) are those of Docker's
 * go-units, which people compare with. */
char *clock_human_duration(int64_t ns)
{
	long long s = ns / NS_PER_S, m = s / 60, h = (s + 1800) / 3600, day = 24;

	if (s < 1)
		return strdup("Less than a second");
	if (s == 1)
		return strdup("1 second");
	if (s < 60)
		return strf("%lld seconds", s);
	if (m == 1)
		return strdup("About a minute");
	if (m < 60)
		return strf("%lld minutes", m);
	if (h == 1)
		return strdup("About an hour");
	if (h < 48)
		return strf("%lld hours", h);
	if (h < 14 * day)
		return strf("%lld days", h / day);
	if (h < 60 * day)
		return strf("%lld weeks", h / day / 7);
	if (h < 730 * day)
		return strf("%lld months", h / day / 30);
	return strf("%lld years", s / 3600 / day / 365);
}

static int duration_unit(const char **s, double *ret)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
		     {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};

	for (size_t i = 0; i < ELEMENTSOF(units); i++) {
		size_t n = strlen(units[i].name);

		if (strncmp(*s, units[i].name, n) == 0 && !isalpha((unsigned char)(*s)[n])) {
			*s += n;
			*ret = units[i].ns;
			return 0;
		}
	}
	return -EINVAL;
}

int clock_parse_duration(const char *s, int64_t *ret_ns)
{
	bool negative = *s == '-';
	double total = 0;

	if (*s == '-' || *s == '+')
		s++;
	if (streq(s, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (!*s)
		return -EINVAL;
	while (*s) {
		char number[32];
		size_t n = strspn(s, "0123456789.");
		char *end;
		double unit;

		if (n == 0 || n >= sizeof(number))
			return -EINVAL;
		memcpy(number, s, n);
		number[n] = '\0';
		double v = strtod(number, &end);
		s += n;
		if (*end || end == number || duration_unit(&s, &unit) < 0)
			return -EINVAL;
		total += v * unit;
	}
	if (!(total < 9.2e18))
		return -EINVAL;
	*ret_ns = (int64_t)llround(negative ? -total : total);
	return 0;
}
