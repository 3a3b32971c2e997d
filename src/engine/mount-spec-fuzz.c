/* SPDX-License-Identifier: Apache-2.0 */
/* What is read as a mount has a clean, absolute destination that is not the root, and a source that is a clean path or a volume's name. */
#include "engine/mounts.h"
#include "engine/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const char *path)
{
	_cleanup_free_ char *clean = path_clean(path);

	if (path[0] != '/' || !streq0(clean, path))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size), *name = NULL, *propagation = NULL,
			    *idmap = NULL;
	BindSpec b = {0};
	bool read_only;

	if (!text)
		return 0;
	if (bind_spec_parse(text, &b, NULL) == 0) {
		check_path(b.destination);
		if (streq(b.destination, "/"))
			abort();
		if (b.source && b.source[0] == '/')
			check_path(b.source);
		else if (b.source && volume_name_check(b.source, NULL) < 0)
			abort();
		bind_spec_done(&b);
	}
	if (volumes_from_parse(text, &name, &read_only, NULL) == 0 && !*name)
		abort();
	if (propagation_parse(text, &propagation, &idmap, NULL) == 0 && strchr(propagation, ','))
		abort();
	(void)tmpfs_options_check(text, NULL);
	if (subpath_is_local(text) && (text[0] == '/' || str_starts(text, "../")))
		abort();
	return 0;
}
