/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about layers share: a layer's row, and its files in the making. */
#pragma once

#include "store/diff.h"
#include "store/store-internal.h"
#include "store/unpack-protocol.h"

typedef struct LayerRow {
	char *parent, *diff_id, *blob;
	int64_t size, tar_size; /* of its files; of its tar, -1: not counted yet */
	bool lost;
} LayerRow;

void layer_row_done(LayerRow *l);
/* ERR_NOT_FOUND. */
int layer_row_load(Store *s, const char *chain_id, LayerRow *ret, Err *e);
bool layer_is_image(Store *s, const char *chain_id);
/* In either form. */
bool layer_files_exist(Store *s, const char *chain_id);

typedef struct NewLayer {
	const char *chain_id, *parent, *diff_id, *blob;
	int64_t size, tar_size, inodes;
} NewLayer;

typedef struct Draft {
	Store *store;
	char path[sizeof(LAYERS) + 48]; /* layers/.tmp-<random> */
	int fd;                         /* of its "diff" */
} Draft;

/* Removes what is not committed. */
void draft_done(Draft *d);
int draft_begin(Store *s, Draft *d, Err *e);
/* With an empty "diff", which d->fd is of; begins if need be. */
int draft_begin_diff(Store *s, Draft *d, Err *e);
/* Renames it into place and commits the row. Called with the chain locked and the layer missing. */
int draft_commit(Draft *d, const NewLayer *n, Err *e);

/* Unpacks the tar in in_fd into the draft, in the sandbox, as a directory. */
int layer_unpack_dir(Store *s, const LayerApply *a, int in_fd, Draft *d, UnpackDone *done, Err *e);

/* Writes the tar of a layer that is an image, or a directory, and tells what it was; out_fd -1: nowhere. */
int layer_tar_from_image(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e);
int layer_tar_from_dir(Store *s, const char *chain_id, int out_fd, DiffSum *ret, Err *e);
