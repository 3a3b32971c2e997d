/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a client sends through the pump: it ends, and nothing is read or written beyond its buffers. */
#include "wire/httpd/websocket.h"

#include "base/fd.h"

#include <sys/socket.h>

#define INPUT_MAX 16384 /* fits into the buffers of a socket pair, which nobody empties */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_close_ int client = -1, ours = -1, container = -1, inner = -1;
	int pair[2];

	if (size > INPUT_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	client = pair[0];
	ours = pair[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	container = pair[0];
	inner = pair[1];
	/* A part comes with the request, the rest afterwards. */
	size_t prefix = size ? data[0] % size : 0;
	if (fd_write_all(container, "output", 6) < 0 ||
	    fd_write_all(client, data + prefix, size - prefix) < 0 || shutdown(client, SHUT_WR) < 0)
		return 0;
	ws_serve(&(HttpHijack){ours, data, prefix}, inner, WS_BINARY);
	return 0;
}
