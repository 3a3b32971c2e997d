/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RUN --mount=type=cache,target=/root/.cache,id=x: one flag's value as a mount.
 *
 * The value is a record of comma-separated fields, in which quotes protect commas; each is key=value or one of the few words that
 * stand alone. Fields are read from left to right: `required` and `size` belong to a type that was named before them. Variables are replaced in each
 * value by itself, so that what they hold cannot add a field; `from` takes none.
 *
 * Pure; the text is hostile. Which stage, secret or cache it names is the builder's business.
 */
#pragma once

#include "base/err.h"

typedef enum DockerfileMountType {
	DF_MOUNT_BIND,
	DF_MOUNT_CACHE,
	DF_MOUNT_TMPFS,
	DF_MOUNT_SECRET,
	DF_MOUNT_SSH,
} DockerfileMountType;

typedef enum DockerfileSharing {
	DF_SHARING_SHARED,
	DF_SHARING_PRIVATE,
	DF_SHARING_LOCKED,
} DockerfileSharing;

typedef struct DockerfileMount {
	DockerfileMountType type;
	char *from, *source, *target, *id,
	    *env;           /* as written, not cleaned; NULL if absent or empty (env: only if absent) */
	bool read_only;     /* what holds: said, or the type's default (bind, secret, ssh: true) */
	bool has_read_only; /* it was said */
	bool required;      /* of secret and ssh */
	DockerfileSharing sharing; /* of cache */
	int64_t size;              /* of tmpfs, bytes; 0: no limit */
	bool has_mode, has_uid, has_gid;
	uint32_t mode, uid, gid; /* 0 unless said: the defaults depend on the type */
} DockerfileMount;

/* env (K=V) NULL: nothing is replaced. Errors are ERR_INVALID and name the key. */
int dockerfile_mount_parse(const char *spec, DockerfileMount *ret, Err *e);
int dockerfile_mount_expand(const char *spec, char escape, char *const *env, DockerfileMount *ret, Err *e);
void dockerfile_mount_done(DockerfileMount *m);
const char *dockerfile_mount_type_name(DockerfileMountType t);
