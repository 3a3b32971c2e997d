/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Docker's default seccomp profile, as tables, turned into the runtime-spec's form for one
 * container: an allow-list whose size depends on the container's capabilities.
 *
 * Anything not listed fails with EPERM. Three calls are allowed by argument only: socket (not AF_ALG 38
 * and not AF_VSOCK 40), personality (the harmless ones), and, without CAP_SYS_ADMIN, clone without any
 * namespace flag. clone3 hides its flags behind a pointer that a filter cannot follow, so without CAP_SYS_ADMIN it
 * answers ENOSYS, which makes a C library fall back to clone.
 */
#include "engine/engine-internal.h"

#define CLONE_NAMESPACE_FLAGS 0x7E020000 /* CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} */

static const char *const always[] = {
	"_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "bind", "brk",
	"cachestat", "capget", "capset", "chdir", "chmod", "chown", "chown32", "clock_adjtime",
	"clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64",
	"clock_nanosleep", "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range",
	"creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old",
	"epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve",
	"execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64",
	"fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32",
	"fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork",
	"fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync",
	"ftruncate", "ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
	"futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents",
	"getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
	"getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
	"getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage",
	"getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr",
	"getxattrat", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
	"io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
	"ioctl", "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
	"landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen",
	"listmount", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr",
	"lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret",
	"mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mmap2",
	"mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
	"mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
	"msgsnd", "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep",
	"newfstatat", "open", "openat", "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe",
	"pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64", "prctl",
	"pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv",
	"process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2",
	"read", "readahead", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg",
	"recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename",
	"renameat", "renameat2", "restart_syscall", "riscv_hwprobe", "rmdir", "rseq", "rt_sigaction",
	"rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
	"rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max",
	"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
	"sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity",
	"sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
	"semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64",
	"sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area", "set_tid_address",
	"setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32", "setresgid",
	"setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid",
	"setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget",
	"shutdown", "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketcall",
	"socketpair", "splice", "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink",
	"symlinkat", "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time",
	"timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
	"timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
	"timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate", "truncate64", "ugetrlimit",
	"umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat", "utimensat_time64",
	"utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write", "writev", NULL,
};

static const char *const on_this_arch[] = {
#if defined(__x86_64__)
	"arch_prctl", "modify_ldt",
#elif defined(__aarch64__)
	"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush",
	"set_tls",
#elif defined(__riscv)
	"riscv_flush_icache",
#endif
	NULL,
};

static const char *const with_dac_read_search[] = {
	"open_by_handle_at", NULL,
};
static const char *const with_sys_admin[] = {
	"bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
	"lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount",
	"mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd",
	"setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare", NULL,
};
static const char *const with_sys_boot[] = {
	"reboot", NULL,
};
static const char *const with_sys_chroot[] = {
	"chroot", NULL,
};
static const char *const with_sys_module[] = {
	"delete_module", "finit_module", "init_module", NULL,
};
static const char *const with_sys_pacct[] = {
	"acct", NULL,
};
static const char *const with_sys_ptrace[] = {
	"kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", NULL,
};
static const char *const with_sys_rawio[] = {
	"ioperm", "iopl", NULL,
};
static const char *const with_sys_time[] = {
	"clock_settime", "clock_settime64", "settimeofday", "stime", NULL,
};
static const char *const with_sys_tty_config[] = {
	"vhangup", NULL,
};
static const char *const with_sys_nice[] = {
	"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node", NULL,
};
static const char *const with_syslog[] = {
	"syslog", NULL,
};
static const char *const with_bpf[] = {
	"bpf", NULL,
};
static const char *const with_perfmon[] = {
	"perf_event_open", NULL,
};

static const struct {
	const char *capability;
	const char *const *names;
} by_capability[] = {
	{"CAP_DAC_READ_SEARCH", with_dac_read_search},
	{"CAP_SYS_ADMIN", with_sys_admin},
	{"CAP_SYS_BOOT", with_sys_boot},
	{"CAP_SYS_CHROOT", with_sys_chroot},
	{"CAP_SYS_MODULE", with_sys_module},
	{"CAP_SYS_PACCT", with_sys_pacct},
	{"CAP_SYS_PTRACE", with_sys_ptrace},
	{"CAP_SYS_RAWIO", with_sys_rawio},
	{"CAP_SYS_TIME", with_sys_time},
	{"CAP_SYS_TTY_CONFIG", with_sys_tty_config},
	{"CAP_SYS_NICE", with_sys_nice},
	{"CAP_SYSLOG", with_syslog},
	{"CAP_BPF", with_bpf},
	{"CAP_PERFMON", with_perfmon},
};

static json_t *rule(const char *const *names, const char *action)
{
	json_t *list = json_array();

	for (size_t i = 0; names[i]; i++)
		json_array_append_new(list, json_string(names[i]));
	return json_pack("{s:o, s:s}", "names", list, "action", action);
}

static json_t *rule_on_argument(const char *name, int index, json_int_t value, json_int_t value_two, const char *op)
{
	return json_pack("{s:[s], s:s, s:[{s:i, s:I, s:I, s:s}]}", "names", name, "action", "SCMP_ACT_ALLOW", "args",
			 "index", index, "value", value, "valueTwo", value_two, "op", op);
}

static void add_argument_rules(json_t *rules)
{
	static const json_int_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF};

	json_array_append_new(rules, rule_on_argument("socket", 0, 38, 0, "SCMP_CMP_LT"));
	json_array_append_new(rules, rule_on_argument("socket", 0, 39, 0, "SCMP_CMP_EQ"));
	json_array_append_new(rules, rule_on_argument("socket", 0, 40, 0, "SCMP_CMP_GT"));
	for (size_t i = 0; i < ELEMENTSOF(personalities); i++)
		json_array_append_new(rules, rule_on_argument("personality", 0, personalities[i], 0, "SCMP_CMP_EQ"));
}

int seccomp_default_profile(char *const *capabilities, json_t **ret, Err *e)
{
	json_t *rules = json_array();

	json_array_append_new(rules, rule(always, "SCMP_ACT_ALLOW"));
	if (on_this_arch[0])
		json_array_append_new(rules, rule(on_this_arch, "SCMP_ACT_ALLOW"));
	add_argument_rules(rules);
	for (size_t i = 0; i < ELEMENTSOF(by_capability); i++)
		if (strv_has(capabilities, by_capability[i].capability))
			json_array_append_new(rules, rule(by_capability[i].names, "SCMP_ACT_ALLOW"));
	if (!strv_has(capabilities, "CAP_SYS_ADMIN")) {
		json_array_append_new(rules,
				      rule_on_argument("clone", 0, CLONE_NAMESPACE_FLAGS, 0, "SCMP_CMP_MASKED_EQ"));
		json_array_append_new(rules, json_pack("{s:[s], s:s, s:i}", "names", "clone3", "action",
						       "SCMP_ACT_ERRNO", "errnoRet", ENOSYS));
	}
	*ret = json_pack("{s:s, s:i, s:o, s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", EPERM,
			 "architectures",
#if defined(__x86_64__)
			 json_pack("[s, s, s]", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
#elif defined(__aarch64__)
			 json_pack("[s, s]", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
#else
			 json_array(),
#endif
			 "syscalls", rules);
	return *ret ? 0 : err_oom(e);
}
