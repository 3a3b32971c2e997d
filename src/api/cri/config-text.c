/* SPDX-License-Identifier: Apache-2.0 */
/* Strings of CRI's messages: what they may be at all, and Kubernetes' quantities. */
#include "api/cri/config-internal.h"

#include "base/path.h"
#include "base/sha256.h"

#include <ctype.h>

#define NAME_MAX_LEN 255 /* of a container */
#define NAME_HASH    16  /* digits */

int cri_text_check(const char *s, const char *field, Err *e)
{
	return str_is_utf8(s, strlen(s)) ? 0 : err_new(e, ERR_INVALID, "%s: it is not valid UTF-8", field);
}

int cri_text(const char *s, const char *field, char **ret, Err *e)
{
	char *copy;
	int r;

	if (str_empty(s))
		return 0;
	r = cri_text_check(s, field, e);
	if (r < 0)
		return r;
	copy = strdup(s);
	if (!copy)
		return err_oom(e);
	free(*ret);
	*ret = copy;
	return 0;
}

bool cri_path_leads_up(const char *s)
{
	while (*s) {
		size_t len = strcspn(s, "/");

		if (len == 2 && s[0] == '.' && s[1] == '.')
			return true;
		s += len + (s[len] == '/');
	}
	return false;
}

int cri_path(const char *s, const char *field, char **ret, Err *e)
{
	int r = cri_text_check(s, field, e);

	if (r < 0)
		return r;
	if (s[0] != '/' || cri_path_leads_up(s))
		return err_new(e, ERR_INVALID, "%s: \"%.200s\" is not an absolute path without \"..\"", field,
			       s);
	free(*ret);
	*ret = path_clean(s);
	return *ret ? 0 : err_oom(e);
}

int cri_list_check(size_t n, const char *field, Err *e)
{
	return n <= CRI_LIST_MAX
		   ? 0
		   : err_new(e, ERR_INVALID, "%s: %zu entries, at most %d are taken", field, n, CRI_LIST_MAX);
}

int cri_texts(char *const *v, size_t n, const char *field, char ***to, Err *e)
{
	int r = cri_list_check(n, field, e);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = cri_text_check(v[i], field, e);
		if (r >= 0 && strv_add(to, v[i]) < 0)
			r = err_oom(e);
	}
	return r;
}

int cri_pair_add(char ***to, const char *key, const char *value, const char *field, Err *e)
{
	int r = cri_text_check(key, field, e);

	if (r >= 0)
		r = cri_text_check(value, field, e);
	if (r < 0)
		return r;
	if (!*key || strchr(key, '='))
		return err_new(e, ERR_INVALID, "%s: \"%.100s\" is no name: it is empty, or has a '='", field,
			       key);
	return strv_take(to, strf("%s=%s", key, value)) < 0 ? err_oom(e) : 0;
}

/* ---- names ---- */

#define OBJECT_NAME_MAX 253 /* Kubernetes' */

int cri_name_check(const char *s, const char *field, bool may_be_empty, Err *e)
{
	size_t len = strlen(s);

	if (len == 0 && !may_be_empty)
		return err_new(e, ERR_INVALID, "%s: it is empty", field);
	if (len > OBJECT_NAME_MAX)
		return err_new(e, ERR_INVALID, "%s: it is longer than %d bytes", field, OBJECT_NAME_MAX);
	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
			return err_new(
			    e, ERR_INVALID,
			    "%s: \"%.100s\" has something other than letters, digits, '-', '_' and '.'",
			    field, s);
	return 0;
}

char *cri_object_name(const char *const *parts, size_t n)
{
	_cleanup_strbuf_ StrBuf raw = {0};
	char *name;

	strbuf_add(&raw, "k8s");
	for (size_t i = 0; i < n; i++)
		strbuf_addf(&raw, "_%s", parts[i]);
	name = strbuf_steal(&raw);
	if (!name)
		return NULL;
	if (strlen(name) <= NAME_MAX_LEN)
		return name;
	Sha256Hex hash = sha256_hex(name, strlen(name));
	char *own = strf("%.*s_%.*s", NAME_MAX_LEN - NAME_HASH - 1, name, NAME_HASH, hash.s);
	free(name);
	return own;
}

/* ---- quantities ---- */

#define QUANTITY_DIGITS 18
#define QUANTITY_EXP    18

/* Digits and their decimals; NULL if there is none, or too many to be counted. */
static const char *read_number(const char *s, __uint128_t *ret, int *ret_decimals)
{
	int digits = 0, decimals = 0;
	bool point = false;

	*ret = 0;
	for (;; s++) {
		if (*s == '.' && !point) {
			point = true;
			continue;
		}
		if (!isdigit((unsigned char)*s))
			break;
		if (++digits > QUANTITY_DIGITS)
			return NULL;
		*ret = *ret * 10 + (unsigned)(*s - '0');
		decimals += point;
	}
	*ret_decimals = decimals;
	return digits > 0 ? s : NULL;
}

static bool read_suffix(const char *s, __uint128_t *ret_times, int *ret_exp)
{
	static const struct {
		const char *suffix;
		int shift, exp;
	} suffixes[] = {{"", 0, 0},    {"n", 0, -9},  {"u", 0, -6},  {"m", 0, -3},
			{"k", 0, 3},   {"M", 0, 6},   {"G", 0, 9},   {"T", 0, 12},
			{"P", 0, 15},  {"E", 0, 18},  {"Ki", 10, 0}, {"Mi", 20, 0},
			{"Gi", 30, 0}, {"Ti", 40, 0}, {"Pi", 50, 0}, {"Ei", 60, 0}};

	*ret_times = 1;
	for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
		if (streq(s, suffixes[i].suffix)) {
			*ret_times = (__uint128_t)1 << suffixes[i].shift;
			*ret_exp = suffixes[i].exp;
			return true;
		}
	return (*s == 'e' || *s == 'E') &&
	       str_to_int(s + 1 + (s[1] == '+'), -QUANTITY_EXP, QUANTITY_EXP, ret_exp) >= 0;
}

int cri_quantity(const char *text, int64_t *ret)
{
	__uint128_t n, times, divide = 1;
	int decimals, exp = 0;
	const char *rest = read_number(text + (*text == '+'), &n, &decimals);

	if (!rest || !read_suffix(rest, &times, &exp))
		return -EINVAL;
	/* At most 10^18 * 2^60 or 10^18 * 10^18, below 2^127. */
	for (; exp > 0 && decimals > 0; exp--, decimals--)
		;
	for (; exp > 0; exp--)
		times *= 10;
	for (exp -= decimals; exp < 0; exp++)
		divide *= 10;
	n = (n * times + divide - 1) / divide;
	if (n > INT64_MAX)
		return -ERANGE;
	*ret = (int64_t)n;
	return 0;
}
