/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is killed first when memory runs out. A kubelet asks for scores below zero for what its node cannot do without; to go below one's own takes CAP_SYS_RESOURCE, which an
 * irekod in a container of somebody else's may not have. Its pods then have irekod's own score, as with other runtimes, instead of none running at all.
 */
#include "api/cri/config.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/capability.h>

#define STATUS_MAX 16384
#define UNKNOWN    INT64_MIN

/* INT64_MIN: there is no lowest. */
static int64_t lowest_possible(void)
{
	_cleanup_free_ char *status = NULL, *own = NULL;
	const char *line;

	if (file_read_at(AT_FDCWD, "/proc/self/status", STATUS_MAX, &status, NULL) < 0 ||
	    file_read_at(AT_FDCWD, "/proc/self/oom_score_adj", 16, &own, NULL) < 0)
		return UNKNOWN;
	line = strstr(status, "\nCapEff:");
	if (!line || strtoull(line + strlen("\nCapEff:"), NULL, 16) & 1ull << CAP_SYS_RESOURCE)
		return UNKNOWN;
	return atoi(own);
}

int64_t cri_oom_score(int64_t wanted)
{
	return MAX2(wanted, lowest_possible());
}
