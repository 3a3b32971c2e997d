/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/buildkit/usage-filter.h"

static const StoreCacheEntry layer = {.key = (char *)"0123abcd",
				      .chain_id = (char *)"sha256:1",
				      .shared = true,
				      .step = (char *)"RUN apt-get install -y gcc, make"},
			     mount = {.key = (char *)"4567",
				      .step = (char *)"cached mount /root/.cache",
				      .in_use = true};

static bool matches(const char *text, const StoreCacheEntry *c)
{
	char *texts[] = {(char *)text};
	UsageFilter f;
	Err e;
	bool is;

	if (usage_filter_parse(texts, 1, &f, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
	is = usage_filter_matches(&f, c);
	usage_filter_done(&f);
	return is;
}

static void what_is_meant(void **state)
{
	static const struct {
		const char *text;
		bool layer, mount;
	} cases[] = {
	    {"", true, true},
	    {"type==regular", true, false},
	    {"type!=regular", false, true},
	    {"type==exec.cachemount", false, true},
	    {"inuse", false, true},
	    {"inuse==true", false, true},
	    {"inuse==false", true, false},
	    {"inuse!=true", true, false},
	    {"shared", true, false},
	    {"private", false, true},
	    {"private==0", true, false},
	    {"mutable", false, false},
	    {"immutable", true, true},
	    {"id~=^0123", true, false},
	    {"id==4567", false, true},
	    {"description~=apt-get (install|update)", true, false},
	    {"description==\"RUN apt-get install -y gcc, make\"", true, false},
	    {"type==regular,inuse", false, false},
	    {"type==exec.cachemount,inuse,description~=cache$", false, true},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		assert_int_equal(matches(cases[i].text, &layer), cases[i].layer);
		assert_int_equal(matches(cases[i].text, &mount), cases[i].mount);
	}
}

static void of_several_one_is_enough(void **state)
{
	char *texts[] = {(char *)"id==4567,type==regular", (char *)"shared"};
	UsageFilter f;

	assert_int_equal(usage_filter_parse(texts, 2, &f, NULL), 0);
	assert_true(usage_filter_matches(&f, &layer));
	assert_false(usage_filter_matches(&f, &mount));
	usage_filter_done(&f);
}

static void refused(void **state)
{
	static const char *const bad[] = {
	    "nothing",        "parents",        "nothing==1", "type=regular", "type>x",
	    "inuse==perhaps", "inuse~=t",       "id~=(",      "id~=a{100}",   "id==\"x",
	    "id==\"x\"y",     "type==a,,inuse", ",",          "==x"};
	UsageFilter f;
	Err e;

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		char *texts[] = {(char *)bad[i]};

		if (usage_filter_parse(texts, 1, &f, &e) >= 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(e.kind, ERR_INVALID);
		usage_filter_done(&f);
	}
}

static void too_many(void **state)
{
	char text[65 * 6 + 1] = "", *texts[] = {text};
	UsageFilter f;
	Err e;

	for (int i = 0; i < 65; i++)
		strcat(text, "inuse,");
	assert_true(usage_filter_parse(texts, 1, &f, &e) < 0);
	usage_filter_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_meant),
					   cmocka_unit_test(of_several_one_is_enough),
					   cmocka_unit_test(refused), cmocka_unit_test(too_many)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
