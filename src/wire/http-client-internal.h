/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the client share. */
#pragma once

#include "wire/http-client.h"

/* A connected socket, or -errno with err->no the errno of connect(2). */
int httpc_address_connect(const HttpcAddress *a, Err *e);
