/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the checks share: one walk through the stages, which warns and takes down what an outline tells. */
#pragma once

#include "dockerfile/check.h"

typedef enum Rule {
	RULE_STAGE_NAME_CASING,
	RULE_FROM_AS_CASING,
	RULE_NO_EMPTY_CONTINUATION,
	RULE_CONSISTENT_CASING,
	RULE_DUPLICATE_STAGE_NAME,
	RULE_RESERVED_STAGE_NAME,
	RULE_JSON_ARGS,
	RULE_MAINTAINER,
	RULE_UNDEFINED_ARG_IN_FROM,
	RULE_WORKDIR_RELATIVE,
	RULE_UNDEFINED_VAR,
	RULE_MULTIPLE_INSTRUCTIONS,
	RULE_LEGACY_KEY_VALUE,
	RULE_BASE_PLATFORM,
	RULE_REDUNDANT_PLATFORM,
	RULE_SECRETS,
	RULE_DEFAULT_ARG_IN_FROM,
	RULE_CONST_PLATFORM,
	RULE_COPY_IGNORED,
	RULE_DESCRIPTION,
	RULE_EXPOSE_CASING,
	RULE_EXPOSE_FORMAT,
	N_RULES,
} Rule;

/* "skip=A,B;error=true;experimental=all" */
typedef struct CheckOptions {
	bool skip[N_RULES], skip_all;
	bool experimental[N_RULES], experimental_all;
	bool error;
} CheckOptions;

/* An ARG, a secret or an ssh socket, for the outline. */
typedef struct Entry {
	char *name, *value, *description;
	bool required, used;
	int first, last;
	char **deps; /* names that its default refers to */
} Entry;
typedef struct Entries {
	Entry *items;
	size_t n;
} Entries;

typedef struct CheckStage {
	const DockerfileStep *from;
	char *name;         /* in small letters, NULL if it has none */
	char *base;         /* expanded */
	char *platform;     /* expanded; NULL: the target's */
	size_t first, last; /* its steps behind FROM: [first, last) */
	int parent;         /* the stage that it is from, -1 for an image */
	bool needed;
	bool env_known;   /* false: an image's environment is behind it that nobody told */
	char **env;       /* K=V, ARGs included */
	char **args;      /* names of declared ARGs */
	char **from_args; /* names of those that FROM uses */
	bool has_shell, workdir_set;
	int used[3]; /* steps of the last CMD, ENTRYPOINT, HEALTHCHECK, from 1 */
} CheckStage;

typedef struct Checker {
	const Dockerfile *d;
	const DockerfileCheckInput *in;
	DockerfileSink sink; /* NULL: warnings are not wanted */
	void *sink_user;
	CheckOptions options;
	bool called[N_RULES];
	char **globals;      /* K=V: ARGs before the first FROM, and those that are always there */
	char **global_names; /* with those that have no value */
	CheckStage *stages;
	size_t n_stages, target;
	Entries args, secrets, ssh; /* what the needed stages take */
	Entries global_args;
} Checker;

/* check-rules.c */
int check_options_parse(const char *text, CheckOptions *ret, Err *e);
/* options, and those in the comments of the step added: "# check=skip=A". */
void check_options_merge(CheckOptions *options, const char *comments);
/* Lines first to last. column 0: of no place in them. */
int check_warn(Checker *c, Rule rule, const DockerfileStep *s, int first, int last, int column,
	       const char *fmt, ...) _printf_(7, 8);
/* With the lines of the step. */
#define check_step(c, rule, s, ...) check_warn((c), (rule), (s), (s)->line, (s)->last_line, 0, __VA_ARGS__)
const char *check_rule_name(Rule rule);

/* check-names.c: what a text looks like */
bool check_reference_valid(const char *s);
bool check_secret_name(const char *s);
/* "os/arch": parts of a platform, normalised; false if it is none. */
bool check_platform_parse(const char *s, char os[64], char arch[64], char variant[64]);

/* check-steps.c: one step of a needed stage */
int check_dispatch(Checker *c, CheckStage *stage, const DockerfileStep *s, Err *e);

/* check.c */
int checker_run(Checker *c, Err *e);
/* Only finds the stages. */
int checker_stages(Checker *c, Err *e);
/* Only what is seen in the form of single instructions. */
int checker_forms(Checker *c, Err *e);
void checker_done(Checker *c);
int check_stage_find(const Checker *c, size_t below, const char *name);
Entry *entries_add(Entries *list, const char *name, const DockerfileStep *s);
Entry *entries_find(Entries *list, const char *name);
/* "# name text": the text, from the comments of a step; malloc'ed, NULL if there is none. */
char *check_description(const DockerfileStep *s, const char *name);
