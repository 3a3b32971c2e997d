/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container uses, as the document that runc's "events" prints: times in nanoseconds, sizes in bytes.
 *
 * A number is a file of the cgroup, or a key in one, on v1 and another on v2; two tables say which. What the machine does not
 * count is left out.
 */
#include "runtime/runtime-internal.h"

#include "base/str.h"

#include <ctype.h>
#include <dirent.h>

typedef struct Number {
	const char *path;                    /* in the document, by dots */
	const char *controller, *file, *key; /* key NULL: the file holds only the number */
	int64_t unit;                        /* what one of it is worth */
} Number;

static const Number numbers_v1[] = {
    {"cpu.usage.total", "cpuacct", "cpuacct.usage", NULL, 1},
    {"cpu.usage.kernel", "cpuacct", "cpuacct.usage_sys", NULL, 1},
    {"cpu.usage.user", "cpuacct", "cpuacct.usage_user", NULL, 1},
    {"cpu.throttling.periods", "cpu", "cpu.stat", "nr_periods", 1},
    {"cpu.throttling.throttledPeriods", "cpu", "cpu.stat", "nr_throttled", 1},
    {"cpu.throttling.throttledTime", "cpu", "cpu.stat", "throttled_time", 1},
    {"memory.cache", "memory", "memory.stat", "cache", 1},
    {"memory.usage.usage", "memory", "memory.usage_in_bytes", NULL, 1},
    {"memory.usage.limit", "memory", "memory.limit_in_bytes", NULL, 1},
    {"memory.usage.max", "memory", "memory.max_usage_in_bytes", NULL, 1},
    {"memory.usage.failcnt", "memory", "memory.failcnt", NULL, 1},
    {"memory.swap.usage", "memory", "memory.memsw.usage_in_bytes", NULL, 1},
    {"memory.swap.limit", "memory", "memory.memsw.limit_in_bytes", NULL, 1},
    {"memory.swap.max", "memory", "memory.memsw.max_usage_in_bytes", NULL, 1},
    {"memory.swap.failcnt", "memory", "memory.memsw.failcnt", NULL, 1},
    {"memory.kernel.usage", "memory", "memory.kmem.usage_in_bytes", NULL, 1},
    {"memory.kernel.max", "memory", "memory.kmem.max_usage_in_bytes", NULL, 1},
    {"memory.kernelTCP.usage", "memory", "memory.kmem.tcp.usage_in_bytes", NULL, 1},
    {"pids.current", "pids", "pids.current", NULL, 1},
    {"pids.limit", "pids", "pids.max", NULL, 1},
};

static const Number numbers_v2[] = {
    {"cpu.usage.total", "cpu", "cpu.stat", "usage_usec", 1000},
    {"cpu.usage.kernel", "cpu", "cpu.stat", "system_usec", 1000},
    {"cpu.usage.user", "cpu", "cpu.stat", "user_usec", 1000},
    {"cpu.throttling.periods", "cpu", "cpu.stat", "nr_periods", 1},
    {"cpu.throttling.throttledPeriods", "cpu", "cpu.stat", "nr_throttled", 1},
    {"cpu.throttling.throttledTime", "cpu", "cpu.stat", "throttled_usec", 1000},
    {"memory.cache", "memory", "memory.stat", "file", 1},
    {"memory.usage.usage", "memory", "memory.current", NULL, 1},
    {"memory.usage.limit", "memory", "memory.max", NULL, 1},
    {"memory.usage.max", "memory", "memory.peak", NULL, 1},
    {"memory.usage.failcnt", "memory", "memory.events", "max", 1},
    {"memory.swap.usage", "memory", "memory.swap.current", NULL, 1},
    {"memory.swap.limit", "memory", "memory.swap.max", NULL, 1},
    {"memory.swap.max", "memory", "memory.swap.peak", NULL, 1},
    {"pids.current", "pids", "pids.current", NULL, 1},
    {"pids.limit", "pids", "pids.max", NULL, 1},
};

/* Sets doc.a.b.c, making the objects on the way. */
static int set_at(json_t *doc, const char *path, json_t *value)
{
	size_t n = strcspn(path, ".");
	_cleanup_free_ char *key = strndup(path, n);
	json_t *below;

	if (!key || !value) {
		json_decref(value);
		return -ENOMEM;
	}
	if (path[n] == '\0')
		return json_object_set_new(doc, key, value) < 0 ? -ENOMEM : 0;
	below = json_object_get(doc, key);
	if (!below) {
		below = json_object();
		if (json_object_set_new(doc, key, below) < 0) {
			json_decref(value);
			return -ENOMEM;
		}
	}
	return set_at(below, path + n + 1, value);
}

/* The number behind a key at the beginning of a line, or the whole text's; false if it says "max" or nothing. */
static bool find_number(const char *text, const char *key, uint64_t *ret)
{
	size_t n = key ? strlen(key) : 0;

	while (key && !(strncmp(text, key, n) == 0 && text[n] == ' ')) {
		text = strchr(text, '\n');
		if (!text)
			return false;
		text++;
	}
	text += key ? n + 1 : 0;
	if (!isdigit((unsigned char)*text))
		return false;
	*ret = strtoull(text, NULL, 10);
	return true;
}

static int add_numbers(const Cgroup *c, json_t *doc)
{
	bool v2 = cgroup_is_unified(c);
	const Number *table = v2 ? numbers_v2 : numbers_v1;
	size_t n = v2 ? ELEMENTSOF(numbers_v2) : ELEMENTSOF(numbers_v1);

	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;
		uint64_t v;

		if (cgroup_read(c, table[i].controller, table[i].file, &text, NULL) < 0 ||
		    !find_number(text, table[i].key, &v))
			continue;
		/* What v1 calls unlimited is the largest number of pages; JSON's integers end before. */
		v = v > INT64_MAX / (uint64_t)table[i].unit ? INT64_MAX : v * (uint64_t)table[i].unit;
		if (set_at(doc, table[i].path, json_integer((json_int_t)v)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* memory.stat as it is. */
static int add_raw_memory(const Cgroup *c, json_t *doc)
{
	_cleanup_json_ json_t *raw = json_object();
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!raw || cgroup_read(c, "memory", "memory.stat", &text, NULL) < 0)
		return raw ? 0 : -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *cut = strchr(line, ' ');

		if (!cut)
			continue;
		*cut = '\0';
		if (json_object_set_new(raw, line, json_integer((json_int_t)strtoull(cut + 1, NULL, 10))) < 0)
			return -ENOMEM;
	}
	return set_at(doc, "memory.raw", json_incref(raw));
}

/* "1 2 3": one number for each CPU. */
static int add_per_cpu(const Cgroup *c, json_t *doc)
{
	_cleanup_json_ json_t *list = json_array();
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!list || cgroup_is_unified(c) ||
	    cgroup_read(c, "cpuacct", "cpuacct.usage_percpu", &text, NULL) < 0)
		return list ? 0 : -ENOMEM;
	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (json_array_append_new(list, json_integer((json_int_t)strtoull(word, NULL, 10))) < 0)
			return -ENOMEM;
	return set_at(doc, "cpu.usage.percpu", json_incref(list));
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same with "full". */
static int add_pressure(const Cgroup *c, const char *controller, const char *path, json_t *doc)
{
	_cleanup_free_ char *text = NULL, *file = strf("%s.pressure", controller);
	char *save = NULL;

	if (!file)
		return -ENOMEM;
	if (!cgroup_is_unified(c) || cgroup_read(c, controller, file, &text, NULL) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char kind[8];
		double avg10, avg60, avg300;
		unsigned long long total;
		_cleanup_free_ char *at = NULL;

		if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", kind, &avg10, &avg60,
			   &avg300, &total) != 5)
			continue;
		at = strf("%s.psi.%s", path, kind);
		if (!at || set_at(doc, at,
				  json_pack("{s:f, s:f, s:f, s:I}", "avg10", avg10, "avg60", avg60, "avg300",
					    avg300, "total", (json_int_t)total)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int append_io(json_t *list, unsigned major, unsigned minor, const char *op, unsigned long long value)
{
	json_t *j = json_pack("{s:i, s:i, s:s, s:I}", "major", (int)major, "minor", (int)minor, "op", op,
			      "value", (json_int_t)value);

	return json_array_append_new(list, j);
}

/* v1: "8:0 Read 4096", a line for each device and operation. */
static int add_io_v1(const Cgroup *c, const char *file, const char *path, json_t *doc)
{
	_cleanup_json_ json_t *list = json_array();
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!list || cgroup_read(c, "blkio", file, &text, NULL) < 0)
		return list ? 0 : -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned major, minor;
		unsigned long long value;
		char op[16];

		if (sscanf(line, "%u:%u %15s %llu", &major, &minor, op, &value) == 4 &&
		    append_io(list, major, minor, op, value) < 0)
			return -ENOMEM;
	}
	return set_at(doc, path, json_incref(list));
}

/* v2: "8:0 rbytes=1 wbytes=2 rios=3 ...", a line for each device. */
static int add_io_v2(const Cgroup *c, json_t *doc)
{
	static const struct {
		const char *key, *op;
		bool bytes;
	} keys[] = {{"rbytes", "Read", true},
		    {"wbytes", "Write", true},
		    {"rios", "Read", false},
		    {"wios", "Write", false}};
	_cleanup_json_ json_t *bytes = json_array(), *ios = json_array();
	_cleanup_free_ char *text = NULL;
	char *save = NULL;

	if (!bytes || !ios || cgroup_read(c, "io", "io.stat", &text, NULL) < 0)
		return bytes && ios ? 0 : -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned major, minor;

		if (sscanf(line, "%u:%u", &major, &minor) != 2)
			continue;
		for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
			_cleanup_free_ char *word = strf(" %s=", keys[i].key);
			const char *at = word ? strstr(line, word) : NULL;

			if (at && append_io(keys[i].bytes ? bytes : ios, major, minor, keys[i].op,
					    strtoull(at + strlen(word), NULL, 10)) < 0)
				return -ENOMEM;
		}
	}
	return set_at(doc, "blkio.ioServiceBytesRecursive", json_incref(bytes)) < 0
		   ? -ENOMEM
		   : set_at(doc, "blkio.ioServicedRecursive", json_incref(ios));
}

static int add_io(const Cgroup *c, json_t *doc)
{
	int r;

	if (cgroup_is_unified(c))
		return add_io_v2(c, doc);
	r = add_io_v1(c, "blkio.throttle.io_service_bytes_recursive", "blkio.ioServiceBytesRecursive", doc);
	return r < 0 ? r
		     : add_io_v1(c, "blkio.throttle.io_serviced_recursive", "blkio.ioServicedRecursive", doc);
}

/* Of each page size for which the cgroup has a file: "hugetlb.2MB.usage_in_bytes", on v2 "hugetlb.2MB.current". */
static int add_huge_pages(const Cgroup *c, json_t *doc)
{
	bool v2 = cgroup_is_unified(c);
	const char *dir = cgroup_dir(c, "hugetlb"), *end = v2 ? ".current" : ".usage_in_bytes";
	DIR *d = dir ? opendir(dir) : NULL;
	int r = set_at(doc, "hugetlb", json_object());

	for (struct dirent *de; d && r == 0 && (de = readdir(d));) {
		const char *size = str_after(de->d_name, "hugetlb.");
		_cleanup_free_ char *text = NULL, *path = NULL;
		uint64_t v;

		if (!size || !str_ends(size, end) || strstr(size, ".rsvd.") ||
		    cgroup_read(c, "hugetlb", de->d_name, &text, NULL) < 0 || !find_number(text, NULL, &v))
			continue;
		path = strf("hugetlb.%.*s", (int)(strlen(size) - strlen(end)), size);
		r = path ? set_at(doc, path, json_pack("{s:I, s:i}", "usage", (json_int_t)v, "failcnt", 0))
			 : -ENOMEM;
	}
	if (d)
		closedir(d);
	return r;
}

static int collect(const Cgroup *c, json_t *doc)
{
	int r = add_numbers(c, doc);

	if (r == 0)
		r = add_per_cpu(c, doc);
	if (r == 0)
		r = add_raw_memory(c, doc);
	if (r == 0)
		r = add_pressure(c, "cpu", "cpu", doc);
	if (r == 0)
		r = add_pressure(c, "memory", "memory", doc);
	if (r == 0)
		r = add_pressure(c, "io", "blkio", doc);
	if (r == 0)
		r = add_io(c, doc);
	if (r == 0)
		r = add_huge_pages(c, doc);
	return r < 0 ? r : set_at(doc, "intel_rdt", json_object());
}

int runtime_stats(const RuntimeOptions *o, const char *id, json_t **ret, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_json_ json_t *doc = json_object();
	int r = doc ? state_load(o, id, &s, e) : err_oom(e);

	if (r == 0)
		r = cgroup_from_strv(s.cgroup, &c, e);
	if (r < 0)
		return r;
	if (collect(&c, doc) < 0)
		return err_oom(e);
	*ret = take_ptr(doc);
	return 0;
}

int runtime_stats_at(const char *cgroups_path, json_t **ret, Err *e)
{
	_cleanup_(cgroup_done) Cgroup c = {0};
	_cleanup_json_ json_t *doc = json_object();
	int r = doc ? cgroup_resolve(cgroups_path, &c, e) : err_oom(e);

	if (r < 0)
		return r;
	if (collect(&c, doc) < 0)
		return err_oom(e);
	*ret = take_ptr(doc);
	return 0;
}

int runtime_watch_oom(const RuntimeOptions *o, const char *id, int *ret_fd, short *ret_events, Err *e)
{
	_cleanup_(state_done) State s = STATE_INIT;
	_cleanup_(cgroup_done) Cgroup c = {0};
	int r = state_load(o, id, &s, e);

	if (r == 0)
		r = cgroup_from_strv(s.cgroup, &c, e);
	if (r == 0)
		r = cgroup_watch_oom(&c, ret_fd, ret_events, e);
	return r < 0 ? err_ctx(e, r, "container %s", id) : 0;
}

void runtime_oom_drain(int fd)
{
	cgroup_oom_drain(fd);
}
