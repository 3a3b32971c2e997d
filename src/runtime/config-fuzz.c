/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A config.json that decodes goes through every check that is made before anything else is: each says yes, or what is wrong. The process in
 * it, and its mounts' options, are looked at as create and exec do.
 */
#include "runtime/runtime-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, const Err *e)
{
	if (r < 0 && !e->msg[0])
		abort();
}

static void check_mounts(const OciSpec *s)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		MountOptions o = {0};
		Err e = {0};

		check(mount_options_parse(s->mounts[i].options, &o, &e), &e);
		mount_options_done(&o);
	}
}

static void check_spec(const OciSpec *s)
{
	ProcessAttributes a = {0};
	CapabilitySets caps = {0};
	unsigned flags;
	Err e = {0};

	check(validate_spec(s, &e), &e);
	e = (Err){0};
	check(bundle_check_process(&s->process, &e), &e);
	e = (Err){0};
	check(attributes_parse(&s->process, &s->personality, &s->memory_policy, &a, &e), &e);
	e = (Err){0};
	check(credentials_caps(&s->process, NULL, &caps, &e), &e);
	e = (Err){0};
	check(seccomp_flags(s->seccomp.flags, &flags, &e), &e);
	check_mounts(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL;
	OciSpec s = {0};
	Err e = {0};

	if (oci_json_parse((const char *)data, size, "fuzz", &j, &e) == 0 && oci_spec_decode(j, &s, &e) == 0)
		check_spec(&s);
	oci_spec_done(&s);
	return 0;
}
