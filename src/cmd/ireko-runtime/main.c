/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ireko-runtime: global options, the table of commands, help, and how a failure is told.
 *
 * Called by the name runc (a link will do), it calls itself so in what it prints, for the sake of programs that look for that
 * name there.
 */
#include "command.h"

#include "base/fd.h"
#include "base/str.h"
#include "kernel/process.h"
#include "version.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/random.h>

static const CliCommand *const commands[] = {
    &cli_checkpoint, &cli_create, &cli_delete, &cli_events, &cli_exec,    &cli_features,
    &cli_kill,       &cli_list,   &cli_pause,  &cli_ps,     &cli_restore, &cli_resume,
    &cli_run,        &cli_spec,   &cli_start,  &cli_state,  &cli_update,
};

typedef struct Global {
	const char *root, *log, *log_format, *rootless;
	bool debug, systemd_cgroup, version, help;
} Global;

#define G(m) offsetof(Global, m)
static const CliOption global_options[] = {
    {"debug", 0, CLI_FLAG, G(debug), NULL, "write debug lines to the log"},
    {"log", 0, CLI_TEXT, G(log), "FILE", "write the log there instead of to stderr"},
    {"log-format", 0, CLI_TEXT, G(log_format), "FORMAT", "\"text\" (the default) or \"json\""},
    {"root", 0, CLI_TEXT, G(root), "DIR",
     "where the state of containers is kept (default: /run/ireko-runtime, or below "
     "$XDG_RUNTIME_DIR)"},
    {"systemd-cgroup", 0, CLI_FLAG, G(systemd_cgroup), NULL,
     "let systemd manage cgroups; cgroupsPath is \"slice:prefix:name\""},
    {"rootless", 0, CLI_TEXT, G(rootless), "true|false|auto",
     "ignore what only root can do with cgroups (default: auto)"},
    {"help", 'h', CLI_FLAG, G(help), NULL, "show this help"},
    {"version", 'v', CLI_FLAG, G(version), NULL, "print the version"},
    {NULL, 0, CLI_NOTHING, 0, NULL, NULL},
};

static void print_options(FILE *out, const CliOption *options)
{
	for (; options && options->name; options++) {
		char names[80];
		bool value = options->kind != CLI_FLAG && options->kind != CLI_NOTHING;

		snprintf(names, sizeof(names), "--%s%s%s%s%s", options->name, options->letter ? ", -" : "",
			 options->letter ? (char[]){options->letter, '\0'} : "", value ? " " : "",
			 value && options->value ? options->value : "");
		fprintf(out, "   %-34s %s\n", names, options->help ? options->help : "");
	}
}

static void help(FILE *out, const char *program)
{
	fprintf(out,
		"NAME:\n   %s - Open Container Initiative runtime\n\nUSAGE:\n   %s [global options] command "
		"[command options] "
		"[arguments...]\n\nVERSION:\n   %s\n\nCOMMANDS:\n",
		program, program, IREKO_VERSION);
	for (size_t i = 0; i < ELEMENTSOF(commands); i++)
		fprintf(out, "   %-11s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\nGLOBAL OPTIONS:\n");
	print_options(out, global_options);
}

static void help_of_command(const char *program, const CliCommand *c)
{
	printf("NAME:\n   %s %s - %s\n\nUSAGE:\n   %s %s [command options] %s\n\nOPTIONS:\n", program,
	       c->name, c->summary, program, c->name, c->arguments);
	print_options(stdout, c->options);
}

static bool asks_for_help(int argc, char **argv)
{
	/* Only in front of the first argument: "exec box ls -h" is not about us. */
	for (int i = 1; i < argc && argv[i][0] == '-' && !streq(argv[i], "--"); i++)
		if (streq(argv[i], "-h") || streq(argv[i], "--help") || streq(argv[i], "-help"))
			return true;
	return false;
}

static void warn(const char *message)
{
	log_write(LOG_WARNING, message);
}

static void debug(const char *message)
{
	log_write(LOG_DEBUG, message);
}

static int fail(const Cli *cli, const CliCommand *c, const Err *e, int r)
{
	_cleanup_free_ char *message = NULL;

	if (c->says)
		message = strf("%s%s%s: %s", c->names_program ? cli->program : "",
			       c->names_program ? " " : "", c->says, err_msg(e, r));
	const char *said = message ? message : err_msg(e, r);

	log_write(LOG_ERROR, said);
	if (!log_is_stderr())
		log_say(said);
	return c->failure;
}

static const CliCommand *find_command(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(commands); i++)
		if (streq(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int run(const Cli *cli, int argc, char **argv)
{
	const CliCommand *c = find_command(argv[0]);
	Err e = {0};
	int r;

	if (!c) {
		fprintf(stderr, "No help topic for '%s'\n", argv[0]);
		return 3;
	}
	if (asks_for_help(argc, argv)) {
		help_of_command(cli->program, c);
		return 0;
	}
	r = c->run(cli, argc, argv, &e);
	return r < 0 ? fail(cli, c, &e, r) : r;
}

static void print_version(const char *program)
{
	json_t *features = NULL;

	printf("%s version %s\ncommit: %s\nspec: %s\n", program, IREKO_VERSION, IREKO_COMMIT, OCI_VERSION);
	if (runtime_features(&features, NULL) == 0)
		printf("libseccomp: %s\n", json_get_str(json_object_get(features, "annotations"),
							"io.github.seccomp.libseccomp.version"));
	json_decref(features);
}

static int fail_early(const char *program, const Err *e, int r)
{
	fprintf(stderr, "%s: %s\n", program, err_msg(e, r));
	return 1;
}

/* Left to itself, jansson opens /dev/urandom. */
static void seed_json(void)
{
	unsigned seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		json_object_seed(seed);
}

int main(int argc, char **argv)
{
	Global g = {.log_format = "text"};
	const char *program = argv[0] && streq(basename(argv[0]), "runc") ? "runc" : "ireko-runtime";
	const CliCommand *c;
	_cleanup_free_ char *cache = NULL, *root = NULL;
	bool rootless = false;
	Err e = {0};
	int r = fd_fill_stdio();

	seed_json();
	r = r < 0 ? err_sys(&e, r, "open /dev/null in the place of a closed descriptor")
		  : cli_parse_leading(global_options, argc, argv, &g, &e);
	if (r < 0)
		return fail_early(program, &e, r);
	if (g.version) {
		print_version(program);
		return 0;
	}
	if (g.help || optind >= argc) {
		help(stdout, program);
		return 0;
	}
	c = find_command(argv[optind]);
	r = c && c->meets_container ? process_protect_exe(argv, &e) : 0;
	if (r == 0)
		r = log_open(g.log, g.log_format, g.debug, &e);
	if (r == 0)
		r = cli_rootless(g.rootless, &rootless, &e);
	if (r == 0 && !g.root)
		r = cli_default_root(&root, &e);
	if (r < 0)
		return fail_early(program, &e, r);

	/* '@' is in no container id. */
	cache = strf("%s/@seccomp", root ? root : g.root);
	const Cli cli = {
	    .options = {.root = root ? root : g.root,
			.rootless = rootless,
			.systemd_cgroup = g.systemd_cgroup,
			.called_as = argv[0],
			.helper_dir = IREKO_HELPER_DIR,
			.seccomp_cache = cache,
			.warn = warn,
			.debug = g.debug ? debug : NULL},
	    .program = program,
	};
	return run(&cli, argc - optind, argv + optind);
}
