/* SPDX-License-Identifier: Apache-2.0 */
/* Any record is read, or refused with a reason, and what was read can be shown. */
#include "api/cri/door-internal.h"
#include "api/cri/note.h"
#include "api/cri/verbose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void whole(const char *note, const ProtobufCMessageDescriptor *type)
{
	_cleanup_message_ ProtobufCMessage *m = NULL;
	Err e = {0};
	json_t *j;

	if (cri_note_whole(note, type, &m, &e) < 0) {
		if (!e.msg[0])
			abort();
		return;
	}
	j = cri_message_json(m);
	if (!json_is_object(j))
		abort();
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *note = strndup((const char *)data, size);
	_cleanup_free_ uint8_t *listed = NULL;
	size_t len;

	if (!note)
		return 0;
	(void)cri_note_listed(note, &listed, &len, NULL);
	whole(note, &cri__pod_note__descriptor);
	whole(note, &cri__container_note__descriptor);
	return 0;
}
