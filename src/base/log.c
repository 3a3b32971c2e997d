/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One write(2) a line, so that lines of several processes on one stderr do not mix. Nothing that
 * came from outside reaches the terminal as a control: C0 and DEL always, and bytes from 0x80 up
 * when they are C1 controls or when the message is not UTF-8 at all.
 */
#include "base/log.h"
#include "base/clock.h"
#include "base/str.h"

#include <sys/stat.h>

static LogLevel threshold = LOG_INFO;
static bool to_journal, as_json;

static const struct {
	const char *name;
	int priority; /* syslog(3) */
} levels[] = {
    [LOG_DEBUG] = {"debug", 7},
    [LOG_INFO] = {"info", 6},
    [LOG_WARN] = {"warn", 4},
    [LOG_ERROR] = {"error", 3},
};

/* $JOURNAL_STREAM ("device:inode") is inherited by everything a unit starts, terminals included; it
 * means the journal only while stderr is still that very stream (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
	const char *v = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return v && sscanf(v, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void log_init(LogLevel least)
{
	threshold = least;
	to_journal = stderr_is_journal();
}

void log_set_level(LogLevel least)
{
	__atomic_store_n(&threshold, least, __ATOMIC_RELAXED);
}

void log_set_json(bool json)
{
	as_json = json;
}

int log_level_parse(const char *name, LogLevel *ret)
{
	for (size_t i = 0; name && i < ELEMENTSOF(levels); i++)
		if (streq(name, levels[i].name)) {
			*ret = (LogLevel)i;
			return 0;
		}
	if (streq0(name, "warning")) {
		*ret = LOG_WARN;
		return 0;
	}
	/* Docker's levels above error: what is fatal is told as an error. */
	if (streq0(name, "fatal") || streq0(name, "panic")) {
		*ret = LOG_ERROR;
		return 0;
	}
	return -EINVAL;
}

static void add_visible(StrBuf *b, const char *s)
{
	bool utf8 = str_is_utf8(s, strlen(s));

	for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
		bool c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F;

		if (c1)
			strbuf_addf(b, "\\x%02x\\x%02x", p[0], p[1]);
		else if (*p < 0x20 || *p == 0x7F || (*p >= 0x80 && !utf8))
			strbuf_addf(b, "\\x%02x", *p);
		else
			strbuf_add_c(b, (char)*p);
		p += c1;
	}
}

/* What add_visible leaves needs only quotes and backslashes to be escaped. */
static void add_json(StrBuf *b, LogLevel level, const char *message)
{
	_cleanup_strbuf_ StrBuf plain = {0};

	add_visible(&plain, message);
	strbuf_addf(b, "{\"level\":\"%s\",\"msg\":\"", level == LOG_WARN ? "warning" : levels[level].name);
	for (const char *p = plain.s ? plain.s : ""; *p; p++) {
		if (*p == '"' || *p == '\\')
			strbuf_add_c(b, '\\');
		strbuf_add_c(b, *p);
	}
	strbuf_addf(b, "\",\"time\":\"%s\"}", clock_rfc3339_fixed(clock_now_ns()).s);
}

void log_at(LogLevel level, const char *fmt, ...)
{
	_cleanup_strbuf_ StrBuf line = {0};
	_cleanup_free_ char *message = NULL;
	int saved = errno;
	va_list ap;

	if (level < __atomic_load_n(&threshold, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	if (vasprintf(&message, fmt, ap) < 0)
		message = NULL;
	va_end(ap);

	if (to_journal)
		strbuf_addf(&line, "<%d>", levels[level].priority);
	else if (!as_json)
		strbuf_addf(&line, "%s %-5s ", clock_rfc3339_fixed(clock_now_ns()).s, levels[level].name);
	if (as_json)
		add_json(&line, level, message ? message : fmt);
	else
		add_visible(&line, message ? message : fmt);
	strbuf_add_c(&line, '\n');
	/* A log that cannot be written has nobody to be reported to. */
	ssize_t n _unused_ = line.oom ? 0 : write(STDERR_FILENO, line.s, line.len);

	errno = saved;
}
