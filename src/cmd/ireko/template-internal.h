/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of a parsed template, shared by its parser, its interpreter and its functions. */
#pragma once

#include "template.h"

#define TEMPLATE_DEPTH_MAX 100

typedef enum OperandKind {
	OPERAND_DOT,      /* .A.B */
	OPERAND_VARIABLE, /* $x.A */
	OPERAND_LITERAL,
	OPERAND_NIL,
	OPERAND_PIPE,     /* (...).A */
	OPERAND_FUNCTION, /* name */
} OperandKind;

typedef struct Pipe Pipe;

typedef struct Operand {
	OperandKind kind;
	char *name; /* of the variable ("" for $) or function */
	json_t *literal;
	Pipe *pipe;
	char **fields; /* looked up one after the other */
} Operand;

typedef struct TemplateCommand {
	Operand *operands;
	size_t n;
} TemplateCommand;

struct Pipe {
	char **variables; /* set by it */
	bool assigns;     /* = rather than := */
	TemplateCommand *commands;
	size_t n;
};

typedef enum NodeKind {
	NODE_TEXT,
	NODE_PIPE,
	NODE_IF,
	NODE_RANGE,
	NODE_WITH,
	NODE_BREAK,
	NODE_CONTINUE
} NodeKind;

typedef struct NodeList {
	struct Node *items;
	size_t n;
} NodeList;

typedef struct Node {
	NodeKind kind;
	char *text;
	Pipe *pipe;
	NodeList body, otherwise;
} Node;

struct Template {
	NodeList nodes;
};

/* A function's arguments: NULL stands for "no value". */
typedef struct Arguments {
	json_t **v;
	size_t n;
} Arguments;

/* Calls a function by name. *ret is a new reference, or NULL for "no value". */
int template_call(const char *name, const Arguments *a, TemplateFlags flags, json_t **ret, Err *e);
bool template_has_function(const char *name);
/* How Go prints a member of docker's documents that is not there, "[]" for a list; NULL for a name that they do not have. */
const char *template_member_kind(const char *name);
void template_add_rune(StrBuf *b, unsigned long c);
bool template_truth(const json_t *j);
/* Appends the value as Go's %v would print it. */
void template_print(StrBuf *b, const json_t *j);
