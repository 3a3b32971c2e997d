/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and durations. Registry credentials are in auth-fuzz.c. */
#include "api/docker/filters.h"

#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	char *labels[] = {(char *)"a=1", (char *)"b", NULL};
	Filters f = {0};
	int64_t ns;
	bool b;
	Err e;

	if (!text || size > 65536)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (filters_parse(text, &f, &e) >= 0) {
		(void)filters_labels(&f, labels);
		for (size_t i = 0; i < f.n && i < 16; i++) {
			(void)filters_regex(&f, f.items[i].key, "some-name_1", &e);
			(void)filters_bool(&f, f.items[i].key, &b, &e);
			(void)filters_time(&f, f.items[i].key, &ns, &e);
			(void)glob_match(f.items[i].value, "docker.io/library/debian:bookworm");
		}
	}
	filters_done(&f);
	(void)clock_parse_duration(text, &ns);
	return 0;
}
