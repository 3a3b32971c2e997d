/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "oci/runtime-spec.h"

/* The runtime-spec's seccomp object of a profile in Docker's form, for a container with these capabilities ("CAP_CHOWN"). ERR_INVALID in
 * dockerd's words for what is no profile. */
int seccomp_docker_profile(const char *text, char *const *capabilities, json_t **ret, Err *e);
