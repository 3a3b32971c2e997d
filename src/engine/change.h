/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dockerfile instructions that only change a run config: CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD SHELL
 * STOPSIGNAL USER VOLUME WORKDIR. Used by commit, import and the builder.
 */
#pragma once

#include "base/err.h"
#include "oci/image.h"

/* Removes quotes and escapes from one raw word and, with env, replaces $X, ${X}, ${X:-w}, ${X:+w} by its values
 * (env NULL: dollars stay). malloc'ed through *ret. */
int change_expand_word(const char *raw, char *const *env, char **ret, Err *e);
/* Splits at blanks that are not quoted; quotes and escapes stay in the words. NULL on out of memory. */
char **change_split_words(const char *text);
/* One instruction: keyword in any case, and the rest of its line. Variables come from `env` (NULL: no expansion, the text was
 * expanded before). ENTRYPOINT leaves Cmd alone: whether an inherited one is to be dropped depends on the instructions before it. */
int change_apply(ImageRunConfig *c, const char *keyword, const char *rest, char *const *env, Err *e);
/* A list of instructions in order, variables from the config's own Env; an ENTRYPOINT drops the Cmd that was there before the list. */
int change_apply_all(ImageRunConfig *c, char *const *instructions, Err *e);
/* One word of EXPOSE ("80", "80-90/udp", "127.0.0.1:8080:80"), one of VOLUME, the one of STOPSIGNAL, when they are known. */
int change_expose(ImageRunConfig *c, const char *spec, Err *e);
int change_volume(ImageRunConfig *c, const char *path, Err *e);
int change_stop_signal(ImageRunConfig *c, const char *value, Err *e);
/* HEALTHCHECK: flags as "interval=30s", and what follows them. SHELL: its JSON list. */
int change_health(ImageRunConfig *c, char *const *flags, const char *text, Err *e);
int change_shell(ImageRunConfig *c, const char *text, Err *e);
/* A JSON list of strings; NULL if the text is no such thing. */
char **change_json_form(const char *text);
