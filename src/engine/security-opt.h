/* SPDX-License-Identifier: Apache-2.0 */
/* HostConfig.SecurityOpt: "seccomp=unconfined", "no-new-privileges", "apparmor=profile", "label=disable"; ':' for '=' as older clients say it. */
#pragma once

#include "base/err.h"

#define APPARMOR_DEFAULT "ireko-default" /* the profile of who asks for none; as is "docker-default" */

typedef struct SecurityOptions {
	const char
	    *seccomp; /* NULL: the default profile; "unconfined"; else the text of one in Docker's form */
	const char *apparmor; /* NULL: none asked for */
	bool no_new_privileges;
} SecurityOptions;

/* The strings are v's. ERR_INVALID in dockerd's words; ERR_UNSUPPORTED for a label that is not set. */
int security_options_parse(char *const *v, SecurityOptions *ret, Err *e);
