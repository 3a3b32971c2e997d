/* SPDX-License-Identifier: Apache-2.0 */
/* Turns at one blob: one at a time, handed on whatever becomes of the one before. */
#include "registry/flights.h"
#include "base/test.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 16
#define ROUNDS  200

static void test_turns(void **state _unused_)
{
	Flights *f = flights_new();
	Flight *a = flight_join(f, "https://r", "sha256:x"), *b = flight_join(f, "https://r", "sha256:x");
	Flight *c = flight_join(f, "https://other", "sha256:x");

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_true(flight_turn(a, 0));
	assert_true(flight_turn(c, 0));
	assert_false(flight_turn(b, 20));
	flight_tell(a, 7);
	assert_int_equal(flight_told(b), 7);
	flight_land(a, NULL);
	flight_leave(a);
	assert_true(flight_turn(b, 0));
	assert_null(flight_partial(b));
	flight_land(b, NULL);
	flight_leave(b);
	flight_land(c, NULL);
	flight_leave(c);
	flights_free(f);
}

typedef struct Crowd {
	Flights *flights;
	atomic_int inside, most, turns;
} Crowd;

static void *take_turns(void *user)
{
	Crowd *c = user;

	for (int i = 0; i < ROUNDS; i++) {
		Flight *x = flight_join(c->flights, "o", "sha256:a");

		while (!flight_turn(x, 10))
			;
		int now = atomic_fetch_add(&c->inside, 1) + 1;
		if (now > c->most)
			c->most = now;
		c->turns++;
		atomic_fetch_sub(&c->inside, 1);
		flight_land(x, NULL);
		flight_leave(x);
	}
	return NULL;
}

static void test_one_at_a_time(void **state _unused_)
{
	Crowd c = {.flights = flights_new()};
	pthread_t threads[WORKERS];

	for (size_t i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &c), 0);
	for (size_t i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.most, 1);
	assert_int_equal(c.turns, WORKERS * ROUNDS);
	flights_free(c.flights);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns),
					   cmocka_unit_test(test_one_at_a_time)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
