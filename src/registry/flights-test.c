/* SPDX-License-Identifier: Apache-2.0 */
/* Turns at one blob: one at a time, handed on whatever becomes of the one before. */
#include "registry/flights.h"
#include "base/str.h"
#include "base/test-dir.h"

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
	flight_leave(a, true);
	assert_true(flight_turn(b, 0));
	assert_null(flight_partial(b));
	flight_land(b, NULL);
	flight_leave(b, true);
	flight_land(c, NULL);
	flight_leave(c, false);
	flights_free(f);
}

static Store *open_store(const TestDir *d)
{
	_cleanup_free_ char *root = strf("%s/root", d->path);
	const StoreOptions o = {.data_root = root, .snapshotter = "overlayfs"};
	Store *s = NULL;
	Err e = {0};

	if (store_open(&o, &s, &e) < 0)
		fail_msg("%s", e.msg);
	return s;
}

static BlobWriter *something(Store *s, char byte)
{
	BlobWriter *w = NULL;

	assert_int_equal(blob_writer_new(s, &w, NULL), 0);
	assert_int_equal(blob_writer_write(w, &byte, 1, NULL), 0);
	return w;
}

static void stop_early(Flights *f, Store *s, const char *digest, bool keep)
{
	Flight *x = flight_join(f, "o", digest);

	assert_true(flight_turn(x, 0));
	flight_land(x, something(s, *digest));
	flight_leave(x, keep);
}

/* The caller's. */
static BlobWriter *kept(Flights *f, const char *digest)
{
	Flight *x = flight_join(f, "o", digest);
	BlobWriter *w;

	assert_true(flight_turn(x, 0));
	w = flight_partial(x);
	flight_land(x, NULL);
	flight_leave(x, true);
	return w;
}

static void test_what_arrived_is_kept_for_a_while(void **state)
{
	static const char *const digests[] = {"a", "b", "c", "d", "e"};
	const TestDir *d = *state;
	Store *s = open_store(d);
	Flights *f = flights_new();
	BlobWriter *w;

	stop_early(f, s, "a", false);
	assert_null(kept(f, "a"));
	stop_early(f, s, "a", true);
	flights_forget(f, 60 * 1000000000ll);
	w = kept(f, "a");
	assert_int_equal(blob_writer_size(w), 1);
	blob_writer_free(w);
	assert_null(kept(f, "a"));
	for (size_t i = 0; i < ELEMENTSOF(digests); i++)
		stop_early(f, s, digests[i], true);
	assert_null(kept(f, "a")); /* the oldest of five */
	w = kept(f, "b");
	assert_non_null(w);
	blob_writer_free(w);
	flights_forget(f, 0);
	assert_null(kept(f, "e"));
	stop_early(f, s, "e", true);
	flights_free(f);
	store_close(s);
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
		flight_leave(x, false);
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
					   test_in_dir(test_what_arrived_is_kept_for_a_while),
					   cmocka_unit_test(test_one_at_a_time)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
