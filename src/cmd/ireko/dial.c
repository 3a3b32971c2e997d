/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See dial.h. A helper has one end of a socket pair as its standard input and output, and ends when ours is closed. It has a
 * session of its own, so that an interrupt typed at the terminal reaches us and not the connection. ireko-dial-tls reports a
 * failure, or success by silence, through descriptor 3 before it relays; ssh says on standard error what went wrong.
 */
#include "dial.h"
#include "base/path.h"
#include "base/str.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define REPORT_FD 3

extern char **environ;

void tls_files_done(TlsFiles *t)
{
	free(t->ca);
	free(t->cert);
	free(t->key);
	*t = (TlsFiles){0};
}

void dial_done(Dial *d)
{
	tls_files_done(&d->tls);
}

/* ---- processes */

typedef struct Helper {
	const char *program;
	char **argv;
	int report; /* the writing end, or -1 */
} Helper;

static int set_up(const Helper *h, int sock, posix_spawn_file_actions_t *actions,
		  posix_spawnattr_t *attributes)
{
	sigset_t defaults, none;
	int r = 0;

	(void)sigfillset(&defaults);
	(void)sigemptyset(&none);
	(void)posix_spawnattr_setflags(attributes,
				       POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawnattr_setsigdefault(attributes, &defaults);
	(void)posix_spawnattr_setsigmask(attributes, &none);
	for (int to = STDIN_FILENO; r == 0 && to <= STDOUT_FILENO; to++)
		r = posix_spawn_file_actions_adddup2(actions, sock, to);
	if (r == 0 && h->report >= 0)
		r = posix_spawn_file_actions_adddup2(actions, h->report, REPORT_FD);
	return r;
}

static int spawn(const Helper *h, int sock)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	pid_t pid;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r == 0) {
		r = set_up(h, sock, &actions, &attributes);
		if (r == 0)
			r = posix_spawnp(&pid, h->program, &actions, &attributes, h->argv, environ);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* Our end of the pair. What has ended of those before is no zombie any longer: nobody else waits for any child meanwhile. */
static int start(const Helper *h, Err *e)
{
	int pair[2];

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "make a socket pair");
	int r = spawn(h, pair[1]);
	closep(&pair[1]);
	if (r == 0)
		return pair[0];
	closep(&pair[0]);
	return err_new_no(e, ERR_UNAVAILABLE, -r, "run %s: %s", h->program, strerror(-r));
}

/* ---- TLS */

/* Beside us, as in a build folder, or where it is installed. malloc'ed; NULL on out of memory. */
static char *tls_program(void)
{
	_cleanup_free_ char *dir = NULL;

	if (path_of_own_dir(&dir) < 0)
		return strdup("ireko-dial-tls");
	_cleanup_free_ char *beside = strf("%s/ireko-dial-tls", dir);
	if (beside && access(beside, X_OK) == 0)
		return take_ptr(beside);
	return strf("%s/../libexec/ireko/ireko-dial-tls", dir);
}

static int add_option(char ***argv, const char *name, const char *value)
{
	return value ? strv_take(argv, strf("%s%s", name, value)) : 0;
}

static int dial_tls(const Dial *d, const HttpcAddress *a, Err *e)
{
	_cleanup_free_ char *program = tls_program();
	_cleanup_strv_ char **argv = NULL;
	_cleanup_close_ int to_us = -1, theirs = -1, sock = -1;
	int report[2];

	if (!program || strv_add(&argv, program) < 0 || add_option(&argv, "--ca=", d->tls.ca) < 0 ||
	    add_option(&argv, "--cert=", d->tls.cert) < 0 || add_option(&argv, "--key=", d->tls.key) < 0 ||
	    (d->skip_verify && strv_add(&argv, "--skip-verify") < 0) || strv_add(&argv, a->host) < 0 ||
	    strv_add(&argv, a->port) < 0)
		return err_oom(e);
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe");
	to_us = report[0];
	theirs = report[1];
	sock = start(&(Helper){.program = program, .argv = argv, .report = theirs}, e);
	if (sock < 0)
		return sock;
	close_fd(&theirs);
	Err told = {0};
	int r = err_recv(to_us, &told);
	if (r < 0)
		return err_sys(e, r, "read from %s", program);
	if (r == 0)
		return take_fd(&sock);
	if (e)
		*e = told;
	return -told.no;
}

/* ---- ssh */

typedef struct Ssh {
	char *user, *host, *port, *path; /* NULL: not given; but the host */
} Ssh;

static void ssh_done(Ssh *s)
{
	free(s->user);
	free(s->host);
	free(s->port);
	free(s->path);
}

static int parse_ssh(const char *url, Ssh *ret, Err *e)
{
	const char *s = str_after(url, "ssh://"), *path = strchrnul(s, '/'),
		   *at = memchr(s, '@', (size_t)(path - s));
	const char *host = at ? at + 1 : s, *colon = *host == '[' ? strchr(host, ']') : host;
	int port;

	colon = colon ? memchr(colon, ':', (size_t)(path - colon)) : NULL;
	ret->user = at ? strndup(s, (size_t)(at - s)) : NULL;
	ret->host = strndup(host, (size_t)((colon ? colon : path) - host));
	ret->port = colon ? strndup(colon + 1, (size_t)(path - colon - 1)) : NULL;
	ret->path = *path && path[1] ? strdup(path) : NULL;
	if (!ret->host || (at && !ret->user) || (colon && !ret->port))
		return err_oom(e);
	if (ret->user && strchr(ret->user, ':'))
		return err_new(e, ERR_INVALID,
			       "invalid address \"%s\": plain-text password is not supported in ssh://", url);
	if (!*ret->host || (ret->user && !*ret->user) || strpbrk(s, "?# ") ||
	    (ret->port && str_to_int(ret->port, 1, 65535, &port) < 0))
		return err_new(e, ERR_INVALID,
			       "invalid address \"%s\": expected ssh://[USER@]HOST[:PORT][/SOCKET]", url);
	/* ssh takes an IPv6 address without brackets. */
	size_t n = strlen(ret->host);
	if (*ret->host != '[')
		return 0;
	if (n < 3 || ret->host[n - 1] != ']')
		return err_new(e, ERR_INVALID, "invalid address \"%s\": expected an IPv6 address in [ ]",
			       url);
	memmove(ret->host, ret->host + 1, n - 2);
	ret->host[n - 2] = '\0';
	return 0;
}

int dial_check_ssh(const char *url, Err *e)
{
	_cleanup_(ssh_done) Ssh s = {0};

	return parse_ssh(url, &s, e);
}

/* In single quotes, for the shell at the far end. */
static void add_quoted(StrBuf *b, const char *s)
{
	strbuf_add_c(b, '\'');
	for (; *s; s++) {
		if (*s == '\'')
			strbuf_add(b, "'\\''");
		else
			strbuf_add_c(b, *s);
	}
	strbuf_add_c(b, '\'');
}

/* As docker we ask for docker there, as ireko for ireko or, where that is missing, docker. */
static char *far_command(const Ssh *s, const char *program)
{
	_cleanup_strbuf_ StrBuf b = {0};

	if (streq(program, "docker"))
		strbuf_add(&b, "docker");
	else
		strbuf_add(&b,
			   "sh -c 'command -v ireko >/dev/null && exec ireko \"$@\"; exec docker \"$@\"' sh");
	if (s->path) {
		_cleanup_free_ char *host = strf("unix://%s", s->path);

		strbuf_add(&b, " --host ");
		add_quoted(&b, host ? host : "");
		b.oom = b.oom || !host;
	}
	strbuf_add(&b, " system dial-stdio");
	return strbuf_steal(&b);
}

static int dial_ssh(const HttpcAddress *a, const char *program, Err *e)
{
	_cleanup_(ssh_done) Ssh s = {0};
	_cleanup_strv_ char **argv = NULL;
	int r = parse_ssh(a->text, &s, e);

	if (r < 0)
		return r;
	_cleanup_free_ char *command = far_command(&s, program);
	static const char *const fixed[] = {"ssh", "-o", "ConnectTimeout=30", "-T", NULL};
	for (size_t i = 0; r == 0 && fixed[i]; i++)
		r = strv_add(&argv, fixed[i]);
	if (r == 0 && s.user && (strv_add(&argv, "-l") < 0 || strv_add(&argv, s.user) < 0))
		r = -ENOMEM;
	if (r == 0 && s.port && (strv_add(&argv, "-p") < 0 || strv_add(&argv, s.port) < 0))
		r = -ENOMEM;
	if (r < 0 || !command || strv_add(&argv, "--") < 0 || strv_add(&argv, s.host) < 0 ||
	    strv_add(&argv, command) < 0)
		return err_oom(e);
	return start(&(Helper){.program = "ssh", .argv = argv, .report = -1}, e);
}

int dial_helper(const Dial *d, const HttpcAddress *a, const char *program, Err *e)
{
	return d->kind == DIAL_TLS ? dial_tls(d, a, e) : dial_ssh(a, program, e);
}
