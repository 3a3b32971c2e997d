/* SPDX-License-Identifier: Apache-2.0 */
/* ireko-shim: the parent of one container. Started by irekod (shim_create); everything is in src/shim. */
#include "base/log.h"
#include "shim/server.h"

int main(int argc, char **argv)
{
	if (argc > 1 && streq(argv[1], "--version")) {
		(void)puts("ireko-shim version " IREKO_VERSION);
		return EXIT_SUCCESS;
	}
	log_init(LOG_INFO);
	return shim_serve(SHIM_CONTROL_FD);
}
