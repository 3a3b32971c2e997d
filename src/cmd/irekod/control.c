/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that does what signals ask for, and tells the service manager that all is well.
 *
 * SIGHUP: the settings are read again. SIGUSR1: a dump. The life sign goes out only after the server's and the engine's locks were to be had: a process
 * that is stuck is one that the service manager is to restart (containers do not notice).
 */
#include "daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

static volatile sig_atomic_t hup, usr1, ending;
static int wake_fd = -1;

void control_wake(int sig)
{
	int saved = errno;

	if (sig == SIGHUP)
		hup = 1;
	else
		usr1 = 1;
	(void)eventfd_write(wake_fd, 1);
	errno = saved;
}

static void sign_of_life(Daemon *d)
{
	HttpCounts http;
	EngineCounts engine;

	http_server_counts(d->server, &http);
	engine_counts(d->engine, &engine);
	service_notify("WATCHDOG=1");
}

static void *control_thread(void *arg)
{
	Daemon *d = arg;
	int64_t every = service_watchdog_ns() / 2;
	struct pollfd p = {.fd = d->control_fd, .events = POLLIN};

	pthread_setname_np(pthread_self(), "irekod-control");
	while (!ending) {
		eventfd_t v;
		int n = poll(&p, 1, every > 0 ? (int)MAX2(every / 1000000, (int64_t)1) : -1);

		if (n > 0)
			(void)eventfd_read(d->control_fd, &v);
		if (ending)
			break;
		if (hup) {
			hup = 0;
			daemon_reload(d);
		}
		if (usr1) {
			usr1 = 0;
			daemon_dump(d);
		}
		if (every > 0)
			sign_of_life(d);
	}
	return NULL;
}

int control_start(Daemon *d, Err *e)
{
	struct sigaction a = {.sa_handler = control_wake, .sa_flags = SA_RESTART};
	pthread_attr_t attr;
	int r;

	wake_fd = d->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->control_fd < 0)
		return err_sys(e, errno, "make an eventfd");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = pthread_create(&d->control, &attr, control_thread, d);
	pthread_attr_destroy(&attr);
	if (r != 0)
		return err_sys(e, r, "start a thread for signals");
	d->controlled = true;
	if (sigaction(SIGHUP, &a, NULL) < 0 || sigaction(SIGUSR1, &a, NULL) < 0)
		return err_sys(e, errno, "set up signals");
	return 0;
}

/* Before what it looks at goes away. */
void control_stop(Daemon *d)
{
	if (!d->controlled)
		return;
	ending = 1;
	(void)eventfd_write(d->control_fd, 1);
	pthread_join(d->control, NULL);
	d->controlled = false;
}
