/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry point of a program that must be protected from containers (process_protect_exe() says why): the
 * kernel comes here before the C library does.
 *
 * A program that executes itself again would have its C library set itself up twice, and throw the first away: relocations,
 * two dozen copied pages, and some 50 cpuid instructions, each of which leaves a virtual machine for the hypervisor. That is more than
 * the second execve costs. So the copy of the mount is made and executed from here, with four system calls and nothing else.
 *
 * Nothing is set up yet: no relocations, no thread pointer (hence no stack protector), no function of the C library,
 * whose string functions are reached through relocations. If any call fails we go on as if nothing had been, and
 * process_protect_exe() does it the long way and can say what is wrong.
 */
#include "kernel/process-internal.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

bool process_exe_is_protected;

#ifdef __x86_64__

#ifdef __clang__ /* which makes no calls of loops in a function that is no_builtin */
#define EARLY __attribute__((no_stack_protector, no_builtin))
#else
#define EARLY __attribute__((no_stack_protector, optimize("no-tree-loop-distribute-patterns")))
#endif

__asm__(".pushsection .text.process_entry,\"ax\",@progbits\n"
	".globl process_entry\n"
	".hidden process_entry\n"
	".type process_entry,@function\n"
	"process_entry:\n"
	"	xorl %ebp, %ebp\n"
	"	movq %rsp, %rdi\n"
	"	movq %rsp, %rbx\n"
	"	andq $-16, %rsp\n"
	"	call process_entry_protect\n"
	"	movq %rbx, %rsp\n"
	"	xorl %edx, %edx\n"
	"	jmp _start\n"
	".popsection\n");

EARLY static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return r;
}

EARLY static bool is_word(const char *s, const char *word)
{
	while (*s && *s == *word)
		s++, word++;
	return *s == *word;
}

EARLY static bool starts_with(const char *s, const char *prefix)
{
	while (*prefix && *s == *prefix)
		s++, prefix++;
	return !*prefix;
}

/* A word too many costs a copy of the mount; one too few is caught by process_protect_exe(). */
EARLY static bool may_meet_container(char *const *argv)
{
	for (; *argv; argv++)
		if (is_word(*argv, "create") || is_word(*argv, "run") || is_word(*argv, "exec") ||
		    is_word(*argv, "restore"))
			return true;
	return false;
}

/* The answer if the file could be written but for its mount or file system. statfs(2), which tells that too, makes some file systems count their
 * free blocks. */
EARLY static bool is_read_only(const char *path)
{
	return call(SYS_faccessat2, AT_FDCWD, (long)path, W_OK, AT_EACCESS, 0) == -EROFS;
}

/* What was executed by a descriptor is our own doing, or that of somebody who knows why: it is not done twice. */
EARLY static bool was_executed_by_fd(char **env)
{
	const unsigned long *aux;

	while (*env)
		env++;
	for (aux = (const unsigned long *)(env + 1); aux[0] != AT_NULL; aux += 2)
		if (aux[0] == AT_EXECFN)
			return starts_with((const char *)aux[1], "/dev/fd/");
	return false;
}

/* `stack` is as the kernel leaves it: argc, the arguments, NULL, the environment, NULL. */
__attribute__((used)) void process_entry_protect(char **stack);
EARLY void process_entry_protect(char **stack)
{
	const char *exe = "/proc/self/exe";
	char **argv = stack + 1, **env = argv + (long)stack[0] + 1;
	struct mount_attr attr __attribute__((uninitialized));
	long fd;

	if (!may_meet_container(argv))
		return;
	if (is_read_only(exe)) {
		process_exe_is_protected = true;
		return;
	}
	if (was_executed_by_fd(env))
		return;
	fd = call(SYS_open_tree, AT_FDCWD, (long)exe, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);
	if (fd < 0)
		return;
	attr.attr_set = MOUNT_ATTR_RDONLY;
	attr.attr_clr = attr.propagation = attr.userns_fd = 0;
	if (call(SYS_mount_setattr, fd, (long)"", AT_EMPTY_PATH, (long)&attr, sizeof(attr)) == 0)
		(void)call(SYS_execveat, fd, (long)"", (long)argv, (long)env, AT_EMPTY_PATH);
	(void)call(SYS_close, fd, 0, 0, 0, 0);
}

#endif
