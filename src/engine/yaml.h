/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML as documents of JSON: what programs write who could as well have written JSON.
 *
 * One document of mappings with text as keys, lists, and scalars, which are what YAML 1.1's rules for plain ones say (true and yes, 0x1f and 017, ~), unless they are quoted. Refused
 * by name is what makes a small text a large document, or has no counterpart: aliases and anchors, tags of one's own, a key that stands twice.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 200000

/* texts: keys whose scalars are text however they are written, as `name: 0`; NULL-terminated, or NULL. The reference is the caller's; an empty text is null. ERR_INVALID
 * with the line, ERR_UNSUPPORTED for what is refused. */
int yaml_parse(const char *text, size_t len, const char *const *texts, json_t **ret, Err *e);
