/* SPDX-License-Identifier: Apache-2.0 */
/* Any file is refused with a reason, or is a list whose names are plain and which says the same when it is read from a record. */
#include "cni/cni-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_list = size > 0 && data[0] == '{';
	_cleanup_list_ CniList *l = NULL, *again = NULL;
	_cleanup_free_ char *input = NULL;
	json_t *p;
	size_t i;
	Err e = {0};

	if (cni_list_parse((const char *)data, size, "fuzz", is_list, &l, &e) < 0 ||
	    cni_list_finish(l, &e) < 0) {
		if (!e.msg[0])
			abort();
		return 0;
	}
	json_array_foreach (l->plugins, i, p)
		if (!cni_name_is_plain(json_get_str(p, "type")) ||
		    cni_request_document(l, p, NULL, NULL, NULL, &input, &e) < 0)
			abort();
		else
			free(take_ptr(input));
	if (cni_list_parse(l->text, strlen(l->text), "record", true, &again, &e) < 0 ||
	    !json_equal(l->plugins, again->plugins) || l->version != again->version ||
	    !streq(l->name, again->name))
		abort();
	return 0;
}
