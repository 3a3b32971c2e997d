/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a Dockerfile, and each step's text through expansion and splitting. */
#include "base/str.h"
#include "dockerfile/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *env[] = {(char *)"a=$a${b}", (char *)"b=\"' \\", NULL};
	Dockerfile d;

	if (dockerfile_parse((const char *)data, size, "f", &d, NULL) < 0)
		return 0;
	for (size_t i = 0; i < d.n_steps; i++) {
		_cleanup_free_ char *text = NULL;
		_cleanup_strv_ char **words = NULL, **exec = NULL;

		if (dockerfile_expand(d.steps[i].text, d.escape, env, true, &text, NULL) >= 0)
			(void)dockerfile_words(text, d.escape, &words, NULL);
		(void)dockerfile_exec_form(d.steps[i].text, &exec);
	}
	dockerfile_done(&d);
	return 0;
}
