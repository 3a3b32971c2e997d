/* SPDX-License-Identifier: Apache-2.0 */
/* Any document is refused with a reason, or can be applied to a container without harm. */
#include "engine/cdi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *spec = NULL, *config = json_object();
	json_t *device;
	size_t i;
	Err e = {0};

	if (json_parse((const char *)data, size, "fuzz", &spec, &e) < 0)
		return 0;
	if (cdi_spec_check(spec, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	(void)cdi_edits_apply(json_object_get(spec, "containerEdits"), config, &e);
	json_array_foreach (json_object_get(spec, "devices"), i, device)
		(void)cdi_edits_apply(json_object_get(device, "containerEdits"), config, &e);
	return 0;
}
