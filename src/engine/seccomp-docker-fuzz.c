/* SPDX-License-Identifier: Apache-2.0 */
/* Any text is refused with a reason, or becomes a document that the runtime's decoder takes or refuses with a reason. */
#include "engine/seccomp-docker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *const capabilities[] = {(char *)"CAP_CHOWN", NULL};
	_cleanup_free_ char *text = malloc(size + 1);
	_cleanup_json_ json_t *out = NULL;
	OciSeccomp s = {0};
	Err e = {0};

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (seccomp_docker_profile(text, capabilities, &out, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	(void)oci_seccomp_decode(out, &s, &e);
	oci_seccomp_done(&s);
	return 0;
}
