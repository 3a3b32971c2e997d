/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identifiers come from the kernel's generator and from nowhere else: an id is also what keeps one
 * temporary file, socket or cgroup from being guessed by a neighbour.
 */
#include "base/id.h"
#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/random.h>

static const char *const adjectives[] = {
    "agile",   "amber",  "ample",  "ardent",   "astute",   "balmy",   "brave",    "breezy", "bright",
    "brisk",   "calm",   "candid", "careful",  "cheerful", "civil",   "clever",   "cosy",   "crisp",
    "curious", "daring", "deft",   "eager",    "earnest",  "fair",    "fearless", "fluent", "frank",
    "gentle",  "glad",   "golden", "graceful", "hardy",    "hopeful", "humble",   "jolly",  "keen",
    "kind",    "lively", "lucid",  "mellow",   "merry",    "mild",    "modest",   "nimble", "patient",
    "placid",  "plucky", "polite", "quick",    "quiet",    "serene",  "sincere",  "sober",  "steady",
    "sunny",   "tidy",   "upbeat", "vivid",    "warm",     "witty",
};

static const char *const surnames[] = {
    "abel",       "ampere",     "babbage",  "boole",        "bose",     "cantor",    "cauchy",    "curie",
    "dalton",     "darwin",     "dirac",    "einstein",     "euclid",   "euler",     "faraday",   "fermat",
    "fermi",      "fourier",    "franklin", "galileo",      "galois",   "gauss",     "germain",   "goedel",
    "hamilton",   "heisenberg", "herschel", "hilbert",      "hodgkin",  "hooke",     "hopper",    "huygens",
    "joule",      "kepler",     "knuth",    "kovalevskaya", "lagrange", "laplace",   "lavoisier", "leibniz",
    "linnaeus",   "lovelace",   "maxwell",  "meitner",      "mendel",   "mendeleev", "newton",    "noether",
    "ohm",        "pascal",     "pasteur",  "pauling",      "planck",   "poincare",  "ramanujan", "riemann",
    "rutherford", "shannon",    "tesla",    "turing",       "volta",    "yukawa",
};

static void random_bytes(void *buf, size_t n)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = getrandom((char *)buf + have, n - have, 0);

		if (got > 0)
			have += (size_t)got;
		else if (errno != EINTR)
			abort(); /* only a kernel without getrandom(2); a guessable id would be worse */
	}
}

void id_random_hex(char *buf, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	random_bytes(buf, n);
	for (size_t i = 0; i < n; i++)
		buf[i] = digits[(unsigned char)buf[i] & 15];
	buf[n] = '\0';
}

bool id_is_hex(const char *s)
{
	size_t n = strspn(s, "0123456789abcdef");

	return n >= 1 && n <= ID_LEN && s[n] == '\0';
}

char *id_random_name(int retry)
{
	uint32_t r[3];

	random_bytes(r, sizeof(r));

	const char *first = adjectives[r[0] % ELEMENTSOF(adjectives)];
	const char *second = surnames[r[1] % ELEMENTSOF(surnames)];

	if (retry > 0)
		return strf("%s_%s%u", first, second, r[2] % 10);
	return strf("%s_%s", first, second);
}

static char boot[64];

static void read_boot(void)
{
	_cleanup_free_ char *text = NULL;

	if (file_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", sizeof(boot) - 1, &text, NULL) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	memcpy(boot, text, strlen(text) + 1);
}

const char *id_boot(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, read_boot);
	return boot;
}
