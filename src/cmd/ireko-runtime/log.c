/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log, in the two forms of runc's (logrus's): lines of key="value" for people, lines of JSON for containerd, dockerd and
 * podman, which find the reason of a failure there. One process, one log: this is the only state of the program that is global.
 */
#include "command.h"

#include "base/clock.h"
#include "base/str.h"

#include <fcntl.h>

static struct {
	int fd;
	bool json, debug;
} the_log = {.fd = 2};

static const struct {
	const char *name, *tag;
} levels[] = {
    [LOG_ERROR] = {"error", "ERRO"}, [LOG_WARNING] = {"warning", "WARN"}, [LOG_DEBUG] = {"debug", "DEBU"}};

int log_open(const char *path, const char *format, bool debug, Err *e)
{
	if (!streq(format, "text") && !streq(format, "json"))
		return err_new(e, ERR_INVALID, "invalid log-format: %s: it is text or json", format);
	the_log.json = streq(format, "json");
	the_log.debug = debug;
	if (str_empty(path))
		return 0;
	the_log.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (the_log.fd < 0) {
		int no = errno;

		the_log.fd = 2;
		return err_sys(e, no, "open log %s", path);
	}
	return 0;
}

bool log_is_stderr(void)
{
	return the_log.fd == 2;
}

/* What a terminal may take for a command: names of an image are in what is said. In UTF-8 the second half of the
 * control characters has two bytes. */
static bool is_control(const char *s)
{
	unsigned char c = (unsigned char)s[0], next = (unsigned char)s[1];

	return c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

static void add_shown(StrBuf *b, const char *s, const char *kept)
{
	for (; *s; s++) {
		if (is_control(s) && !strchr(kept, *s))
			strbuf_addf(b, "\\x%02x", (unsigned char)*s);
		else
			strbuf_add_c(b, *s);
	}
}

/* As Go quotes. */
static void add_quoted(StrBuf *b, const char *s)
{
	strbuf_add_c(b, '"');
	for (const char *end = s; *s; s = end) {
		_cleanup_free_ char *part = strndup(s, strcspn(s, "\"\\\n"));

		add_shown(b, part ? part : "", "");
		end = s + strcspn(s, "\"\\\n");
		if (*end)
			strbuf_addf(b, "\\%c", *end == '\n' ? 'n' : *end);
		end += *end != '\0';
	}
	strbuf_add_c(b, '"');
}

static void add_json(StrBuf *b, LogLevel level, const char *message, const char *now)
{
	_cleanup_json_ json_t *j =
	    json_pack("{s:s, s:s, s:s}", "level", levels[level].name, "msg", message, "time", now);
	_cleanup_free_ char *text = NULL;

	/* Bytes that are no UTF-8 cannot be in JSON. */
	if (!j)
		j = json_pack("{s:s, s:s, s:s}", "level", levels[level].name, "msg",
			      "(a message that is not UTF-8)", "time", now);
	text = j ? json_text(j) : NULL;
	strbuf_addf(b, "%s\n", text ? text : "{}");
}

void log_say(const char *message)
{
	_cleanup_strbuf_ StrBuf b = {0};

	add_shown(&b, message, "\n\t");
	if (!b.oom)
		fprintf(stderr, "%s\n", b.s ? b.s : "");
}

void log_write(LogLevel level, const char *message)
{
	_cleanup_strbuf_ StrBuf b = {0};
	TimeText now = clock_rfc3339(clock_now_ns());

	if (level == LOG_DEBUG && !the_log.debug)
		return;
	if (the_log.json)
		add_json(&b, level, message, now.s);
	else if (isatty(the_log.fd)) {
		strbuf_addf(&b, "%s[0000] ", levels[level].tag);
		add_shown(&b, message, "\n\t");
		strbuf_add_c(&b, '\n');
	} else {
		strbuf_addf(&b, "time=\"%s\" level=%s msg=", now.s, levels[level].name);
		add_quoted(&b, message);
		strbuf_add_c(&b, '\n');
	}
	/* One write, so that lines of several processes do not mix. There is nowhere to tell that it failed. */
	if (!b.oom && write(the_log.fd, b.s, b.len) < 0)
		return;
}
