/* SPDX-License-Identifier: Apache-2.0 */
/* The program; all of it is in cli.c and below, so that fuzzers can be linked with it. */
#include "cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
