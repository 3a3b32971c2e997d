/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seccomp filters: compiled by libseccomp into classic BPF, kept as bytes, installed with seccomp(2).
 *
 * A compiled filter is worth caching (a container's default profile takes milliseconds to compile, and
 * nothing to load): see SeccompProgram. The plain structs here are what the runtime-spec's "seccomp"
 * section says, without its JSON.
 */
#pragma once

#include "base/err.h"

typedef struct SeccompArg {
	uint32_t index;
	uint64_t value, value_two;
	const char *op; /* SCMP_CMP_EQ ... */
} SeccompArg;

typedef struct SeccompRule {
	char *const *names;
	const char *action; /* SCMP_ACT_ERRNO ... */
	int64_t errno_ret;  /* -1: EPERM */
	const SeccompArg *args;
	size_t n_args;
} SeccompRule;

typedef struct SeccompPolicy {
	const char *default_action;
	int64_t default_errno_ret;
	char *const *architectures; /* SCMP_ARCH_X86_64 ...; the native one is always in */
	const SeccompRule *rules;
	size_t n_rules;
	bool
	    kept; /* the program is used again and again: it may take twice as long to make if it is the quicker one */
} SeccompPolicy;

typedef struct SeccompProgram {
	void *code; /* struct sock_filter[] */
	size_t len; /* bytes */
} SeccompProgram;

/*
 * Rules for system calls that this libseccomp does not know are left out: the default action stands for them. But a call with a
 * number above all that the policy names is one that its author could not know: it fails with ENOSYS, as on an older kernel,
 * so that C libraries fall back to older calls instead of taking EPERM for an answer. (Not if the default is to allow, to log or
 * to trace, or is ENOSYS itself.)
 */
int seccomp_compile(const SeccompPolicy *p, SeccompProgram *ret, Err *e);
void seccomp_program_done(SeccompProgram *p);
/* The names that are known: of actions, comparisons, architectures and flags; NULL at the end. */
typedef enum SeccompNames {
	SECCOMP_ACTIONS,
	SECCOMP_OPERATORS,
	SECCOMP_ARCHITECTURES,
	SECCOMP_FLAGS
} SeccompNames;
const char *seccomp_name(SeccompNames kind, size_t i);
/* "2.5.4"; malloc'ed. */
char *seccomp_library_version(void);
/* True if this kernel takes the flag. */
bool seccomp_flag_works(const char *name);
/* "SECCOMP_FILTER_FLAG_LOG" ... to seccomp(2)'s flags. Without a list (NULL, not an empty one) it is SPEC_ALLOW, as in runc: a
 * filter alone is no reason to slow a process down against Spectre variant 4. */
int seccomp_flags(char *const *names, unsigned *ret, Err *e);
/* Puts the calling thread under the filter. Needs no_new_privs or CAP_SYS_ADMIN. With want_listener the
 * notification fd comes back in *ret_listener. */
int seccomp_install(const SeccompProgram *p, unsigned flags, bool want_listener, int *ret_listener, Err *e);
/* What the compiled form depends on besides the policy: the library's version and this machine. Part of a cache key. */
char *seccomp_compiler_id(void);
/* True if an action needs a listener (SCMP_ACT_NOTIFY). */
bool seccomp_action_notifies(const char *action);
