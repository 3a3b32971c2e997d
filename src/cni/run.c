/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of a plugin (SPEC.md, section 2).
 *
 * The program is started as posix_spawn(3) does it, without a copy of the engine's memory, in a session of its own, with nothing but the variables of the
 * specification, PATH and a mark. Its document lies in a memory file, so that nobody has to feed it; what it writes is read as it comes, kept up to a limit, and
 * an answer beyond the limit ends the run.
 *
 * The run is over when the program ends, whoever else still holds its output. What is left in its process group then is killed: a service that is meant to stay has
 * made a session of its own, as the daemons of some plugins do, and stays. A program that has to be ended (out of time, out of bounds, nobody waits any
 * more) takes all with it, daemons too: they have the mark in their environment (hunt.c). The engine cannot
 * be their reaper (it has other children and threads), and a cgroup for every run would cost more than it is worth to the runs that end well.
 */
#include "cni/cni-internal.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/id.h"
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MARK_DIGITS    32
#define STDERR_MAX     4096
#define TEXT_SHOWN     600 /* bytes of a plugin's own words in an error */
#define BUSY_TRIES     100 /* of 20 ms: the program is just being replaced */
#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define TRY_LATER      11 /* codes of the specification */
#define NOT_AVAILABLE  50
#define LIMITED_ACCESS 51

typedef struct Run {
	const CniRun *x;
	char mark[sizeof(CNI_MARK) + MARK_DIGITS];
	uint64_t began;
	pid_t pid;
	int pidfd, out, err;
	StrBuf *said;
	StrBuf complained;
} Run;

/* ---- before ---- */

int cni_program_find(char *const *dirs, const char *type, char **ret, Err *e)
{
	_cleanup_free_ char *all = NULL;

	for (size_t i = 0; dirs && dirs[i]; i++) {
		_cleanup_free_ char *path = strf("%s/%s", dirs[i], type);
		struct stat st;

		if (!path)
			return err_oom(e);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
			*ret = take_ptr(path);
			return 0;
		}
	}
	all = strv_join(dirs, ", ");
	return err_new(e, ERR_UNAVAILABLE,
		       "no program of CNI plugin %s in %s: install it there (Debian: "
		       "containernetworking-plugins, in /usr/lib/cni)",
		       type, str_empty(all) ? "any directory" : all);
}

static char **environment(Run *run)
{
	const CniRun *x = run->x;
	const char *path = getenv("PATH");
	_cleanup_strv_ char **env = NULL;
	int r = strv_take(&env, strf("CNI_COMMAND=%s", x->command));

	if (r >= 0)
		r = strv_take(&env, strf("CNI_CONTAINERID=%s", x->container_id ?: ""));
	if (r >= 0)
		r = strv_take(&env, strf("CNI_NETNS=%s", x->netns ?: ""));
	if (r >= 0)
		r = strv_take(&env, strf("CNI_IFNAME=%s", x->ifname ?: ""));
	if (r >= 0)
		r = strv_take(&env, strf("CNI_ARGS=%s", x->args ?: ""));
	if (r >= 0)
		r = strv_take(&env, strf("CNI_PATH=%s", x->path ?: ""));
	/* iptables and its like, whatever the engine was started from. */
	if (r >= 0)
		r = strv_take(&env, str_empty(path) ? strdup("PATH=" DEFAULT_PATH)
						    : strf("PATH=%s:/usr/sbin:/sbin", path));
	if (r >= 0)
		r = strv_add(&env, run->mark);
	/* Nearly all are Go programs that do one thing after the other for some milliseconds. With a scheduler that has one processor they take a
	 * tenth to a quarter less of the machine's time, which many pods at once are short of. */
	if (r >= 0)
		r = strv_take(&env, strf("GOMAXPROCS=%s", getenv("GOMAXPROCS") ?: "1"));
	return r < 0 ? NULL : take_ptr(env);
}

/* Read from its beginning by the child: nothing moves its offset here. */
static int input_file(const char *text, Err *e)
{
	_cleanup_close_ int fd = memfd_create("cni", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "make a file in memory");
	r = fd_pwrite_all(fd, text, strlen(text), 0);
	return r < 0 ? err_sys(e, r, "write a file in memory") : take_fd(&fd);
}

static int spawn_with(const CniRun *x, int in, int out, int err, char **env, pid_t *ret)
{
	char *const argv[] = {(char *)(uintptr_t)x->program, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return r;
	r = posix_spawnattr_init(&attr);
	if (r != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return r;
	}
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	r = posix_spawn_file_actions_adddup2(&actions, in, 0);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out, 1);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, err, 2);
	if (r == 0)
		r = posix_spawn_file_actions_addchdir_np(&actions, "/");
	if (r == 0)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(&attr, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
							POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawn(ret, x->program, &actions, &attr, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attr);
	return r;
}

/* Above 2, so that no action of the child's overwrites what the next one copies. */
static int high(int *fd)
{
	int up = *fd > 2 ? *fd : fcntl(*fd, F_DUPFD_CLOEXEC, 3);

	if (up >= 0 && up != *fd)
		close_fd(fd);
	*fd = up >= 0 ? up : *fd;
	return up < 0 ? -errno : 0;
}

static int make_pipe(int *ret_ours, int *ret_theirs)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	*ret_ours = p[0];
	*ret_theirs = p[1];
	return fd_set_nonblock(p[0], true) < 0 ? -errno : high(ret_theirs);
}

static int start(Run *run, const char *input, Err *e)
{
	_cleanup_close_ int in = -1, out = -1, err = -1;
	_cleanup_strv_ char **env = environment(run);
	int r;

	if (!env)
		return err_oom(e);
	in = input_file(input, e);
	if (in < 0)
		return in;
	r = high(&in);
	if (r >= 0)
		r = make_pipe(&run->out, &out);
	if (r >= 0)
		r = make_pipe(&run->err, &err);
	if (r < 0)
		return err_sys(e, r, "make the plugin's pipes");
	r = spawn_with(run->x, in, out, err, env, &run->pid);
	for (int i = 0; r == ETXTBSY && i < BUSY_TRIES; i++) {
		(void)poll(NULL, 0, 20);
		r = spawn_with(run->x, in, out, err, env, &run->pid);
	}
	if (r != 0)
		return err_sys(e, r, "start %s", run->x->program);
	run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
	return run->pidfd < 0 ? err_sys(e, errno, "watch the plugin's process") : 0;
}

/* ---- its end ---- */

/* The group is killed before its leader is reaped: until then nobody else can have the number. */
static int end(Run *run, bool all)
{
	int status = 0;

	(void)kill(-run->pid, SIGKILL);
	while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (all && !cni_hunt((const char *[]){run->mark, NULL}, run->began))
		log_warn("CNI plugin %s of network %s: whether all that it started has ended cannot be told",
			 run->x->type, run->x->network);
	return status;
}

/* ---- meanwhile ---- */

/* False at its end. What is beyond `max` is read and dropped. */
static bool read_some(int fd, StrBuf *to, size_t max, bool *ret_more)
{
	char buf[16384];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0)
		return false;
	size_t room = max - MIN2(max, to->len);
	strbuf_add_n(to, buf, MIN2((size_t)n, room));
	*ret_more = *ret_more || (size_t)n > room;
	return true;
}

/* What is in the pipe already, no more: others may hold it and go on writing. */
static void drain(int fd, StrBuf *to, size_t max, bool *ret_more)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (size_t had = SIZE_MAX; to->len != had && to->len < max && poll(&p, 1, 0) > 0;) {
		had = to->len;
		if (!read_some(fd, to, max, ret_more))
			return;
	}
}

static int too_late(const Run *run, Err *e)
{
	return err_new_no(e, ERR_UNAVAILABLE, ETIMEDOUT, "it did not end within %d s and was killed",
			  (run->x->timeout_ms + 999) / 1000);
}

static int too_much(Err *e)
{
	return err_new_no(e, ERR_INVALID, EFBIG, "it answered with more than %u bytes and was killed",
			  CNI_OUTPUT_MAX);
}

/* Until the program has ended: 0; or until it has to be ended. */
static int watch(Run *run, Err *e)
{
	int64_t deadline = clock_mono_ns() + run->x->timeout_ms * INT64_C(1000000);
	struct pollfd p[] = {{.fd = run->pidfd, .events = POLLIN},
			     {.fd = run->out, .events = POLLIN},
			     {.fd = run->err, .events = POLLIN},
			     {.fd = run->x->alive_fd}};
	bool flood = false, ignored = false;

	for (;;) {
		int64_t left = (deadline - clock_mono_ns() + 999999) / 1000000;

		if (left <= 0)
			return too_late(run, e);
		if (poll(p, ELEMENTSOF(p), (int)left) < 0)
			continue;
		if (p[1].revents && !read_some(run->out, run->said, CNI_OUTPUT_MAX, &flood))
			p[1].fd = -1;
		if (p[2].revents && !read_some(run->err, &run->complained, STDERR_MAX, &ignored))
			p[2].fd = -1;
		if (flood)
			return too_much(e);
		if (p[3].revents & (POLLERR | POLLHUP | POLLNVAL))
			return err_new_no(e, ERR_CANCELLED, ECANCELED,
					  "nobody waits for it any more, and it was killed");
		if (p[0].revents)
			break;
	}
	drain(run->out, run->said, CNI_OUTPUT_MAX, &flood);
	drain(run->err, &run->complained, STDERR_MAX, &ignored);
	return flood ? too_much(e) : 0;
}

/* ---- what it says of its failure ---- */

/* Its words, short enough and in UTF-8; malloc'ed. */
static char *shown(const char *s, size_t len)
{
	char *text;

	while (len > 0 && strchr(" \t\r\n", s[len - 1]))
		len--;
	text = str_utf8_clean(len > 0 ? s : "", MIN2(len, (size_t)TEXT_SHOWN));
	for (char *c = text; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return text;
}

static ErrKind kind_of(int64_t code)
{
	return code == TRY_LATER || code == NOT_AVAILABLE || code == LIMITED_ACCESS ? ERR_UNAVAILABLE
										    : ERR_INTERNAL;
}

/* 1 if its output is no document of an error. */
static int told_error(const Run *run, Err *e)
{
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *msg = NULL, *details = NULL;
	const char *m, *d;
	int64_t code;

	if (run->said->len == 0 ||
	    cni_document_parse(run->said->s, run->said->len, CNI_OUTPUT_MAX, "error", &j, NULL) < 0)
		return 1;
	m = json_get_str(j, "msg");
	d = json_get_str(j, "details");
	code = json_get_int(j, "code", 0);
	if (!m && !code)
		return 1;
	msg = shown(m ?: "", m ? strlen(m) : 0);
	details = shown(d ?: "", d ? strlen(d) : 0);
	if (!msg || !details)
		return err_oom(e);
	return err_new(e, kind_of(code), "%s%s%s (code %lld)", *msg ? msg : "it failed without a message",
		       *details ? ": " : "", details, (long long)code);
}

static int failed(const Run *run, int status, Err *e)
{
	_cleanup_free_ char *text = NULL;
	const char *colon;
	int r = WIFEXITED(status) ? told_error(run, e) : 1;

	if (r < 0)
		return r;
	text = run->complained.len > 0 ? shown(run->complained.s, run->complained.len)
				       : shown(run->said->len > 0 ? run->said->s : "", run->said->len);
	colon = str_empty(text) ? "" : ": ";
	if (WIFSIGNALED(status))
		return err_new(e, ERR_INTERNAL, "it was killed by signal %d%s%s", WTERMSIG(status), colon,
			       text ?: "");
	return err_new(e, ERR_INTERNAL, "it ended with status %d%s%s", WEXITSTATUS(status), colon,
		       str_empty(text) ? " and said nothing" : text);
}

static void log_complaint(const Run *run)
{
	_cleanup_free_ char *text =
	    shown(run->complained.len > 0 ? run->complained.s : "", run->complained.len);

	if (!str_empty(text))
		log_warn("CNI plugin %s (%s) of network %s: %s", run->x->type, run->x->command,
			 run->x->network, text);
}

static int name_it(const CniRun *x, int r, Err *e)
{
	return err_ctx(e, r, "CNI plugin %s of network %s: %s%s%s", x->type, x->network, x->command,
		       x->subject ? " for " : "", x->subject ?: "");
}

int cni_run(const CniRun *x, const char *input, StrBuf *ret, Err *e)
{
	Run run = {.x = x, .began = cni_hunt_now(), .pidfd = -1, .out = -1, .err = -1, .said = ret};
	int r, status;

	memcpy(run.mark, CNI_MARK, sizeof(CNI_MARK) - 1);
	id_random_hex(run.mark + sizeof(CNI_MARK) - 1, MARK_DIGITS);
	r = start(&run, input, e);
	if (r >= 0)
		r = watch(&run, e);
	status = run.pid > 0 ? end(&run, r < 0) : 0;
	if (r >= 0 && status != 0)
		r = failed(&run, status, e);
	if (r >= 0 && (ret->oom || run.complained.oom))
		r = err_oom(e);
	if (r < 0)
		log_complaint(&run);
	strbuf_done(&run.complained);
	close_fd(&run.pidfd);
	close_fd(&run.out);
	close_fd(&run.err);
	return r < 0 ? name_it(x, r, e) : 0;
}
