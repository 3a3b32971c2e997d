/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The families of metrics that there are: their names, which are cadvisor's, their labels, and where in the engine's numbers their values are. The rows of one name follow each other.
 */
#pragma once

#include "base/clock.h"
#include "engine/usage.h"

#include <stddef.h>

/* Where a number is. */
typedef enum MetricKind {
	OF_CGROUP,    /* an offset in CgroupUsage */
	OF_WORKING,   /* what follows from it: the working set */
	OF_CONTAINER, /* the same as OF_CGROUP, but not of pods */
	OF_FAILURES,  /* the same as OF_CGROUP, in two scopes */
	OF_PRESSURE,  /* an offset of a CgroupStall in CgroupUsage: its total */
	OF_ENGINE,    /* an offset in EngineUsage, not of pods */
	OF_HUGEPAGES, /* an offset in EngineHugepages, for each size of pages that a container may have */
	OF_DEVICE,    /* an offset in CgroupDeviceIo, for each */
	OF_BLKIO,     /* the same, with the device's numbers */
	OF_LAYER,     /* an offset in MetricLayer */
	OF_INTERFACE, /* an offset in EngineInterface, for each of a pod's */
	OF_TIMES,     /* an offset in MetricTimes */
	OF_SPEC,      /* an offset in MetricSpec */
} MetricKind;

typedef struct MetricLayer {
	uint64_t bytes, limit, inodes_free, inodes_total;
} MetricLayer;

typedef struct MetricTimes {
	uint64_t now, started;
} MetricTimes;

/* What was asked for, and what the kernel takes if it was not. */
typedef struct MetricSpec {
	uint64_t shares, quota, period, reservation;
} MetricSpec;

/* Beside these, all have what is common: container, id, image, name, namespace, pod. */
#define METRIC_COMMON   6
#define METRIC_KEYS_MAX 4

typedef struct MetricFamily {
	const char *name, *help;
	MetricKind kind;
	bool gauge;
	bool zero; /* what is unknown is no limit, and told as 0 */
	size_t offset;
	uint64_t unit;                     /* divides; 0: 1 */
	const char *keys[METRIC_KEYS_MAX]; /* of labels beside the common ones */
	const char *fixed;                 /* the value of one of those labels that the row stands for */
} MetricFamily;

extern const MetricFamily cri_metric_families[];
extern const size_t cri_n_metric_families;

size_t cri_metric_labels(const MetricFamily *f);
