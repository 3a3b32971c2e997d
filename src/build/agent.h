/* SPDX-License-Identifier: Apache-2.0 */
/* The client's ssh agent as a socket in a step. */
#pragma once

#include "build/build-internal.h"

typedef struct Agent Agent;

typedef struct AgentWanted {
	const char *id;
	uid_t uid;
	gid_t gid;
	mode_t mode;
} AgentWanted;

/* -> also a detached mount of the socket: a descriptor of the caller's. */
int agent_new(Build *b, const AgentWanted *w, Agent **ret, int *ret_mount, Err *e);
/* Ends all connections. */
void agent_free(Agent *a);
