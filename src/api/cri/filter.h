/* SPDX-License-Identifier: Apache-2.0 */
/* Which pods or containers a list is asked for. */
#pragma once

#include "base/err.h"
#include "runtime.pb-c.h"

/* How protobuf-c lays out every entry of a map<string, string>. */
typedef struct CriPair {
	ProtobufCMessage base;
	char *key, *value;
} CriPair;

/* Of what matches all is true; NULL, "" and 0 ask for nothing. */
typedef struct CriFilter {
	const char *id;  /* whole, or its beginning */
	const char *pod; /* of containers: the same of their pod's */
	const int *state;
	CriPair *const *labels;
	size_t n_labels;
} CriFilter;

/* The filters of requests may be NULL: everything. What is filled in points to them. */
CriFilter cri_filter_of_pods(const Cri__PodSandboxFilter *f);
CriFilter cri_filter_of_containers(const Cri__ContainerFilter *f);
/* All but the labels. */
bool cri_filter_match(const CriFilter *f, const char *id, const char *pod, int state);
/* Of the labels that it has, each that is asked for is there with that value. */
bool cri_filter_match_labels(const CriFilter *f, CriPair *const *labels, size_t n);
