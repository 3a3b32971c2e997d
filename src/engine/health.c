/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health checks: a command is run in the container again and again, and what it says makes the container
 * healthy or unhealthy.
 *
 * starting --a success--> healthy --`Retries` failures in a row--> unhealthy --a success--> healthy
 *
 * While it is starting, failures within StartPeriod do not count. The next check is due one interval after the end of the one before.
 * Between checks there is only a timer (background.c); a container without a check has none. Each run of checks has a number,
 * Container.health_turn: an end, a pause and a new start change it, and what is then still under way is no news any more.
 *
 * The state is part of the container's row, which is written when the state or the streak of failures changes: after kill -9
 * of the engine the checks go on from there.
 */
#include "engine/engine-internal.h"

#define SECOND           1000000000ll
#define DEFAULT_INTERVAL (30 * SECOND)
#define DEFAULT_TIMEOUT  (30 * SECOND)
#define DEFAULT_START    (5 * SECOND) /* between checks within the start period */
#define DEFAULT_RETRIES  3
#define LEAST            1000000 /* 1 ms */

static const JsonField check_table[] = {
    {.name = "start_ns", .type = JSON_T_INT, .offset = offsetof(ContainerCheck, start_ns)},
    {.name = "end_ns", .type = JSON_T_INT, .offset = offsetof(ContainerCheck, end_ns)},
    {.name = "exit_code", .type = JSON_T_INT, .offset = offsetof(ContainerCheck, exit_code)},
    {.name = "output", .type = JSON_T_STR, .offset = offsetof(ContainerCheck, output), .keep_empty = true},
    {0},
};

const JsonField health_state_table[] = {
    {.name = "status", .type = JSON_T_STR, .offset = offsetof(ContainerHealthState, status)},
    {.name = "failing_streak", .type = JSON_T_INT, .offset = offsetof(ContainerHealthState, failing_streak)},
    {.name = "log",
     .type = JSON_T_ARRAY,
     .offset = offsetof(ContainerHealthState, log),
     .table = check_table,
     .size = sizeof(ContainerCheck),
     .count = offsetof(ContainerHealthState, n_log)},
    {0},
};

void health_state_done(ContainerHealthState *h)
{
	json_fields_done(health_state_table, h);
}

/* ---- what was asked for ---- */

static int health_validate(const ContainerHealth *h, Err *e)
{
	const struct {
		const char *name;
		int64_t value;
	} times[] = {{"Interval", h->interval},
		     {"Timeout", h->timeout},
		     {"StartPeriod", h->start_period},
		     {"StartInterval", h->start_interval}};

	for (size_t i = 0; i < ELEMENTSOF(times); i++)
		if (times[i].value != 0 && times[i].value < LEAST)
			return err_new(e, ERR_INVALID, "%s in Healthcheck cannot be less than 1ms",
				       times[i].name);
	if (h->retries < 0)
		return err_new(e, ERR_INVALID, "Retries in Healthcheck cannot be negative");
	return 0;
}

static void inherit(int64_t *own, int64_t image)
{
	if (*own == 0)
		*own = image;
}

int health_merge(ContainerConfig *c, const ImageRunConfig *image, Err *e)
{
	ContainerHealth *h = &c->health;

	if (image->has_health) {
		if (strv_len(h->test) == 0 && image->health.test) {
			strv_free(h->test);
			h->test = strv_dup(image->health.test);
			if (!h->test)
				return err_oom(e);
		}
		inherit(&h->interval, image->health.interval_ns);
		inherit(&h->timeout, image->health.timeout_ns);
		inherit(&h->start_period, image->health.start_period_ns);
		inherit(&h->start_interval, image->health.start_interval_ns);
		inherit(&h->retries, image->health.retries);
		c->has_health = true;
	}
	return c->has_health ? health_validate(h, e) : 0;
}

static bool has_check(const ContainerConfig *c)
{
	const char *form = c->has_health && c->health.test ? c->health.test[0] : NULL;

	return form && c->health.test[1] && (streq(form, "CMD") || streq(form, "CMD-SHELL"));
}

/* The command: what follows CMD, or a shell with what follows CMD-SHELL. */
static int command_of(const ContainerConfig *c, char ***ret, Err *e)
{
	_cleanup_strv_ char **cmd = NULL;
	int r = 0;

	if (streq(c->health.test[0], "CMD-SHELL") && strv_len(c->shell) > 0)
		cmd = strv_dup(c->shell);
	else if (streq(c->health.test[0], "CMD-SHELL"))
		r = strv_add(&cmd, "/bin/sh") < 0 ? -ENOMEM : strv_add(&cmd, "-c");
	for (size_t i = 1; r >= 0 && c->health.test[i]; i++)
		r = strv_add(&cmd, c->health.test[i]);
	if (r < 0 || !cmd)
		return err_oom(e);
	*ret = take_ptr(cmd);
	return 0;
}

/* ---- the state; Container.state is held ---- */

static bool status_set(Container *c, const char *status)
{
	char *copy;

	if (streq0(c->health.status, status) || !(copy = strdup(status)))
		return false;
	free(c->health.status);
	c->health.status = copy;
	return true;
}

void health_begin(Container *c, HealthBefore *ret)
{
	c->health_turn++;
	if (!has_check(&c->config))
		return;
	*ret = (HealthBefore){take_ptr(c->health.status), c->health.failing_streak};
	(void)status_set(c, "starting");
	c->health.failing_streak = 0;
}

void health_take_back(Container *c, HealthBefore *before)
{
	health_stop(c);
	if (!has_check(&c->config))
		return;
	free(c->health.status);
	c->health.status = take_ptr(before->status);
	c->health.failing_streak = before->failing_streak;
}

void health_stop(Container *c)
{
	c->health_turn++;
}

void health_end(Container *c)
{
	health_stop(c);
	/* What Docker shows of a container that has ended. */
	if (c->health.status)
		(void)status_set(c, "unhealthy");
}

static int log_add(ContainerHealthState *h, ContainerCheck *check)
{
	if (!h->log) {
		h->log = calloc(HEALTH_LOG_MAX, sizeof(*h->log));
		h->n_log = 0;
	} else if (h->n_log < HEALTH_LOG_MAX) {
		/* One that was read from its row is as long as it was then. */
		ContainerCheck *log = reallocarray(h->log, HEALTH_LOG_MAX, sizeof(*log));

		if (!log)
			return -ENOMEM;
		h->log = log;
	}
	if (!h->log)
		return -ENOMEM;
	if (h->n_log >= HEALTH_LOG_MAX) {
		free(h->log[0].output);
		memmove(h->log, h->log + 1, (HEALTH_LOG_MAX - 1) * sizeof(*h->log));
		h->n_log = HEALTH_LOG_MAX - 1;
	}
	h->log[h->n_log++] = *check;
	check->output = NULL;
	return 0;
}

/* Enters a result; true if it changes the state or the streak. */
static bool result_enter(Container *c, ContainerCheck *check)
{
	const ContainerHealth *k = &c->config.health;
	ContainerHealthState *h = &c->health;
	int64_t streak = h->failing_streak;
	bool starting = streq0(h->status, "starting"), changed = false;

	if (check->exit_code == 0) {
		h->failing_streak = 0;
		changed = status_set(c, "healthy");
	} else if (!starting || check->start_ns - c->started_ns >= k->start_period) {
		h->failing_streak++;
		if (h->failing_streak >= (k->retries > 0 ? k->retries : DEFAULT_RETRIES))
			changed = status_set(c, "unhealthy");
	}
	if (log_add(h, check) < 0)
		log_warn("container %.12s: no memory for the result of a health check", c->id);
	return changed || streak != h->failing_streak;
}

/* ---- checking ---- */

/* In Docker's words. A check may print anything; the row and the documents take UTF-8 only. */
static char *output_text(const ExecProbe *p, int64_t timeout_ns)
{
	_cleanup_free_ char *said = str_utf8_clean(p->output, p->output_len);
	_cleanup_free_ char *limit = clock_go_duration(timeout_ns);
	const char *dots = p->truncated ? "..." : "";

	if (!said || !limit)
		return NULL;
	if (!p->timed_out)
		return strf("%s%s", said, dots);
	return *said ? strf("Health check exceeded timeout (%s): %s%s", limit, said, dots)
		     : strf("Health check exceeded timeout (%s)", limit);
}

static int check_run(Engine *en, Container *c, ContainerCheck *ret, Err *e)
{
	int64_t timeout = c->config.health.timeout > 0 ? c->config.health.timeout : DEFAULT_TIMEOUT;
	_cleanup_free_ ExecProbe *p = calloc(1, sizeof(*p));
	_cleanup_strv_ char **cmd = NULL;
	Err why = {0};
	int r = p ? command_of(&c->config, &cmd, e) : err_oom(e);

	if (r < 0)
		return r;
	ExecConfig config = {.cmd = cmd, .attach_stdout = true, .attach_stderr = true};
	ret->start_ns = clock_now_ns();
	__atomic_add_fetch(&en->health_checks, 1, __ATOMIC_RELAXED);
	r = exec_probe(en, c, &config, timeout, p, &why);
	ret->end_ns = clock_now_ns();
	if (r < 0 && why.kind == ERR_CANCELLED)
		return err_new(e, ERR_CANCELLED, "%s", why.msg);
	if (r < 0)
		__atomic_add_fetch(&en->health_checks_failed, 1, __ATOMIC_RELAXED);
	ret->exit_code = r < 0 || p->timed_out ? -1 : p->exit_code;
	ret->output = r < 0 ? strdup(err_msg(&why, r)) : output_text(p, timeout);
	return ret->output ? 0 : err_oom(e);
}

static int64_t next_after(const Container *c)
{
	const ContainerHealth *k = &c->config.health;

	if (streq0(c->health.status, "starting") && clock_now_ns() - c->started_ns < k->start_period)
		return k->start_interval > 0 ? k->start_interval : DEFAULT_START;
	return k->interval > 0 ? k->interval : DEFAULT_INTERVAL;
}

static void check_due(Engine *en, Container *c, unsigned turn);

#define WHOLE 65536

/* share: of the interval, in 1/WHOLE. */
static void await_share(Engine *en, Container *c, unsigned share)
{
	int64_t after;
	unsigned turn;

	pthread_mutex_lock(&c->state);
	after = next_after(c) / WHOLE * share;
	turn = c->health_turn;
	pthread_mutex_unlock(&c->state);
	if (timer_set(en->background, c, after, check_due, turn) < 0)
		log_error("container %.12s: no memory for its next health check", c->id);
}

static void await(Engine *en, Container *c)
{
	await_share(en, c, WHOLE);
}

/* `life` is held, so that the row that is written is the newest. */
static void result_record(Engine *en, Container *c, ContainerCheck *check)
{
	_cleanup_free_ char *before = NULL, *now = NULL, *action = NULL;
	Err err = {0};
	int r = 0;

	pthread_mutex_lock(&c->state);
	before = strdup(c->health.status ?: "");
	bool changed = result_enter(c, check);
	now = strdup(c->health.status ?: "");
	pthread_mutex_unlock(&c->state);
	if (changed)
		r = container_save(en, c, &err);
	if (r < 0)
		log_warn("container %.12s: health: %s", c->id, err_msg(&err, r));
	action = now ? strf("health_status: %s", now) : NULL;
	if (before && action && !streq(before, now))
		container_event(en, c, action, NULL);
}

static bool turn_is(Container *c, unsigned turn)
{
	pthread_mutex_lock(&c->state);
	bool is = c->health_turn == turn && c->status == CONTAINER_RUNNING && !c->removed;
	pthread_mutex_unlock(&c->state);
	return is;
}

static void check_due(Engine *en, Container *c, unsigned turn)
{
	ContainerCheck check = {0};
	Err err = {0};
	int r;

	if (!turn_is(c, turn))
		return;
	r = check_run(en, c, &check, &err);
	container_lock(c);
	if (turn_is(c, turn)) {
		if (r >= 0)
			result_record(en, c, &check);
		else if (err.kind != ERR_CANCELLED)
			log_warn("container %.12s: health check: %s", c->id, err_msg(&err, r));
		await(en, c);
	}
	pthread_mutex_unlock(&c->life);
	free(check.output);
}

void health_go_on(Engine *en, Container *c)
{
	if (has_check(&c->config))
		await(en, c);
}

void health_adopt(Engine *en, Container *c)
{
	unsigned share = WHOLE;

	/* An id is as good as a die, and the next one falls alike. */
	if (has_check(&c->config) && sscanf(c->id, "%4x", &share) == 1)
		await_share(en, c, share);
}
