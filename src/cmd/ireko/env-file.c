/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See env-file.h. The file format is docker's: NAME=VALUE lines taken literally (no quotes, no expansion),
 * blank lines and # comments skipped.
 */
#include "env-file.h"
#include "base/fd.h"
#include "base/str.h"

#include <ctype.h>
#include <fcntl.h>

#define FILE_MAX (16u << 20)

static int add_line(const char *file, size_t number, const char *line, bool from_env, char ***v, Err *e)
{
	size_t name_len;

	while (isspace((unsigned char)*line))
		line++;
	if (!*line || *line == '#')
		return 0;
	name_len = strcspn(line, "=");
	if (name_len == 0)
		return err_new(e, ERR_INVALID, "%s:%zu: no variable name on line '%s'", file, number, line);
	for (size_t i = 0; i < name_len; i++)
		if (isspace((unsigned char)line[i]))
			return err_new(e, ERR_INVALID, "%s:%zu: variable '%.*s' contains whitespaces", file,
				       number, (int)name_len, line);
	if (!str_is_utf8(line, strlen(line)))
		return err_new(e, ERR_INVALID, "%s:%zu: the line is no UTF-8", file, number);
	if (line[name_len])
		return strv_add(v, line) < 0 ? err_oom(e) : 0;
	/* A name alone takes our variable's value; in a file of labels it says nothing. */
	const char *own = from_env ? getenv(line) : NULL;
	return own && strv_take(v, strf("%s=%s", line, own)) < 0 ? err_oom(e) : 0;
}

static int add_file(const char *file, bool from_env, char ***v, Err *e)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read_at(AT_FDCWD, file, FILE_MAX, &text, &len);

	if (r < 0)
		return err_sys(e, r, "open %s", file);
	if (strlen(text) != len)
		return err_new(e, ERR_INVALID, "%s: the file contains a NUL byte", file);
	const char *start = str_after(text, "\xef\xbb\xbf");
	_cleanup_strv_ char **lines = strv_split(start ? start : text, '\n');
	if (!lines)
		return err_oom(e);
	for (size_t i = 0; r == 0 && lines[i]; i++) {
		size_t n = strlen(lines[i]);

		if (n > 0 && lines[i][n - 1] == '\r')
			lines[i][n - 1] = '\0';
		r = add_line(file, i + 1, lines[i], from_env, v, e);
	}
	return r;
}

static int collect(char *const *files, char *const *flags, bool from_env, char ***ret, Err *e)
{
	_cleanup_strv_ char **v = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && files && files[i]; i++)
		r = add_file(files[i], from_env, &v, e);
	for (size_t i = 0; r == 0 && flags && flags[i]; i++) {
		const char *own = from_env && !strchr(flags[i], '=') ? getenv(flags[i]) : NULL;

		if (flags[i][0] == '\0' || flags[i][0] == '=')
			return err_new(e, ERR_INVALID,
				       "invalid argument \"%s\" for \"%s\" flag: invalid %s: %s", flags[i],
				       from_env ? "-e, --env" : "--label",
				       from_env ? "environment variable" : "label", flags[i]);
		if (strv_take(&v, own ? strf("%s=%s", flags[i], own) : strdup(flags[i])) < 0)
			r = err_oom(e);
	}
	if (r == 0)
		*ret = take_ptr(v);
	return r;
}

int env_collect(char *const *files, char *const *flags, char ***ret, Err *e)
{
	return collect(files, flags, true, ret, e);
}

int labels_collect(char *const *files, char *const *flags, char ***ret, Err *e)
{
	return collect(files, flags, false, ret, e);
}
