/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* st_mode as Go's os.FileMode bits, which is what clients of docker cp read. */
uint32_t go_file_mode(mode_t m);
