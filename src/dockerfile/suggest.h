/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the known word that is nearest to an unknown one. */
#pragma once

#include "base/macro.h"

/* The entry of words (ended by NULL) that is at most two edits (letters put in, left out or exchanged for others) away from word; the
 * case of letters does not count when `fold`. NULL if there is none. */
const char *dockerfile_suggest(const char *word, const char *const *words, bool fold);
