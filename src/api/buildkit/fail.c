/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as clients show them: with the lines of the Dockerfile that they are about, which travel as details of the status. */
#include "api/buildkit/door-internal.h"

#include "base/base64.h"

#include <jansson.h>

#define SOURCE_URL "github.com/moby/buildkit/errdefs.Source+json"

static json_t *source_of(const char *file, const char *text, int line, int last_line)
{
	_cleanup_free_ char *data = base64_encode(text, strlen(text), false);

	return data ? json_pack("{s:{s:s, s:s, s:s}, s:[{s:{s:i}, s:{s:i}}]}", "info", "filename", file,
				"data", data, "language", "Dockerfile", "ranges", "start", "line", line,
				"end", "line", MAX2(line, last_line))
		    : NULL;
}

static void set_details(GrpcCall *call, const Llb__Status *status)
{
	size_t len = llb__status__get_packed_size(status);
	_cleanup_free_ uint8_t *packed = malloc(len + 1);

	if (!packed || !call)
		return;
	llb__status__pack(status, packed);
	(void)grpc_set_details(call, packed, len); /* without them the message is still there */
}

void fail_with_source(GrpcCall *call, const Err *e, int r, const char *file, const char *text, int line,
		      int last_line)
{
	_cleanup_(json_decrefp) json_t *source =
	    line > 0 && text ? source_of(file, text, line, last_line) : NULL;
	_cleanup_free_ char *value = source ? json_dumps(source, JSON_COMPACT) : NULL;
	Llb__Any any = LLB__ANY__INIT, *details[] = {&any};
	Llb__Status status = LLB__STATUS__INIT;

	if (!value)
		return;
	any.type_url = (char *)SOURCE_URL;
	any.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
	status.code = (int32_t)grpc_status_of(e, r);
	status.message = (char *)err_msg(e, r);
	status.details = details;
	status.n_details = 1;
	set_details(call, &status);
}

int fail_with_status(GrpcCall *call, const Llb__Status *status, Err *e)
{
	int r = status->code == 0 ? err_new(e, ERR_INTERNAL, "%.1900s", status->message)
				  : grpc_status_error((uint32_t)status->code, status->message, e);

	if (status->code > 0 && status->code <= 16)
		set_details(call, status);
	return r;
}
