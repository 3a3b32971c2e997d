/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text is either refused or decoded into something that can be released, whichever document it is taken for: a config.json, a
 * process (exec -p), resources (update -r), a seccomp profile. The number rewriter changes no valid document's sense.
 */
#include "oci/runtime-spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error says what is wrong. */
static void check(int r, const Err *e)
{
	if (r < 0 && !e->msg[0])
		abort();
}

static void decode_all(const json_t *j)
{
	OciSpec spec = {0};
	OciProcess process = {0};
	OciResources resources = {0};
	OciSeccomp seccomp = {0};
	Err e = {0};

	check(oci_spec_decode(j, &spec, &e), &e);
	oci_spec_done(&spec);
	e = (Err){0};
	check(oci_process_decode(j, &process, &e), &e);
	oci_process_done(&process);
	e = (Err){0};
	check(oci_resources_decode(j, &resources, &e), &e);
	oci_resources_done(&resources);
	e = (Err){0};
	check(oci_seccomp_decode(j, &seccomp, &e), &e);
	oci_seccomp_done(&seccomp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL, *plain = NULL;
	Err e;

	if (oci_json_parse((const char *)data, size, "fuzz", &j, &e) < 0)
		return 0;
	/* What jansson takes as it is must come out the same. */
	if (json_parse((const char *)data, size, "fuzz", &plain, &e) == 0 && !json_equal(plain, j))
		abort();
	decode_all(j);
	return 0;
}
