/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `system check`: is everything that the database says there, and is it what it should be?
 *
 * Every blob is hashed. Every layer that came packed is unpacked once more, beside its place, and compared with what is there, entry by
 * entry; one that was made here is made into its tar again, whose hash is known. Rows that point nowhere and files that no
 * row knows are looked for. With `repair`, what can be made again from what is here is; what only a registry has is left with
 * `refetch`: the caller pulls the images that need it, and asks again (store_check_again).
 *
 * Other calls go on meanwhile. What appears or disappears while it is being looked at is no finding.
 */
#pragma once

#include "store/store.h"

typedef struct StoreFinding {
	const char *
	    kind; /* "database" "blob" "layer" "image" "tag" "snapshot" "file", of the engine "container" "pod"; a constant */
	char *id, *path; /* path is below the data root, or NULL */
	char *problem;
	char *remedy;  /* what the user can do, or once it is repaired, what was done */
	char **images; /* ids of images that need it */
	bool repaired, refetch;
} StoreFinding;

typedef struct StoreReport {
	StoreFinding *v;
	size_t n;
	int64_t blobs, layers, images, snapshots, bytes; /* that were looked at */
	char **unverified; /* layers whose blob is missing, so that nothing tells what they should be */
} StoreReport;

typedef struct StoreCheck {
	bool repair;
	char *const *busy; /* top layers of running containers: nothing below these is replaced */
	void (*progress)(void *user, const char *what, int64_t done, int64_t total); /* may be NULL */
	bool (*cancelled)(void *user);                                               /* may be NULL */
	void *user;
} StoreCheck;

/* Damage is no failure: it is in the report. ERR_CANCELLED; errors of the database. */
int store_check(Store *s, const StoreCheck *c, StoreReport *ret, Err *e);
/* After a finding's images were pulled again: looks whether it is whole now, and makes a layer again from its blob. */
int store_check_again(Store *s, const StoreCheck *c, StoreFinding *f, Err *e);
/* After blobs were fetched again: looks at the layers that could not be verified without them. */
int store_check_unverified(Store *s, const StoreCheck *c, StoreReport *report, Err *e);
void store_report_done(StoreReport *r);
/* Adds a finding; texts are copied. NULL when out of memory. */
StoreFinding *store_report_add(StoreReport *r, const char *kind, const char *id, const char *problem);
/* Replaces the remedy. 0 or -ENOMEM. */
int store_finding_remedy(StoreFinding *f, const char *remedy);
