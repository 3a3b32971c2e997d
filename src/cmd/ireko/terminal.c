/* SPDX-License-Identifier: Apache-2.0 */
/* See terminal.h. */
#include "terminal.h"
#include "base/str.h"

#include <ctype.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

static struct termios saved;
static volatile sig_atomic_t raw_fd = -1;

/* Async-signal-safe. */
void terminal_restore(void)
{
	int fd = raw_fd;

	if (fd >= 0) {
		raw_fd = -1;
		(void)tcsetattr(fd, TCSANOW, &saved);
	}
}

static void restore_and_die(int signo)
{
	terminal_restore();
	(void)signal(signo, SIG_DFL);
	(void)raise(signo);
}

int terminal_raw(int fd, Err *e)
{
	static const int fatal[] = {SIGHUP, SIGINT,  SIGQUIT, SIGTERM, SIGSEGV, SIGBUS, SIGFPE,
				    SIGILL, SIGABRT, SIGSYS,  SIGPIPE, SIGXCPU, SIGXFSZ};
	struct sigaction act = {.sa_handler = restore_and_die, .sa_flags = (int)SA_RESETHAND};
	struct termios t;

	if (raw_fd >= 0)
		return 0;
	if (tcgetattr(fd, &saved) < 0)
		return err_sys(e, errno, "read the mode of the terminal");
	for (size_t i = 0; i < ELEMENTSOF(fatal); i++)
		(void)sigaction(fatal[i], &act, NULL);
	(void)atexit(terminal_restore);
	t = saved;
	cfmakeraw(&t);
	raw_fd = fd;
	if (tcsetattr(fd, TCSADRAIN, &t) < 0) {
		raw_fd = -1;
		return err_sys(e, errno, "set the terminal to raw mode");
	}
	return 0;
}

bool terminal_size(int fd, int *ret_height, int *ret_width)
{
	struct winsize w;

	if (ioctl(fd, TIOCGWINSZ, &w) < 0 || w.ws_row == 0 || w.ws_col == 0)
		return false;
	*ret_height = w.ws_row;
	*ret_width = w.ws_col;
	return true;
}

static int parse_key(const char *key)
{
	const char *ctrl = str_after(key, "ctrl-");

	if (!ctrl)
		return strlen(key) == 1 ? (unsigned char)key[0] : -EINVAL;
	if (strlen(ctrl) != 1)
		return -EINVAL;
	if (isalpha((unsigned char)*ctrl))
		return tolower((unsigned char)*ctrl) - 'a' + 1;
	return strchr("@[\\]^_", *ctrl) ? *ctrl - '@' : -EINVAL;
}

int terminal_parse_keys(const char *text, unsigned char *keys, size_t cap)
{
	_cleanup_strv_ char **parts = strv_split(text, ',');
	size_t n = strv_len(parts);

	if (!parts || n > cap)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int key = parse_key(parts[i]);

		if (key < 0)
			return -EINVAL;
		keys[i] = (unsigned char)key;
	}
	return (int)n;
}

const char *terminal_signal_name(int signo)
{
	return sigabbrev_np(signo);
}
