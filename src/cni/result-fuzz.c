/* SPDX-License-Identifier: Apache-2.0 */
/* Any answer is refused with a reason, or goes from version to version and is a result in each, with the same addresses for every version that has room for them. */
#include "cni/cni-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Err e = {0};

	for (int want = 0; want < CNI_VERSION_MAX; want++) {
		_cleanup_json_ json_t *j = NULL, *again = NULL;
		_cleanup_strv_ char **ips = NULL;

		if (cni_result_parse((const char *)data, size, CNI_0_3_1, (CniVersion)want, "fuzz", &j, &e) <
		    0) {
			if (!e.msg[0] || want > 0)
				abort();
			return 0;
		}
		if (cni_result_convert(j, CNI_0_1_0, CNI_1_1_0, "again", &again, &e) < 0 ||
		    cni_result_ips(j, "eth0", &ips, &e) < 0)
			abort();
	}
	return 0;
}
