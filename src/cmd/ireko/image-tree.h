/* SPDX-License-Identifier: Apache-2.0 */
/* images --tree: an image with all of its names, and below it what it has for each platform. */
#pragma once

#include "cli.h"

/* list: the engine's answer, with manifests where it has them. */
int image_tree_print(const Cli *cli, const json_t *list, Err *e);
