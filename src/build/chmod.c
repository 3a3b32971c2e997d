/* SPDX-License-Identifier: Apache-2.0 */
/* See chmod.h. A clause is [ugoa]* followed by one or more of [+-=] with permissions or one class to copy from. */
#include "build/chmod.h"

#define UMASK 022

static int parse_octal(const char *text, ModeChange *ret, Err *e)
{
	mode_t mode = 0;

	for (const char *p = text; *p; p++) {
		mode = *p >= '0' && *p <= '7' ? mode << 3 | (mode_t)(*p - '0') : 010000;
		if (mode > 07777)
			return err_new(e, ERR_INVALID,
				       "invalid chmod parameter: '%.100s'. it should be octal string and "
				       "between 0 and 07777",
				       text);
	}
	ret->steps[ret->n++] = (ModeStep){.op = '=', .who = 07777, .set = mode};
	return 0;
}

/* 0 without any: everybody, less what the umask takes. */
static mode_t parse_who(const char **p)
{
	mode_t who = 0;

	for (;; ++*p) {
		if (**p == 'u')
			who |= S_ISUID | S_IRWXU;
		else if (**p == 'g')
			who |= S_ISGID | S_IRWXG;
		else if (**p == 'o')
			who |= S_IRWXO;
		else if (**p == 'a')
			who |= 06777;
		else
			return who;
	}
}

static bool parse_permissions(const char **p, ModeStep *s)
{
	if (**p == 'u' || **p == 'g' || **p == 'o') {
		s->from = *(*p)++;
		return true;
	}
	for (;; ++*p) {
		if (**p == 'r')
			s->set |= 0444;
		else if (**p == 'w')
			s->set |= 0222;
		else if (**p == 'x')
			s->set |= 0111;
		else if (**p == 'X')
			s->conditional = true;
		else if (**p == 's')
			s->set |= S_ISUID | S_ISGID;
		else if (**p == 't')
			s->set |= S_ISVTX;
		else
			return **p == '\0' || **p == ',' || **p == '+' || **p == '-' || **p == '=';
	}
}

/* One clause, up to a comma or the end. */
static bool parse_clause(const char **p, ModeChange *c)
{
	mode_t who = parse_who(p);

	do {
		ModeStep s = {.op = **p, .who = (who ? who : 06777 & ~(mode_t)UMASK) | S_ISVTX};

		if ((s.op != '+' && s.op != '-' && s.op != '=') || c->n == MODE_STEPS_MAX)
			return false;
		++*p;
		if (!parse_permissions(p, &s))
			return false;
		/* "u=rw" leaves the sticky bit, which no class has, alone. */
		if (!(s.set & S_ISVTX) && !(s.op == '=' && !who))
			s.who &= ~(mode_t)S_ISVTX;
		c->steps[c->n++] = s;
	} while (**p && **p != ',');
	return true;
}

int mode_change_parse(const char *text, ModeChange *ret, Err *e)
{
	const char *p = text;
	ModeChange c = {0};

	if (*text >= '0' && *text <= '9') {
		int r = parse_octal(text, &c, e);

		if (r < 0)
			return r;
		*ret = c;
		return 0;
	}
	do {
		if (!parse_clause(&p, &c))
			return err_new(
			    e, ERR_INVALID,
			    "invalid chmod parameter: '%.100s': expected an octal mode such as 0755 "
			    "or a symbolic one such as u+x,go=rX",
			    text);
	} while (*p++ == ',');
	*ret = c;
	return 0;
}

/* What the class may do, for all classes. */
static mode_t spread(mode_t mode, char from)
{
	mode_t bits = 07 & (from == 'u' ? mode >> 6 : from == 'g' ? mode >> 3 : mode);

	return bits | bits << 3 | bits << 6;
}

mode_t mode_change_apply(const ModeChange *c, mode_t mode)
{
	mode_t type = mode & S_IFMT;

	mode &= 07777;
	for (size_t i = 0; i < c->n; i++) {
		const ModeStep *s = &c->steps[i];
		mode_t set = s->from ? spread(mode, s->from) : s->set;

		if (s->conditional && (type == S_IFDIR || (mode & 0111)))
			set |= 0111;
		set &= s->who;
		if (s->op == '=')
			mode = (mode & ~s->who) | set;
		else
			mode = s->op == '+' ? mode | set : mode & ~set;
	}
	return mode;
}
