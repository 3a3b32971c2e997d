/* SPDX-License-Identifier: Apache-2.0 */
/* See session.h. */
#include "session.h"
#include "base/clock.h"
#include "config.h"
#include "terminal.h"
#include "text.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

#define KILL_TIMEOUT_MS 5000
#define RECONNECT_NS    (15 * 1000000000LL) /* how long a lost engine is waited for */

const char *session_keys(Cli *cli, const char *given)
{
	return given ? given : config_text(cli, "detachKeys");
}

int session_check(const Session *s, Err *e)
{
	unsigned char keys[STREAM_KEYS_MAX];

	if (s->detach_keys && *s->detach_keys && terminal_parse_keys(s->detach_keys, keys, sizeof(keys)) < 0)
		return err_new(e, ERR_INVALID, "invalid detach keys (%s): expected for example ctrl-p,ctrl-q",
			       s->detach_keys);
	if (s->tty && s->in && isatty(STDIN_FILENO) != 1)
		return err_new_no(e, ERR_INVALID, ENOTTY, "the input device is not a TTY");
	return 0;
}

int session_catch_signals(Session *s, Err *e)
{
	static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; s->proxy && i < ELEMENTSOF(forwarded); i++)
		(void)sigaddset(&set, forwarded[i]);
	if (s->tty)
		(void)sigaddset(&set, SIGWINCH);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, errno, "block signals");
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? err_sys(e, errno, "signalfd") : 0;
}

static char *attach_target(const Session *s, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", s->id, "/attach?stream=1", e);
	_cleanup_strbuf_ StrBuf b = {0};

	if (!path)
		return NULL;
	strbuf_add(&b, path);
	if (s->in)
		text_query(&b, "stdin", "1");
	if (s->out)
		text_query(&b, "stdout", "1");
	if (s->err)
		text_query(&b, "stderr", "1");
	if (!str_empty(s->detach_keys))
		text_query(&b, "detachKeys", s->detach_keys);
	return strbuf_steal(&b);
}

static int send_wait(Session *s, Err *e)
{
	_cleanup_free_ char *path = api_path("containers", s->id, "/wait", e);
	_cleanup_free_ char *target = path ? strf("%s?condition=%s", path, s->wait_for) : NULL;

	if (!target)
		return path ? err_oom(e) : -EINVAL;
	return api_start(s->cli, &(ApiRequest){.method = "POST", .target = target}, &s->wait, e);
}

int session_open(Session *s, Err *e)
{
	_cleanup_free_ char *target = attach_target(s, e);
	int r = target ? 0 : -EINVAL;

	/* Both are on their way before either is answered. */
	if (r == 0)
		r = api_start(s->cli, &(ApiRequest){.method = "POST", .target = target, .upgrade = true},
			      &s->attach, e);
	if (r == 0 && s->wait_for)
		r = send_wait(s, e);
	if (r == 0)
		r = api_answer(s->cli, s->attach, NULL, e);
	if (r >= 0 && s->wait_for)
		r = api_answer(s->cli, s->wait, NULL, e);
	return r < 0 ? r : 0;
}

void session_take(Session *s, Httpc *attach)
{
	s->attach = attach;
}

void session_resize(Session *s)
{
	int h, w;

	if (!s->tty || !terminal_size(STDOUT_FILENO, &h, &w))
		return;
	_cleanup_free_ char *target = s->exec_id ? strf("/exec/%s/resize?h=%d&w=%d", s->exec_id, h, w)
						 : strf("/containers/%s/resize?h=%d&w=%d", s->id, h, w);
	/* It may have ended already, and the next change of size tries again. */
	if (target)
		(void)api_call(s->cli, "POST", target, NULL, NULL, NULL);
}

/* Asks the engine to signal the container; an engine that hangs must not hang us. */
static int send_kill(Session *s, const char *name, Err *e)
{
	_cleanup_free_ char *target = strf("/containers/%s/kill?signal=%s", s->id, name);
	_cleanup_httpc_ Httpc *c = NULL;
	int r =
	    target ? api_start(s->cli, &(ApiRequest){.method = "POST", .target = target}, &c, e) : err_oom(e);

	if (r < 0)
		return r;
	struct pollfd p = {.fd = httpc_fd(c), .events = POLLIN};
	if (poll(&p, 1, KILL_TIMEOUT_MS) == 0)
		return err_new(e, ERR_UNAVAILABLE, "the engine does not answer");
	return api_answer(s->cli, c, NULL, e);
}

/* A signal that cannot be delivered must not make us immortal: the second one ends us. */
static void forward_signal(Session *s, int signo)
{
	const char *name = terminal_signal_name(signo);
	Err e = {0};
	int r = send_kill(s, name ? name : "TERM", &e);

	if (r >= 0 || e.kind == ERR_CONFLICT || e.kind == ERR_NOT_FOUND) {
		s->undelivered = 0;
		return;
	}
	if (s->undelivered++ > 0) {
		terminal_restore();
		_exit(128 + signo);
	}
	cli_complain(
	    s->cli,
	    "SIG%s was not delivered to the container: %s; send it again to leave the container running",
	    name, err_msg(&e, r));
}

static void on_signal(void *user, int signo)
{
	Session *s = user;

	if (signo == SIGWINCH)
		session_resize(s);
	else
		forward_signal(s, signo);
}

static void set_keys(const Session *s, Stream *st)
{
	int n;

	if (!s->tty || !s->in)
		return;
	n = terminal_parse_keys(str_empty(s->detach_keys) ? "ctrl-p,ctrl-q" : s->detach_keys, st->keys,
				sizeof(st->keys));
	st->n_keys = n > 0 ? (size_t)n : 0;
}

int session_run(Session *s, Err *e)
{
	Stream st = {.output = {.raw = s->tty, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO},
		     .in_fd = s->in ? STDIN_FILENO : -1,
		     .signal_fd = s->signal_fd,
		     .on_signal = on_signal,
		     .user = s};
	int r = 0;

	set_keys(s, &st);
	_cleanup_close_ int sock = httpc_hijack(s->attach, &st.ahead, &st.n_ahead);
	st.sock = sock;
	if (s->tty && s->in)
		r = terminal_raw(STDIN_FILENO, e);
	if (r == 0)
		r = stream_run(&st, e);
	terminal_restore();
	return r;
}

static void drain_signals(Session *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		on_signal(s, (int)info.ssi_signo);
}

static int read_wait(Session *s, Err *e)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *j = NULL;
	size_t len;

	while (!httpc_has_data(s->wait)) {
		struct pollfd p[2] = {{.fd = httpc_fd(s->wait), .events = POLLIN},
				      {.fd = s->signal_fd, .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys(e, errno, "poll");
		if (p[1].revents)
			drain_signals(s);
		if (p[0].revents)
			break;
	}
	int r = httpc_read_all(s->wait, 1 << 20, &text, &len, e);
	if (r < 0)
		return r;
	/* An engine that is shut down ends the answer in good order, but empty. */
	if (len == 0)
		return err_new_no(e, ERR_UNAVAILABLE, ECONNRESET,
				  "the engine ended the wait without an exit status");
	r = json_parse(text, len, "the answer to wait", &j, e);
	if (r < 0)
		return r;
	const char *error = json_get_str(json_object_get(j, "Error"), "Message");
	if (!str_empty(error))
		return err_new(e, ERR_INTERNAL, "%s", error);
	return (int)(json_get_int(j, "StatusCode", 125) & 255);
}

/* The engine was lost: asks it again until it is back. */
static int ask_again(Session *s, Err *e)
{
	_cleanup_free_ char *target = api_path("containers", s->id, "/json", e);
	int64_t until = clock_mono_ns() + RECONNECT_NS;
	Err last = {0};

	while (target && clock_mono_ns() < until) {
		_cleanup_json_ json_t *j = NULL;
		const json_t *state;
		int r = api_get(s->cli, target, &j, &last);

		state = json_object_get(j, "State");
		if (r >= 0 && !json_get_bool(state, "Running", false))
			return (int)(json_get_int(state, "ExitCode", 125) & 255);
		if (r < 0 && last.kind == ERR_NOT_FOUND)
			return err_new(e, ERR_UNAVAILABLE,
				       "the connection to the engine was lost while container %.12s ran; it "
				       "has ended and "
				       "was removed, its exit status is not known",
				       s->id);
		if (r >= 0) {
			/* It has run; if it ends before this is heard there is no next exit. */
			if (streq(s->wait_for, "next-exit"))
				s->wait_for = "not-running";
			httpc_free(take_ptr(s->wait));
			if (send_wait(s, &last) == 0 && api_answer(s->cli, s->wait, NULL, &last) >= 0) {
				r = read_wait(s, &last);
				if (r >= 0)
					return r;
			}
		}
		(void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		drain_signals(s);
	}
	return err_new(
	    e, ERR_UNAVAILABLE,
	    "the connection to the engine was lost, and the exit status of container %.12s is not known: %s",
	    s->id, err_msg(&last, -EIO));
}

int session_wait(Session *s, Err *e)
{
	Err first = {0};
	int r = read_wait(s, &first);

	if (r >= 0)
		return r;
	if (r == -ECONNRESET || r == -EPIPE)
		return ask_again(s, e);
	*e = first;
	return r;
}

void session_done(Session *s)
{
	httpc_free(take_ptr(s->attach));
	httpc_free(take_ptr(s->wait));
	close_fd(&s->signal_fd);
}
