/* SPDX-License-Identifier: Apache-2.0 */
/* What `crictl inspect` and its relatives show beyond the protocol's own fields: maps of JSON documents, for people. */
#pragma once

#include "api/cri/filter.h"
#include "api/cri/status.h"
#include "base/json.h"

#define CRI_VERBOSE_MAX 4

typedef struct CriVerbose {
	CriPair items[CRI_VERBOSE_MAX], *pairs[CRI_VERBOSE_MAX];
	size_t n;
} CriVerbose;

/* One more: key is a constant; takes the document. */
int cri_verbose_add(CriVerbose *v, const char *key, json_t *doc, Err *e);
void cri_verbose_done(CriVerbose *v);
int cri_verbose_container(Engine *en, const CriContainerDoc *d, CriVerbose *ret, Err *e);
int cri_verbose_pod(Engine *en, const CriPodDoc *d, CriVerbose *ret, Err *e);

/* Any message, with the names of its fields; what is empty is left out. NULL on out of memory. */
json_t *cri_message_json(const ProtobufCMessage *m);
