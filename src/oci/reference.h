/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image references and digests, as the distribution project defines them.
 *
 * reference := [domain/]path[:tag][@digest]. A parsed reference is normalised: "debian" is
 * docker.io/library/debian, a missing tag is "latest" unless there is a digest. Pure; fuzzed.
 */
#pragma once

#include "base/err.h"

typedef struct Reference {
	char *domain; /* docker.io, localhost:5000 */
	char *path;   /* library/debian */
	char *tag;    /* NULL only when there is a digest */
	char *digest; /* NULL or sha256:<64 hex> */
} Reference;

/* ERR_INVALID with Docker's wording ("invalid reference format: ...") and the reason. */
int reference_parse(const char *s, Reference *ret, Err *e);
void reference_done(Reference *r);
/* "docker.io/library/debian:bookworm": full, for keys. malloc'ed. */
char *reference_full(const Reference *r);
/* "debian:bookworm": as people write it (docker.io and library/ left out). */
char *reference_familiar(const Reference *r);
/* "debian" / "localhost:5000/x": familiar without tag and digest. */
char *reference_familiar_name(const Reference *r);

#define DIGEST_LEN 71                /* strlen("sha256:") + 64 */
bool digest_is_valid(const char *s); /* sha256:<64 lower hex> */
/* A SHA-256 itself; false if the text is no valid digest. */
bool digest_to_bytes(const char *digest, uint8_t ret[32]);
void digest_of_bytes(const uint8_t bytes[32], char ret[DIGEST_LEN + 1]);
/* The hex part of a valid digest. */
const char *digest_hex(const char *digest);
