/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tar entries become files.
 *
 * The rules are those of the OCI image-spec ("Image Layer Filesystem Changeset") written as overlayfs keeps
 * them: ".wh.NAME" becomes a 0/0 character device, ".wh..wh..opq" an opaque mark. A whiteout speaks of lower layers
 * only, so it never removes what this layer brought. Of several entries with one name the last wins. Whatever an entry
 * replaces is unlinked, never written through. Extended attributes with which an archive could speak to overlayfs or to the
 * kernel's security modules (trusted.*, user.overlay.*, security.* but capability) are dropped.
 */
#pragma once

#include "report.h"
#include "store/layer-rules.h"
#include "tree.h"

typedef struct PlaceDir {
	char *path;
	int64_t mtime_s;
	uint32_t mtime_ns;
} PlaceDir;

typedef struct Place {
	const UnpackJob *job;
	Tree tree;
	Report *report;
	PlaceDir *dirs; /* whose times are set at the end, when nothing more is put into them */
	size_t n_dirs;
	bool dir_gone; /* a directory was replaced by something else */
	LayerBudget budget;
	int64_t made; /* inodes that are there now; some too many if a directory that had any was replaced */
} Place;

int place_init(Place *p, const UnpackJob *job, int root_fd, Report *report, Err *e);
int place_entry(Place *p, TarReader *t, const TarEntry *n, Err *e);
int place_finish(Place *p, Err *e);
