/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags by table, in the manner of docker (pflag): -it, -p80:80, -e A=B, --name=x, --name x, --rm=false,
 * "--".
 *
 * One table serves the parser and the help text. Values land in the command's own struct at `offset`; strings
 * stay in argv. The struct starts out zeroed, so that zero must mean "not given".
 */
#pragma once

#include "base/err.h"
#include "cli.h"

typedef enum FlagType {
	FLAG_BOOL,     /* bool */
	FLAG_TRI,      /* Tri */
	FLAG_STRING,   /* const char *, NULL: not given */
	FLAG_LIST,     /* List: every occurrence */
	FLAG_CSV,      /* List: every occurrence, split at commas */
	FLAG_INT,      /* Num */
	FLAG_BYTES,    /* Num: "512m"; -1 is allowed */
	FLAG_DURATION, /* Num: nanoseconds, "1m30s" */
	FLAG_CPUS,     /* Num: billionths, "1.5" */
} FlagType;

typedef enum Tri { TRI_UNSET = 0, TRI_TRUE, TRI_FALSE } Tri;

typedef struct Num {
	bool set;
	int64_t v;
} Num;

typedef struct List {
	char **v; /* NULL-terminated, or NULL when empty; owned */
} List;

typedef struct Flag {
	const char *name; /* NULL ends the table */
	char letter;      /* 0: none */
	FlagType type;
	size_t offset;
	const char *help;  /* NULL: accepted, not shown */
	const char *value; /* shown type of the value, NULL: by type */
} Flag;

/* 0, or 1 when --help was asked for. ret_args: the arguments (pointers into argv), malloc'ed and
 * NULL-terminated. */
int options_parse(const Flag *flags, bool stop_at_first, int argc, char **argv, void *opts, char ***ret_args,
		  Err *e);
/* Releases the lists in opts. */
void options_done(const Flag *flags, void *opts);
/* The type of its value as it is shown: "string", "" for a switch. */
const char *options_value_name(const Flag *f);
/* One line a flag that is shown. */
void options_print_table(const Flag *flags, FILE *f);
/* aliases: the other ways to type the command, or NULL. */
void options_print_help(const Call *call, const char *aliases, FILE *f);

static inline bool tri(Tri t, bool otherwise)
{
	return t == TRI_UNSET ? otherwise : t == TRI_TRUE;
}
