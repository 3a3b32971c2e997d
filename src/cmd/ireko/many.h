/* SPDX-License-Identifier: Apache-2.0 */
/* One request for each argument, all under way at once: stopping ten containers takes as long as the
 * slowest. */
#pragma once

#include "client.h"

typedef struct ManyRequest {
	const char *method;
	char *target; /* malloc'ed */
	json_t *body; /* owned, or NULL */
} ManyRequest;

typedef struct Many {
	/* Fills the request for an argument. */
	int (*make)(Call *call, const char *arg, ManyRequest *rq, Err *e);
	/* What to print of a good answer (may be NULL: the argument itself). */
	int (*show)(Call *call, const char *arg, int status, const json_t *answer, Err *e);
	bool missing_is_fine; /* 404 is told but is no failure */
	const char *
	    failed; /* "failed to start containers": said at the end with the names of those that failed, or NULL */
} Many;

/* The exit status; failures are complained about one by one. */
int many_run(Call *call, const Many *m, Err *e);
