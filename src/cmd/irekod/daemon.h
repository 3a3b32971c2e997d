/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of irekod share: the process, its sockets, its engine and its doors.
 *
 * The main thread accepts connections; a second one (control.c) does what signals ask for and tells the service manager that all is well.
 */
#pragma once

#include "config.h"

#include "api/buildkit/door.h"
#include "api/cri/door.h"
#include "api/docker/door.h"
#include "base/fd.h"
#include "base/str.h"

#include <pthread.h>

typedef struct Metrics Metrics;

typedef struct Daemon {
	int argc;
	char **argv;         /* read again by a reload */
	DaemonConfig config; /* the control thread's, once there is one */
	int data_lock, exec_lock;
	char **sockets; /* paths we made, removed at the end */
	char *helper_dir;
	HttpTls *tls;
	HttpServer *server;
	Engine *engine;
	DockerDoor *door;
	BuildkitDoor *buildkit;
	CriDoor *cri; /* NULL: nobody asked for it */
	Builder *builder;
	Metrics *metrics;
	int64_t started_ns;
	bool wrote_pidfile;
	int control_fd; /* woken by signals; -1 */
	pthread_t control;
	bool controlled;
} Daemon;

/* listen.c */
int listen_all(Daemon *d, Err *e);

/* service.c: what a service manager wants to know, and the files that say who runs. */
void service_notify(const char *state);
/* How often it is to hear of us: ns, 0: never. */
int64_t service_watchdog_ns(void);
/* Whether all services are stopped because the machine goes down. Asks systemctl; false without a service manager. */
bool service_machine_ends(void);
int pidfile_write(Daemon *d, Err *e);

/* control.c */
int control_start(Daemon *d, Err *e);
void control_stop(Daemon *d);
/* From signal handlers. */
void control_wake(int sig);

/* reload.c */
void daemon_reload(Daemon *d);
/* What the engine's defaults are by these settings; *ret points into them, but for the text of a profile (ret_profile, malloc'ed). */
int daemon_defaults(const DaemonConfig *c, EngineDefaults *ret, char **ret_profile, Err *e);
/* "cgroupfs", "systemd" */
const char *daemon_cgroup_driver(const DaemonConfig *c);
EngineTransfers daemon_transfers(const DaemonConfig *c);
void daemon_door_options(const DaemonConfig *c, DockerDoorOptions *ret);

/* dump.c: everything that helps to see what it is doing, to a file below the exec root. */
void daemon_dump(Daemon *d);

/* metrics.c */
int metrics_start(Daemon *d, Err *e);
void metrics_stop(Daemon *d);
