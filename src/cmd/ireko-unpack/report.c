/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the report; see report.h. */
#include "report.h"

#include "base/fd.h"

int report_flush(Report *r, Err *e)
{
	int n = fd_write_all(r->fd, r->buf, r->len);

	r->len = 0;
	return n < 0 ? err_sys(e, n, "write the report") : 0;
}

int report_add(Report *r, UnpackFrameType type, const void *data, size_t len, Err *e)
{
	UnpackFrame frame = {.type = type, .len = (uint32_t)len};

	if (len > UNPACK_FRAME_MAX)
		return err_new(e, ERR_INVALID, "a name of %zu bytes is too long", len);
	if (r->len + sizeof(frame) + len > sizeof(r->buf)) {
		int n = report_flush(r, e);

		if (n < 0)
			return n;
	}
	memcpy(r->buf + r->len, &frame, sizeof(frame));
	if (len > 0)
		memcpy(r->buf + r->len + sizeof(frame), data, len);
	r->len += sizeof(frame) + len;
	return 0;
}
