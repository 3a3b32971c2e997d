/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/subid.h"

#include "base/str.h"

#define MAPS_MAX 340 /* of one namespace, as the kernel has it */

static int add(NamespaceIdMap **v, size_t *n, uint64_t start, uint64_t count, Err *e)
{
	uint64_t inside = *n ? (uint64_t)(*v)[*n - 1].inside + (*v)[*n - 1].count : 0;
	NamespaceIdMap *grown;

	/* The last id there is means "none". */
	if (count == 0 || start > UINT32_MAX - 1 || count > UINT32_MAX - 1 - start ||
	    inside + count > UINT32_MAX - 1)
		return err_new(e, ERR_INVALID, "%llu:%llu is no range of ids", (unsigned long long)start,
			       (unsigned long long)count);
	if (*n == MAPS_MAX)
		return err_new(e, ERR_INVALID, "more than %d ranges", MAPS_MAX);
	grown = realloc(*v, (*n + 1) * sizeof(*grown));
	if (!grown)
		return err_oom(e);
	*v = grown;
	grown[(*n)++] = (NamespaceIdMap){(uint32_t)inside, (uint32_t)start, (uint32_t)count};
	return 0;
}

/* "user:start:count" */
static int read_line(const char *line, const char *user, NamespaceIdMap **v, size_t *n, Err *e)
{
	_cleanup_strv_ char **f = strv_split(line, ':');
	uint64_t start, count;

	if (!f)
		return err_oom(e);
	if (strv_len(f) == 0 || !streq(f[0], user))
		return 0;
	if (strv_len(f) != 3 || str_to_u64(f[1], &start) < 0 || str_to_u64(f[2], &count) < 0)
		return err_new(e, ERR_INVALID, "\"%.100s\": expected USER:START:COUNT", line);
	return add(v, n, start, count, e);
}

int subid_maps(const char *text, const char *user, NamespaceIdMap **ret, size_t *ret_n, Err *e)
{
	_cleanup_strv_ char **lines = strv_split(text, '\n');
	_cleanup_free_ NamespaceIdMap *v = NULL;
	size_t n = 0;
	int r = lines ? 0 : err_oom(e);

	for (size_t i = 0; r >= 0 && *user && lines[i]; i++)
		r = read_line(lines[i], user, &v, &n, e);
	if (r >= 0 && n == 0)
		r = err_new(e, ERR_NOT_FOUND, "no ranges of user \"%s\"", user);
	if (r < 0)
		return r;
	*ret = take_ptr(v);
	*ret_n = n;
	return 0;
}
