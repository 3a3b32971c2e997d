/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: docker's verbs and flags over the Docker Engine API. Global options, the way from words
 * to a Command, and the one place where errors are printed and become exit statuses: wrong flags are 125,
 * everything else is what the command's row says. The output is written out last, so that a full disk or a
 * closed pipe is an error too.
 */
#include "base/str.h"
#include "endpoint.h"
#include "options.h"
#include "plugin.h"
#include "text.h"
#include "verbs.h"

#include <stdarg.h>

typedef struct GlobalOptions {
	List hosts;
	const char *context, *config, *log_level, *tls_ca, *tls_cert, *tls_key;
	bool version, debug, tls, tls_verify;
} GlobalOptions;

#define G(field) offsetof(GlobalOptions, field)
const Flag global_flags[] = {
    {"config", 0, FLAG_STRING, G(config), "Folder of docker's client configuration (default ~/.docker)",
     NULL},
    {"context", 'c', FLAG_STRING, G(context), "Context that names the engine (see 'context ls')", NULL},
    {"debug", 'D', FLAG_BOOL, G(debug), NULL, NULL},
    {"host", 'H', FLAG_LIST, G(hosts), "Engine to talk to: unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST",
     NULL},
    {"log-level", 'l', FLAG_STRING, G(log_level), NULL, NULL},
    {"tls", 0, FLAG_BOOL, G(tls), "Use TLS, whoever is there", NULL},
    {"tlscacert", 0, FLAG_STRING, G(tls_ca), "Trust certificates of this CA only (default ~/.docker/ca.pem)",
     NULL},
    {"tlscert", 0, FLAG_STRING, G(tls_cert), "Our certificate (default ~/.docker/cert.pem)", NULL},
    {"tlskey", 0, FLAG_STRING, G(tls_key), "Its key (default ~/.docker/key.pem)", NULL},
    {"tlsverify", 0, FLAG_BOOL, G(tls_verify), "Use TLS and check who is there", NULL},
    {"version", 'v', FLAG_BOOL, G(version), "Print the version and quit", NULL},
    {0},
};

static void complain(const Cli *cli, const char *prefix, const char *text)
{
	(void)fflush(stdout);
	if (prefix)
		(void)fprintf(stderr, "%s: ", prefix);
	text_put(stderr, text, cli->err_tty);
	(void)fputc('\n', stderr);
}

void cli_complain(const Cli *cli, const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	complain(cli, NULL, n < 0 ? "out of memory" : s);
	if (n >= 0)
		free(s);
}

int cli_for_each(Call *call, int (*each)(Call *call, const char *arg, Err *e))
{
	int status = 0;

	for (int i = 0; i < call->n_args; i++) {
		Err e = {0};
		int r = each(call, call->args[i], &e);

		if (r < 0) {
			complain(call->cli, NULL, err_msg(&e, r));
			status = 1;
		}
	}
	return status;
}

bool cli_confirm(const char *question)
{
	char answer[16] = {0};

	(void)printf("%s [y/N] ", question);
	(void)fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return answer[0] == 'y' || answer[0] == 'Y';
}

/* As docker we say it in docker's way, which programs take apart. */
static void print_version(const Cli *cli)
{
	if (streq(cli->program, "docker"))
		(void)printf("Docker version " IREKO_VERSION ", build ireko\n");
	else
		(void)printf("ireko version " IREKO_VERSION "\n");
}

static void print_verbs(const Verb *table)
{
	for (const Verb *v = table; v->name; v++)
		if (!v->alias)
			(void)printf("  %-11s %s\n", v->name, v->command->summary);
}

static void print_groups(bool swarm)
{
	for (const VerbGroup *g = verb_groups; g->name; g++)
		if (g->swarm == swarm)
			(void)printf("  %-11s %s\n", g->name, g->summary);
}

static void print_help(const Cli *cli)
{
	(void)printf("Usage:  %s [OPTIONS] COMMAND\n\nContainers, images, networks and volumes of an "
		     "engine\n\nManagement Commands:\n",
		     cli->program);
	print_groups(false);
	(void)printf("\nSwarm Commands:\n");
	print_groups(true);
	(void)printf("\nCommands:\n");
	print_verbs(verbs);
	(void)printf("\nGlobal Options:\n");
	options_print_table(global_flags, stdout);
	(void)printf("\nRun '%s COMMAND --help' for more information on a command.\n", cli->program);
}

static void print_group_help(const Cli *cli, const VerbGroup *g)
{
	(void)printf("Usage:  %s %s COMMAND\n\n%s\n\nCommands:\n", cli->program, g->name, g->summary);
	print_verbs(g->verbs);
	(void)printf("\nRun '%s %s COMMAND --help' for more information on a command.\n", cli->program,
		     g->name);
}

static int unknown_command(const Cli *cli, const char *group, const char *name)
{
	_cleanup_free_ char *usage = group ? strf("Usage:  %s %s\n\n", cli->program, group) : strdup("");
	_cleanup_free_ char *text =
	    strf("unknown command: %s %s%s%s\n\n%sRun '%s%s%s --help' for more information", cli->program,
		 group ? group : "", group ? " " : "", name, usage ? usage : "", cli->program,
		 group ? " " : "", group ? group : "");

	complain(cli, cli->program, text ? text : "unknown command");
	return 1;
}

/* "requires 1 argument", "requires at least 1 argument", "accepts no arguments" ... */
static int check_arguments(const Call *call)
{
	const Command *c = call->command;
	_cleanup_free_ char *want = NULL;
	int n = call->n_args;

	if (n >= c->min && (c->max < 0 || n <= c->max))
		return 0;
	if (c->max == 0)
		want = strdup("accepts no arguments");
	else if (c->max == c->min)
		want = strf("requires %d argument%s", c->min, c->min == 1 ? "" : "s");
	else if (n < c->min)
		want = strf("requires at least %d argument%s", c->min, c->min == 1 ? "" : "s");
	else
		want = strf("requires at most %d argument%s", c->max, c->max == 1 ? "" : "s");
	(void)fprintf(stderr,
		      "%s: '%s %s' %s\n\nUsage:  %s %s%s%s\n\n%s '%s %s --help' for more information\n",
		      call->cli->program, call->cli->program, call->path,
		      want ? want : "got a wrong number of arguments", call->cli->program, call->path,
		      *c->usage ? " " : "", c->usage, c->max < 0 ? "See" : "Run", call->cli->program,
		      call->path);
	return -EINVAL;
}

/* A wrong flag, and how it is done. */
static int report_usage(const Call *call, const char *message)
{
	const char *usage = call->command->usage;

	complain(call->cli, NULL, message);
	(void)fprintf(stderr, "\nUsage:  %s %s%s%s\n\nRun '%s %s --help' for more information\n",
		      call->cli->program, call->path, *usage ? " " : "", usage, call->cli->program,
		      call->path);
	return 125;
}

static int report_failure(const Call *call, int r, const Err *e)
{
	const Command *c = call->command;

	/* What is wrong with a flag's value is told as the parser tells it, whoever found it. */
	if (str_starts(err_msg(e, r), "invalid argument \""))
		return report_usage(call, err_msg(e, r));
	if (!c->failure) {
		complain(call->cli, NULL, err_msg(e, r));
		return 1;
	}
	complain(call->cli, call->cli->program, err_msg(e, r));
	(void)fprintf(stderr, "\nRun '%s %s --help' for more information\n", call->cli->program, call->path);
	return c->failure;
}

static void add_alias(StrBuf *b, const Cli *cli, const char *group, const char *verb)
{
	strbuf_addf(b, "%s%s %s%s%s", b->len ? ", " : "", cli->program, group, *group ? " " : "", verb);
}

/* All the ways to type a command, or NULL if there is only one. malloc'ed. */
static char *aliases_of(const Cli *cli, const Command *c)
{
	_cleanup_strbuf_ StrBuf b = {0};
	int n = 0;

	for (const VerbGroup *g = verb_groups; g->name; g++)
		for (const Verb *v = g->verbs; v->name; v++)
			if (v->command == c) {
				add_alias(&b, cli, g->name, v->name);
				n++;
			}
	for (const Verb *v = verbs; v->name; v++)
		if (v->command == c) {
			add_alias(&b, cli, "", v->name);
			n++;
		}
	return n > 1 ? strbuf_steal(&b) : NULL;
}

static void print_command_help(const Call *call)
{
	_cleanup_free_ char *aliases = aliases_of(call->cli, call->command);

	options_print_help(call, aliases, stdout);
}

/* Only --help is looked for. As options_parse. */
static int parse_raw(int argc, char **argv, char ***ret_args, Err *e)
{
	char **args = calloc((size_t)argc + 1, sizeof(char *));

	if (!args)
		return err_oom(e);
	for (int i = 0; i < argc; i++) {
		if (streq(argv[i], "--help")) {
			free(args);
			return 1;
		}
		args[i] = argv[i];
	}
	*ret_args = args;
	return 0;
}

static int run_command(Call *call, int argc, char **argv)
{
	const Command *c = call->command;
	_cleanup_free_ void *opts = calloc(1, c->opts_size + 1);
	_cleanup_free_ char **args = NULL;
	Err e = {0};
	int r = !opts    ? err_oom(&e)
		: c->raw ? parse_raw(argc, argv, &args, &e)
			 : options_parse(c->flags, c->stop_at_first, argc, argv, opts, &args, &e);
	int status;

	if (r < 0) {
		status = report_usage(call, err_msg(&e, r));
	} else if (r > 0) {
		print_command_help(call);
		status = 0;
	} else {
		call->opts = opts;
		call->args = args;
		call->n_args = (int)strv_len(args);
		if (check_arguments(call) < 0) {
			/* Even of run, whose other failures are 125. */
			status = 1;
		} else {
			r = c->run(call, &e);
			status = r < 0 ? report_failure(call, r, &e) : r;
		}
	}
	if (opts)
		options_done(c->flags, opts);
	return status;
}

static bool is_help(const char *s)
{
	return !s || streq(s, "--help") || streq(s, "-h") || streq(s, "help");
}

/* Does not return if there is such a plugin. */
static int run_plugin_or_complain(Cli *cli, const char *name, const char *verb)
{
	Err e = {0};
	int r = plugin_run(cli, name, cli->argv, &e);

	if (r == 0)
		return verb ? unknown_command(cli, name, verb) : unknown_command(cli, NULL, name);
	complain(cli, cli->program, err_msg(&e, r));
	return 1;
}

static int run_group(Cli *cli, const VerbGroup *g, int argc, char **argv)
{
	const Command *c;

	if (is_help(argv[0])) {
		print_group_help(cli, g);
		return 0;
	}
	c = verbs_find(g->verbs, argv[0]);
	if (!c)
		return streq(g->name, "buildx") ? run_plugin_or_complain(cli, g->name, argv[0])
						: unknown_command(cli, g->name, argv[0]);
	_cleanup_free_ char *path = strf("%s %s", g->name, argv[0]);
	return run_command(&(Call){.cli = cli, .command = c, .path = path ? path : argv[0]}, argc - 1,
			   argv + 1);
}

int cli_dispatch(Cli *cli, int argc, char **argv)
{
	const char *name = argv[0];

	/* "ireko help run" is "ireko run --help". */
	if (streq0(name, "help") && argc > 1) {
		static char help[] = "--help";
		char *again[] = {argv[1], argc > 2 ? argv[2] : help, argc > 2 ? help : NULL, NULL};

		return cli_dispatch(cli, argc > 2 ? 3 : 2, again);
	}
	if (is_help(name)) {
		print_help(cli);
		return 0;
	}
	const Command *c = verbs_find(verbs, name);
	if (c)
		return run_command(&(Call){.cli = cli, .command = c, .path = name}, argc - 1, argv + 1);
	const VerbGroup *g = verbs_find_group(name);
	return g ? run_group(cli, g, argc - 1, argv + 1) : run_plugin_or_complain(cli, name, NULL);
}

static int run_globals(Cli *cli, int argc, char **argv)
{
	GlobalOptions o = {0};
	_cleanup_free_ char **args = NULL;
	Err e = {0};
	int r = options_parse(global_flags, true, argc - 1, argv + 1, &o, &args, &e), status;

	cli->host = strv_len(o.hosts.v) == 1 ? o.hosts.v[0] : NULL;
	cli->context = o.context;
	cli->config_dir = o.config;
	if (r == 0 && strv_len(o.hosts.v) > 1)
		r = err_new(&e, ERR_INVALID, "specify only one -H");
	cli->tls = o.tls;
	cli->tls_verify = o.tls_verify;
	cli->debug = o.debug;
	cli->tls_ca = o.tls_ca;
	cli->tls_cert = o.tls_cert;
	cli->tls_key = o.tls_key;
	if (r < 0) {
		complain(cli, NULL, err_msg(&e, r));
		(void)fprintf(
		    stderr,
		    "\nUsage:  %s [OPTIONS] COMMAND [ARG...]\n\nRun '%s --help' for more information\n",
		    cli->program, cli->program);
		status = 125;
	} else if (r > 0) {
		print_help(cli);
		status = 0;
	} else if (o.version) {
		print_version(cli);
		status = 0;
	} else {
		status = cli_dispatch(cli, (int)strv_len(args), args);
	}
	options_done(global_flags, &o);
	return status;
}

int cli_main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL, *base = slash      ? slash + 1
									     : argc > 0 ? argv[0]
											: "ireko";
	Cli cli = {.argv = argv,
		   .program = streq(base, "docker") ? "docker" : "ireko",
		   .out_tty = isatty(STDOUT_FILENO) == 1,
		   .err_tty = isatty(STDERR_FILENO) == 1};
	int status = argc > 0 ? run_globals(&cli, argc, argv) : 125;

	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "%s: write the output: %s\n", cli.program, strerror(errno));
		status = status ? status : 1;
	}
	json_decref(cli.config);
	httpc_free(cli.idle);
	endpoint_done(&cli);
	return status;
}
