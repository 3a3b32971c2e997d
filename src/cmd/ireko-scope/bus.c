/* SPDX-License-Identifier: Apache-2.0 */
/* See bus.h. Calls are synchronous; only the end of a job comes as a signal. */
#include "bus.h"

#include "base/clock.h"
#include "base/str.h"

#include <systemd/sd-bus.h>

#define SERVICE   "org.freedesktop.systemd1"
#define PATH      "/org/freedesktop/systemd1"
#define MANAGER   "org.freedesktop.systemd1.Manager"
#define NO_UNIT   "org.freedesktop.systemd1.NoSuchUnit"
#define EXISTS    "org.freedesktop.systemd1.UnitExists"
#define JOB_LIMIT (30ull * 1000000) /* us that systemd may take for a job */

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

/* systemd listens to its own user without a bus too, on a socket of its own. */
static int connect_directly(bool user, sd_bus **ret)
{
	const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *address = NULL;
	sd_bus *bus = NULL;
	int r;

	if (user && !runtime_dir)
		return -ENXIO;
	address = strf("unix:path=%s/systemd/private", user ? runtime_dir : "/run");
	r = address ? sd_bus_new(&bus) : -ENOMEM;
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0)
		sd_bus_unref(bus);
	else
		*ret = bus;
	return r;
}

static int subscribe(sd_bus *bus, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "Subscribe", &error, NULL, NULL);

	/* Without a bus between there is nobody to be told apart, and systemd says that it is done already. */
	if (r < 0 && !sd_bus_error_has_name(&error, "org.freedesktop.systemd1.AlreadySubscribed"))
		return err_sys(e, r, "subscribe to systemd's signals: %s",
			       error.message ? error.message : "");
	return 0;
}

int bus_connect(bool user, sd_bus **ret, Err *e)
{
	sd_bus *bus = NULL;
	int direct, r = user ? sd_bus_open_user(&bus) : sd_bus_open_system(&bus);

	if (r < 0) {
		direct = connect_directly(user, &bus);
		if (direct < 0)
			return user ? err_sys(e, r,
					      "connect to the user's systemd: is there a login session, with "
					      "dbus-user-session installed, and XDG_RUNTIME_DIR or "
					      "DBUS_SESSION_BUS_ADDRESS set?")
				    : err_sys(e, r,
					      "connect to the system bus: is dbus installed and running?");
	}
	r = subscribe(bus, e);
	if (r < 0)
		sd_bus_unref(bus);
	else
		*ret = bus;
	return r;
}

int bus_manager_property(sd_bus *bus, const char *name, char **ret, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_get_property_string(bus, SERVICE, PATH, MANAGER, name, &error, ret);

	return r < 0 ? err_sys(e, r, "ask systemd for %s", name) : 0;
}

int bus_version(sd_bus *bus)
{
	_cleanup_free_ char *text = NULL;

	if (bus_manager_property(bus, "Version", &text, NULL) < 0)
		return 0;
	return (int)strtol(text + strcspn(text, "0123456789"), NULL, 10);
}

static int append_basic(sd_bus_message *m, char type, const json_t *v)
{
	int64_t n = json_is_boolean(v) ? json_is_true(v) : json_integer_value(v);

	switch (type) {
	case 'b':
		return sd_bus_message_append(m, "b", (int)n);
	case 'y':
		return sd_bus_message_append(m, "y", (uint8_t)n);
	case 'n':
		return sd_bus_message_append(m, "n", (int16_t)n);
	case 'q':
		return sd_bus_message_append(m, "q", (uint16_t)n);
	case 'i':
		return sd_bus_message_append(m, "i", (int32_t)n);
	case 'u':
		return sd_bus_message_append(m, "u", (uint32_t)n);
	case 'x':
		return sd_bus_message_append(m, "x", n);
	case 't':
		return sd_bus_message_append(m, "t", (uint64_t)n);
	case 'd':
		return sd_bus_message_append(m, "d", json_number_value(v));
	case 's':
	case 'o':
	case 'g':
		return json_is_string(v) ? sd_bus_message_append_basic(m, type, json_string_value(v))
					 : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* A basic type, a structure of basic types, or an array of either. */
static int append_value(sd_bus_message *m, const char *signature, const json_t *v)
{
	size_t i = 0, n = strlen(signature);
	const json_t *item;
	char inner[16];
	int r;

	if (n == 1)
		return append_basic(m, signature[0], v);
	if (n == 0 || n >= sizeof(inner) || !json_is_array(v))
		return -EINVAL;
	if (signature[0] == 'a') {
		r = sd_bus_message_open_container(m, 'a', signature + 1);
		json_array_foreach (v, i, item) {
			if (r >= 0)
				r = append_value(m, signature + 1, item);
		}
		return r < 0 ? r : sd_bus_message_close_container(m);
	}
	if (signature[0] != '(' || signature[n - 1] != ')' || json_array_size(v) != n - 2)
		return -EINVAL;
	snprintf(inner, sizeof(inner), "%.*s", (int)(n - 2), signature + 1);
	r = sd_bus_message_open_container(m, 'r', inner);
	json_array_foreach (v, i, item) {
		if (r >= 0)
			r = append_basic(m, inner[i], item);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_property(sd_bus_message *m, const char *name, const char *signature, const json_t *value)
{
	int r = sd_bus_message_open_container(m, 'r', "sv");

	if (r >= 0)
		r = sd_bus_message_append(m, "s", name);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', signature);
	if (r >= 0)
		r = append_value(m, signature, value);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_properties(sd_bus_message *m, const json_t *list, int version, Err *e)
{
	const json_t *p;
	size_t i;

	json_array_foreach (list, i, p) {
		const char *name = json_string_value(json_array_get(p, 0)),
			   *signature = json_string_value(json_array_get(p, 1));
		int r;

		if (!name || !signature)
			return err_new(e, ERR_INVALID, "property %zu is malformed", i);
		if (version > 0 && json_integer_value(json_array_get(p, 3)) > version)
			continue;
		r = append_property(m, name, signature, json_array_get(p, 2));
		if (r < 0)
			return err_sys(e, r, "property %s: a value of type \"%s\"", name, signature);
	}
	return 0;
}

/* What is the same for every unit of a container. */
static int append_fixed(sd_bus_message *m, const UnitRequest *q)
{
	static const char *const on[] = {"MemoryAccounting", "CPUAccounting", "IOAccounting",
					 "TasksAccounting"};
	int r = sd_bus_message_append(m, "(sv)", "Description", "s", q->description);

	/* A slice's place follows from its name: its parent is only pulled in. */
	if (r >= 0 && q->is_slice)
		r = sd_bus_message_append(m, "(sv)", "Wants", "as", 1, q->slice);
	if (r >= 0 && !q->is_slice)
		r = sd_bus_message_append(m, "(sv)(sv)(sv)", "Slice", "s", q->slice, "Delegate", "b", 1,
					  "PIDs", "au", 1, (uint32_t)q->pid);
	for (size_t i = 0; i < ELEMENTSOF(on) && r >= 0; i++)
		r = sd_bus_message_append(m, "(sv)", on[i], "b", 1);
	return r < 0 ? r : sd_bus_message_append(m, "(sv)", "DefaultDependencies", "b", 0);
}

typedef struct Job {
	char *path, *result;
} Job;

static void job_done(Job *j)
{
	free(j->path);
	free(j->result);
}

/* The signal may come before the answer to the call that made the job, so every result is kept until the path is known. */
typedef struct Jobs {
	Job seen[64];
	size_t n;
} Jobs;

static void jobs_done(Jobs *all)
{
	for (size_t i = 0; i < all->n; i++)
		job_done(&all->seen[i]);
}

static int on_job_removed(sd_bus_message *m, void *data, sd_bus_error *error _unused_)
{
	Jobs *all = data;
	const char *path, *unit, *result;
	uint32_t id;

	if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
		return 0;
	if (all->n == ELEMENTSOF(all->seen)) {
		job_done(&all->seen[0]);
		memmove(all->seen, all->seen + 1, sizeof(all->seen) - sizeof(all->seen[0]));
		all->n--;
	}
	all->seen[all->n++] = (Job){strdup(path), strdup(result)};
	return 0;
}

static const char *result_of(const Jobs *all, const char *path)
{
	for (size_t i = 0; i < all->n; i++)
		if (streq0(all->seen[i].path, path))
			return all->seen[i].result ? all->seen[i].result : "";
	return NULL;
}

/* Sends the call, whose answer is a job, and waits for the job's end. *ret_result is "done" if all went well. */
static int run_job(sd_bus *bus, sd_bus_message *m, sd_bus_error *error, char **ret_result)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	_cleanup_(jobs_done) Jobs jobs = {.n = 0};
	sd_bus_slot *slot = NULL;
	const char *path = NULL, *result = NULL;
	uint64_t end = (uint64_t)clock_now_ns() / 1000 + JOB_LIMIT;
	int r = sd_bus_match_signal(bus, &slot, NULL, PATH, MANAGER, "JobRemoved", on_job_removed, &jobs);

	if (r >= 0)
		r = sd_bus_call(bus, m, 0, error, &reply);
	if (r >= 0)
		r = sd_bus_message_read(reply, "o", &path);
	while (r >= 0 && !(result = result_of(&jobs, path))) {
		uint64_t now = (uint64_t)clock_now_ns() / 1000;

		r = now >= end ? -ETIMEDOUT : sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, end - now);
	}
	if (r >= 0) {
		*ret_result = strdup(result);
		r = *ret_result ? 0 : -ENOMEM;
	}
	sd_bus_slot_unref(slot);
	return r;
}

/* What it is told matters only to systemd's own list of failed units. */
static void reset_failed(sd_bus *bus, const char *unit)
{
	(void)sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "ResetFailedUnit", NULL, NULL, "s", unit);
}

static int make_start(sd_bus *bus, const UnitRequest *q, sd_bus_message **ret, Err *e)
{
	sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(bus, &m, SERVICE, PATH, MANAGER, "StartTransientUnit"), rc = 0;

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", q->unit, "replace");
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = append_fixed(m, q);
	if (r >= 0)
		rc = append_properties(m, q->properties, q->version, e);
	if (r >= 0 && rc == 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0 && rc == 0)
		r = sd_bus_message_append(m, "a(sa(sv))", 0);
	if (r >= 0 && rc == 0) {
		*ret = m;
		return 0;
	}
	sd_bus_message_unref(m);
	return rc < 0 ? rc : err_sys(e, r, "prepare the request for unit %s", q->unit);
}

static int start_once(sd_bus *bus, const UnitRequest *q, bool *ret_exists, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	_cleanup_free_ char *result = NULL;
	int r = make_start(bus, q, &m, e);

	if (r < 0)
		return r;
	r = run_job(bus, m, &error, &result);
	*ret_exists = sd_bus_error_has_name(&error, EXISTS);
	if (r == -ETIMEDOUT) {
		reset_failed(bus, q->unit);
		return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT,
				  "systemd has not created unit %s within 30 seconds", q->unit);
	}
	if (r < 0)
		return err_new_no(e, *ret_exists ? ERR_CONFLICT : ERR_INTERNAL, -r,
				  "unable to start unit %s: %s", q->unit,
				  error.message ? error.message : strerror(-r));
	if (!streq(result, "done")) {
		reset_failed(bus, q->unit);
		return err_new(e, ERR_INTERNAL, "error creating systemd unit %s: got \"%s\"", q->unit,
			       result);
	}
	/* With the controllers of v1, a new slice may make systemd give a controller to its siblings and move what runs in these there: by
	 * lists that it reads and then writes, after it has told of the job's end, but before it answers anything else. Our caller's
	 * service is one of these, and a process that was born in it and has gone into the new unit meanwhile would be moved out again. */
	(void)bus_version(bus);
	return 0;
}

int bus_start_unit(sd_bus *bus, const UnitRequest *q, Err *e)
{
	bool exists = false;
	int r = start_once(bus, q, &exists, e);

	if (r == 0 || !exists)
		return r;
	/* What failed stays in systemd's memory until somebody has taken note of it. */
	reset_failed(bus, q->unit);
	return start_once(bus, q, &exists, e);
}

int bus_set_unit(sd_bus *bus, const char *unit, const json_t *properties, int version, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(bus, &m, SERVICE, PATH, MANAGER, "SetUnitProperties"), rc = 0;

	if (r >= 0)
		r = sd_bus_message_append(m, "sb", unit, 1);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		rc = append_properties(m, properties, version, e);
	if (rc < 0)
		return rc;
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	if (r >= 0)
		r = sd_bus_call(bus, m, 0, &error, NULL);
	/* systemd writes to the cgroup after it has answered, but before it answers anything else; who asked for this writes there
	 * next. */
	if (r >= 0)
		(void)bus_version(bus);
	return r < 0 ? err_new_no(e, ERR_INTERNAL, -r, "unable to set unit properties of %s: %s", unit,
				  error.message ? error.message : strerror(-r))
		     : 0;
}

int bus_attach(sd_bus *bus, const char *unit, pid_t pid, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, SERVICE, PATH, MANAGER, "AttachProcessesToUnit", &error, NULL, "ssau",
				   unit, "", 1, (uint32_t)pid);

	return r < 0 ? err_new_no(e, ERR_INTERNAL, -r, "unable to move process %d to unit %s: %s", (int)pid,
				  unit, error.message ? error.message : strerror(-r))
		     : 0;
}

int bus_stop_unit(sd_bus *bus, const char *unit, Err *e)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	_cleanup_free_ char *result = NULL;
	int r = sd_bus_message_new_method_call(bus, &m, SERVICE, PATH, MANAGER, "StopUnit");

	if (r >= 0)
		r = sd_bus_message_append(m, "ss", unit, "replace");
	if (r >= 0)
		r = run_job(bus, m, &error, &result);
	reset_failed(bus, unit);
	if (r >= 0 || sd_bus_error_has_name(&error, NO_UNIT))
		return 0;
	return err_new_no(e, r == -ETIMEDOUT ? ERR_UNAVAILABLE : ERR_INTERNAL, -r,
			  "unable to stop unit %s: %s", unit, error.message ? error.message : strerror(-r));
}
