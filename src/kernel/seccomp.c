/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel/seccomp.h"

#include "base/fd.h"
#include "base/str.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PROGRAM_MAX (BPF_MAXINSNS * sizeof(struct sock_filter))

void seccomp_program_done(SeccompProgram *p)
{
	free(p->code);
	*p = (SeccompProgram){0};
}

static const struct {
	const char *name;
	uint32_t action;
} actions[] = {
    {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
};

static int parse_action(const char *name, int64_t errno_ret, uint32_t *ret, Err *e)
{
	uint32_t no = errno_ret >= 0 ? (uint32_t)errno_ret & 0xffff : EPERM;

	if (!name)
		return err_new(e, ERR_INVALID, "seccomp: an action is missing");
	if (streq(name, "SCMP_ACT_ERRNO")) {
		*ret = SCMP_ACT_ERRNO(no);
		return 0;
	}
	if (streq(name, "SCMP_ACT_TRACE")) {
		*ret = SCMP_ACT_TRACE(no);
		return 0;
	}
	for (size_t i = 0; i < ELEMENTSOF(actions); i++) {
		if (streq(actions[i].name, name)) {
			*ret = actions[i].action;
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "seccomp: unknown action %s", name);
}

bool seccomp_action_notifies(const char *action)
{
	return streq0(action, "SCMP_ACT_NOTIFY");
}

static int parse_op(const char *name, enum scmp_compare *ret, Err *e)
{
	static const struct {
		const char *name;
		enum scmp_compare op;
	} ops[] = {
	    {"SCMP_CMP_NE", SCMP_CMP_NE},
	    {"SCMP_CMP_LT", SCMP_CMP_LT},
	    {"SCMP_CMP_LE", SCMP_CMP_LE},
	    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
	    {"SCMP_CMP_GE", SCMP_CMP_GE},
	    {"SCMP_CMP_GT", SCMP_CMP_GT},
	    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
	};

	for (size_t i = 0; name && i < ELEMENTSOF(ops); i++) {
		if (streq(ops[i].name, name)) {
			*ret = ops[i].op;
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "seccomp: unknown comparison %s", name ? name : "(none)");
}

/* runtime-spec says SCMP_ARCH_X86_64 where libseccomp says x86_64. */
static int add_architecture(scmp_filter_ctx ctx, const char *name, Err *e)
{
	const char *rest = str_after(name, "SCMP_ARCH_");
	char lower[32];
	size_t n = rest ? strlen(rest) : 0;
	uint32_t token;
	int r;

	if (n == 0 || n >= sizeof(lower))
		return err_new(e, ERR_INVALID, "seccomp: unknown architecture %s", name);
	for (size_t i = 0; i <= n; i++)
		lower[i] = rest[i] >= 'A' && rest[i] <= 'Z' ? (char)(rest[i] + 32) : rest[i];
	token = seccomp_arch_resolve_name(lower);
	if (token == 0)
		return err_new(e, ERR_INVALID, "seccomp: unknown architecture %s", name);
	r = seccomp_arch_add(ctx, token);
	return r < 0 && r != -EEXIST ? err_sys(e, r, "seccomp: add architecture %s", name) : 0;
}

static int add_calls(scmp_filter_ctx ctx, const SeccompRule *rule, uint32_t action,
		     const struct scmp_arg_cmp *args, unsigned n_args, Err *e)
{
	for (size_t i = 0; rule->names && rule->names[i]; i++) {
		int nr = seccomp_syscall_resolve_name(rule->names[i]), r;

		if (nr == __NR_SCMP_ERROR)
			continue;
		r = seccomp_rule_add_array(ctx, action, nr, n_args, args);
		if (r < 0)
			return err_sys(e, r, "seccomp: add rule for %s", rule->names[i]);
	}
	return 0;
}

/* libseccomp refuses two conditions on one argument in one rule; runtimes take these as alternatives. */
static bool has_repeated_index(const SeccompRule *rule)
{
	unsigned seen = 0;

	for (size_t i = 0; i < rule->n_args; i++) {
		if (rule->args[i].index < 6 && (seen & (1u << rule->args[i].index)))
			return true;
		if (rule->args[i].index < 6)
			seen |= 1u << rule->args[i].index;
	}
	return false;
}

static int add_rule(scmp_filter_ctx ctx, const SeccompRule *rule, uint32_t default_action, Err *e)
{
	struct scmp_arg_cmp args[6];
	bool apart = has_repeated_index(rule);
	uint32_t action;
	int r = parse_action(rule->action, rule->errno_ret, &action, e);

	if (r < 0)
		return r;
	if (action == default_action)
		return 0; /* libseccomp refuses it, and it says nothing */
	if (rule->n_args > 6)
		return err_new(e, ERR_INVALID, "seccomp: a rule has %zu conditions, 6 are possible",
			       rule->n_args);
	for (size_t i = 0; i < rule->n_args; i++) {
		const SeccompArg *a = &rule->args[i];
		enum scmp_compare op = SCMP_CMP_EQ;

		r = parse_op(a->op, &op, e);
		if (r < 0)
			return r;
		if (a->index > 5)
			return err_new(e, ERR_INVALID, "seccomp: argument index %u is above 5", a->index);
		args[i] = (struct scmp_arg_cmp){a->index, op, a->value, a->value_two};
		if (apart) {
			r = add_calls(ctx, rule, action, &args[i], 1, e);
			if (r < 0)
				return r;
		}
	}
	return apart ? 0 : add_calls(ctx, rule, action, args, (unsigned)rule->n_args, e);
}

static int export_program(scmp_filter_ctx ctx, SeccompProgram *ret, Err *e)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	char *code = NULL;
	size_t len;
	int r;

	if (fd < 0)
		return err_sys(e, errno, "seccomp: memfd_create");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_sys(e, r, "seccomp: compile the filter");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, errno, "seccomp: read the filter");
	r = fd_read_all(fd, PROGRAM_MAX, &code, &len);
	if (r < 0)
		return err_sys(e, r, "seccomp: read the filter");
	*ret = (SeccompProgram){.code = code, .len = len};
	return 0;
}

static void release_ctx(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

int seccomp_compile(const SeccompPolicy *p, SeccompProgram *ret, Err *e)
{
	_cleanup_(release_ctx) scmp_filter_ctx ctx = NULL;
	uint32_t action;
	int r = parse_action(p->default_action, p->default_errno_ret, &action, e);

	if (r < 0)
		return r;
	ctx = seccomp_init(action);
	if (!ctx)
		return err_new(e, ERR_INVALID, "seccomp: default action %s is not possible",
			       p->default_action);
	/* no_new_privs is the process's own setting; it is not for the filter to switch it on. */
	if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0) < 0)
		return err_new(e, ERR_INTERNAL, "seccomp: configure the filter");
	for (size_t i = 0; p->architectures && p->architectures[i]; i++) {
		r = add_architecture(ctx, p->architectures[i], e);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < p->n_rules; i++) {
		r = add_rule(ctx, &p->rules[i], action, e);
		if (r < 0)
			return r;
	}
	return export_program(ctx, ret, e);
}

int seccomp_flags(char *const *names, unsigned *ret, Err *e)
{
	static const struct {
		const char *name;
		unsigned flag;
	} flags[] = {
	    {"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* one thread: nothing to synchronise */
	    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1u << 5},
	};
	unsigned out = 0;

	for (size_t i = 0; names && names[i]; i++) {
		size_t k = 0;

		while (k < ELEMENTSOF(flags) && !streq(flags[k].name, names[i]))
			k++;
		if (k == ELEMENTSOF(flags))
			return err_new(e, ERR_INVALID, "seccomp: unknown flag %s", names[i]);
		out |= flags[k].flag;
	}
	*ret = out;
	return 0;
}

int seccomp_install(const SeccompProgram *p, unsigned flags, bool want_listener, int *ret_listener, Err *e)
{
	struct sock_fprog prog = {
	    .len = (unsigned short)(p->len / sizeof(struct sock_filter)),
	    .filter = p->code,
	};

	if (p->len == 0 || p->len > PROGRAM_MAX || p->len % sizeof(struct sock_filter) != 0)
		return err_new(e, ERR_INVALID, "seccomp: a filter of %zu bytes is not possible", p->len);
	if (want_listener)
		flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;

	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);

	if (r < 0)
		return err_sys(e, errno, "seccomp: install the filter");
	if (want_listener)
		*ret_listener = (int)r;
	return 0;
}

char *seccomp_compiler_id(void)
{
	const struct scmp_version *v = seccomp_version();

	return strf("%u.%u.%u/%u/%x", v->major, v->minor, v->micro, seccomp_api_get(), seccomp_arch_native());
}
