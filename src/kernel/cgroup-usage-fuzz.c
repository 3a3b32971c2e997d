/* SPDX-License-Identifier: Apache-2.0 */
/* Files of a cgroup: the first byte says which. There are never more devices than there is room for. */
#include "kernel/cgroup-usage.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const files[] = {"cpu.stat",       "memory.stat",
					    "memory.current", "cpu.pressure",
					    "io.stat",        "blkio.throttle.io_service_bytes_recursive"};
	CgroupUsage u = {0};

	if (size == 0)
		return 0;
	for (int unified = 0; unified < 2; unified++) {
		_cleanup_free_ char *text = strndup((const char *)data + 1, size - 1);

		if (!text)
			return 0;
		cgroup_usage_parse(files[data[0] % ELEMENTSOF(files)], text, unified, &u);
		if (u.n_io > CGROUP_IO_DEVICES)
			abort();
	}
	return 0;
}
