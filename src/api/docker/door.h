/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Docker Engine API door: HTTP requests in, engine calls, Docker's documents out.
 *
 * The only header for others: a door fills in the options of an HTTP server. It holds no state of
 * its own beyond what `info` shows and the locks of prune.
 */
#pragma once

#include "engine/engine.h"
#include "wire/httpd/httpd.h"

typedef struct DockerDoor DockerDoor;

typedef struct DockerDoorOptions {
	const char *data_root;
	char *const *insecure_registries;
	char *const *registry_mirrors;
} DockerDoorOptions;

int docker_door_new(const DockerDoorOptions *o, DockerDoor **ret, Err *e);
/* Before the first request. The engine outlives the door. */
void docker_door_set_engine(DockerDoor *d, Engine *en);
void docker_door_free(DockerDoor *d);
/* Sets routes, user, admit and decorate. */
void docker_door_serve(DockerDoor *d, HttpOptions *o);
