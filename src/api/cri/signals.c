/* SPDX-License-Identifier: Apache-2.0 */
/* Signals: CRI has a number for each name, and writes the realtime ones without signs (SIGRTMINPLUS3, SIGRTMAXMINUS2). */
#include "api/cri/config-internal.h"

#include <strings.h>

#define REALTIME_FIRST CRI__SIGNAL__SIGRTMIN

static const char *const realtime[] = {
    "SIGRTMIN",    "SIGRTMIN+1",  "SIGRTMIN+2",  "SIGRTMIN+3",  "SIGRTMIN+4",  "SIGRTMIN+5",  "SIGRTMIN+6",
    "SIGRTMIN+7",  "SIGRTMIN+8",  "SIGRTMIN+9",  "SIGRTMIN+10", "SIGRTMIN+11", "SIGRTMIN+12", "SIGRTMIN+13",
    "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMAX-14", "SIGRTMAX-13", "SIGRTMAX-12", "SIGRTMAX-11", "SIGRTMAX-10",
    "SIGRTMAX-9",  "SIGRTMAX-8",  "SIGRTMAX-7",  "SIGRTMAX-6",  "SIGRTMAX-5",  "SIGRTMAX-4",  "SIGRTMAX-3",
    "SIGRTMAX-2",  "SIGRTMAX-1",  "SIGRTMAX",
};

const char *cri_signal_text(Cri__Signal s)
{
	const ProtobufCEnumValue *v;

	if (s >= REALTIME_FIRST && (size_t)(s - REALTIME_FIRST) < ELEMENTSOF(realtime))
		return realtime[s - REALTIME_FIRST];
	v = s == CRI__SIGNAL__RUNTIME_DEFAULT
		? NULL
		: protobuf_c_enum_descriptor_get_value(&cri__signal__descriptor, (int)s);
	return v ? v->name : NULL;
}

/* "SIGTERM", "term", "15" of an image. */
Cri__Signal cri_signal_of(const char *text)
{
	int number;

	if (str_empty(text))
		return CRI__SIGNAL__RUNTIME_DEFAULT;
	if (str_to_int(text, 1, 31, &number) >= 0) {
		const char *abbrev = sigabbrev_np(number);
		_cleanup_free_ char *name = abbrev ? strf("SIG%s", abbrev) : NULL;

		return name ? cri_signal_of(name) : CRI__SIGNAL__RUNTIME_DEFAULT;
	}
	for (int i = CRI__SIGNAL__SIGABRT; i <= CRI__SIGNAL__SIGRTMAX; i++) {
		const char *name = cri_signal_text((Cri__Signal)i);

		if (name && (strcasecmp(text, name) == 0 || strcasecmp(text, name + 3) == 0))
			return (Cri__Signal)i;
	}
	return CRI__SIGNAL__RUNTIME_DEFAULT;
}
