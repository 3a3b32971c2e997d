/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The removal of an interface, without the wait for its last reader.
 *
 * The kernel takes an interface out of its tables at once: nobody finds it from then on, it carries nothing, its routes are gone, and its name is
 * free. The system call lasts until whoever had looked it up before has let go of it, for a veth 15 ms and for a bridge 50. So a thread makes the
 * call and waits, and its caller waits only for what it says in the kernel's tables or for the refusal. A thread that is waiting needs
 * nothing of the daemon's and may outlive the handle; when the daemon ends, the kernel finishes what it has begun.
 *
 * A bridge's removal keeps the kernel's lock on interfaces (RTNL) for some 15 ms beyond that, and the next change of any interface waits for
 * it: they are made one by one, because a removal of many at once would keep it for as long as all of them take.
 */
#include "network/network-internal.h"

#include <linux/rtnetlink.h>
#include <signal.h>
#include <time.h>

#define LOOK_FIRST_NS 100000  /* what a removal takes when nobody has the lock */
#define LOOK_LAST_NS  2000000 /* in the end, while others have it */
#define STACK_BYTES   (128 << 10)

/* Of the thread and of its caller: the last one frees it. */
typedef struct Removal {
	int refs;
	int index;
	bool ended; /* r and err are there */
	int r;
	Err err;
} Removal;

static void removal_unref(Removal *v)
{
	if (__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(v);
}

static int delete_by_index(Netlink *nl, int index, Err *e)
{
	_cleanup_batch_ NetlinkBatch batch = {0};
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	int r;

	netlink_msg_end(&batch, netlink_msg(&batch, RTM_DELLINK, 0, &header, sizeof(header)));
	r = netlink_run(nl, &batch, NULL, e);
	return r == -ENODEV ? 0 : r;
}

static void *removal_thread(void *arg)
{
	Removal *v = arg;
	Netlink nl;

	/* A socket of its own: on the handle's, everybody else would wait for the answer. */
	v->r = netlink_open(&nl, NETLINK_ROUTE, &v->err);
	if (v->r >= 0) {
		v->r = delete_by_index(&nl, v->index, &v->err);
		netlink_close(&nl);
	}
	__atomic_store_n(&v->ended, true, __ATOMIC_RELEASE);
	removal_unref(v);
	return NULL;
}

static int thread_start(Removal *v, Err *e)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int no;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	no = pthread_create(&thread, &attr, removal_thread, v);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return no ? err_sys(e, no, "start a thread for the removal") : 0;
}

/* Until the name is free or the kernel has refused. This look into the kernel's table of names needs no lock; of when it changes, the kernel tells nobody
 * in time (RTM_DELLINK comes with the end of a bridge's first wait). */
static bool await_gone(const Removal *v, const char *name)
{
	struct timespec pause = {.tv_nsec = LOOK_FIRST_NS};

	while ((int)if_nametoindex(name) == v->index) {
		if (__atomic_load_n(&v->ended, __ATOMIC_ACQUIRE))
			return false;
		nanosleep(&pause, NULL);
		pause.tv_nsec = MIN2(pause.tv_nsec * 5 / 4, (long)LOOK_LAST_NS);
	}
	return true;
}

int link_remove(const LinkInfo *link, Err *e)
{
	Removal *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_oom(e);
	v->refs = 2;
	v->index = link->index;
	r = thread_start(v, e);
	if (r < 0)
		v->refs = 1;
	else if (!await_gone(v, link->name) && v->r < 0) {
		r = v->r;
		if (e)
			*e = v->err;
	}
	removal_unref(v);
	return err_ctx(e, r, "remove interface %s", link->name);
}
