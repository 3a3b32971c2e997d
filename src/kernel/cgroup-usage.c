/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Usage of a cgroup. Two tables, for v1 and v2, say which file has what: a number alone, or lines of a key and a number. The files of PSI and of devices have
 * forms of their own. PSI is kept for cgroups of v2, thus on a hybrid machine as well.
 */
#include "kernel/cgroup-usage.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/cgroup-internal.h"
#include "kernel/open-files.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

#define TEXT_MAX 16384
#define KEYS_MAX 8
#define UNLIMITED                                                                                            \
	(UINT64_C(1) << 62) /* v1's way to say that there is no limit is a number of pages near 2^63 bytes */

typedef struct Key {
	const char *key; /* NULL: the file is the number */
	size_t offset;
	unsigned unit;
} Key;

typedef struct UsageFile {
	const char *controller, *file;
	bool more; /* only read from CGROUP_MORE on */
	Key keys[KEYS_MAX];
} UsageFile;

#define NUMBER(k, member, u)                                                                                 \
	{                                                                                                    \
		.key = k, .offset = offsetof(CgroupUsage, member), .unit = u                                 \
	}

/* The files of one controller follow each other: its directory is opened once. */
static const UsageFile files_v1[] = {
    {"cpuacct", "cpuacct.usage", false, {NUMBER(NULL, cpu_ns, 1)}},
    {"cpuacct", "cpuacct.usage_user", true, {NUMBER(NULL, cpu_user_ns, 1)}},
    {"cpuacct", "cpuacct.usage_sys", true, {NUMBER(NULL, cpu_system_ns, 1)}},
    {"cpu",
     "cpu.stat",
     true,
     {NUMBER("nr_periods", cpu_periods, 1), NUMBER("nr_throttled", cpu_throttled_periods, 1),
      NUMBER("throttled_time", cpu_throttled_ns, 1)}},
    {"memory", "memory.usage_in_bytes", false, {NUMBER(NULL, memory, 1)}},
    {"memory", "memory.limit_in_bytes", false, {NUMBER(NULL, memory_limit, 1)}},
    {"memory", "memory.memsw.limit_in_bytes", false, {NUMBER(NULL, swap_limit, 1)}},
    {"memory",
     "memory.stat",
     false,
     {NUMBER("total_rss", anon, 1), NUMBER("total_inactive_file", inactive_file, 1),
      NUMBER("total_pgfault", page_faults, 1), NUMBER("total_pgmajfault", major_page_faults, 1),
      NUMBER("total_swap", swap, 1), NUMBER("total_cache", file, 1),
      NUMBER("total_mapped_file", mapped_file, 1), NUMBER("total_active_file", active_file, 1)}},
    {"memory", "memory.max_usage_in_bytes", true, {NUMBER(NULL, memory_most, 1)}},
    {"memory", "memory.failcnt", true, {NUMBER(NULL, memory_failures, 1)}},
    {"memory", "memory.kmem.usage_in_bytes", true, {NUMBER(NULL, kernel, 1)}},
    {"pids", "pids.current", false, {NUMBER(NULL, tasks, 1)}},
    {"pids", "pids.max", true, {NUMBER(NULL, tasks_limit, 1)}},
};

static const UsageFile files_v2[] = {
    {"cpu",
     "cpu.stat",
     false,
     {NUMBER("usage_usec", cpu_ns, 1000), NUMBER("user_usec", cpu_user_ns, 1000),
      NUMBER("system_usec", cpu_system_ns, 1000), NUMBER("nr_periods", cpu_periods, 1),
      NUMBER("nr_throttled", cpu_throttled_periods, 1), NUMBER("throttled_usec", cpu_throttled_ns, 1000)}},
    {"memory", "memory.current", false, {NUMBER(NULL, memory, 1)}},
    {"memory", "memory.max", false, {NUMBER(NULL, memory_limit, 1)}},
    {"memory",
     "memory.stat",
     false,
     {NUMBER("anon", anon, 1), NUMBER("inactive_file", inactive_file, 1), NUMBER("pgfault", page_faults, 1),
      NUMBER("pgmajfault", major_page_faults, 1), NUMBER("file", file, 1),
      NUMBER("file_mapped", mapped_file, 1), NUMBER("active_file", active_file, 1),
      NUMBER("kernel", kernel, 1)}},
    {"memory", "memory.swap.current", false, {NUMBER(NULL, swap, 1)}},
    {"memory", "memory.swap.max", false, {NUMBER(NULL, swap_limit, 1)}},
    {"memory", "memory.peak", true, {NUMBER(NULL, memory_most, 1)}},
    {"memory", "memory.events", true, {NUMBER("max", memory_failures, 1), NUMBER("oom_kill", oom_kills, 1)}},
    {"pids", "pids.current", false, {NUMBER(NULL, tasks, 1)}},
    {"pids", "pids.max", true, {NUMBER(NULL, tasks_limit, 1)}},
};

/* ---- texts ---- */

static void set_number(CgroupUsage *u, const Key *k, const char *text)
{
	uint64_t *to = (uint64_t *)(void *)((char *)u + k->offset), v;

	if (!isdigit((unsigned char)*text)) /* "max" */
		return;
	v = strtoull(text, NULL, 10);
	*to = v >= CGROUP_UNKNOWN / k->unit ? CGROUP_UNKNOWN - 1 : v * k->unit;
}

static void set_line(CgroupUsage *u, const Key *keys, const char *line)
{
	for (size_t i = 0; i < KEYS_MAX && keys[i].unit; i++) {
		size_t n = keys[i].key ? strlen(keys[i].key) : 0;

		if (!keys[i].key)
			set_number(u, &keys[i], line);
		else if (strncmp(line, keys[i].key, n) == 0 && line[n] == ' ')
			set_number(u, &keys[i], line + n + 1);
	}
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same with "full". */
static void set_pressure(CgroupPressure *p, const char *line)
{
	CgroupStall s;
	unsigned long long total;
	char kind[8];

	if (sscanf(line, "%7s avg10=%lf avg60=%lf avg300=%lf total=%llu", kind, &s.avg10, &s.avg60, &s.avg300,
		   &total) != 5)
		return;
	s.total_us = total;
	p->known = true;
	*(streq(kind, "full") ? &p->full : &p->some) = s;
}

static CgroupDeviceIo *find_device(CgroupUsage *u, unsigned major, unsigned minor)
{
	for (size_t i = 0; i < u->n_io; i++)
		if (u->io[i].major == major && u->io[i].minor == minor)
			return &u->io[i];
	if (u->n_io == CGROUP_IO_DEVICES)
		return NULL;
	u->io[u->n_io] = (CgroupDeviceIo){.major = major, .minor = minor};
	return &u->io[u->n_io++];
}

/* v1: "8:0 Read 4096", a line for each device and operation. */
static void set_io_v1(CgroupUsage *u, const char *line, bool bytes)
{
	unsigned major, minor;
	unsigned long long v;
	char op[16];
	CgroupDeviceIo *d;

	if (sscanf(line, "%u:%u %15s %llu", &major, &minor, op, &v) != 4 ||
	    !(d = find_device(u, major, minor)))
		return;
	if (streq(op, "Read"))
		*(bytes ? &d->read_bytes : &d->reads) = v;
	else if (streq(op, "Write"))
		*(bytes ? &d->write_bytes : &d->writes) = v;
}

static uint64_t io_value(const char *line, const char *word)
{
	const char *at = strstr(line, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

/* v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...", a line for each device. */
static void set_io_v2(CgroupUsage *u, const char *line)
{
	unsigned major, minor;
	CgroupDeviceIo *d;

	if (sscanf(line, "%u:%u", &major, &minor) != 2 || !(d = find_device(u, major, minor)))
		return;
	d->read_bytes = io_value(line, " rbytes=");
	d->write_bytes = io_value(line, " wbytes=");
	d->reads = io_value(line, " rios=");
	d->writes = io_value(line, " wios=");
}

static void set_other(CgroupUsage *u, const char *file, const char *line)
{
	if (streq(file, "cpu.pressure"))
		set_pressure(&u->cpu_pressure, line);
	else if (streq(file, "memory.pressure"))
		set_pressure(&u->memory_pressure, line);
	else if (streq(file, "io.pressure"))
		set_pressure(&u->io_pressure, line);
	else if (streq(file, "io.stat"))
		set_io_v2(u, line);
	else if (streq(file, "blkio.throttle.io_service_bytes_recursive"))
		set_io_v1(u, line, true);
	else if (streq(file, "blkio.throttle.io_serviced_recursive"))
		set_io_v1(u, line, false);
}

static const UsageFile *tables(bool unified, size_t *ret_n)
{
	*ret_n = unified ? ELEMENTSOF(files_v2) : ELEMENTSOF(files_v1);
	return unified ? files_v2 : files_v1;
}

void cgroup_usage_parse(const char *file, char *text, bool unified, CgroupUsage *u)
{
	size_t n;
	const UsageFile *t = tables(unified, &n), *end = t + n;
	char *save = NULL;

	while (t < end && !streq(t->file, file))
		t++;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (t < end)
			set_line(u, t->keys, line);
		else
			set_other(u, file, line);
	}
}

/* ---- files ---- */

/* The directory of the last file that was read is open. */
typedef struct Reader {
	const Cgroup *cgroup;
	const char *dir;
	int fd;
} Reader;

static int reader_dir(Reader *r, const char *controller)
{
	const char *dir = cgroup_dir(r->cgroup, controller);

	if (!dir)
		return -1;
	if (r->fd < 0 || !streq(dir, r->dir)) {
		close_fd(&r->fd);
		r->dir = dir;
		r->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return r->fd;
}

/* The bytes of the text, which has a zero byte behind it; or -1. */
static ssize_t read_text(int dir, const char *file, char *text, size_t cap)
{
	int fd = dir < 0 ? -1 : openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	do
		n = read(fd, text, cap - 1);
	while (n < 0 && errno == EINTR);
	(void)close(fd);
	if (n >= 0)
		text[n] = '\0';
	return n;
}

static bool read_file(Reader *r, const char *controller, const char *file, CgroupUsage *u)
{
	char text[TEXT_MAX];

	if (read_text(reader_dir(r, controller), file, text, sizeof(text)) < 0)
		return false;
	cgroup_usage_parse(file, text, cgroup_is_unified(r->cgroup), u);
	return true;
}

static void read_processes(const Cgroup *c, CgroupDetail detail, CgroupUsage *u)
{
	OpenFiles files = OPEN_FILES_NONE;
	pid_t *pids = NULL;
	size_t n;

	if (cgroup_pids(c, &pids, &n, NULL) < 0)
		return;
	u->processes = n;
	for (size_t i = 0; detail >= CGROUP_WITH_FILES && i < n; i++)
		open_files_add(&files, pids[i]);
	if (detail >= CGROUP_WITH_FILES) {
		u->descriptors = files.descriptors;
		u->sockets = files.sockets;
	}
	free(pids);
}

static void read_rest(Reader *r, CgroupDetail detail, CgroupUsage *u)
{
	if (cgroup_is_unified(r->cgroup)) {
		(void)read_file(r, "io", "io.stat", u);
	} else {
		(void)read_file(r, "blkio", "blkio.throttle.io_service_bytes_recursive", u);
		(void)read_file(r, "blkio", "blkio.throttle.io_serviced_recursive", u);
		u->oom_kills = cgroup_oom_kills(r->cgroup);
	}
	read_processes(r->cgroup, detail, u);
}

/* v1 limits memory and swap together. */
static void settle_v1(CgroupUsage *u)
{
	if (u->memory_limit >= UNLIMITED)
		u->memory_limit = CGROUP_UNKNOWN;
	if (u->swap_limit >= UNLIMITED || u->memory_limit == CGROUP_UNKNOWN)
		u->swap_limit = CGROUP_UNKNOWN;
	else
		u->swap_limit -= MIN2(u->swap_limit, u->memory_limit);
}

int cgroup_usage(const Cgroup *c, CgroupDetail detail, CgroupUsage *ret)
{
	static const char *const pressure[] = {"cpu.pressure", "memory.pressure", "io.pressure"};
	size_t n, n_read = 0;
	const UsageFile *t = tables(cgroup_is_unified(c), &n);
	Reader r = {.cgroup = c, .fd = -1};

	memset(ret, 0xff, offsetof(CgroupUsage, io)); /* CGROUP_UNKNOWN everywhere */
	ret->cpu_pressure = ret->memory_pressure = ret->io_pressure = (CgroupPressure){0};
	ret->n_io = 0;
	for (size_t i = 0; i < n; i++)
		if (detail >= CGROUP_MORE || !t[i].more)
			n_read += read_file(&r, t[i].controller, t[i].file, ret);
	for (size_t i = 0; n_read > 0 && i < ELEMENTSOF(pressure); i++)
		(void)read_file(&r, "", pressure[i], ret);
	if (n_read > 0 && detail >= CGROUP_MORE)
		read_rest(&r, detail, ret);
	close_fd(&r.fd);
	if (n_read > 0 && !cgroup_is_unified(c))
		settle_v1(ret);
	return n_read > 0 ? 0 : -ENOENT;
}

static uint64_t read_huge(const char *dir, const char *page_size, const char *suffix)
{
	char file[64];
	int64_t n;

	if (!dir || cgroup_hugetlb_file(page_size, suffix, file, sizeof(file), NULL) < 0)
		return CGROUP_UNKNOWN;
	n = cgroup_read_int(dir, file);
	return n < 0 ? CGROUP_UNKNOWN : (uint64_t)n;
}

void cgroup_huge_usage(const Cgroup *c, const char *page_size, uint64_t *ret_bytes, uint64_t *ret_most)
{
	const char *dir = cgroup_dir(c, "hugetlb");
	bool unified = cgroup_is_unified(c);

	*ret_bytes = read_huge(dir, page_size, unified ? "current" : "usage_in_bytes");
	*ret_most = unified ? CGROUP_UNKNOWN : read_huge(dir, page_size, "max_usage_in_bytes");
}

uint64_t cgroup_working_set(const CgroupUsage *u)
{
	if (u->memory == CGROUP_UNKNOWN || u->inactive_file == CGROUP_UNKNOWN)
		return u->memory;
	return u->memory - MIN2(u->memory, u->inactive_file);
}
