/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods and containers of which something is to be told, with what they were asked to be: gathered in one round through the engine's table, so that the reading of what they use,
 * which takes longer, holds no lock.
 */
#pragma once

#include "api/cri/filter.h"
#include "engine/engine.h"

#define CRI_PAGE_SIZES 4

typedef struct CriSubject {
	char id[65], pod_id[65];
	bool runs;
	int64_t started_ns;
	int64_t cpu_shares, cpu_quota, cpu_period, memory_reservation; /* as asked for; 0: not */
	char page_sizes[CRI_PAGE_SIZES][12]; /* "2MB": of huge pages that it may have */
	size_t n_page_sizes;
	uint8_t *packed; /* the note's first part (note.h) */
	size_t n_packed;
	ProtobufCMessage *listed; /* the same: Cri__PodSandbox or Cri__Container */
} CriSubject;

typedef struct CriSubjects {
	CriSubject *pods, *members; /* members of one pod lie together */
	size_t n_pods, n_members;
} CriSubjects;

/* Those that match; a filter that is NULL asks for none of its kind. */
int cri_subjects_gather(Engine *en, const CriFilter *pods, const CriFilter *members, CriSubjects *ret,
			Err *e);
void cri_subjects_done(CriSubjects *s);
/* The first of a pod's members, *ret_n of them. */
const CriSubject *cri_subjects_of_pod(const CriSubjects *s, const char *pod_id, size_t *ret_n);
