/* SPDX-License-Identifier: Apache-2.0 */
/* ireko-shim: the parent of one container. Started by irekod (shim_create); everything is in src/shim. */
#include "base/log.h"
#include "kernel/process.h"
#include "shim/server.h"

int main(int argc, char **argv)
{
	if (argc > 1 && streq(argv[1], "--version")) {
		(void)puts("ireko-shim version " IREKO_VERSION);
		return EXIT_SUCCESS;
	}
	log_init(LOG_INFO);
	/* irekod starts it from a read-only copy of its mount, and then this costs nothing. */
	Err e = {0};
	int r = process_protect_exe(argv, &e);
	if (r < 0) {
		log_error("protect the shim's own executable: %s", err_msg(&e, r));
		return EXIT_FAILURE;
	}
	return shim_serve(SHIM_CONTROL_FD);
}
