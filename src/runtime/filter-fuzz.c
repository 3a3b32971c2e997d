/* SPDX-License-Identifier: Apache-2.0 */
/* A seccomp profile is refused with a reason, or compiled into a program that the kernel would look at: whole instructions, no more of
 * them than it takes. */
#include "runtime/runtime-internal.h"

#include <linux/filter.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL;
	OciSeccomp s = {0};
	SeccompProgram p = {0};
	Err e = {0};
	int r;

	if (oci_json_parse((const char *)data, size, "fuzz", &j, &e) < 0)
		return 0;
	if (oci_seccomp_decode(j, &s, &e) == 0) {
		(void)filter_has_listener(&s);
		r = filter_load(&s, NULL, &p, &e);
		if (r < 0 ? !e.msg[0]
			  : p.len == 0 || p.len % sizeof(struct sock_filter) != 0 ||
				p.len > BPF_MAXINSNS * sizeof(struct sock_filter))
			abort();
	}
	seccomp_program_done(&p);
	oci_seccomp_done(&s);
	return 0;
}
