/* SPDX-License-Identifier: Apache-2.0 */
/* From arguments and file to values, by the table of settings. The messages about unknown and doubly said keys are dockerd's. */
#include "config.h"
#include "settings.h"

#include "base/str.h"

#include <fcntl.h>
#include <getopt.h>

#define CONFIG_MAX    (1u << 20)
#define HELP_COLUMN   29
#define HELP_WIDTH    100
#define STANDARD_FILE "/etc/ireko/daemon.json"
#define SOCKETS_MAX   16

enum { OPT_FIRST = 256, OPT_VERSION = 2048, OPT_HELP };

static SettingValues *values_of(const DaemonConfig *c, const char *key)
{
	const Setting *s = setting_find(key);

	return s ? &c->set[s - settings] : NULL;
}

const char *config_text(const DaemonConfig *c, const char *key)
{
	const SettingValues *v = values_of(c, key);
	size_t n = v ? strv_len(v->texts) : 0;

	return n ? v->texts[n - 1] : NULL;
}

bool config_bool(const DaemonConfig *c, const char *key, bool otherwise)
{
	const char *v = config_text(c, key);

	return v ? streq(v, "true") : otherwise;
}

int64_t config_int(const DaemonConfig *c, const char *key, int64_t otherwise)
{
	const char *v = config_text(c, key);

	return v ? strtoll(v, NULL, 10) : otherwise;
}

int64_t config_size(const DaemonConfig *c, const char *key, int64_t otherwise)
{
	const char *v = config_text(c, key);
	int64_t n;

	return v && str_to_bytes(v, &n) >= 0 ? n : otherwise;
}

int64_t config_duration(const DaemonConfig *c, const char *key)
{
	const char *v = config_text(c, key);
	int64_t n;

	return v && setting_duration(v, &n) >= 0 ? n : 0;
}

char *const *config_list(const DaemonConfig *c, const char *key)
{
	const SettingValues *v = values_of(c, key);

	return v ? v->texts : NULL;
}

bool config_given(const DaemonConfig *c, const char *key)
{
	const SettingValues *v = values_of(c, key);

	return v && (v->from_flag || v->from_file);
}

/* ---- help ---- */

static void print_help(const Setting *s)
{
	_cleanup_free_ char *name =
	    strf("%s%.1s%s--%s%s%s", s->letter ? "-" : "", s->letter ? &s->letter : "", s->letter ? ", " : "",
		 setting_flag(s), s->meta ? " " : "", s->meta ? s->meta : "");
	const char *text = s->help;
	int column = name ? printf("  %s", name) : 0;

	while (text && *text) {
		size_t n = strlen(text), room = HELP_WIDTH - HELP_COLUMN;

		if (n > room)
			for (n = room; n > 20 && text[n] != ' '; n--)
				;
		if (column >= HELP_COLUMN)
			printf("\n%*s", HELP_COLUMN, "");
		else
			printf("%*s", HELP_COLUMN - column, "");
		printf("%.*s", (int)n, text);
		column = HELP_COLUMN;
		text += n + (text[n] == ' ');
	}
	putchar('\n');
}

void config_print_usage(void)
{
	puts("Usage: irekod [options]\n\nThe container engine. It serves the Docker Engine API; containers "
	     "outlive "
	     "it.\n");
	for (size_t i = 0; i < settings_n; i++)
		if (!(settings[i].flags & SETTING_FILE_ONLY) && settings[i].kind != SET_REFUSED &&
		    settings[i].kind != SET_FIXED)
			print_help(&settings[i]);
	puts("  -v, --version, --help\n\nThe file has the same settings as JSON, lists in the plural: "
	     "{\"hosts\": [\"unix:///run/docker.sock\"]}. SIGHUP reads it again.");
}

/* ---- the command line ---- */

/* Two for each row, ours and an end. index of a row: val - OPT_FIRST. */
static struct option *make_options(char *letters)
{
	struct option *o = calloc(settings_n * 2 + 3, sizeof(*o));
	size_t n = 0;

	if (!o)
		return NULL;
	*letters++ = 'v';
	for (size_t i = 0; i < settings_n; i++) {
		const Setting *s = &settings[i];
		int argument =
		    s->kind == SET_BOOL || s->kind == SET_FIXED ? optional_argument : required_argument;
		int val = s->letter ? s->letter : OPT_FIRST + (int)i;

		if (s->flags & SETTING_FILE_ONLY)
			continue;
		o[n++] = (struct option){setting_flag(s), argument, NULL, val};
		if (s->alias && !streq(s->alias, setting_flag(s)))
			o[n++] = (struct option){s->alias, argument, NULL, val};
		if (s->letter) {
			*letters++ = s->letter;
			if (argument == required_argument)
				*letters++ = ':';
		}
	}
	*letters = '\0';
	o[n++] = (struct option){"version", no_argument, NULL, 'v'};
	o[n++] = (struct option){"help", no_argument, NULL, OPT_HELP};
	return o;
}

static const Setting *row_of(int opt)
{
	if (opt >= OPT_FIRST && opt < OPT_FIRST + (int)settings_n)
		return &settings[opt - OPT_FIRST];
	for (size_t i = 0; i < settings_n; i++)
		if (settings[i].letter == opt)
			return &settings[i];
	return NULL;
}

static int apply_flag(DaemonConfig *c, int opt, const char *value, ConfigAction *action, Err *e)
{
	const Setting *s = row_of(opt);
	SettingValues *v;

	if (opt == 'v' || opt == OPT_HELP) {
		*action = opt == 'v' ? CONFIG_VERSION : CONFIG_HELP;
		return 0;
	}
	if (!s)
		return err_new(e, ERR_INVALID, "unknown option; see irekod --help");
	v = &c->set[s - settings];
	v->from_flag = true;
	return err_ctx(e, setting_add(s, value ? value : "true", &v->texts, e), "--%s", setting_flag(s));
}

static int read_arguments(DaemonConfig *c, int argc, char **argv, ConfigAction *action, Err *e)
{
	char letters[64];
	_cleanup_free_ struct option *options = make_options(letters);
	int opt, r = options ? 0 : err_oom(e);

	opterr = 0;
	optind = 0; /* glibc: from the beginning, whatever was parsed before */
	while (r >= 0 && (opt = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (opt == '?')
			return err_new(e, ERR_INVALID,
				       "%s: unknown option or missing value; see irekod --help",
				       argv[optind - 1]);
		r = apply_flag(c, opt, optarg, action, e);
	}
	if (r >= 0 && *action == CONFIG_RUN && optind < argc)
		r = err_new(e, ERR_INVALID, "unexpected argument \"%s\"; see irekod --help", argv[optind]);
	return r;
}

/* ---- the file ---- */

typedef struct FileReader {
	DaemonConfig *c;
	char **unknown, **both; /* what is wrong with it, all of it at once */
} FileReader;

static int file_member(FileReader *f, const char *key, json_t *v, Err *e);

static int file_members(FileReader *f, json_t *doc, Err *e)
{
	const char *key;
	json_t *v;
	int r = 0;

	json_object_foreach (doc, key, v) {
		r = file_member(f, key, v, e);
		if (r < 0)
			break;
	}
	return r;
}

static int file_member(FileReader *f, const char *key, json_t *v, Err *e)
{
	const Setting *s = setting_find(key);
	SettingValues *to = s ? &f->c->set[s - settings] : NULL;
	_cleanup_free_ char *shown = NULL;

	if (!s || (s->flags & SETTING_FLAG_ONLY))
		return strv_add(&f->unknown, key) < 0 ? err_oom(e) : 0;
	if (json_is_null(v))
		return 0;
	if (s->kind == SET_GROUP)
		return json_is_object(v) ? err_ctx(e, file_members(f, v, e), "%s", key)
					 : err_new(e, ERR_INVALID, "%s: expected an object", key);
	if (to->from_flag) {
		_cleanup_free_ char *flag = strv_join(to->texts, " ");

		shown = json_text(v);
		return !flag || !shown ||
			       strv_take(&f->both, strf("%s: (from flag: %.200s, from file: %.200s)", key,
							flag, shown)) < 0
			   ? err_oom(e)
			   : 0;
	}
	to->from_file = true;
	return setting_read(s, v, &to->texts, e);
}

static int file_verdict(const FileReader *f, Err *e)
{
	_cleanup_free_ char *unknown = strv_join(f->unknown, ", "), *both = strv_join(f->both, ", ");

	if (f->unknown)
		return err_new(e, ERR_INVALID,
			       "the following directives don't match any configuration option: %.500s",
			       unknown ? unknown : "");
	if (f->both)
		return err_new(e, ERR_INVALID,
			       "the following directives are specified both as a flag and in the "
			       "configuration file: %.1000s",
			       both ? both : "");
	return 0;
}

static int read_file(DaemonConfig *c, const char *file, Err *e)
{
	FileReader f = {.c = c};
	_cleanup_json_ json_t *doc = NULL;
	int r = json_load_at(AT_FDCWD, file, CONFIG_MAX, &doc, e);

	if (r >= 0 && !json_is_object(doc))
		r = err_new(e, ERR_INVALID, "expected a JSON object");
	if (r >= 0)
		r = file_members(&f, doc, e);
	if (r >= 0)
		r = file_verdict(&f, e);
	strv_free(f.unknown);
	strv_free(f.both);
	c->file = strdup(file);
	return r < 0     ? err_ctx(e, r, "unable to configure the Docker daemon with file %s", file)
	       : c->file ? 0
			 : err_oom(e);
}

/* ---- defaults ---- */

static int otherwise(DaemonConfig *c, const char *key, const char *value, Err *e)
{
	SettingValues *v = values_of(c, key);

	return v->texts || str_empty(value) ? 0 : setting_add(setting_find(key), value, &v->texts, e);
}

/* Upper case first, as Go's programs do. */
static int from_environment(DaemonConfig *c, const char *key, const char *upper, const char *lower, Err *e)
{
	const char *value = getenv(upper);

	return otherwise(c, key, str_empty(value) ? getenv(lower) : value, e);
}

static int default_certificates(DaemonConfig *c, Err *e)
{
	static const char *const files[][2] = {{"tlscacert", "ca.pem"},
					       {"tlscert", "cert.pem"},
					       {"tlskey", "key.pem"}};
	const char *dir = getenv("DOCKER_CERT_PATH"), *home = getenv("HOME");
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(files); i++) {
		_cleanup_free_ char *path = dir ? strf("%s/%s", dir, files[i][1])
						: strf("%s/.docker/%s", home ? home : "/root", files[i][1]);

		r = path ? otherwise(c, files[i][0], path, e) : err_oom(e);
	}
	return r;
}

static int check_runtimes(const DaemonConfig *c, Err *e)
{
	char *const *all = config_list(c, "runtimes");

	for (char *const *a = all; a && *a; a++) {
		_cleanup_free_ char *name = strndup(*a, strcspn(*a, "="));

		for (char *const *b = a + 1; name && *b; b++)
			if (str_starts(*b, name) && (*b)[strlen(name)] == '=')
				return err_new(e, ERR_INVALID, "--runtime %s is given twice", name);
	}
	return 0;
}

/* docker.io is meant where no registry is named. */
static int name_mirrors(const DaemonConfig *c, Err *e)
{
	SettingValues *v = values_of(c, "registry-mirrors");

	for (char **m = v->texts; m && *m; m++) {
		const char *eq = strchr(*m, '='), *scheme = strstr(*m, "://");
		char *named;

		if (eq && (!scheme || eq < scheme))
			continue;
		named = strf("docker.io=%s", *m);
		if (!named)
			return err_oom(e);
		free(*m);
		*m = named;
	}
	return 0;
}

int config_sockets_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int n;

	return pid && count && atoi(pid) == (int)getpid() && str_to_int(count, 0, SOCKETS_MAX, &n) >= 0 ? n
													: 0;
}

static char *default_host(const DaemonConfig *c)
{
	return config_sockets_passed() > 0 ? strdup("fd://")
					   : strf("unix://%s/ireko.sock", config_text(c, "exec-root"));
}

static int defaults(DaemonConfig *c, Err *e)
{
	_cleanup_free_ char *host = NULL;
	int r = from_environment(c, "http-proxy", "HTTP_PROXY", "http_proxy", e);

	if (r >= 0)
		r = from_environment(c, "https-proxy", "HTTPS_PROXY", "https_proxy", e);
	if (r >= 0)
		r = from_environment(c, "no-proxy", "NO_PROXY", "no_proxy", e);
	if (r >= 0)
		r = otherwise(c, "data-root", "/var/lib/ireko", e);
	if (r >= 0)
		r = otherwise(c, "exec-root", "/run/ireko", e);
	if (r < 0)
		return r;
	host = default_host(c);
	r = host ? otherwise(c, "hosts", host, e) : err_oom(e);
	if (r >= 0)
		r = default_certificates(c, e);
	if (r >= 0)
		r = check_runtimes(c, e);
	if (r >= 0)
		r = name_mirrors(c, e);
	if (r >= 0)
		r = config_gc(c, &c->gc, e);
	c->level = LOG_INFO;
	if (config_text(c, "log-level"))
		(void)log_level_parse(config_text(c, "log-level"), &c->level); /* it was checked */
	if (config_bool(c, "debug", false))
		c->level = LOG_DEBUG;
	return r;
}

int config_load(int argc, char **argv, DaemonConfig *ret, ConfigAction *ret_action, Err *e)
{
	const char *file;
	int r;

	*ret = (DaemonConfig){.set = calloc(settings_n, sizeof(*ret->set))};
	*ret_action = CONFIG_RUN;
	if (!ret->set)
		return err_oom(e);
	r = read_arguments(ret, argc, argv, ret_action, e);
	if (r < 0 || *ret_action != CONFIG_RUN)
		return r;
	file = config_text(ret, "config-file");
	if (file || access(STANDARD_FILE, F_OK) == 0)
		r = read_file(ret, file ? file : STANDARD_FILE, e);
	if (r >= 0)
		r = defaults(ret, e);
	if (r >= 0 && config_bool(ret, "validate", false))
		*ret_action = CONFIG_VALIDATE;
	return r;
}

void config_done(DaemonConfig *c)
{
	for (size_t i = 0; c->set && i < settings_n; i++)
		strv_free(c->set[i].texts);
	free(c->set);
	free(c->file);
	*c = (DaemonConfig){0};
}
