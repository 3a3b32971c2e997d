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
	uint32_t no = errno_ret >= 0 ? (uint32_t)errno_ret : EPERM;

	if (!name)
		return err_new(e, ERR_INVALID, "seccomp: an action is missing");
	/* A number that wraps around to 0 would be success, of a call that was not made. */
	if (errno_ret < -1 || errno_ret > UINT16_MAX)
		return err_new(e, ERR_INVALID, "seccomp: %lld is no errno", (long long)errno_ret);
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

static int parse_op(const char *name, enum scmp_compare *ret, Err *e)
{
	for (size_t i = 0; name && i < ELEMENTSOF(ops); i++) {
		if (streq(ops[i].name, name)) {
			*ret = ops[i].op;
			return 0;
		}
	}
	return err_new(e, ERR_INVALID, "seccomp: unknown comparison %s", name ? name : "(none)");
}

static const char *const architectures[] = {
    "SCMP_ARCH_AARCH64",   "SCMP_ARCH_ARM",      "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",   "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",    "SCMP_ARCH_PARISC64", "SCMP_ARCH_PPC",      "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",   "SCMP_ARCH_RISCV64",  "SCMP_ARCH_S390",     "SCMP_ARCH_S390X",
    "SCMP_ARCH_X32",       "SCMP_ARCH_X86",      "SCMP_ARCH_X86_64",
};

/* libseccomp's number, 0 if unknown. runtime-spec says SCMP_ARCH_X86_64 where libseccomp says x86_64. */
static uint32_t arch_token(const char *name)
{
	const char *rest = str_after(name, "SCMP_ARCH_");
	char lower[32];
	size_t n = rest ? strlen(rest) : 0;

	if (n == 0 || n >= sizeof(lower))
		return 0;
	for (size_t i = 0; i <= n; i++)
		lower[i] = rest[i] >= 'A' && rest[i] <= 'Z' ? (char)(rest[i] + 32) : rest[i];
	return seccomp_arch_resolve_name(lower);
}

static int add_architecture(scmp_filter_ctx ctx, const char *name, Err *e)
{
	uint32_t token = arch_token(name);
	int r;

	if (token == 0)
		return err_new(e, ERR_INVALID, "seccomp.architectures: unknown architecture \"%s\"", name);
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

#define X32_BIT     0x40000000u
#define ARCHES_MAX  20
#define ARCH_LENGTH 5 /* instructions for one architecture */
#define ACT_ENOSYS  (SECCOMP_RET_ERRNO | ENOSYS)

/* The highest number that the policy has a rule for, -1 if there is none. */
static int last_call(const SeccompPolicy *p, uint32_t token)
{
	int last = -1;

	for (size_t i = 0; i < p->n_rules; i++)
		for (size_t k = 0; p->rules[i].names && p->rules[i].names[k]; k++) {
			int nr = seccomp_syscall_resolve_name_arch(token, p->rules[i].names[k]);

			last = MAX2(last, nr); /* unknown and pseudo numbers are negative */
		}
	return last;
}

/* ld nr; x32's numbers go to the filter itself; above the last one: ENOSYS. Falls through to the next architecture's test
 * only if this is not the one. */
static size_t emit_arch(struct sock_filter *out, uint32_t audit_arch, uint32_t last, size_t left)
{
	const struct sock_filter code[ARCH_LENGTH] = {
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 0, ARCH_LENGTH - 1),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, (uint8_t)(left + 2), 0),
	    BPF_STMT(BPF_JMP | BPF_JA,
		     (uint32_t)left + 2), /* over the final jump and the return, to the filter */
	};

	memcpy(out, code, sizeof(code));
	return ARCH_LENGTH;
}

static bool wants_enosys(const SeccompPolicy *p)
{
	const char *d = p->default_action;

	return !streq(d, "SCMP_ACT_ALLOW") && !streq(d, "SCMP_ACT_LOG") && !streq(d, "SCMP_ACT_TRACE") &&
	       !(streq(d, "SCMP_ACT_ERRNO") && p->default_errno_ret == ENOSYS);
}

/* The kernel's AUDIT_ARCH_* of an architecture is what libseccomp takes for its token, but for x32, which shares x86_64's. */
static size_t collect_arches(const SeccompPolicy *p, uint32_t *tokens)
{
	size_t n = 0;

	tokens[n++] = seccomp_arch_native();
	for (size_t i = 0; p->architectures && p->architectures[i] && n < ARCHES_MAX; i++) {
		uint32_t t = arch_token(p->architectures[i]);
		size_t k = 0;

		while (k < n && tokens[k] != t)
			k++;
		if (k == n && t != SCMP_ARCH_X32)
			tokens[n++] = t;
	}
	return n;
}

/* Puts the test for numbers that are too new in front of the filter, whose jumps are relative. */
static int add_enosys(const SeccompPolicy *policy, SeccompProgram *p, Err *e)
{
	uint32_t tokens[ARCHES_MAX];
	size_t n_arches = collect_arches(policy, tokens), n = 0, body = n_arches * ARCH_LENGTH;
	struct sock_filter *code = malloc((body + 3) * sizeof(*code) + p->len);

	if (!code)
		return err_oom(e);
	code[n++] =
	    (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	for (size_t i = 0; i < n_arches; i++) {
		int last = last_call(policy, tokens[i]);

		/* Of an architecture without rules nothing is known: all numbers are the filter's business. */
		n += emit_arch(code + n, tokens[i], last < 0 ? UINT32_MAX : (uint32_t)last,
			       body - (i + 1) * ARCH_LENGTH);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 1);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, ACT_ENOSYS);
	memcpy(code + n, p->code, p->len);
	free(p->code);
	*p = (SeccompProgram){.code = code, .len = n * sizeof(*code) + p->len};
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
	/* A binary tree over the numbers. The kernel runs a filter once for each call there is when it is installed, to learn which are
	 * always allowed; a chain of some 350 comparisons makes that the longest step of a start. */
	if (p->kept && seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)
		return err_new(e, ERR_INTERNAL, "seccomp: configure the filter as a tree");
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
	r = export_program(ctx, ret, e);
	if (r == 0 && wants_enosys(p))
		r = add_enosys(p, ret, e);
	return r;
}

static const struct {
	const char *name;
	unsigned flag;
} flags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", 0}, /* one thread: nothing to synchronise */
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1u << 5},
};

const char *seccomp_name(SeccompNames kind, size_t i)
{
	switch (kind) {
	case SECCOMP_ACTIONS:
		/* Those with a number of their own are not in the table. */
		return i == 0                        ? "SCMP_ACT_ERRNO"
		       : i == 1                      ? "SCMP_ACT_TRACE"
		       : i - 2 < ELEMENTSOF(actions) ? actions[i - 2].name
						     : NULL;
	case SECCOMP_OPERATORS:
		return i < ELEMENTSOF(ops) ? ops[i].name : NULL;
	case SECCOMP_ARCHITECTURES:
		return i < ELEMENTSOF(architectures) ? architectures[i] : NULL;
	case SECCOMP_FLAGS:
		return i < ELEMENTSOF(flags) ? flags[i].name : NULL;
	}
	return NULL;
}

/* Without a program the kernel gets as far as EFAULT if it takes the flag (seccomp(2)). One that only goes with a listener is not
 * for every filter, and not counted. */
bool seccomp_flag_works(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(flags); i++)
		if (streq(flags[i].name, name))
			return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i].flag, NULL) < 0 &&
			       errno == EFAULT;
	return false;
}

int seccomp_flags(char *const *names, unsigned *ret, Err *e)
{
	unsigned out = names ? 0 : SECCOMP_FILTER_FLAG_SPEC_ALLOW;

	for (size_t i = 0; names && names[i]; i++) {
		size_t k = 0;

		while (k < ELEMENTSOF(flags) && !streq(flags[k].name, names[i]))
			k++;
		if (k == ELEMENTSOF(flags))
			return err_new(e, ERR_INVALID, "seccomp.flags: unknown flag %s", names[i]);
		out |= flags[k].flag;
	}
	*ret = out;
	return 0;
}

int seccomp_install(const SeccompProgram *p, unsigned with, bool want_listener, int *ret_listener, Err *e)
{
	struct sock_fprog prog = {
	    .len = (unsigned short)(p->len / sizeof(struct sock_filter)),
	    .filter = p->code,
	};

	if (p->len == 0 || p->len > PROGRAM_MAX || p->len % sizeof(struct sock_filter) != 0)
		return err_new(e, ERR_INVALID, "seccomp: a filter of %zu bytes is not possible", p->len);
	if (want_listener)
		with |= SECCOMP_FILTER_FLAG_NEW_LISTENER;

	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, with, &prog);

	if (r < 0)
		return err_sys(e, errno, "seccomp: install the filter");
	if (want_listener)
		*ret_listener = (int)r;
	return 0;
}

char *seccomp_library_version(void)
{
	const struct scmp_version *v = seccomp_version();

	return strf("%u.%u.%u", v->major, v->minor, v->micro);
}

char *seccomp_compiler_id(void)
{
	const struct scmp_version *v = seccomp_version();

	/* The first number is that of our own additions to the program, and of how it is asked for. */
	return strf("2/%u.%u.%u/%u/%x", v->major, v->minor, v->micro, seccomp_api_get(),
		    seccomp_arch_native());
}
