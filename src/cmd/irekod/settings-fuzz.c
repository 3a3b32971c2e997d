/* SPDX-License-Identifier: Apache-2.0 */
/* The members of a configuration file, each read by its row; and each text as a flag's value. */
#include "config.h"
#include "settings.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *doc = NULL, *v;
	const char *key;
	Err e;

	if (size > 65536 || json_parse((const char *)data, size, "file", &doc, &e) < 0)
		return 0;
	json_object_foreach (doc, key, v) {
		const Setting *s = setting_find(key);
		char **texts = NULL, **again = NULL;

		if (!s || s->kind == SET_GROUP)
			continue;
		/* What the file's form was turned into is what the flag takes. */
		if (setting_read(s, v, &texts, &e) >= 0)
			for (char **t = texts; t && *t; t++)
				if (setting_add(s, *t, &again, &e) < 0)
					abort();
		strv_free(texts);
		strv_free(again);
	}
	json_decref(doc);
	return 0;
}
