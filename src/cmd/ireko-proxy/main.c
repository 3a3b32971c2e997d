/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-proxy: carries what arrives at published ports over IPv6 for containers that have only IPv4, or the other way round; one process for
 * all ports of an engine.
 *
 *     ireko-proxy [--udp-idle=SECONDS] [--udp-clients=N] [--end-after=SECONDS]
 *
 * Started by src/proxy/client.c, with a listening control socket as descriptor 3 and, as 4, a pipe for an Err that keeps it from starting.
 * It locks itself up (sandbox.h), goes into the background, and serves (src/proxy/server.c).
 */
#include "sandbox.h"

#include "base/fd.h"
#include "base/str.h"
#include "proxy/protocol.h"
#include "proxy/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#define CONTROL_BACKLOG 8

static int parse(int argc, char **argv, ProxyServerOptions *o, Err *e)
{
	const struct {
		const char *prefix;
		int most, *value;
	} known[] = {
	    {"--udp-idle=", 86400, &o->udp_idle_s},
	    {"--udp-clients=", 1 << 20, &o->udp_clients_max},
	    {"--end-after=", 86400, &o->end_after_s},
	};

	for (int i = 1; i < argc; i++) {
		bool found = false;

		for (size_t k = 0; k < ELEMENTSOF(known); k++) {
			const char *text = str_after(argv[i], known[k].prefix);

			if (text && str_to_int(text, 1, known[k].most, known[k].value) < 0)
				return err_new(e, ERR_INVALID, "ireko-proxy: %s: expected 1 to %d", argv[i],
					       known[k].most);
			found = found || text;
		}
		if (!found)
			return err_new(e, ERR_INVALID, "ireko-proxy: unknown argument %s", argv[i]);
	}
	return 0;
}

static int prepare(int argc, char **argv, ProxyServerOptions *o, Err *e)
{
	int r = parse(argc, argv, o, e);

	if (r >= 0)
		r = sandbox_enter(e);
	/* From here on the socket tells clients of this process, not of the one that made it. */
	if (r >= 0 && listen(PROXY_CONTROL_FD, CONTROL_BACKLOG) < 0)
		r = err_sys(e, errno, "ireko-proxy: descriptor %d is no control socket", PROXY_CONTROL_FD);
	return r;
}

static int ready(Err *e)
{
	int r = sandbox_seal(e);

	if (r >= 0)
		(void)close(PROXY_REPORT_FD);
	return r;
}

int main(int argc, char **argv)
{
	ProxyServerOptions o = {PROXY_UDP_IDLE_S, PROXY_UDP_CLIENTS_MAX, PROXY_END_AFTER_S, ready};
	Err e = {0};
	int r;

	if (argc > 1 && streq(argv[1], "--version")) {
		(void)puts("ireko-proxy version " IREKO_VERSION);
		return EXIT_SUCCESS;
	}
	(void)fd_fill_stdio();
	r = prepare(argc, argv, &o, &e);
	if (r >= 0)
		r = proxy_serve(PROXY_CONTROL_FD, &o, &e);
	/* Once it serves, the report is closed, and there is nobody to tell: the filter would not let us, either. */
	if (r < 0 && fcntl(PROXY_REPORT_FD, F_GETFD) >= 0)
		err_send(PROXY_REPORT_FD, &e);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
