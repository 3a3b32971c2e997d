/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/filter.h"

#define ID    "0123456789abcdef"
#define POD   "fedcba9876543210"
#define READY CRI__CONTAINER_STATE__CONTAINER_RUNNING

static void all_that_is_asked_for_has_to_match(void **state)
{
	Cri__ContainerStateValue running = CRI__CONTAINER_STATE_VALUE__INIT;
	static const struct {
		const char *id, *pod;
		bool with_state;
		int state;
		bool matches;
	} rows[] = {
	    {"", "", false, 0, true},     {ID, "", false, 0, true},      {"0123", "", false, 0, true},
	    {"123", "", false, 0, false}, {ID "0", "", false, 0, false}, {"", POD, false, 0, true},
	    {"", "fedc", false, 0, true}, {"", ID, false, 0, false},     {"", "", true, READY, true},
	    {"", "", true, 0, false},     {ID, POD, true, READY, true},  {ID, POD, true, 2, false},
	};

	running.state = READY;
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		Cri__ContainerFilter f = CRI__CONTAINER_FILTER__INIT;
		CriFilter filter;

		f.id = (char *)rows[i].id;
		f.pod_sandbox_id = (char *)rows[i].pod;
		f.state = rows[i].with_state ? &running : NULL;
		filter = cri_filter_of_containers(&f);
		if (cri_filter_match(&filter, ID, POD, rows[i].with_state ? rows[i].state : READY) !=
		    rows[i].matches)
			fail_msg("row %zu", i);
	}
}

static void no_filter_is_everything(void **state)
{
	CriFilter pods = cri_filter_of_pods(NULL), containers = cri_filter_of_containers(NULL);

	assert_true(cri_filter_match(&pods, ID, NULL, 1));
	assert_true(cri_filter_match(&containers, ID, POD, 2));
	assert_true(cri_filter_match_labels(&pods, NULL, 0));
}

static void labels(void **state)
{
	CriPair app = {.key = (char *)"app", .value = (char *)"web"},
		tier = {.key = (char *)"tier", .value = (char *)""},
		other = {.key = (char *)"app", .value = (char *)"db"};
	CriPair *has[] = {&app, &tier}, *one[] = {&tier}, *both[] = {&tier, &app}, *wrong[] = {&tier, &other};
	CriFilter f = {.labels = one, .n_labels = 1};

	assert_true(cri_filter_match_labels(&f, has, 2));
	assert_false(cri_filter_match_labels(&f, NULL, 0));
	f = (CriFilter){.labels = both, .n_labels = 2};
	assert_true(cri_filter_match_labels(&f, has, 2));
	assert_false(cri_filter_match_labels(&f, has, 1));
	f = (CriFilter){.labels = wrong, .n_labels = 2};
	assert_false(cri_filter_match_labels(&f, has, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_that_is_asked_for_has_to_match),
	    cmocka_unit_test(no_filter_is_everything),
	    cmocka_unit_test(labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
