/* SPDX-License-Identifier: Apache-2.0 */
/* Where the vault and its key lie, by the XDG base directory specification; relative values are ignored, as it says. */
#pragma once

#include "base/err.h"

/* "<data>/ireko/<name>", "<state>/ireko/<name>"; malloc'ed, NULL when out of memory. */
char *dirs_data_file(const char *name);
char *dirs_state_file(const char *name);
/* Makes the folder, mode 0700. dirs_open_data gives its descriptor. */
int dirs_make_state(Err *e);
int dirs_open_data(bool make, Err *e);
/* Removes what a writer that was killed has left half-written: in the data folder, which is ours under its lock, all of it; in that of the state, which
 * others may be writing to, what is older than a minute. */
void dirs_sweep(int data);
