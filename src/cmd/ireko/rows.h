/* SPDX-License-Identifier: Apache-2.0 */
/* Small makers of the cells that the lists show; every string is malloc'ed or NULL on out of memory. */
#pragma once

#include "base/json.h"
#include "base/str.h"
#include "template.h"

/* row[name] = s, taking s over; -ENOMEM also when s is NULL or no UTF-8. */
int row_take(json_t *row, const char *name, char *s);
int row_add(json_t *row, const char *name, const char *s);
/* "Labels" ("a=1,b=2") and the hidden object behind `.Label "a"`. */
int row_add_labels(json_t *row, const json_t *labels);
/* An object of strings as sorted "k=v" joined with sep. */
char *row_join_map(const json_t *map, const char *sep);
/* The keys of an object, sorted and joined. */
char *row_join_keys(const json_t *map, const char *sep);
/* "0.0.0.0:80->80/tcp, 443/tcp", neighbours collapsed to ranges, from the Ports of a container list item. */
char *row_ports(const json_t *ports);
/* The image of a container list item: its name, or the start of its id. */
char *row_image(const json_t *container, bool full);
/* A Go string literal. */
char *row_quote(const char *s);
/* A new array of the same members, sorted by a string member of each. NULL on out of memory. */
json_t *rows_sorted(const json_t *list, const char *by);
