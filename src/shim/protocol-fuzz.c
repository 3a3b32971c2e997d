/* SPDX-License-Identifier: Apache-2.0 */
/* Any datagram: decoded or refused; what decodes as an error, exit, event or change of ports is looked at too. */
#include "shim/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	_cleanup_shim_msg_ ShimMsg m = {0};
	Server holder = {0};
	ShimEvent v;
	Err e;

	if (shim_msg_decode(data, len, NULL, 0, &m, &e) < 0)
		return 0;
	(void)!shim_error_decode(&m, &e);
	(void)!shim_event_decode(m.doc, &v, &e);
	(void)!hold_change(&holder, &m, &e);
	hold_close(&holder.hold, &holder.n_hold);
	return 0;
}
