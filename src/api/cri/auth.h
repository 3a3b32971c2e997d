/* SPDX-License-Identifier: Apache-2.0 */
/* What a kubelet gives for a registry with a pull, in any of the protocol's forms. */
#pragma once

#include "engine/engine.h"
#include "image.pb-c.h"

typedef struct CriAuth {
	EngineAuth auth; /* points to what follows, and into the request */
	char *decoded;
} CriAuth;

/* `a` may be NULL. What is for another registry than the reference's is left out. ERR_INVALID says what is wrong with it, not what it is. */
int cri_auth_read(const Cri__AuthConfig *a, const char *reference, CriAuth *ret, Err *e);
void cri_auth_done(CriAuth *a);
