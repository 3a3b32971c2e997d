/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's status codes and our errors: the table of grpc.h. */
#include "wire/grpc/grpc.h"

#define CODE_UNKNOWN 2

static const struct {
	ErrKind kind;
	int no; /* 0: the kind's own */
	const char *name;
} codes[] = {
    {ERR_INTERNAL, 0, "OK"},
    {ERR_CANCELLED, 0, "CANCELLED"},
    {ERR_INTERNAL, 0, "UNKNOWN"},
    {ERR_INVALID, 0, "INVALID_ARGUMENT"},
    {ERR_CANCELLED, ETIMEDOUT, "DEADLINE_EXCEEDED"},
    {ERR_NOT_FOUND, 0, "NOT_FOUND"},
    {ERR_CONFLICT, ENOTUNIQ, "ALREADY_EXISTS"},
    {ERR_DENIED, 0, "PERMISSION_DENIED"},
    {ERR_EXHAUSTED, 0, "RESOURCE_EXHAUSTED"},
    {ERR_CONFLICT, 0, "FAILED_PRECONDITION"},
    {ERR_CONFLICT, ESTALE, "ABORTED"},
    {ERR_INVALID, ERANGE, "OUT_OF_RANGE"},
    {ERR_UNSUPPORTED, 0, "UNIMPLEMENTED"},
    {ERR_INTERNAL, EPROTO, "INTERNAL"},
    {ERR_UNAVAILABLE, 0, "UNAVAILABLE"},
    {ERR_INTERNAL, EBADMSG, "DATA_LOSS"},
    {ERR_UNAUTHORIZED, 0, "UNAUTHENTICATED"},
};

static const uint32_t code_of_kind[ERR_KIND_MAX] = {
    [ERR_INTERNAL] = CODE_UNKNOWN,
    [ERR_INVALID] = 3,
    [ERR_NOT_FOUND] = 5,
    [ERR_CONFLICT] = 9,
    [ERR_DENIED] = 7,
    [ERR_UNAUTHORIZED] = 16,
    [ERR_UNAVAILABLE] = 14,
    [ERR_CANCELLED] = 1,
    [ERR_NOT_MODIFIED] = 9,
    [ERR_UNSUPPORTED] = 12,
    [ERR_EXHAUSTED] = 8,
    [ERR_NOT_RUNNABLE] = CODE_UNKNOWN,
    [ERR_NO_COMMAND] = CODE_UNKNOWN,
};

uint32_t grpc_status_of(const Err *e, int r)
{
	ErrKind kind = e && e->kind < ERR_KIND_MAX ? e->kind : ERR_INTERNAL;

	if (r >= 0)
		return 0;
	for (uint32_t i = 1; i < ELEMENTSOF(codes); i++)
		if (codes[i].no && codes[i].kind == kind && codes[i].no == -r)
			return i;
	return code_of_kind[kind];
}

ErrKind grpc_kind_of(uint32_t code)
{
	return codes[code > 0 && code < ELEMENTSOF(codes) ? code : CODE_UNKNOWN].kind;
}

int grpc_status_error(uint32_t code, const char *message, Err *e)
{
	if (code == 0 || code >= ELEMENTSOF(codes))
		code = CODE_UNKNOWN;
	return err_new_no(e, codes[code].kind, codes[code].no, "%s",
			  str_empty(message) ? codes[code].name : message);
}
