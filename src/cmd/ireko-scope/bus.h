/* SPDX-License-Identifier: Apache-2.0 */
/* systemd's manager on the bus, as far as transient units need it (org.freedesktop.systemd1(5)). */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef struct sd_bus sd_bus;

/* The system's manager, or the user's. Signals about jobs are asked for. */
int bus_connect(bool user, sd_bus **ret, Err *e);
/* A property of the manager, which is a string; the caller's. */
int bus_manager_property(sd_bus *bus, const char *name, char **ret, Err *e);
/* 252 of "252.39-1~deb12u2"; 0 if it cannot be known. */
int bus_version(sd_bus *bus);
/* `properties` as in kernel/cgroup-systemd.h; what is newer than `version` is left out. `pid`: who is moved into it, or 0. Waits for the
 * job. */
typedef struct UnitRequest {
	const char *unit, *slice, *description;
	bool is_slice;
	const json_t *properties;
	pid_t pid;
	int version;
} UnitRequest;
int bus_start_unit(sd_bus *bus, const UnitRequest *q, Err *e);
int bus_attach(sd_bus *bus, const char *unit, pid_t pid, Err *e);
int bus_set_unit(sd_bus *bus, const char *unit, const json_t *properties, int version, Err *e);
/* Stops it, waits, and forgets its failure. Success too if there is none. */
int bus_stop_unit(sd_bus *bus, const char *unit, Err *e);
