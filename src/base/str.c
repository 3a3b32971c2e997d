/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, buffers and string vectors; the contracts are in str.h. */
#include "base/str.h"
#include "base/secret.h"

#include <ctype.h>
#include <limits.h>

char *strf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return s;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

const char *str_after(const char *s, const char *prefix)
{
	return str_starts(s, prefix) ? s + strlen(prefix) : NULL;
}

int str_to_u64(const char *s, uint64_t *ret)
{
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 10);
	if (errno)
		return -errno;
	if (*end)
		return -EINVAL;
	*ret = v;
	return 0;
}

int str_to_i64(const char *s, int64_t *ret)
{
	char *end;

	if (!s || (!isdigit((unsigned char)*s) && !(*s == '-' && isdigit((unsigned char)s[1]))))
		return -EINVAL;
	errno = 0;
	long long v = strtoll(s, &end, 10);
	if (errno)
		return -errno;
	if (*end)
		return -EINVAL;
	*ret = v;
	return 0;
}

int str_to_int(const char *s, int min, int max, int *ret)
{
	int64_t v;
	int r = str_to_i64(s, &v);

	if (r < 0)
		return r;
	if (v < min || v > max)
		return -ERANGE;
	*ret = (int)v;
	return 0;
}

int str_to_bytes(const char *s, int64_t *ret)
{
	static const char units[] = "bkmgtp";
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	double v = strtod(s, &end);
	if (errno)
		return -errno;

	if (*end == ' ')
		end++;
	if (*end) {
		const char *u = strchr(units, tolower((unsigned char)*end));

		if (!u)
			return -EINVAL;
		for (long i = u - units; i > 0; i--)
			v *= 1024;
		end++;
		if (u != units && tolower((unsigned char)*end) == 'i')
			end++;
		if (u != units && tolower((unsigned char)*end) == 'b')
			end++;
		if (*end)
			return -EINVAL;
	}
	if (!(v < 9.2e18))
		return -ERANGE;
	*ret = (int64_t)v;
	return 0;
}

static size_t utf8_sequence_length(const unsigned char *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	if (n == 1)
		return 1;

	uint32_t c = p[0] & (0xFFu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3F);
	}
	if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		return 0;
	return n;
}

bool str_is_utf8(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = utf8_sequence_length((const unsigned char *)s + i, len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

char *str_utf8_clean(const char *s, size_t len)
{
	char *out = malloc(3 * len + 1), *to = out;

	for (size_t i = 0; out && i < len;) {
		size_t n = s[i] ? utf8_sequence_length((const unsigned char *)s + i, len - i) : 0;

		to = mempcpy(to, n ? s + i : "\xef\xbf\xbd", n ?: 3);
		i += n ?: 1;
	}
	if (out)
		*to = '\0';
	return out;
}

char *str_trim_dup(const char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n > 0 && isspace((unsigned char)s[n - 1]))
		n--;
	return strndup(s, n);
}

void strbuf_done(StrBuf *b)
{
	free(b->s);
	*b = (StrBuf){0};
}

void strbuf_wipe(StrBuf *b)
{
	secret_free(take_ptr(b->s));
	strbuf_done(b);
}

static bool strbuf_grow(StrBuf *b, size_t more)
{
	if (b->oom)
		return false;
	if (more >= SIZE_MAX / 2 - b->len) {
		b->oom = true;
		return false;
	}
	if (b->len + more + 1 > b->cap) {
		size_t cap = MAX2(b->cap * 2, b->len + more + 64);
		char *s = realloc(b->s, cap);

		if (!s) {
			b->oom = true;
			return false;
		}
		b->s = s;
		b->cap = cap;
	}
	return true;
}

void strbuf_reserve(StrBuf *b, size_t more)
{
	(void)strbuf_grow(b, more);
}

void strbuf_add_n(StrBuf *b, const void *s, size_t n)
{
	if (!strbuf_grow(b, n))
		return;
	if (n > 0)
		memcpy(b->s + b->len, s, n);
	b->len += n;
	b->s[b->len] = '\0';
}

void strbuf_add_c(StrBuf *b, char c)
{
	strbuf_add_n(b, &c, 1);
}

/* Formatted where it goes to: only what turns out to be too long for the room is formatted again. */
void strbuf_addf(StrBuf *b, const char *fmt, ...)
{
	va_list ap, again;
	size_t room;
	int n;

	if (!strbuf_grow(b, 64))
		return;
	room = b->cap - b->len;
	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(b->s + b->len, room, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= room && strbuf_grow(b, (size_t)n))
		n = vsnprintf(b->s + b->len, (size_t)n + 1, fmt, again);
	va_end(again);
	if (n < 0)
		b->oom = true;
	if (b->oom)
		b->s[b->len] = '\0';
	else
		b->len += (size_t)n;
}

char *strbuf_steal(StrBuf *b)
{
	char *s = NULL;

	strbuf_add_n(b, "", 0);
	if (!b->oom)
		s = take_ptr(b->s);
	strbuf_done(b);
	return s;
}

size_t strv_len(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

void strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

char **strv_dup(char *const *v)
{
	_cleanup_strv_ char **copy = calloc(strv_len(v) + 1, sizeof(char *));

	if (!copy)
		return NULL;
	for (size_t i = 0; v && v[i]; i++) {
		copy[i] = strdup(v[i]);
		if (!copy[i])
			return NULL;
	}
	return take_ptr(copy);
}

int strv_take(char ***v, char *s)
{
	size_t n = strv_len(*v);
	char **grown = s ? realloc(*v, (n + 2) * sizeof(char *)) : NULL;

	if (!grown) {
		free(s);
		return -ENOMEM;
	}
	grown[n] = s;
	grown[n + 1] = NULL;
	*v = grown;
	return 0;
}

int strv_add(char ***v, const char *s)
{
	return strv_take(v, strdup(s));
}

bool strv_has(char *const *v, const char *s)
{
	for (size_t i = 0; v && v[i]; i++)
		if (streq(v[i], s))
			return true;
	return false;
}

int strv_split_csv(const char *s, char ***ret)
{
	_cleanup_strv_ char **v = NULL;

	for (;;) {
		_cleanup_strbuf_ StrBuf b = {0};

		if (*s == '"') {
			for (s++; *s && !(*s == '"' && s[1] != '"'); s++) {
				s += *s == '"';
				strbuf_add_c(&b, *s);
			}
			if (*s++ != '"' || (*s && *s != ','))
				return -EINVAL;
		} else {
			size_t n = strcspn(s, ",");

			if (memchr(s, '"', n))
				return -EINVAL;
			strbuf_add_n(&b, s, n);
			s += n;
		}
		if (strv_take(&v, strbuf_steal(&b)) < 0)
			return -ENOMEM;
		if (!*s)
			break;
		s++;
	}
	*ret = take_ptr(v);
	return 0;
}

char **strv_split(const char *s, char sep)
{
	_cleanup_strv_ char **v = NULL;

	for (;;) {
		const char *end = strchrnul(s, sep);

		if (strv_take(&v, strndup(s, (size_t)(end - s))) < 0)
			return NULL;
		if (!*end)
			return take_ptr(v);
		s = end + 1;
	}
}

char *strv_join(char *const *v, const char *sep)
{
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; v && v[i]; i++) {
		if (i > 0)
			strbuf_add(&b, sep);
		strbuf_add(&b, v[i]);
	}
	return strbuf_steal(&b);
}

static bool env_is_key(const char *assignment, const char *key, size_t len)
{
	return strncmp(assignment, key, len) == 0 && assignment[len] == '=';
}

const char *strv_env_get(char *const *env, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; env && env[i]; i++)
		if (env_is_key(env[i], key, len))
			return env[i] + len + 1;
	return NULL;
}

/* A variable at its place among others. */
typedef struct EnvAt {
	char *assignment;
	size_t at;
} EnvAt;

static size_t env_key_len(const char *assignment)
{
	return (size_t)(strchrnul(assignment, '=') - assignment);
}

static int env_compare(const void *a, const void *b)
{
	const EnvAt *x = a, *y = b;
	size_t len_x = env_key_len(x->assignment), len_y = env_key_len(y->assignment);
	int r = memcmp(x->assignment, y->assignment, MIN2(len_x, len_y));

	if (r == 0)
		r = (len_x > len_y) - (len_x < len_y);
	return r ?: (x->at > y->at) - (x->at < y->at);
}

static bool env_same(const EnvAt *a, const EnvAt *b)
{
	size_t len = env_key_len(a->assignment);

	return len == env_key_len(b->assignment) && memcmp(a->assignment, b->assignment, len) == 0;
}

static void env_compact(char **env, size_t n)
{
	size_t to = 0;

	for (size_t i = 0; i < n; i++)
		if (env[i])
			env[to++] = env[i];
	env[to] = NULL;
}

/* Sorted, not hashed: images choose the names, and could choose those that share a hash. */
static EnvAt *env_sorted(char *const *env, char *const *more, size_t *ret_n)
{
	EnvAt *v = calloc(strv_len(env) + strv_len(more) + 1, sizeof(*v));
	size_t n = 0;

	if (!v)
		return NULL;
	for (char *const *s = env; s && *s; s++, n++)
		v[n] = (EnvAt){.assignment = *s, .at = n};
	for (char *const *s = more; s && *s; s++, n++)
		v[n] = (EnvAt){.assignment = *s, .at = n};
	qsort(v, n, sizeof(*v), env_compare);
	*ret_n = n;
	return v;
}

int strv_env_unique(char **env)
{
	size_t n = 0;
	_cleanup_free_ EnvAt *v = env_sorted(env, NULL, &n);

	if (!v)
		return -ENOMEM;
	for (size_t i = 1; i < n; i++)
		if (env_same(&v[i - 1], &v[i]))
			env[v[i - 1].at] = NULL;
	for (size_t i = 0; i < n; i++)
		if (!env[v[i].at])
			free(v[i].assignment);
	if (env)
		env_compact(env, n);
	return 0;
}

/* What becomes of one variable: it stays where it was last put when it was not there. */
static int env_settle(const EnvAt *v, size_t n, size_t n_env, char **out)
{
	const EnvAt *born = NULL, *last = NULL;

	for (size_t i = 0; i < n; i++) {
		bool is_set = v[i].at < n_env || strchr(v[i].assignment, '=');

		born = !is_set ? NULL : born ?: &v[i];
		last = &v[i];
	}
	if (!born)
		return 0;
	out[born->at] = strdup(last->assignment);
	return out[born->at] ? 0 : -ENOMEM;
}

int strv_env_apply(char ***env, char *const *changes)
{
	size_t n_env = strv_len(*env), n = 0, to;
	_cleanup_free_ EnvAt *v = env_sorted(*env, changes, &n);
	char **out = calloc(n + 1, sizeof(*out));
	int r = v && out ? 0 : -ENOMEM;

	for (size_t i = 0; r >= 0 && i < n; i = to) {
		for (to = i + 1; to < n && env_same(&v[i], &v[to]);)
			to++;
		r = env_settle(&v[i], to - i, n_env, out);
	}
	if (out)
		env_compact(out, n);
	if (r >= 0) {
		strv_free(*env);
		*env = take_ptr(out);
	}
	strv_free(out);
	return r;
}

int strv_env_set(char ***env, const char *assignment)
{
	size_t len = (size_t)(strchrnul(assignment, '=') - assignment);

	for (size_t i = 0; *env && (*env)[i]; i++)
		if (env_is_key((*env)[i], assignment, len)) {
			char *copy = strdup(assignment);

			if (!copy)
				return -ENOMEM;
			free((*env)[i]);
			(*env)[i] = copy;
			return 0;
		}
	return strv_add(env, assignment);
}

void strv_env_unset(char **env, const char *key)
{
	size_t len = strlen(key), to = 0;

	for (size_t i = 0; env && env[i]; i++)
		if (env_is_key(env[i], key, len))
			free(env[i]);
		else
			env[to++] = env[i];
	if (env)
		env[to] = NULL;
}
