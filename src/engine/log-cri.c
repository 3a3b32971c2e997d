/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of the log of a pod's container: TIME STREAM TAG TEXT (shim/format-cri.c).
 *
 * Whoever wrote it, a reader of the kubelet's takes a tag with more behind a colon ("P:..."), and whatever is not P as the end of a line: so does this one.
 * Text is bytes.
 */
#include "engine/logs.h"

#include "base/clock.h"

#define TIME_MAX 48

/* The word up to the next blank, which is stepped over; NULL if there is none. */
static const char *take_word(const char **p, const char *end, size_t *ret_n)
{
	const char *word = *p, *blank = memchr(word, ' ', (size_t)(end - word));

	if (!blank)
		return NULL;
	*ret_n = (size_t)(blank - word);
	*p = blank + 1;
	return word;
}

static int take_time(const char **p, const char *end, int64_t *ret)
{
	char text[TIME_MAX];
	size_t n;
	const char *word = take_word(p, end, &n);

	if (!word || n >= sizeof(text) || memchr(word, '\0', n))
		return -EINVAL;
	memcpy(text, word, n);
	text[n] = '\0';
	return clock_parse(text, ret);
}

static int take_stream(const char **p, const char *end, int *ret)
{
	size_t n;
	const char *word = take_word(p, end, &n);

	if (!word || n != 6 || (memcmp(word, "stdout", 6) != 0 && memcmp(word, "stderr", 6) != 0))
		return -EINVAL;
	*ret = word[3] == 'o' ? 1 : 2;
	return 0;
}

int log_cri_decode(const char *line, size_t n, StrBuf *scratch, LogRecord *ret)
{
	const char *p = line, *end = line + n, *tag;
	LogRecord rec = {0};
	size_t n_tag;

	if (take_time(&p, end, &rec.time_ns) < 0 || take_stream(&p, end, &rec.stream) < 0 ||
	    !(tag = take_word(&p, end, &n_tag)) || n_tag == 0)
		return -EINVAL;
	scratch->len = 0;
	strbuf_add_n(scratch, p, (size_t)(end - p));
	if (tag[0] != 'P' || (n_tag > 1 && tag[1] != ':'))
		strbuf_add_c(scratch, '\n');
	if (scratch->oom) {
		strbuf_done(scratch);
		return -ENOMEM;
	}
	rec.text = scratch->s ? scratch->s : "";
	rec.len = scratch->len;
	*ret = rec;
	return 0;
}

const LogCodec log_codec_cri = {log_lines_frame, log_cri_decode, log_lines_tail, true, true};
