/* SPDX-License-Identifier: Apache-2.0 */
/* What devices a cgroup may use: the v1 files, or a BPF program on a v2 cgroup. In both, everything is denied
 * first, and of the rules the last one that matches counts. */
#pragma once

#include "kernel/cgroup.h"

int device_apply_v1(const char *dir, const CgroupDeviceRule *rules, size_t n, Err *e);
int device_apply_v2(const char *dir, const CgroupDeviceRule *rules, size_t n, Err *e);
/* True if it has r, w and m. */
bool device_access_is_full(const char *access);
