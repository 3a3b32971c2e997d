/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings: formatting into fresh memory, a growing buffer, and NULL-terminated vectors.
 *
 * Everything returned is malloc'ed and the caller's. Running out of memory yields NULL or -ENOMEM;
 * a StrBuf remembers the failure (`oom`) so that a chain of appends is checked once, at
 * strbuf_steal().
 */
#pragma once

#include "base/macro.h"

#include <stdarg.h>

char *strf(const char *fmt, ...) _printf_(1, 2);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* The rest of s behind prefix, or NULL. */
const char *str_after(const char *s, const char *prefix);
/* Whole-string numbers; -EINVAL for empty, trailing characters or signs where none is allowed,
 * -ERANGE beyond the bounds. */
int str_to_u64(const char *s, uint64_t *ret);
int str_to_i64(const char *s, int64_t *ret);
int str_to_int(const char *s, int min, int max, int *ret);
/* Docker's byte sizes: "10", "64k", "1.5g", "512MiB", "2mb" (powers of 1024). */
int str_to_bytes(const char *s, int64_t *ret);
/* True if s is valid UTF-8 (RFC 3629: no overlong forms, surrogates or values above U+10FFFF). */
bool str_is_utf8(const char *s, size_t len);
/* A copy in which U+FFFD stands for each byte that is no UTF-8, and for NUL. malloc'ed; NULL on out of memory. */
char *str_utf8_clean(const char *s, size_t len);
/* A copy without leading and trailing blanks. */
char *str_trim_dup(const char *s);

typedef struct StrBuf {
	char *s; /* always NUL-terminated once anything was added */
	size_t len;
	size_t cap;
	bool oom;
} StrBuf;

void strbuf_done(StrBuf *b);
void strbuf_wipe(StrBuf *b); /* the same, of a secret (secret.h) */
/* Makes room for that much more at once. */
void strbuf_reserve(StrBuf *b, size_t more);
void strbuf_add_n(StrBuf *b, const void *s, size_t n);
static inline void strbuf_add(StrBuf *b,
			      const char *s) /* inline: most are constants, whose length is one too */
{
	strbuf_add_n(b, s, strlen(s));
}
void strbuf_add_c(StrBuf *b, char c);
void strbuf_addf(StrBuf *b, const char *fmt, ...) _printf_(2, 3);
/* The text ("" when nothing was added), leaving the buffer empty; NULL if an append ran out of memory. */
char *strbuf_steal(StrBuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* NULL-terminated string vectors; a NULL vector is an empty one. */
size_t strv_len(char *const *v);
void strv_free(char **v);
char **strv_dup(char *const *v);
/* Appends, taking s over (also on failure); returns 0 or -ENOMEM. A NULL s is -ENOMEM, so that
 * strv_take(&v, strf(...)) is checked once. */
int strv_take(char ***v, char *s);
int strv_add(char ***v, const char *s);
bool strv_has(char *const *v, const char *s);
/* Splits at every `sep`; empty pieces are kept. */
char **strv_split(const char *s, char sep);
/* One CSV record ("a,\"b,c\",d") as a vector. -EINVAL for a stray or open quote. */
int strv_split_csv(const char *s, char ***ret);
char *strv_join(char *const *v, const char *sep);
/* Environment vectors of KEY=VALUE: the value of key or NULL; strv_env_set replaces or appends, strv_env_unset removes. */
const char *strv_env_get(char *const *env, const char *key);
int strv_env_set(char ***env, const char *assignment);
void strv_env_unset(char **env, const char *key);
/* `changes` one after another: KEY=VALUE replaces or appends, KEY takes away. 0 or -ENOMEM, which leaves env as it was. */
int strv_env_apply(char ***env, char *const *changes);
/* Of assignments to one variable only the last stays. 0 or -ENOMEM. */
int strv_env_unique(char **env);
DEFINE_CLEANUP(char **, strv_free)
#define _cleanup_strv_ _cleanup_(strv_freep)
