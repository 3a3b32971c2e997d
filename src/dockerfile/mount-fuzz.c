/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as the value of --mount, with and without variables. */
#include "base/str.h"
#include "dockerfile/mount.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *env[] = {(char *)"a=cache", (char *)"b=\"',\\", NULL};
	_cleanup_free_ char *spec = strndup((const char *)data, size);
	DockerfileMount m;

	if (!spec)
		return 0;
	if (dockerfile_mount_parse(spec, &m, NULL) >= 0)
		dockerfile_mount_done(&m);
	if (dockerfile_mount_expand(spec, '\\', env, &m, NULL) >= 0)
		dockerfile_mount_done(&m);
	return 0;
}
