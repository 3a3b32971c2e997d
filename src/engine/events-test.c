/* SPDX-License-Identifier: Apache-2.0 */
/* Followers that keep up, and those that do not. */
#include "base/test.h"

#include "engine/engine-internal.h"

#include <poll.h>
#include <semaphore.h>

#define MANY 1100 /* more than are kept */

static Engine *en;

typedef struct Follower {
	EngineEventsWanted wanted;
	sem_t seen, go; /* of the first event: it was seen, the sink may return */
	unsigned n, last;
	int r;
	Err e;
} Follower;

static int setup(void **state)
{
	en = calloc(1, sizeof(*en));
	return en ? events_new(&en->events, NULL) : -1;
}

static int teardown(void **state)
{
	events_free(en->events);
	free(en);
	return 0;
}

static void happen(unsigned number)
{
	char id[16];

	snprintf(id, sizeof(id), "%u", number);
	engine_event(en, "container", "start", id, (char *const[]){NULL});
}

static int take(void *user, const EngineEvent *ev)
{
	Follower *f = user;

	f->last = (unsigned)atoi(ev->id);
	if (f->n++ == 0) {
		sem_post(&f->seen);
		while (sem_wait(&f->go) < 0)
			;
	}
	return f->last == MANY;
}

static void *follow(void *arg)
{
	Follower *f = arg;

	f->r = engine_events_follow(en, &f->wanted, take, f, -1, &f->e);
	return NULL;
}

static void wait_followed(void)
{
	uint64_t events;
	unsigned followers = 0;

	while (followers == 0) {
		(void)poll(NULL, 0, 1);
		events_count(en->events, &events, &followers);
	}
}

/* One that is at its first event while all the others happen. */
static void fall_behind(Follower *f)
{
	pthread_t t;

	sem_init(&f->seen, 0, 0);
	sem_init(&f->go, 0, 0);
	assert_int_equal(pthread_create(&t, NULL, follow, f), 0);
	wait_followed();
	happen(0);
	assert_int_equal(sem_wait(&f->seen), 0);
	for (unsigned i = 1; i <= MANY; i++)
		happen(i);
	sem_post(&f->go);
	pthread_join(t, NULL);
	sem_destroy(&f->seen);
	sem_destroy(&f->go);
}

static void who_needs_all_is_told(void **state)
{
	Follower f = {.wanted = {.all = true}};

	fall_behind(&f);
	assert_int_equal(f.r, -EOVERFLOW);
	assert_int_equal(f.e.kind, ERR_EXHAUSTED);
	assert_int_equal(f.n, 1);
}

static void others_go_on_with_what_is_there(void **state)
{
	Follower f = {0};

	fall_behind(&f);
	assert_int_equal(f.r, 0);
	assert_int_equal(f.last, MANY);
	assert_int_equal(f.n, 1 + 1024);
}

static int count(void *user, const EngineEvent *ev)
{
	(*(unsigned *)user)++;
	return 0;
}

/* As many as Docker has. */
static void the_past(void **state)
{
	EngineEventsWanted wanted = {.since_ns = 1};
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		happen(i);
	wanted.until_ns = clock_now_ns();
	assert_int_equal(engine_events_follow(en, &wanted, count, &n, -1, NULL), 0);
	assert_int_equal(n, 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(who_needs_all_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(others_go_on_with_what_is_there, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_past, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
