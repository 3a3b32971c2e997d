/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any text as --chmod, as a source of --parents, and as the name of a git repository. */
#include "base/str.h"
#include "build/chmod.h"
#include "build/filter.h"
#include "build/git-ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *base = NULL, *pattern = NULL;
	GitRef git = {0};
	ModeChange c;

	if (!text)
		return 0;
	if (mode_change_parse(text, &c, NULL) >= 0)
		must(c.n <= MODE_STEPS_MAX && mode_change_apply(&c, S_IFREG | 0644) <= 07777);
	if (size < 256 && filter_parents(text, &base, &pattern) >= 0) {
		const TreeFilter f = {.include = pattern};

		must(*base != '/' && *pattern != '/' && !str_starts(base, "../") &&
		     !str_starts(pattern, "../"));
		(void)filter_says(&f, "a/b/c", "b/c", true);
		(void)filter_has_wildcard(pattern);
	}
	if (git_ref_parse(text, true, &git, NULL) > 0) {
		must(*git.remote && *git.remote != '-' && !str_starts(git.remote, "ext:"));
		must(!git.ref || (*git.ref && *git.ref != '-'));
		must(!git.subdir || (*git.subdir != '/' && !str_starts(git.subdir, "../")));
		git_ref_done(&git);
	}
	return 0;
}
