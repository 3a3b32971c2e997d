/* SPDX-License-Identifier: Apache-2.0 */
/* Any text is refused with a reason, or is a document that can be written as JSON and is of a bounded size; what is one of CDI can be applied. */
#include "engine/cdi.h"
#include "engine/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *j = NULL, *config = json_object();
	char *text;
	Err e = {0};

	if (yaml_parse((const char *)data, size, (const char *const[]){"name", NULL}, &j, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	text = json_text(j);
	/* A byte can be written as \u0000, a value costs its separators. */
	if (!text || strlen(text) > size * 8 + 64)
		abort();
	free(text);
	if (cdi_spec_check(j, &e) >= 0)
		(void)cdi_edits_apply(json_object_get(j, "containerEdits"), config, &e);
	return 0;
}
