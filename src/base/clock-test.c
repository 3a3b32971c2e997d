/* SPDX-License-Identifier: Apache-2.0 */
/* Times: what is written can be read, what is no time is refused, durations read as Docker's. */
#include "base/clock.h"
#include "base/id.h"
#include "base/test.h"

#include <time.h>

#define S      1000000000LL
#define MS     (S / 1000)
#define MINUTE (60 * S)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static int64_t parsed(const char *s)
{
	int64_t ns = -1;

	if (clock_parse(s, &ns) < 0)
		fail_msg("%s was refused", s);
	return ns;
}

static void test_text_of_instants(void **state _unused_)
{
	assert_string_equal(clock_rfc3339(0).s, "0001-01-01T00:00:00Z");
	assert_string_equal(clock_rfc3339(1700000000 * S).s, "2023-11-14T22:13:20Z");
	assert_string_equal(clock_rfc3339(1700000000 * S + 120000000).s, "2023-11-14T22:13:20.12Z");
	assert_string_equal(clock_rfc3339(1700000000 * S + 1).s, "2023-11-14T22:13:20.000000001Z");
	assert_string_equal(clock_rfc3339(-1).s, "1969-12-31T23:59:59.999999999Z");
	assert_string_equal(clock_rfc3339_fixed(1700000000 * S).s, "2023-11-14T22:13:20.000000000Z");
	assert_string_equal(clock_rfc3339_fixed(0).s, "0001-01-01T00:00:00.000000000Z");
}

/* Against the C library: the days around every turn of a year and of a February that an int64_t of nanoseconds reaches. */
static void test_text_of_every_year(void **state _unused_)
{
	for (int year = 1678; year <= 2261; year++) {
		static const struct {
			int month, day;
		} turns[] = {{0, 1}, {1, 28}, {1, 29}, {2, 1}, {11, 31}};

		for (size_t i = 0; i < ELEMENTSOF(turns); i++) {
			struct tm tm = {.tm_year = year - 1900,
					.tm_mon = turns[i].month,
					.tm_mday = turns[i].day,
					.tm_hour = 23,
					.tm_min = 59,
					.tm_sec = (int)i * 14};
			char want[40];
			time_t when = timegm(&tm); /* makes 1 March of a 29 February that is none */

			if (when == 0)
				continue;
			strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%SZ", &tm);
			assert_string_equal(clock_rfc3339((int64_t)when * S).s, want);
			assert_int_equal(parsed(want), (int64_t)when * S);
		}
	}
}

static void test_parse(void **state _unused_)
{
	assert_int_equal(parsed("2023-11-14T22:13:20Z"), 1700000000 * S);
	assert_int_equal(parsed("2023-11-14T22:13:20.12Z"), 1700000000 * S + 120000000);
	assert_int_equal(parsed("2023-11-15T00:13:20.5+02:00"), 1700000000 * S + S / 2);
	assert_int_equal(parsed("2023-11-14T16:43:20-05:30"), 1700000000 * S);
	assert_int_equal(parsed("2023-11-14T22:13:20.1234567891Z"), 1700000000 * S + 123456789);
	assert_int_equal(parsed("2024-02-29T00:00:00Z"), 1709164800 * S);
	assert_int_equal(parsed("0001-01-01T00:00:00Z"), 0);
	assert_int_equal(parsed("1700000000"), 1700000000 * S);
	assert_int_equal(parsed("1700000000.000000001"), 1700000000 * S + 1);
	assert_int_equal(parsed("1700000000.5"), 1700000000 * S + S / 2);
	assert_int_equal(parsed("0"), 0);
}

static void test_parse_refuses(void **state _unused_)
{
	static const char *const bad[] = {
	    "",
	    "x",
	    "-1",
	    "1.",
	    "1.x",
	    " 1",
	    "1 ",
	    "99999999999",
	    "2023-11-14",
	    "2023-11-14T22:13:20",
	    "2023-11-14T22:13:20+0200",
	    "2023-11-14T22:13:20Zx",
	    "2023-11-14T24:00:00Z",
	    "2023-11-14T22:60:00Z",
	    "2023-11-14T22:13:20.Z",
	    "2023-02-29T00:00:00Z",
	    "2023-13-01T00:00:00Z",
	    "2023-00-01T00:00:00Z",
	    "2023-01-00T00:00:00Z",
	    "0001-01-01T00:00:01Z",
	    "9999-01-01T00:00:00Z",
	    "2023-11-14 22:13:20Z",
	};
	int64_t ns = 42;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		if (clock_parse(bad[i], &ns) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	assert_int_equal(clock_parse(NULL, &ns), -EINVAL);
	assert_int_equal(ns, 42);
}

static void test_round_trip(void **state _unused_)
{
	const int64_t instants[] = {INT64_MIN, INT64_MIN + S, -S, -1, 1, S, clock_now_ns(), INT64_MAX};

	for (size_t i = 0; i < ELEMENTSOF(instants); i++) {
		assert_int_equal(parsed(clock_rfc3339(instants[i]).s), instants[i]);
		assert_int_equal(parsed(clock_rfc3339_fixed(instants[i]).s), instants[i]);
	}
}

static void test_human_duration(void **state _unused_)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
	    {-5 * S, "Less than a second"},
	    {0, "Less than a second"},
	    {S - 1, "Less than a second"},
	    {S, "1 second"},
	    {2 * S - 1, "1 second"},
	    {2 * S, "2 seconds"},
	    {MINUTE - 1, "59 seconds"},
	    {MINUTE, "About a minute"},
	    {2 * MINUTE - 1, "About a minute"},
	    {2 * MINUTE, "2 minutes"},
	    {HOUR - 1, "59 minutes"},
	    {HOUR, "About an hour"},
	    {HOUR + 30 * MINUTE - 1, "About an hour"},
	    {HOUR + 30 * MINUTE, "2 hours"},
	    {47 * HOUR, "47 hours"},
	    {47 * HOUR + 30 * MINUTE, "2 days"},
	    {48 * HOUR, "2 days"},
	    {13 * DAY, "13 days"},
	    {14 * DAY, "2 weeks"},
	    {59 * DAY, "8 weeks"},
	    {60 * DAY, "2 months"},
	    {729 * DAY, "24 months"},
	    {730 * DAY, "2 years"},
	    {INT64_MAX, "292 years"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *text = clock_human_duration(cases[i].ns);

		assert_string_equal(text, cases[i].text);
	}
}

static void test_durations_as_go_prints_them(void **state _unused_)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {{0, "0s"},
		     {1, "1ns"},
		     {1500, "1.5\xc2\xb5s"},
		     {300 * MS, "300ms"},
		     {1500 * 1000, "1.5ms"},
		     {S, "1s"},
		     {S + 500 * MS, "1.5s"},
		     {30 * S, "30s"},
		     {MINUTE, "1m0s"},
		     {90 * S + 5 * MS, "1m30.005s"},
		     {3600 * S, "1h0m0s"},
		     {-90 * S, "-1m30s"}};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_free_ char *text = clock_go_duration(cases[i].ns);

		assert_string_equal(text, cases[i].text);
	}
}

static void test_clocks_move(void **state _unused_)
{
	int64_t a = clock_mono_ns();

	usleep(2000);
	assert_true(clock_mono_ns() - a >= 2000000);
	assert_true(clock_now_ns() > 1700000000 * S);
}

static void test_ids(void **state _unused_)
{
	char a[ID_LEN + 1], b[ID_LEN + 1], odd[8];

	memset(odd, 'x', sizeof(odd));
	id_random_hex(a, ID_LEN);
	id_random_hex(b, ID_LEN);
	id_random_hex(odd, 3);
	assert_string_not_equal(a, b);
	assert_true(id_is_hex(a));
	assert_int_equal(strlen(a), ID_LEN);
	assert_int_equal(strlen(odd), 3);
	assert_int_equal(odd[4], 'x');
	assert_false(id_is_hex(""));
	assert_false(id_is_hex("ABC"));
	assert_false(id_is_hex("12g"));
	assert_false(id_is_hex("0000000000000000000000000000000000000000000000000000000000000000"
			       "0"));
	assert_int_equal(strlen(id_boot()), 36);
	assert_null(strchr(id_boot(), '\n'));
}

static void assert_duration(const char *s, int64_t want)
{
	int64_t got = -1;

	assert_int_equal(clock_parse_duration(s, &got), 0);
	assert_int_equal(got, want);
}

static void test_durations_of_go(void **state _unused_)
{
	static const char *const bad[] = {"",      "5",    "-",   "s",    "1x",
					  "1h2",   "1.s.", "..s", "1e3s", "99999999999h",
					  "1.2.3s"};
	int64_t v;

	assert_duration("10s", 10000000000);
	assert_duration("1h2m3.5s", 3723500000000);
	assert_duration("300ms", 300000000);
	assert_duration("1us", 1000);
	assert_duration("-2m", -120000000000);
	assert_duration("0", 0);
	assert_duration("1.5h", 5400000000000);
	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(clock_parse_duration(bad[i], &v), -EINVAL);
}

static void test_names(void **state _unused_)
{
	for (int i = 0; i < 200; i++) {
		_cleanup_free_ char *plain = id_random_name(0);
		_cleanup_free_ char *again = id_random_name(3);
		const char *bar = strchr(plain, '_');

		assert_non_null(bar);
		assert_int_equal(strspn(plain, "abcdefghijklmnopqrstuvwxyz"), bar - plain);
		assert_int_equal(strspn(bar + 1, "abcdefghijklmnopqrstuvwxyz"), strlen(bar + 1));
		assert_true(bar > plain && bar[1]);
		assert_non_null(strchr("0123456789", again[strlen(again) - 1]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text_of_instants),
	    cmocka_unit_test(test_text_of_every_year),
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_parse_refuses),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_human_duration),
	    cmocka_unit_test(test_durations_of_go),
	    cmocka_unit_test(test_durations_as_go_prints_them),
	    cmocka_unit_test(test_clocks_move),
	    cmocka_unit_test(test_ids),
	    cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
