/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which records of the build cache a client means, as it writes it: "type==regular,inuse,description~=apt". All of one text must hold, and of several texts
 * one. Values may be quoted. What does not parse, and fields that there are not, are refused: a prune must not take what nobody named. Pure; fuzzed.
 */
#pragma once

#include "base/err.h"
#include "store/store.h"

#include <regex.h>

typedef struct UsageTerm {
	int field, op;
	char *value;
	regex_t pattern; /* of "~=" */
	bool compiled;
} UsageTerm;

typedef struct UsageFilter {
	UsageTerm *terms;
	size_t n;
	size_t *ends; /* behind the last term of each text */
	size_t n_texts;
} UsageFilter;

/* Released by usage_filter_done on failure as well. Empty texts mean everything. */
int usage_filter_parse(char *const *texts, size_t n, UsageFilter *ret, Err *e);
void usage_filter_done(UsageFilter *f);
bool usage_filter_matches(const UsageFilter *f, const StoreCacheEntry *c);

/* What a record is called by clients: "regular", "exec.cachemount". */
const char *usage_type(const StoreCacheEntry *c);
const char *usage_description(const StoreCacheEntry *c);
