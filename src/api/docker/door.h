/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Docker Engine API door: HTTP requests in, engine calls, Docker's documents out.
 *
 * The only header for others: a door fills in the options of an HTTP server. It holds no state of
 * its own beyond what `info` shows and the locks of prune.
 */
#pragma once

#include "build/build.h"
#include "engine/engine.h"
#include "wire/httpd/httpd.h"

typedef struct DockerDoor DockerDoor;

typedef struct DockerDoorOptions {
	const char *data_root;
	char *const *insecure_registries;
	char *const *registry_mirrors;
	char *const *labels, *const *address_pools;
	const char *seccomp_profile; /* as the setting has it; NULL: the built-in one */
	bool no_new_privileges, debug, live_restore;
	bool classic_builder; /* what clients that leave the choice to us build with */
} DockerDoorOptions;

int docker_door_new(const DockerDoorOptions *o, DockerDoor **ret, Err *e);
/* Before the first request. Both outlive the door. */
void docker_door_set_engine(DockerDoor *d, Engine *en, Builder *builder);
void docker_door_free(DockerDoor *d);
/* What `info` shows from now on. */
int docker_door_reload(DockerDoor *d, const DockerDoorOptions *o, Err *e);
/* Appends Prometheus' text: durations of actions, states of containers, what the engine is. */
int docker_door_metrics(DockerDoor *d, StrBuf *b, Err *e);
/* Sets routes, user, admit, decorate and measured. */
void docker_door_serve(DockerDoor *d, HttpOptions *o);
