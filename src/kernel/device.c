/* SPDX-License-Identifier: Apache-2.0 */
/*
 * v1: lines written to devices.deny and devices.allow, one write(2) each, in order.
 *
 * v2: a BPF_PROG_TYPE_CGROUP_DEVICE program that tests the rules from the last to the first. An allowing
 * rule matches a request that asks for no more than it gives; a denying one any request that asks for some of
 * what it takes. The program is checked by the kernel, and replaced whole when rules change.
 */
#include "kernel/device.h"

#include "base/str.h"
#include "kernel/cgroup-internal.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>

#define PROGRAM_NAME "ireko_devices"
#define INSNS_A_RULE 10
#define RULES_MAX    1024

bool device_access_is_full(const char *access)
{
	return strchr(access, 'r') && strchr(access, 'w') && strchr(access, 'm');
}

static bool is_any_type(const CgroupDeviceRule *r)
{
	return r->type == 'a' || r->type == 0;
}

/* Everything in every way. The kernel of v1 takes any rule of type a for one, whatever else the rule says. */
static bool is_for_all(const CgroupDeviceRule *r)
{
	return is_any_type(r) && r->major < 0 && r->minor < 0 && device_access_is_full(r->access);
}

static int check_rule(const CgroupDeviceRule *r, Err *e)
{
	if (r->type && !strchr("abc", r->type))
		return err_new(e, ERR_INVALID, "device rule: type \"%c\" is not a, b or c", r->type);
	/* Other letters beside these say nothing, as with runc. */
	if (!r->access || !strpbrk(r->access, "rwm"))
		return err_new(e, ERR_INVALID, "device rule: access \"%s\" is not of r, w and m",
			       r->access ? r->access : "");
	/* A number that wraps around is another device, and a negative one would be all of them. */
	if (r->major < -1 || r->major > UINT32_MAX || r->minor < -1 || r->minor > UINT32_MAX)
		return err_new(e, ERR_INVALID, "device rule: %lld:%lld is no device number",
			       (long long)r->major, (long long)r->minor);
	return 0;
}

static void rule_line(const CgroupDeviceRule *r, char type, char *buf, size_t cap)
{
	char major[24] = "*", minor[24] = "*";

	if (r->major >= 0)
		snprintf(major, sizeof(major), "%lld", (long long)r->major);
	if (r->minor >= 0)
		snprintf(minor, sizeof(minor), "%lld", (long long)r->minor);
	snprintf(buf, cap, "%c %s:%s %s%s%s", type, major, minor, strchr(r->access, 'r') ? "r" : "",
		 strchr(r->access, 'w') ? "w" : "", strchr(r->access, 'm') ? "m" : "");
}

static int write_line(int fd, const char *dir, const char *line, Err *e)
{
	if (write(fd, line, strlen(line)) < 0)
		return err_sys(e, errno, "cgroup %s: device rule \"%s\"", dir, line);
	return 0;
}

int device_apply_v1(const char *dir, const CgroupDeviceRule *rules, size_t n, Err *e)
{
	_cleanup_free_ char *allow_file = strf("%s/devices.allow", dir),
			    *deny_file = strf("%s/devices.deny", dir);
	_cleanup_close_ int allow = -1, deny = -1;
	size_t from = 0;
	int r;

	if (!allow_file || !deny_file)
		return err_oom(e);
	allow = open(allow_file, O_WRONLY | O_CLOEXEC);
	deny = open(deny_file, O_WRONLY | O_CLOEXEC);
	if (allow < 0 || deny < 0)
		return err_sys(e, errno, "cgroup %s: open the device rules", dir);
	/* A rule for all devices makes those before it void. */
	for (size_t i = 0; i < n; i++) {
		r = check_rule(&rules[i], e);
		if (r < 0)
			return r;
		if (is_for_all(&rules[i]))
			from = i;
	}
	r = write_line(from < n && is_for_all(&rules[from]) && rules[from].allow ? allow : deny, dir, "a", e);
	for (size_t i = from; i < n && r == 0; i++) {
		const char *types = is_any_type(&rules[i]) ? "bc" : (const char[]){rules[i].type, '\0'};

		if (is_for_all(&rules[i]))
			continue;
		for (; *types && r == 0; types++) {
			char line[80];

			rule_line(&rules[i], *types, line, sizeof(line));
			r = write_line(rules[i].allow ? allow : deny, dir, line, e);
		}
	}
	return r;
}

typedef struct Program {
	struct bpf_insn insns[RULES_MAX * INSNS_A_RULE + 8];
	size_t n;
} Program;

static void emit(Program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	p->insns[p->n++] =
	    (struct bpf_insn){.code = code, .dst_reg = dst & 15, .src_reg = src & 15, .off = off, .imm = imm};
}

static int32_t access_bits(const char *access)
{
	int32_t bits = 0;

	for (; *access; access++)
		bits |= *access == 'm'   ? BPF_DEVCG_ACC_MKNOD
			: *access == 'r' ? BPF_DEVCG_ACC_READ
			: *access == 'w' ? BPF_DEVCG_ACC_WRITE
					 : 0;
	return bits;
}

/* r2 type, r3 access, r4 major, r5 minor. A test that fails jumps to the rule's end, patched in at the end. */
static void emit_rule(Program *p, const CgroupDeviceRule *rule)
{
	size_t tests[5], n_tests = 0;
	int32_t bits = access_bits(rule->access);

	if (rule->type == 'b' || rule->type == 'c') {
		tests[n_tests++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
		     rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (bits != (BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE)) {
		emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
		emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, rule->allow ? ~bits : bits);
		tests[n_tests++] = p->n;
		emit(p, BPF_JMP | (rule->allow ? BPF_JNE : BPF_JEQ) | BPF_K, BPF_REG_1, 0, 0, 0);
	}
	if (rule->major >= 0) {
		tests[n_tests++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int32_t)rule->major);
	}
	if (rule->minor >= 0) {
		tests[n_tests++] = p->n;
		emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int32_t)rule->minor);
	}
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, rule->allow);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (size_t i = 0; i < n_tests; i++)
		p->insns[tests[i]].off = (int16_t)(p->n - tests[i] - 1);
}

static void emit_prologue(Program *p)
{
	int16_t type = offsetof(struct bpf_cgroup_dev_ctx, access_type);

	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, type, 0);
	emit(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	emit(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	emit(p, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major),
	     0);
	emit(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor),
	     0);
}

static int build(Program *p, const CgroupDeviceRule *rules, size_t n, Err *e)
{
	if (n > RULES_MAX)
		return err_new(e, ERR_INVALID, "%zu device rules: at most %d are possible", n, RULES_MAX);
	emit_prologue(p);
	for (size_t i = n; i-- > 0;) {
		int r = check_rule(&rules[i], e);

		if (r < 0)
			return r;
		emit_rule(p, &rules[i]);
		/* The verifier refuses instructions that cannot be reached. */
		if (is_for_all(&rules[i]))
			return 0;
	}
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return 0;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

static int load(const Program *p, Err *e)
{
	union bpf_attr attr = {
	    .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
	    .insns = (uint64_t)(uintptr_t)p->insns,
	    .insn_cnt = (uint32_t)p->n,
	    .license = (uint64_t)(uintptr_t) "Apache-2.0",
	    .prog_name = PROGRAM_NAME,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	return fd < 0 ? err_sys(e, fd, "load the device filter") : fd;
}

/* systemd may have put one of its own on a unit's cgroup (DeviceAllow=). */
static bool is_ours(int prog)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attr = {.info = {
				   .bpf_fd = (uint32_t)prog,
				   .info_len = sizeof(info),
				   .info = (uint64_t)(uintptr_t)&info,
			       }};

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) >= 0 &&
	       strncmp(info.name, PROGRAM_NAME, sizeof(info.name)) == 0;
}

/* Programs that are there already. */
static size_t query(int cgroup, uint32_t *ids, size_t cap)
{
	union bpf_attr attr = {.query = {
				   .target_fd = (uint32_t)cgroup,
				   .attach_type = BPF_CGROUP_DEVICE,
				   .prog_ids = (uint64_t)(uintptr_t)ids,
				   .prog_cnt = (uint32_t)cap,
			       }};

	return bpf(BPF_PROG_QUERY, &attr) < 0 ? 0 : attr.query.prog_cnt;
}

static void detach_old(int cgroup, const uint32_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		union bpf_attr by_id = {.prog_id = ids[i]};
		_cleanup_close_ int fd = bpf(BPF_PROG_GET_FD_BY_ID, &by_id);
		union bpf_attr attr = {.target_fd = (uint32_t)cgroup,
				       .attach_bpf_fd = (uint32_t)fd,
				       .attach_type = BPF_CGROUP_DEVICE};

		if (fd >= 0 && is_ours(fd))
			(void)bpf(BPF_PROG_DETACH, &attr);
	}
}

int device_apply_v2(const char *dir, const CgroupDeviceRule *rules, size_t n, Err *e)
{
	_cleanup_free_ Program *p = calloc(1, sizeof(*p));
	_cleanup_close_ int cgroup = -1, prog = -1;
	uint32_t old[8];
	size_t n_old;
	int r;

	if (!p)
		return err_oom(e);
	r = build(p, rules, n, e);
	if (r < 0)
		return r;
	cgroup = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		return err_sys(e, errno, "open cgroup %s", dir);
	n_old = query(cgroup, old, ELEMENTSOF(old));
	/* Where everything is allowed there is nothing to filter. */
	if (n > 0 && is_for_all(&rules[n - 1]) && rules[n - 1].allow) {
		detach_old(cgroup, old, n_old);
		return 0;
	}
	prog = load(p, e);
	if (prog < 0)
		return prog;

	union bpf_attr attr = {
	    .target_fd = (uint32_t)cgroup,
	    .attach_bpf_fd = (uint32_t)prog,
	    .attach_type = BPF_CGROUP_DEVICE,
	    .attach_flags = BPF_F_ALLOW_MULTI,
	};
	r = bpf(BPF_PROG_ATTACH, &attr);
	if (r < 0)
		return err_sys(e, r, "attach the device filter to cgroup %s", dir);
	/* All attached programs must agree, so between these two calls the stricter set holds. */
	detach_old(cgroup, old, n_old);
	return 0;
}
