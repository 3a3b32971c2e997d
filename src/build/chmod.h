/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --chmod: octal ("0755") or symbolic as chmod(1) has it ("u+x,go=rX").
 *
 * Without a "who" the umask is 022, as it is where builds run. Pure; the text is hostile. Fuzzed.
 */
#pragma once

#include "base/err.h"

#include <sys/stat.h>

#define MODE_STEPS_MAX 32

typedef struct ModeStep {
	char op;          /* '+', '-' or '=' */
	mode_t who;       /* the bits that may change */
	mode_t set;       /* of all classes */
	char from;        /* 'u', 'g' or 'o': the permissions that this class has; 0: none */
	bool conditional; /* X: x, if it is a directory or somebody may execute it already */
} ModeStep;

typedef struct ModeChange {
	ModeStep steps[MODE_STEPS_MAX];
	size_t n;
} ModeChange;

int mode_change_parse(const char *text, ModeChange *ret, Err *e);
/* mode as stat(2) has it, type included; only 07777 of it comes back. */
mode_t mode_change_apply(const ModeChange *c, mode_t mode);
