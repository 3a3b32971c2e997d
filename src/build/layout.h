/* SPDX-License-Identifier: Apache-2.0 */
/* Images out of a client's OCI image layout. */
#pragma once

#include "build/build-internal.h"

/* value: "oci-layout://NAME[:TAG][@DIGEST]", where NAME is what the client's directory is asked for by; name: the context's. platform may be NULL. */
int layout_image(Build *b, const char *name, const char *value, const char *platform, StoreImage *ret,
		 Err *e);
