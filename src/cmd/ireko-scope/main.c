/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-scope: what the runtime wants of systemd. Its standard input is a socket on which each message is a request, in JSON, and is
 * answered by "K" and text, or "E" and an Err (kernel/cgroup-scope.c is the other side). It ends when the socket does.
 *
 * A scope is started with this process in it, which is why it stays: systemd lets a scope go that is empty. It is exposed to the
 * container's limits for that time, so once the answer is sent it does nothing but wait.
 */
#include "bus.h"

#include "base/fd.h"
#include "base/str.h"

#include <stdlib.h>
#include <systemd/sd-bus.h>

#define MESSAGE_MAX 65536
#define SOCK        0

typedef struct Scope {
	sd_bus *bus;
	int version;
} Scope;

static const char *text_of(const json_t *request, const char *key)
{
	const char *s = json_string_value(json_object_get(request, key));

	return s ? s : "";
}

static int connect_bus(Scope *s, const json_t *q, char **ret, Err *e)
{
	int r;

	if (s->bus)
		return err_new(e, ERR_CONFLICT, "connected already");
	r = bus_connect(json_is_true(json_object_get(q, "user")), &s->bus, e);
	if (r < 0)
		return r;
	s->version = bus_version(s->bus);
	return bus_manager_property(s->bus, "ControlGroup", ret, e);
}

static int start(Scope *s, const json_t *q, char **ret _unused_, Err *e)
{
	UnitRequest u = {
	    .unit = text_of(q, "unit"),
	    .slice = text_of(q, "slice"),
	    .description = text_of(q, "description"),
	    .is_slice = json_is_true(json_object_get(q, "isSlice")),
	    .properties = json_object_get(q, "properties"),
	    .pid = getpid(),
	    .version = s->version,
	};

	return bus_start_unit(s->bus, &u, e);
}

static int attach(Scope *s, const json_t *q, char **ret _unused_, Err *e)
{
	return bus_attach(s->bus, text_of(q, "unit"), (pid_t)json_get_int(q, "pid", 0), e);
}

static int set(Scope *s, const json_t *q, char **ret _unused_, Err *e)
{
	return bus_set_unit(s->bus, text_of(q, "unit"), json_object_get(q, "properties"), s->version, e);
}

static int stop(Scope *s, const json_t *q, char **ret _unused_, Err *e)
{
	return bus_stop_unit(s->bus, text_of(q, "unit"), e);
}

static int obey(Scope *s, const char *message, size_t len, char **ret, Err *e)
{
	static const struct {
		const char *name;
		int (*run)(Scope *s, const json_t *q, char **ret, Err *e);
	} verbs[] = {
	    {"connect", connect_bus}, {"start", start}, {"attach", attach}, {"set", set}, {"stop", stop}};
	_cleanup_json_ json_t *q = NULL;
	const char *verb;
	int r = json_parse(message, len, "request", &q, e);

	if (r < 0)
		return r;
	verb = text_of(q, "do");
	for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
		if (!streq(verb, verbs[i].name))
			continue;
		if (!s->bus && i > 0)
			return err_new(e, ERR_CONFLICT, "not connected");
		return verbs[i].run(s, q, ret, e);
	}
	return err_new(e, ERR_INVALID, "unknown request \"%s\"", verb);
}

_Static_assert(sizeof(Err) < 4096, "an answer holds an Err");

static int answer(int r, const Err *e, const char *text)
{
	char buf[4096];
	size_t n = sizeof(Err) + 1;
	ssize_t sent;

	if (r < 0) {
		buf[0] = 'E';
		memcpy(buf + 1, e, sizeof(*e));
	} else
		n = (size_t)snprintf(buf, sizeof(buf), "K%.4000s", text ? text : "");
	sent = fd_send_msg(SOCK, buf, n, NULL, 0);
	return sent < 0 ? (int)sent : 0;
}

int main(void)
{
	static char message[MESSAGE_MAX];
	Scope s = {0};
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = fd_recv_msg(SOCK, message, sizeof(message), NULL, NULL)) > 0) {
		_cleanup_free_ char *text = NULL;
		Err e = {0};

		r = obey(&s, message, (size_t)n, &text, &e);
		r = answer(r, &e, text);
	}
	sd_bus_flush_close_unref(s.bus);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
