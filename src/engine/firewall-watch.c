/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Beside the host's own firewall: it is loaded anew, flushed and changed while containers run, and takes rules of ours along.
 *
 * The thread that watches shims is woken when somebody else has changed what concerns us (network_watch_open), and no more until that has been seen to: a
 * background thread waits a moment, for a reload is many changes, then looks, puts back what is missing, and listens again. So nothing is done while
 * nobody changes anything, and one look serves any number of changes.
 *
 * Somebody may be as stubborn as we are. What is put back has a price in time: some twenty times in a row it is done at once, as series of changes by
 * an administrator need it, and whoever goes on is answered every other second.
 */
#include "engine/engine-internal.h"

#include <poll.h>
#include <sys/epoll.h>

#define DELAY_MS  100
#define PRICE_NS  (2 * (int64_t)1000000000) /* of putting back */
#define CREDIT_NS (20 * PRICE_NS)

static int arm(Engine *en, int op, bool on, Err *e)
{
	struct epoll_event ev = {.events = on ? EPOLLIN : 0, .data.ptr = &en->firewall};

	if (epoll_ctl(en->epoll_fd, op, en->firewall.fd, &ev) < 0)
		return err_sys(e, errno, "listen to changes of nftables");
	return 0;
}

static void rearm(Engine *en, bool on)
{
	Err err = {0};
	int r = 0;

	if (en->epoll_fd >= 0) /* else the engine ends */
		r = arm(en, EPOLL_CTL_MOD, on, &err);

	if (r < 0)
		log_warn("%s", err_msg(&err, r));
}

void firewall_watch_open(Engine *en)
{
	Err err = {0};
	int r;

	en->firewall.fd = -1;
	r = network_watch_open(en->nethost, &en->firewall.fd, &err);
	if (r < 0)
		log_warn("rules of networks that others remove are not put back: %s", err_msg(&err, r));
}

static int delay_ms(const FirewallWatch *w)
{
	int64_t debt_ms = (w->paid_mono_ns - CREDIT_NS - clock_mono_ns()) / 1000000;

	return debt_ms > DELAY_MS ? (int)debt_ms : DELAY_MS;
}

/* paid_mono_ns is the time that all that was put back is paid for until. */
static void note_mended(FirewallWatch *w)
{
	int64_t now = clock_mono_ns();

	if (w->paid_mono_ns < now) {
		w->paid_mono_ns = now;
		w->stubborn = false;
	}
	w->paid_mono_ns += PRICE_NS;
	if (!w->stubborn && delay_ms(w) > DELAY_MS) {
		w->stubborn = true;
		log_warn("%s goes on removing rules of ours from the packet filter: from now on they are put "
			 "back every other second",
			 *w->by ? w->by : "somebody");
	}
}

/* True if there was something to put back. */
static bool mend(Engine *en)
{
	FirewallWatch *w = &en->firewall;
	const char *by = *w->by ? w->by : "somebody";
	int r = 1, theirs;
	Err err = {0};

	if (w->changes & NETWORK_CHANGE_OURS) {
		r = networks_rules_restore(en, true, &err);
		if (r < 0)
			log_error("put back the rules of networks that %s changed: %s", by, err_msg(&err, r));
		else if (r == 0 && !w->stubborn)
			log_warn("%s removed rules of networks from the packet filter: they were put back",
				 by);
	}
	theirs = network_firewall_sync(en->nethost, &err);
	if (theirs < 0)
		log_error("put rules into the host's firewall: %s", err_msg(&err, theirs));
	else if (theirs > 0 && !w->stubborn)
		log_info("%s changed the host's firewall: what containers need was put into it again", by);
	firewall_tell(en);
	return w->changes & NETWORK_CHANGE_OURS || theirs > 0;
}

static void look(void *arg)
{
	Engine *en = arg;
	FirewallWatch *w = &en->firewall;
	struct pollfd quit = {.fd = background_quit_fd(en->background), .events = POLLIN};
	char by[NETWORK_PROGRAM];

	if (poll(&quit, 1, delay_ms(w)) > 0)
		return;
	w->changes |= network_watch_read(en->nethost, by);
	if (*by)
		memcpy(w->by, by, sizeof(by));
	if (mend(en))
		note_mended(w);
	w->changes = 0;
	rearm(en, true);
}

static void look_soon(Engine *en)
{
	int r = background_run(en->background, look, en);

	if (r == 0)
		return;
	log_warn("look at the changed packet filter: %s: done with its next change", strerror(-r));
	rearm(en, true);
}

void firewall_watch_ready(Engine *en)
{
	FirewallWatch *w = &en->firewall;

	w->changes |= network_watch_read(en->nethost, w->by);
	if (w->changes == 0)
		return;
	rearm(en, false);
	look_soon(en);
}

/* Rules of ours in other firewalls are looked at once in any case: they may have changed while no engine ran. */
void firewall_watch_start(Engine *en)
{
	Err err = {0};
	int r = network_firewall_sync(en->nethost, &err);

	if (r < 0)
		log_error("put rules into the host's firewall: %s", err_msg(&err, r));
	r = en->firewall.fd < 0 ? 0 : arm(en, EPOLL_CTL_ADD, true, &err);
	if (r < 0)
		log_warn("rules of networks that others remove are not put back: %s", err_msg(&err, r));
	firewall_tell(en);
}

void firewall_tell(Engine *en)
{
	FirewallWatch *w = &en->firewall;
	_cleanup_strv_ char **all = NULL;
	Err err = {0};
	int r = network_firewall_warnings(en->nethost, &all, &err);

	if (r < 0)
		log_warn("look at the host's firewall: %s", err_msg(&err, r));
	pthread_mutex_lock(&w->lock);
	for (char **t = all; t && *t; t++)
		if (!strv_has(w->told, *t) && strv_add(&w->told, *t) >= 0)
			log_warn("%s", *t);
	pthread_mutex_unlock(&w->lock);
}
