/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `system check` share. */
#pragma once

#include "store/check.h"
#include "store/store-internal.h"

/* The first column of every row is appended; arg, if not NULL, is ?1. */
int check_list(Store *s, char ***ret, Err *e, const char *sql, const char *arg);
/* Tells of progress; ERR_CANCELLED if nobody waits any more. */
int check_tell(const StoreCheck *c, const char *what, int64_t done, int64_t total, Err *e);
int check_settle(StoreFinding *f, bool repaired, const char *text, Err *e);
int check_report_blob(Store *s, const StoreCheck *c, const char *digest, const char *problem,
		      StoreReport *ret, Err *e);
int check_report_layer(Store *s, const StoreCheck *c, const char *chain_id, const char *problem,
		       bool replaced, bool busy, StoreReport *ret, Err *e);

/* check-rows.c */
int check_database(Store *s, const StoreCheck *c, StoreReport *ret, Err *e);
int check_images(Store *s, const StoreCheck *c, StoreReport *ret, Err *e);
int check_tags(Store *s, const StoreCheck *c, StoreReport *ret, Err *e);
int check_snapshots(Store *s, const StoreCheck *c, StoreReport *ret, Err *e);
