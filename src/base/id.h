/* SPDX-License-Identifier: Apache-2.0 */
/* Random identifiers, and the boot that we live in. */
#pragma once

#include "base/err.h"

#define ID_LEN 64 /* hex digits of a container, network or exec id */

/* n lower-case hex digits and NUL into buf[n + 1], from getrandom(2). */
void id_random_hex(char *buf, size_t n);
/* True if s is entirely lower-case hex, 1 to 64 digits. */
bool id_is_hex(const char *s);
/* "adjective_surname", as Docker names containers nobody named; `retry` > 0 appends a digit. malloc'ed. */
char *id_random_name(int retry);
/* /proc/sys/kernel/random/boot_id without newline; "" if unreadable. Static. */
const char *id_boot(void);
