/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzzer's entry point once over each file named on the command line: a corpus as a plain test. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Most fuzzers have nothing to prepare. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static int run_file(const char *path)
{
	FILE *f = fopen(path, "rbe");
	uint8_t *data = NULL;
	size_t n = 0, got = 0;

	if (!f)
		return -1;
	do {
		uint8_t *grown = realloc(data, n + 65536);

		if (!grown)
			break;
		data = grown;
		got = fread(data + n, 1, 65536, f);
		n += got;
	} while (got > 0);
	if (ferror(f) || fclose(f) != 0)
		return -1;
	/* An allocation of exactly n bytes, so that the sanitizer sees a read past the end. */
	uint8_t *exact = malloc(n ? n : 1);

	if (!exact)
		return -1;
	for (size_t i = 0; i < n; i++)
		exact[i] = data[i];
	free(data);
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize)
		(void)LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		if (run_file(argv[i]) < 0) {
			perror(argv[i]);
			return 1;
		}
	return 0;
}
