/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing an archive from a container to our disk.
 *
 * The archive is hostile. Every name is cleaned and opened inside the target directory (openat2,
 * RESOLVE_IN_ROOT), so that neither ".." nor a link, from the archive or already there, leads out of it. A
 * file is never written through an existing link: what is in the way is removed first. Set-user-id bits are
 * kept only with the owner.
 */
#pragma once

#include "tar.h"

typedef struct Extract {
	int dirfd; /* the target directory */
	const char *
	    name; /* what the archive's top entry is called here; "" puts its contents into the directory itself */
	bool whole; /* entries keep their names: there is no top entry that gets another */
	bool keep_owner;
	int64_t bytes; /* contents written */
} Extract;

int extract_all(Extract *x, TarReader *r, Err *e);
