/* SPDX-License-Identifier: Apache-2.0 */
/* Any record is refused with a reason, or has names that are plain and arguments that can be told to a plugin. */
#include "cni/cni-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_record_ CniRecord r = {0};
	_cleanup_free_ char *args = NULL;
	Err e = {0};

	if (cni_record_parse((const char *)data, size, &r, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	args = cni_request_args_text(r.args);
	if (!args || !cni_name_is_plain(r.container_id) || !cni_name_is_plain(r.network) ||
	    !cni_ifname_is_good(r.ifname))
		abort();
	return 0;
}
