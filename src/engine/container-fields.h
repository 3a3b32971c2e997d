/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every member of the document that makes a container (Engine API 1.51), and what becomes of it. This table is the one place that says
 * so: a member that is refused is refused from here, docs/engine-api.md is written from it, and the tests walk it.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef enum FieldState {
	FIELD_HONOURED,  /* the container is made so, and inspect shows it */
	FIELD_SHOWN,     /* kept for clients, who alone know what it means */
	FIELD_ANSWERED,  /* of the answers only: in a request it says nothing, as with dockerd */
	FIELD_DISCARDED, /* left out with a warning in the answer, as dockerd does */
	FIELD_REFUSED,   /* any value but an empty one is an error that names the member */
} FieldState;

typedef struct ContainerField {
	const char *path; /* "HostConfig.Mounts[].Type": [] is each item, {} each value */
	FieldState state;
	const char *remark; /* of FIELD_REFUSED: why, for the user; else for the documentation; or NULL */
} ContainerField;

/* Ends with a NULL path. */
extern const ContainerField container_fields[];

/* ERR_INVALID for the first member of the request that is refused. Names are compared without case, as decoding does it. */
int container_fields_check(const json_t *body, Err *e);
