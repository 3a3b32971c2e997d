/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syslog: RFC 3164 as the local daemon takes it (no host) and as it goes over a network, RFC 5424 with seconds or microseconds; the times
 * are local, with their offset where the format has one. A record ends with a newline, which frames it on a stream.
 *
 * journald: NAME=VALUE lines; what may hold a newline is NAME, newline, its length in 64 bits little-endian, the bytes, newline
 * (systemd, "Native Journal Protocol").
 */
#include "shim/remote-format.h"

#include "base/clock.h"
#include "shim/logger.h"

#include <endian.h>
#include <time.h>

#define SEVERITY_ERROR 3
#define SEVERITY_INFO  6

static int severity(const LogPiece *p)
{
	return p->stream == 1 ? SEVERITY_ERROR : SEVERITY_INFO;
}

/* ---- syslog ---- */

static struct tm local_time(const LogPiece *p)
{
	time_t seconds = p->time_ns / 1000000000;
	struct tm tm = {0};

	(void)localtime_r(&seconds, &tm);
	return tm;
}

static void add_stamp(StrBuf *out, const LogPiece *p)
{
	struct tm tm = local_time(p);
	char text[32];

	if (strftime(text, sizeof(text), "%b %e %H:%M:%S", &tm) > 0)
		strbuf_add(out, text);
}

static void add_rfc3339(StrBuf *out, const LogPiece *p, bool micro)
{
	struct tm tm = local_time(p);
	long offset = tm.tm_gmtoff / 60, minutes = offset < 0 ? -offset : offset;
	char text[32];

	if (strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) > 0)
		strbuf_add(out, text);
	if (micro)
		strbuf_addf(out, ".%06d", (int)(p->time_ns / 1000 % 1000000));
	if (offset == 0)
		strbuf_add_c(out, 'Z');
	else
		strbuf_addf(out, "%c%02ld:%02ld", offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

static void add_content(StrBuf *out, const LogPiece *p)
{
	strbuf_add_n(out, p->text, p->n);
	strbuf_add_c(out, '\n');
}

static void put_unix(const RemoteFormat *f, const LogPiece *p, StrBuf *out)
{
	strbuf_addf(out, "<%d>", f->facility << 3 | severity(p));
	add_stamp(out, p);
	strbuf_addf(out, " %s[%d]: ", f->tag, (int)getpid());
	add_content(out, p);
}

static void put_rfc3164(const RemoteFormat *f, const LogPiece *p, StrBuf *out)
{
	strbuf_addf(out, "<%d>", f->facility << 3 | severity(p));
	add_stamp(out, p);
	strbuf_addf(out, " %s %s[%d]: ", f->hostname, f->tag, (int)getpid());
	add_content(out, p);
}

static void put_5424(const RemoteFormat *f, const LogPiece *p, StrBuf *out, bool micro)
{
	strbuf_addf(out, "<%d>1 ", f->facility << 3 | severity(p));
	add_rfc3339(out, p, micro);
	strbuf_addf(out, " %s %s %d %s - ", f->hostname, f->tag, (int)getpid(), f->tag);
	add_content(out, p);
}

static void put_rfc5424(const RemoteFormat *f, const LogPiece *p, StrBuf *out)
{
	put_5424(f, p, out, false);
}

static void put_rfc5424micro(const RemoteFormat *f, const LogPiece *p, StrBuf *out)
{
	put_5424(f, p, out, true);
}

/* ---- journald ---- */

static void add_field(StrBuf *out, const char *name, size_t n_name, const char *value, size_t n)
{
	uint64_t len = htole64(n);

	strbuf_add_n(out, name, n_name);
	if (memchr(value, '\n', n)) {
		strbuf_add_c(out, '\n');
		strbuf_add_n(out, &len, sizeof(len));
	} else {
		strbuf_add_c(out, '=');
	}
	strbuf_add_n(out, value, n);
	strbuf_add_c(out, '\n');
}

static void add_partial(StrBuf *out, const LogPiece *p)
{
	bool last = p->newline;

	/* All pieces of a line have the time of its first one, which no other line of the stream has begun at. */
	strbuf_addf(out,
		    "CONTAINER_PARTIAL_ID=%d%llx\nCONTAINER_PARTIAL_ORDINAL=%d\nCONTAINER_PARTIAL_LAST=%s\n",
		    p->stream, (unsigned long long)p->time_ns, p->ordinal + 1, last ? "true" : "false");
	if (!last)
		strbuf_add(out, "CONTAINER_PARTIAL_MESSAGE=true\n");
}

static void put_journald(const RemoteFormat *f, const LogPiece *p, StrBuf *out)
{
	strbuf_addf(out, "PRIORITY=%d\nSYSLOG_TIMESTAMP=%s\n", severity(p), clock_rfc3339(p->time_ns).s);
	strbuf_add_n(out, f->fields.s, f->fields.len);
	if (p->ordinal >= 0)
		add_partial(out, p);
	add_field(out, "MESSAGE", 7, p->text, p->n);
}

static int encode_fields(RemoteFormat *f, const json_t *fields, Err *e)
{
	size_t i;
	json_t *v;

	json_array_foreach (fields, i, v) {
		const char *text = json_string_value(v), *eq = text ? strchr(text, '=') : NULL;

		if (!eq)
			return err_new(e, ERR_INVALID, "journald: a field is not NAME=VALUE");
		add_field(&f->fields, text, (size_t)(eq - text), eq + 1, strlen(eq + 1));
	}
	return f->fields.oom ? err_oom(e) : 0;
}

/* ---- choosing ---- */

static int init_syslog(RemoteFormat *f, const json_t *doc, Err *e)
{
	static const struct {
		const char *name;
		void (*put)(const RemoteFormat *f, const LogPiece *p, StrBuf *out);
	} formats[] = {{"", put_unix},
		       {"rfc3164", put_rfc3164},
		       {"rfc5424", put_rfc5424},
		       {"rfc5424micro", put_rfc5424micro}};
	const char *name = json_get_str(doc, "format"), *tag = json_get_str(doc, "tag"),
		   *host = json_get_str(doc, "hostname");

	for (size_t i = 0; i < ELEMENTSOF(formats); i++)
		if (streq(formats[i].name, name ? name : ""))
			f->put = formats[i].put;
	if (!f->put)
		return err_new(e, ERR_INVALID, "Invalid syslog format");
	f->facility = (int)json_get_int(doc, "facility", 3) & 31;
	f->tag = strdup(tag ? tag : "");
	f->hostname = strdup(host ? host : "-");
	return f->tag && f->hostname ? 0 : err_oom(e);
}

int remote_format_init(RemoteFormat *f, const json_t *doc, Err *e)
{
	const char *driver = json_get_str(doc, "driver");

	*f = (RemoteFormat){0};
	if (streq0(driver, "syslog"))
		return init_syslog(f, doc, e);
	if (!streq0(driver, "journald"))
		return err_new(e, ERR_UNSUPPORTED, "log driver %s: the shim writes to syslog or journald",
			       driver ? driver : "?");
	f->put = put_journald;
	return encode_fields(f, json_object_get(doc, "fields"), e);
}

void remote_format_done(RemoteFormat *f)
{
	free(f->tag);
	free(f->hostname);
	strbuf_done(&f->fields);
}
