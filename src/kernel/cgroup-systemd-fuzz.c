/* SPDX-License-Identifier: Apache-2.0 */
/* Values of annotations and names of units as anybody may have written them; one input is both. */
#include "kernel/cgroup-systemd.h"

#include "base/str.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *signature = NULL, *path = NULL;
	_cleanup_(cgroup_unit_done) CgroupUnit u = {0};
	_cleanup_json_ json_t *value = NULL;
	Err e = {0};

	if (!text)
		return 0;
	if (cgroup_unit_value(text, &signature, &value, &e) == 0 && (!signature[0] || !value))
		abort();
	if (cgroup_unit_parse(text, "id", false, &u, &e) == 0 && cgroup_unit_path(&u, "", &path, &e) < 0)
		abort();
	return 0;
}
