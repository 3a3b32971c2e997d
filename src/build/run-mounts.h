/* SPDX-License-Identifier: Apache-2.0 */
/* RUN --mount: what a step is given while it runs, and what is left of it afterwards: nothing. */
#pragma once

#include "build/build-internal.h"
#include "dockerfile/mount.h"

typedef struct StepMounts StepMounts;

/* Reads the flags of the step, variables replaced. *ret may have no mounts; to be freed by step_mounts_free. */
int step_mounts_parse(Build *b, Stage *s, const DockerfileStep *step, StepMounts **ret, Err *e);
/* What the step's key takes from them: for binds what they show; appended to text. */
int step_mounts_key(Build *b, const StepMounts *m, StrBuf *text, Err *e);
/* Makes them; the step's fields point into m. */
int step_mounts_open(Build *b, Stage *s, StepMounts *m, EngineStep *step, char ***env, Err *e);
/* The command's here-document as a file that is executed: the last mount. Its path is *ret_path. */
int step_mounts_script(Build *b, StepMounts *m, const DockerfileHeredoc *h, const char **ret_path, Err *e);
/* Takes away from the container's upper directory the empty files and directories that were made to mount on. */
int step_mounts_clean(Build *b, const StepMounts *m, const char *upper, Err *e);
void step_mounts_free(Build *b, StepMounts *m);
