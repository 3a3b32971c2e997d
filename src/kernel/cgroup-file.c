/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a cgroup directory, and the limits that are written alike in both kinds of cgroup. */
#include "kernel/cgroup-internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <fcntl.h>
#include <limits.h>

#define FILE_MAX (4u << 20)

int cgroup_write(const char *dir, const char *file, const char *value, Err *e)
{
	char path[PATH_MAX];
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, file) >= sizeof(path))
		return err_sys(e, ENAMETOOLONG, "cgroup %s", dir);
	r = file_write_at(AT_FDCWD, path, value);
	if (r == -ENOENT)
		return err_new_no(
		    e, ERR_UNSUPPORTED, ENOENT,
		    "cgroup: %s does not exist: this kernel or its configuration lacks that limit", path);
	return r < 0 ? err_sys(e, r, "cgroup: write \"%s\" to %s", value, path) : 0;
}

int cgroup_write_int(const char *dir, const char *file, int64_t value, Err *e)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	return cgroup_write(dir, file, text, e);
}

int cgroup_write_given(const char *dir, const char *file, int64_t value, Err *e)
{
	return value == CGROUP_UNSET ? 0 : cgroup_write_int(dir, file, value, e);
}

int64_t cgroup_read_key(const char *dir, const char *file, const char *key)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	r = file_read_at(AT_FDCWD, path, FILE_MAX, &text, NULL);
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *rest = str_after(line, key);

		if (rest && *rest == ' ')
			return strtoll(rest + 1, NULL, 10);
	}
	return -ENOENT;
}

int64_t cgroup_read_int(const char *dir, const char *file)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	long long value;
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	r = file_read_at(AT_FDCWD, path, 64, &text, NULL);
	if (r < 0)
		return r;
	return sscanf(text, "%lld", &value) == 1 ? value : -EINVAL;
}

int cgroup_hugetlb_file(const char *page_size, const char *suffix, char *buf, size_t cap, Err *e)
{
	if (str_empty(page_size) || strchr(page_size, '/') || strlen(page_size) > 40)
		return err_new(e, ERR_INVALID, "hugepageLimits: \"%s\" is no page size",
			       page_size ? page_size : "");
	snprintf(buf, cap, "hugetlb.%s.%s", page_size, suffix);
	return 0;
}

int cgroup_apply_rdma(const char *dir, const CgroupLimits *l, Err *e)
{
	for (size_t i = 0; i < l->n_rdma; i++) {
		_cleanup_strbuf_ StrBuf b = {0};
		_cleanup_free_ char *line = NULL;
		int r;

		strbuf_add(&b, l->rdma[i].device);
		if (l->rdma[i].handles != CGROUP_UNSET)
			strbuf_addf(&b, " hca_handle=%lld", (long long)l->rdma[i].handles);
		if (l->rdma[i].objects != CGROUP_UNSET)
			strbuf_addf(&b, " hca_object=%lld", (long long)l->rdma[i].objects);
		line = strbuf_steal(&b);
		r = line ? cgroup_write(dir, "rdma.max", line, e) : err_oom(e);
		if (r < 0)
			return r;
	}
	return 0;
}
