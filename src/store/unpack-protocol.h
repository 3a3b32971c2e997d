/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store and its sandboxed helper ireko-unpack say to each other.
 *
 * The helper is started with the stream on descriptor 0, plain bytes wanted back or the image on 1 (else /dev/null), the target
 * directory (an empty one, if nothing is put into it) on UNPACK_DIR_FD and a pipe for its report on UNPACK_REPORT_FD. argv[1] is its job, a JSON object with the members
 * of UnpackJob. The report is a row of frames, a header and `len` bytes each; the last one is UNPACK_DONE or
 * UNPACK_FAILED. The store trusts no frame further than its kind allows, for the helper may have been taken over by the archive:
 * paths are resolved beneath the target again, digests are checked.
 */
#pragma once

#include "base/err.h"
#include "kernel/namespace.h"
#include "oci/reference.h"

#define UNPACK_DIR_FD    3
#define UNPACK_REPORT_FD 4
#define UNPACK_FRAME_MAX 4608u

#define UNPACK_IDS_MAX 32
/* Of a user namespace: what the archive calls `inside` is written as `outside`. n 0: ids are written as they are. */
typedef struct UnpackIds {
	NamespaceIdMap v[UNPACK_IDS_MAX];
	size_t n;
} UnpackIds;

/* False: it has no counterpart. */
static inline bool unpack_id_outside(const UnpackIds *m, uint32_t id, uint32_t *ret)
{
	*ret = id;
	for (size_t i = 0; i < m->n; i++)
		if (id >= m->v[i].inside && id - m->v[i].inside < m->v[i].count) {
			*ret = m->v[i].outside + (id - m->v[i].inside);
			return true;
		}
	return m->n == 0;
}

typedef struct UnpackJob {
	bool cat; /* only decompress to descriptor 1 */
	bool
	    image; /* a whole layer into an EROFS image (erofs.h): descriptor 1, which stands behind the head */
	bool layer; /* a whole layer into an empty directory: "./" describes it, whiteouts */
	bool whiteouts;
	bool devices;
	bool keep_owner;
	bool no_overwrite_dir_non_dir;
	uint32_t uid, gid;
	int64_t max_bytes, max_files;
	UnpackIds uids, gids;
} UnpackJob;

/* A layer has a diff id; the digest of any other archive is of no use to anybody. */
static inline bool unpack_job_hashes(const UnpackJob *job)
{
	return job->cat || job->image || job->layer;
}

typedef enum UnpackFrameType {
	UNPACK_PROGRESS = 1, /* int64_t: bytes read */
	UNPACK_OPAQUE, /* a directory that hides what is below it; "" is the root. Needs CAP_SYS_ADMIN to mark,
			      * which the sandbox does not have */
	UNPACK_IMPLIED,   /* a directory that the archive does not describe: looks like the one below it */
	UNPACK_DESCRIBED, /* takes UNPACK_IMPLIED back: the description came after all */
	UNPACK_DONE,
	UNPACK_FAILED,     /* Err */
	UNPACK_IMPLIED_AT, /* in an image: uint64_t, where the inode is, then the path */
} UnpackFrameType;

typedef struct UnpackFrame {
	uint32_t type;
	uint32_t len;
} UnpackFrame;

typedef struct UnpackDone {
	char diff_id[DIGEST_LEN + 1];
	int64_t stream_bytes;  /* uncompressed */
	int64_t content_bytes; /* of regular files */
	int64_t inodes;        /* of the target directory and all that came about in it, or of the image: 1 */
} UnpackDone;
