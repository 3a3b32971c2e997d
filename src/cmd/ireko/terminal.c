/* SPDX-License-Identifier: Apache-2.0 */
/* See terminal.h. */
#include "terminal.h"
#include "base/secret.h"
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

static int set_mode(int fd, void (*change)(struct termios *t), const char *what, Err *e)
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
	change(&t);
	raw_fd = fd;
	if (tcsetattr(fd, TCSADRAIN, &t) < 0) {
		raw_fd = -1;
		return err_sys(e, errno, "set the terminal to %s", what);
	}
	return 0;
}

int terminal_raw(int fd, Err *e)
{
	return set_mode(fd, cfmakeraw, "raw mode", e);
}

static void hide(struct termios *t)
{
	t->c_lflag &= ~(tcflag_t)ECHO;
}

int terminal_hide(int fd, Err *e)
{
	return set_mode(fd, hide, "show nothing", e);
}

int terminal_read_line(int fd, size_t max, char **ret, Err *e)
{
	_cleanup_secret_ char *line = malloc(max + 2);
	size_t n = 0;

	if (!line)
		return err_oom(e);
	for (;;) {
		ssize_t got = read(fd, line + n, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_sys(e, errno, "read what is typed");
		if (got == 0 || line[n] == '\n')
			break;
		if (n == max)
			return err_new(e, ERR_INVALID, "what was typed is longer than %zu bytes", max);
		n++;
	}
	if (n > 0 && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
			return err_new(e, ERR_INVALID, "what was typed has control characters in it");
	*ret = take_ptr(line);
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
