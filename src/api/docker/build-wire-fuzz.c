/* SPDX-License-Identifier: Apache-2.0 */
/* The request of a local build as a hostile client writes it. The first byte says how many descriptors came with it. */
#include "api/docker/build-wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	LocalRequest rq = {0};
	Err e = {0};

	if (size < 1 || size > 65536)
		return 0;
	int r =
	    build_wire_request((const char *)data + 1, size - 1, data[0] % (BUILD_FILES_MAX + 1), &rq, &e);
	if (r < 0 && (!*e.msg || rq.files || rq.tags))
		abort();
	if (r == 0 && rq.n_files != data[0] % (BUILD_FILES_MAX + 1))
		abort();
	for (size_t i = 0; r == 0 && i < rq.n_files; i++)
		if (!rq.files[i].kind)
			abort();
	build_wire_request_done(&rq);
	return 0;
}
