/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: any bytes as a Dockerfile that is checked, with an image that brings an environment along and a .dockerignore. */
#include "base/str.h"
#include "dockerfile/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int base_image(void *user _unused_, const char *image, const char *platform, DockerfileBase *ret)
{
	*ret =
	    (DockerfileBase){.platform = strdup("linux/arm64"), .has_shell = platform && strlen(image) % 2};
	(void)strv_add(&ret->env, "a=$b");
	return strlen(image) % 3 > 0;
}

static void sink(void *user _unused_, const DockerfileWarning *w)
{
	if (strlen(w->detail) == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *args[] = {(char *)"b=1", (char *)"c=${a}", NULL};
	DockerfileCheckInput in = {.build_args = args, .all_stages = true, .base = base_image};
	Ignore ig = {0};
	Dockerfile d;

	if (dockerfile_parse((const char *)data, size, "f", &d, NULL) < 0)
		return 0;
	if (ignore_parse("a*\n**/b\n", &ig, NULL) >= 0)
		in.ignore = &ig;
	(void)dockerfile_check(&d, &in, sink, NULL);
	ignore_done(&ig);
	dockerfile_done(&d);
	return 0;
}
