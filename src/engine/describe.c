/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine can say about itself at any moment, in trouble too: numbers for metrics, tables and locks for a dump. A lock that somebody
 * holds is not waited for: that it is held is part of the answer.
 */
#include "engine/engine-internal.h"

void engine_counts(Engine *en, EngineCounts *ret)
{
	*ret = (EngineCounts){0};
	events_count(en->events, &ret->events, &ret->followers);
	ret->health_checks = __atomic_load_n(&en->health_checks, __ATOMIC_RELAXED);
	ret->health_checks_failed = __atomic_load_n(&en->health_checks_failed, __ATOMIC_RELAXED);
	pthread_mutex_lock(&en->lock);
	ret->containers = HASH_COUNT(en->by_id);
	ret->networks = HASH_COUNT(en->networks);
	ret->execs = HASH_COUNT(en->execs);
	pthread_mutex_unlock(&en->lock);
	names_count(en, ret);
}

static void lock_state(StrBuf *b, const char *name, pthread_mutex_t *m)
{
	if (pthread_mutex_trylock(m) != 0) {
		strbuf_addf(b, "lock %s: held\n", name);
		return;
	}
	pthread_mutex_unlock(m);
	strbuf_addf(b, "lock %s: free\n", name);
}

static void gate_state(StrBuf *b, pthread_rwlock_t *l)
{
	const char *state = "free";

	if (pthread_rwlock_trywrlock(l) == 0) {
		pthread_rwlock_unlock(l);
	} else if (pthread_rwlock_tryrdlock(l) == 0) {
		pthread_rwlock_unlock(l);
		state = "held by readers";
	} else {
		state = "held by a writer";
	}
	strbuf_addf(b, "lock images_gate: %s\n", state);
}

/* Those whose locks are held: an operation is under way, or stuck. */
static void busy_containers(StrBuf *b, Engine *en)
{
	Container *c, *tmp;

	HASH_ITER (hh, en->by_id, c, tmp) {
		bool life = pthread_mutex_trylock(&c->life) != 0,
		     state = pthread_mutex_trylock(&c->state) != 0;

		if (life || state)
			strbuf_addf(b, "container %.12s:%s%s\n", c->id, life ? " life held" : "",
				    state ? " state held" : "");
		if (!life)
			pthread_mutex_unlock(&c->life);
		if (!state)
			pthread_mutex_unlock(&c->state);
	}
}

void engine_describe(Engine *en, StrBuf *b)
{
	bool open;

	lock_state(b, "engine", &en->lock);
	lock_state(b, "volumes", &en->volumes_lock);
	lock_state(b, "gc", &en->gc_lock);
	gate_state(b, &en->images_gate);
	open = pthread_mutex_trylock(&en->lock) == 0;
	if (!open)
		return;
	strbuf_addf(b, "containers %u, networks %u, execs %u\n", HASH_COUNT(en->by_id),
		    HASH_COUNT(en->networks), HASH_COUNT(en->execs));
	busy_containers(b, en);
	pthread_mutex_unlock(&en->lock);
}
