/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Docker Engine API door: HTTP requests in, engine calls, Docker's documents out.
 *
 * The only header for others: a door is made over an engine and fills in the options of an HTTP server. It holds no state of
 * its own beyond what `info` shows and the locks of prune.
 */
#pragma once

#include "engine/engine.h"
#include "wire/httpd/httpd.h"

typedef struct DockerDoor DockerDoor;

typedef struct DockerDoorOptions {
	Engine *engine; /* outlives the door */
	const char *data_root;
	char *const *insecure_registries;
	char *const *registry_mirrors;
} DockerDoorOptions;

int docker_door_new(const DockerDoorOptions *o, DockerDoor **ret, Err *e);
void docker_door_free(DockerDoor *d);
/* Sets routes, user, admit and decorate. */
void docker_door_serve(DockerDoor *d, HttpOptions *o);
