/* SPDX-License-Identifier: Apache-2.0 */
/* See suggest.h. */
#include "dockerfile/suggest.h"

#include <ctype.h>

#define LENGTH_MAX 31
#define EDITS_MAX  2

static bool same(char a, char b, bool fold)
{
	return a == b || (fold && tolower((unsigned char)a) == tolower((unsigned char)b));
}

/* Levenshtein's distance, with one row of its matrix; both are at most LENGTH_MAX long. */
static size_t distance(const char *a, const char *b, bool fold)
{
	size_t row[LENGTH_MAX + 1], n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t exchange = diagonal + !same(a[i - 1], b[j - 1], fold);
			size_t edit = MIN2(row[j - 1], row[j]) + 1;

			diagonal = row[j];
			row[j] = MIN2(edit, exchange);
		}
	}
	return row[n];
}

const char *dockerfile_suggest(const char *word, const char *const *words, bool fold)
{
	size_t least = EDITS_MAX + 1;
	const char *best = NULL;

	if (strlen(word) > LENGTH_MAX)
		return NULL;
	for (; *words; words++) {
		size_t d = strlen(*words) > LENGTH_MAX ? least : distance(word, *words, fold);

		if (d < least) {
			least = d;
			best = *words;
		}
	}
	return best;
}
