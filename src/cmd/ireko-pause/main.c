/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-pause: the process of a pod's sandbox. It holds the namespaces that the pod's containers join, reaps what they orphan where they share its pid
 * namespace, and ends by SIGTERM, SIGINT or SIGKILL.
 *
 * As the first process of a pid namespace that it shares, its end would be that of all: told to end by SIGTERM or SIGINT, as when the machine does, it waits
 * for the others, which were told so too. Who kills it does not wait.
 *
 * There is one for every pod, so it is small: without a C library, its memory is a few pages. Signals are blocked and taken one by one; the kernel
 * queues a blocked signal for the first process of a pid namespace too, whose default actions it would leave out (pid_namespaces(7)).
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#ifdef IREKO_FREESTANDING
#if defined(__x86_64__)
static long call4(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
static long call4(long n, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
			 x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#endif
#else
#include <unistd.h>
static long call4(long n, long a, long b, long c, long d)
{
	return syscall(n, a, b, c, d);
}
#endif

/* kill(2) with -1 means everybody but us and the first of the namespace; 0 looks whether there is anybody. */
static int is_alone(void)
{
	return call4(SYS_getpid, 0, 0, 0, 0) != 1 || call4(SYS_kill, -1, 0, 0, 0) < 0;
}

/* The kernel's own set: one bit a signal. */
static int hold(void)
{
	static const struct timespec look = {.tv_nsec = 50000000};
	uint64_t all = ~UINT64_C(0);
	int ends = 0;

	if (call4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof(all)) < 0)
		return 1;
	for (;;) {
		long sig = call4(SYS_rt_sigtimedwait, (long)&all, 0, ends ? (long)&look : 0, sizeof(all));

		ends = ends || sig == SIGTERM || sig == SIGINT;
		if (ends && is_alone())
			return 0;
		while (sig == SIGCHLD && call4(SYS_wait4, -1, 0, WNOHANG, 0) > 0)
			;
	}
}

#ifdef IREKO_FREESTANDING
__attribute__((noreturn, used)) void pause_entry(void);
void pause_entry(void)
{
	int status = hold();

	for (;;)
		(void)call4(SYS_exit_group, status, 0, 0, 0);
}

/* The stack is aligned as a call leaves it, which is not how the kernel does. */
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall pause_entry\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tbl pause_entry\n");
#endif
#else
int main(void)
{
	return hold();
}
#endif
