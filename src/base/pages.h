/* SPDX-License-Identifier: Apache-2.0 */
/* What a process that waits can give back to the kernel without losing anything. */
#pragma once

#include <stddef.h>

/* Memory whose contents can be had again. */
typedef struct PageRange {
	void *from;
	size_t len;
} PageRange;

/* What of the program's and its libraries' files is mapped and cannot be written to; at most max ranges. Returns how many. */
size_t pages_of_program(PageRange *ret, size_t max);
/* Drops them from the map, so that the kernel may use them for something else; those that are needed come back by themselves. */
void pages_drop(const PageRange *v, size_t n);
