/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The BuildKit door: what "docker build", "docker buildx" and compose speak to an engine for builds. gRPC on two upgraded connections of the Engine socket:
 * POST /grpc, where the client calls us, and POST /session, where we call the client for all that is its own.
 *
 * The only header for others: a door adds its routes to the options of an HTTP server.
 */
#pragma once

#include "build/build.h"
#include "wire/httpd/httpd.h"

typedef struct BuildkitDoor BuildkitDoor;

/* Contexts that clients sent are kept below data_root/tmp, for the next build of the same. */
int buildkit_door_new(const char *data_root, BuildkitDoor **ret, Err *e);
/* Before the first request. Both outlive the door. */
void buildkit_door_set_engine(BuildkitDoor *d, Engine *en, Builder *builder);
/* Sets the options' table of more routes. */
void buildkit_door_serve(BuildkitDoor *d, HttpOptions *o);
/* Ends all connections, and with them the builds. Their requests return soon after. */
void buildkit_door_stop(BuildkitDoor *d);
/* When no request is under way. */
void buildkit_door_free(BuildkitDoor *d);
