/* SPDX-License-Identifier: Apache-2.0 */
/* Where the packages of a base image come from: a reference such as debian:bookworm and the host's apt sources, put together. */
#pragma once

#include "base/err.h"

typedef struct BaseSource {
	const char *distribution; /* "debian", "ubuntu" */
	char *suite;              /* bookworm */
	bool slim;                /* without manuals and documentation */
	bool has_updates, has_security;
	char *uri, *security_uri, *keyring;
	const char *components; /* "main universe" */
} BaseSource;

void base_source_done(BaseSource *b);
/* What a reference like "debian:12-slim" asks for, with the distributions' own mirrors. ERR_INVALID with what is offered. */
int base_source_parse(const char *reference, BaseSource *ret, Err *e);
/* Takes mirror and keyring from one of the host's sources files, if it has an archive of this distribution. deb822: a *.sources file. */
int base_source_scan(BaseSource *b, const char *text, bool deb822);
/* ... from all of them. */
int base_source_scan_host(BaseSource *b, Err *e);
/* Lines of a sources.list. */
char **base_source_lines(const BaseSource *b);
