/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the syslog driver (syslog-address, syslog-facility, syslog-format), in Docker's words where they are refused. */
#pragma once

#include "base/json.h"

int log_syslog_check(char *const *options, Err *e);
/* What the shim's remote.h takes, the address looked up. helper_dir: where ireko-dial-tls is. */
int log_syslog_plan(char *const *options, const char *tag, const char *helper_dir, json_t **ret, Err *e);
