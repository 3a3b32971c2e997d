/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which log a container has: the options of --log-driver and --log-opt, in Docker's words where they are refused, and what
 * follows from them for the shim, which writes, and for `logs`, which reads.
 *
 * json-file and local are files, and so is cri, which a pod's containers have and nobody else can ask for: it lies where the kubelet wants it, and is
 * rotated by the kubelet. syslog and journald are servers; beside them lies a file in the format of local that `logs` reads
 * (Docker's cache), unless cache-disabled says no. Files are capped unless max-size=-1 says otherwise.
 */
#pragma once

#include "engine/engine-internal.h"
#include "engine/logs.h"

#define LOG_DEFAULT_SIZE  20000000 /* bytes of a file, where max-size is not said */
#define LOG_DEFAULT_FILES 5        /* with the current one, where neither is said */

/* What the options may be without the container that they are for: for create, and for the engine's own defaults. */
int log_options_check(const char *driver, char *const *options, Err *e);
/* The engine's defaults where k leaves them open; then checks all. A container of a pod has the log that its pod says. */
int log_config_settle(const Engine *en, ContainerConfig *k, Err *e);

/* What the options make of the container's own labels and environment. */
int log_container_check(const Container *c, Err *e);

/* {{.Name}} and its like; malloc'ed. ERR_INVALID for what is no such template. */
int log_tag_expand(const char *template, const Container *c, char **ret, Err *e);
/* labels, labels-regex, env, env-regex: a new object. */
int log_attributes(const Container *c, json_t **ret, Err *e);

/* The file that `logs` reads. */
typedef struct LogPlace {
	char *path;
	const LogCodec *codec;
} LogPlace;
/* ERR_UNSUPPORTED in Docker's words if nothing can be read. path is malloc'ed. */
int log_place(const Engine *en, const Container *c, LogPlace *ret, Err *e);

/* What the shim is told; the strings and the object are in it. */
typedef struct LogPlan {
	ShimLog shim;
	char *path, *attrs;
} LogPlan;
void log_plan_done(LogPlan *p);
/* Finds the server's address too, and makes the directory of a pod's log, which a kubelet has made by then. */
int log_plan_make(const Engine *en, const Container *c, LogPlan *ret, Err *e);
