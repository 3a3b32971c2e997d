/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login, logout.
 *
 * The engine asks the registry whether the credentials are good; only then they are kept (credential.h says where). A
 * password on the command line is wiped out of it as soon as it was read, so that lists of processes do not show it for long.
 */
#include "base/fd.h"
#include "base/secret.h"
#include "client.h"
#include "config.h"
#include "credential.h"
#include "options.h"
#include "terminal.h"
#include "text.h"
#include "verbs.h"

typedef struct LoginOptions {
	const char *username, *password, *store;
	bool password_stdin;
} LoginOptions;

#define O(field) offsetof(LoginOptions, field)
static const Flag login_flags[] = {
    {"password", 'p', FLAG_STRING, O(password), "Password or token; better given with --password-stdin",
     NULL},
    {"password-stdin", 0, FLAG_BOOL, O(password_stdin), "Take the password from standard input", NULL},
    {"store", 0, FLAG_STRING, O(store),
     "Where ireko's own store keeps its key: file, or keyring (of the kernel, until the next boot)",
     "file|keyring"},
    {"username", 'u', FLAG_STRING, O(username), "Username", NULL},
    {0},
};
#undef O

typedef struct Login {
	Call *call;
	char *server; /* the key */
	bool hub;
	Credentials c;
} Login;

static void login_done(Login *l)
{
	free(l->server);
	credentials_done(&l->c);
}

/* ---- what the user says ---- */

static int take_argument(const char *text, const char *what, char **ret, Err *e)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7F)
			return err_new(e, ERR_INVALID, "the %s has control characters in it", what);
	*ret = strdup(text);
	return *ret ? 0 : err_oom(e);
}

/* A password in the arguments is in everybody's sight. */
static void wipe_argument(const char *text)
{
	explicit_bzero((char *)text, strlen(text));
}

/* All of standard input, without the line's end: a key file in JSON has many lines. */
static int password_from_stdin(char **ret, Err *e)
{
	_cleanup_secret_ char *text = NULL;
	size_t len = 0;
	int r = fd_read_all(STDIN_FILENO, CREDENTIALS_SECRET_MAX, &text, &len);

	if (r == -EFBIG)
		return err_new(e, ERR_INVALID, "the password on standard input is longer than %u bytes",
			       CREDENTIALS_SECRET_MAX);
	if (r < 0)
		return err_sys(e, r, "read the password from standard input");
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	if (strlen(text) != len)
		return err_new(e, ERR_INVALID, "the password on standard input has a NUL in it");
	*ret = take_ptr(text);
	return 0;
}

static int check_options(const LoginOptions *o, Err *e)
{
	if (o->password && o->password_stdin)
		return err_new(e, ERR_INVALID, "--password and --password-stdin are mutually exclusive");
	if (o->password_stdin && str_empty(o->username))
		return err_new(e, ERR_INVALID, "Must provide --username with --password-stdin");
	if (o->password && !*o->password)
		return err_new(e, ERR_INVALID, "--password is empty");
	if (o->store && !streq(o->store, "file") && !streq(o->store, "keyring"))
		return err_new(e, ERR_INVALID, "--store %s: expected file or keyring", o->store);
	return 0;
}

static int take_options(Login *l, const LoginOptions *o, Err *e)
{
	int r = check_options(o, e);

	if (r == 0 && o->username && *o->username)
		r = take_argument(o->username, "username", &l->c.username, e);
	if (r == 0 && o->password) {
		cli_complain(l->call->cli,
			     "WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
		r = take_argument(o->password, "password", &l->c.password, e);
	}
	if (o->password)
		wipe_argument(o->password);
	if (r == 0 && o->password_stdin) {
		r = password_from_stdin(&l->c.password, e);
		if (r == 0 && !*l->c.password)
			r = err_new(e, ERR_INVALID, "the password on standard input is empty");
	}
	return r;
}

static int prompt(const char *text, bool hidden, size_t max, char **ret, Err *e)
{
	(void)fputs(text, stdout);
	(void)fflush(stdout);
	int r = hidden ? terminal_hide(STDIN_FILENO, e) : 0;
	if (r == 0)
		r = terminal_read_line(STDIN_FILENO, max, ret, e);
	if (hidden) {
		terminal_restore();
		(void)putchar('\n');
	}
	return r;
}

/* `known` is the username that was used before, or NULL. */
static int ask_user(Login *l, const char *known, Err *e)
{
	int r = 0;

	if (isatty(STDIN_FILENO) != 1)
		return err_new(e, ERR_INVALID,
			       "Error: Cannot perform an interactive login from a non TTY device");
	if (!l->c.username && l->hub)
		(void)printf(
		    "Log in with your Docker ID or email address to push and pull images from Docker Hub. If "
		    "you don't have a Docker ID, head over to https://hub.docker.com/ to create one.\n"
		    "You can log in with your password or a Personal Access Token (PAT).\n\n");
	if (!l->c.username) {
		_cleanup_free_ char *text = known ? strf("Username (%s): ", known) : strdup("Username: ");

		r = text ? prompt(text, false, CREDENTIALS_USER_MAX, &l->c.username, e) : err_oom(e);
		if (r == 0 && !*l->c.username && known) {
			secret_free(l->c.username);
			l->c.username = strdup(known);
		}
	}
	if (r == 0 && str_empty(l->c.username))
		return err_new(e, ERR_INVALID, "username is required");
	if (r == 0)
		r = prompt("Password: ", true, CREDENTIALS_SECRET_MAX, &l->c.password, e);
	if (r == 0 && str_empty(l->c.password))
		return err_new(e, ERR_INVALID, "password is required");
	return r;
}

/* ---- the registry's answer ---- */

/* An identity token takes the password's place. */
static int check(Login *l, Credentials *c, char **ret_status, Err *e)
{
	_cleanup_json_ json_t *account = credentials_to_api(c, l->server), *answer = NULL;

	if (!account)
		return err_oom(e);
	int r = api_call(l->call->cli, "POST", "/auth", account, &answer, e);
	if (r < 0)
		return r;
	const char *token = json_get_str(answer, "IdentityToken"), *status = json_get_str(answer, "Status");
	if (!str_empty(token)) {
		secret_free(c->identity_token);
		secret_free(take_ptr(c->password));
		c->identity_token = strdup(token);
		if (!c->identity_token)
			return err_oom(e);
	}
	*ret_status = strdup(str_empty(status) ? "Login Succeeded" : status);
	return *ret_status ? 0 : err_oom(e);
}

static int keep(Login *l, const char *key, const char *status, Err *e)
{
	_cleanup_free_ char *path = config_path(l->call->cli);
	CredentialKept kept;
	int r = path ? credential_put(l->call->cli, l->server, &l->c, key, &kept, e) : err_oom(e);

	if (r < 0)
		return r;
	if (kept == KEPT_PLAIN)
		cli_complain(l->call->cli,
			     "\nWARNING! Your credentials are stored unencrypted in '%s'.\n"
			     "Configure a credential helper to remove this warning. See\n"
			     "https://docs.docker.com/go/credential-store/\n",
			     path);
	text_put(stdout, status, l->call->cli->out_tty);
	(void)putchar('\n');
	return 0;
}

/* With what is known already: 1 if that did it. `known` gets the username. */
static int try_known(Login *l, const char *key, char **known, Err *e)
{
	_cleanup_(credentials_done) Credentials c = {0};
	_cleanup_free_ char *status = NULL;
	Err why = {0};
	int r = credential_get(l->call->cli, l->server, &c, e);

	if (r < 0 || credentials_empty(&c))
		return r;
	if (c.username)
		*known = strdup(c.username);
	(void)printf("Authenticating with existing credentials...%s%s%s\n", c.username ? " [Username: " : "",
		     c.username ? c.username : "", c.username ? "]" : "");
	r = check(l, &c, &status, &why);
	if (r < 0 && why.kind == ERR_UNAUTHORIZED && isatty(STDIN_FILENO) == 1) {
		cli_complain(l->call->cli, "Login did not succeed, error: %s", why.msg);
		return 0;
	}
	if (r < 0) {
		if (e)
			*e = why;
		return r;
	}
	l->c = c;
	c = (Credentials){0};
	r = keep(l, key, status, e);
	return r < 0 ? r : 1;
}

static int run_login(Call *call, Err *e)
{
	const LoginOptions *o = call->opts;
	_cleanup_(login_done) Login l = {.call = call};
	_cleanup_free_ char *status = NULL, *known = NULL;
	const char *server = call->n_args ? call->args[0] : "docker.io";

	secret_process();
	secret_wipe_json();
	int r = take_options(&l, o, e);
	if (r == 0)
		r = credentials_check_server(server, e);
	if (r < 0)
		return r;
	l.hub = credentials_is_hub(server);
	l.server = credentials_key(server);
	if (!l.server)
		return err_oom(e);
	if (!l.c.username && !l.c.password) {
		r = try_known(&l, o->store, &known, e);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	if (!l.c.username || !l.c.password)
		r = ask_user(&l, known, e);
	if (r == 0)
		r = check(&l, &l.c, &status, e);
	return r < 0 ? r : keep(&l, o->store, status, e);
}

const Command cmd_login = {.usage = "[OPTIONS] [SERVER]",
			   .summary = "Authenticate to a registry",
			   .flags = login_flags,
			   .opts_size = sizeof(LoginOptions),
			   .min = 0,
			   .max = 1,
			   .run = run_login};

/* ---- logout ---- */

static int run_logout(Call *call, Err *e)
{
	const char *server = call->n_args ? call->args[0] : "docker.io";
	int r = credentials_check_server(server, e);

	if (r < 0)
		return r;
	_cleanup_free_ char *key = credentials_key(server);
	if (!key)
		return err_oom(e);
	r = credential_erase(call->cli, key, e);
	if (r < 0)
		return err_ctx(e, r, "could not erase the credentials for %s", key);
	(void)printf(r > 0 ? "Removing login credentials for %s\n" : "Not logged in to %s\n", key);
	return 0;
}

static const Flag logout_flags[] = {{0}};

const Command cmd_logout = {.usage = "[SERVER]",
			    .summary = "Log out from a registry",
			    .flags = logout_flags,
			    .opts_size = 0,
			    .min = 0,
			    .max = 1,
			    .run = run_logout};
