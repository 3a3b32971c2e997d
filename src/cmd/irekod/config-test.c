/* SPDX-License-Identifier: Apache-2.0 */
/* Settings from arguments and file: forms, defaults, mistakes. */
#include "base/test.h"

#include "base/str.h"
#include "base/test-dir.h"
#include "config.h"
#include "settings.h"

#include <limits.h>

static DaemonConfig config;
static ConfigAction action;
static Err err;

static int load(const char *const *args)
{
	char *argv[32] = {(char *)"irekod"};
	int n = 1;

	for (; *args; args++)
		argv[n++] = (char *)*args;
	config_done(&config);
	err = (Err){0};
	return config_load(n, argv, &config, &action, &err);
}
#define LOAD(...) load((const char *const[]){__VA_ARGS__, NULL})

static void write_file(void **state, const char *text, char path[PATH_MAX])
{
	const TestDir *d = *state;
	FILE *f;

	snprintf(path, PATH_MAX, "%s/daemon.json", d->path);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Every row can be called, has help or a remedy, and no two have one name. */
static void rows(void **state)
{
	for (size_t i = 0; i < settings_n; i++) {
		const Setting *s = &settings[i];

		assert_ptr_equal(setting_find(s->key), s);
		if (s->kind != SET_GROUP && !(s->flags & SETTING_FILE_ONLY))
			assert_non_null(s->help);
		assert_true((s->kind == SET_FIXED) == (s->only != NULL));
		assert_true((s->kind == SET_OBJECT) == (s->read != NULL));
		for (size_t k = 0; k < i; k++) {
			assert_string_not_equal(setting_flag(s), setting_flag(&settings[k]));
			assert_true(!s->letter || s->letter != settings[k].letter);
			assert_true(!s->alias || !streq(s->alias, setting_flag(&settings[k])));
		}
	}
}

static void arguments(void **state)
{
	assert_int_equal(LOAD("-H", "unix:///a", "--host=unix:///b", "-D", "--label", "a=b",
			      "--bridge-subnet", "10.0.0.0/24", "--live-restore=0", "--registry-mirror",
			      "https://m", "--registry-mirror", "quay.io=https://q", "--shutdown-timeout=7"),
			 0);
	assert_int_equal(action, CONFIG_RUN);
	assert_int_equal(strv_len(config_list(&config, "hosts")), 2);
	assert_string_equal(config_text(&config, "bip"), "10.0.0.0/24");
	assert_int_equal(config.level, LOG_DEBUG);
	assert_false(config_bool(&config, "live-restore", true));
	assert_int_equal(config_int(&config, "shutdown-timeout", 15), 7);
	assert_string_equal(config_list(&config, "registry-mirrors")[0], "docker.io=https://m");
	assert_string_equal(config_list(&config, "registry-mirrors")[1], "quay.io=https://q");
	assert_string_equal(config_text(&config, "data-root"), "/var/lib/ireko");
	assert_true(LOAD("--version", "--nonsense-behind") < 0);
	assert_int_equal(LOAD("-v"), 0);
	assert_int_equal(action, CONFIG_VERSION);
}

static void mistakes(void **state)
{
	static const char *const rows_[][3] = {{"--mtu", "9", "68 to 65535"},
					       {"--nonsense", "x", "unknown option"},
					       {"--storage-opt", "x", "storage-opts is not offered"},
					       {"--iptables=false", "", "iptables false is not offered"},
					       {"--default-ulimit", "x", "NAME=SOFT"},
					       {"--debug=maybe", "", "true or false"},
					       {"surplus", "", "unexpected argument"}};

	for (size_t i = 0; i < ELEMENTSOF(rows_); i++) {
		assert_true((*rows_[i][1] ? LOAD(rows_[i][0], rows_[i][1]) : LOAD(rows_[i][0])) < 0);
		if (!strstr(err.msg, rows_[i][2]))
			fail_msg("%s: %s", rows_[i][0], err.msg);
	}
}

static void file(void **state)
{
	char path[PATH_MAX];

	write_file(state,
		   "{\"default-ulimits\": {\"nofile\": {\"Soft\": 1, \"Hard\": 2}}, \"icc\": false, \"mtu\": "
		   "1400, \"labels\": [\"a=b\"],"
		   "\"proxies\": {\"no-proxy\": \"x\"}, \"runtimes\": {\"r\": {\"path\": \"/r\"}}, \"ipv6\": "
		   "false, \"dns\": null,"
		   "\"default-address-pools\": [{\"base\": \"10.0.0.0/16\", \"size\": 24}], \"builder\": "
		   "{\"gc\": {\"defaultKeepStorage\": \"1k\"}}}",
		   path);
	if (LOAD("--config", path) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(config_text(&config, "default-ulimits"), "nofile=1:2");
	assert_string_equal(config_text(&config, "icc"), "false");
	assert_int_equal(config_int(&config, "mtu", 0), 1400);
	assert_string_equal(config_text(&config, "no-proxy"), "x");
	assert_string_equal(config_text(&config, "runtimes"), "r=/r");
	assert_string_equal(config_text(&config, "default-address-pools"), "base=10.0.0.0/16,size=24");
	assert_int_equal(config.gc.cache_max, 1024);
	assert_false(config_given(&config, "dns"));
	assert_string_equal(config.file, path);
}

static void wrong_files(void **state)
{
	static const char *const rows_[][2] = {
	    {"{\"a\": 1, \"b\": 2, \"mtu\": 1400}",
	     "the following directives don't match any configuration option: a, b"},
	    {"{\"debug\": false}", "specified both as a flag and in the configuration file: debug: (from "
				   "flag: true, from file: false)"},
	    {"{\"mtu\": true}", "mtu: expected a number"},
	    {"{\"labels\": \"x\"}", "labels: expected an array of strings"},
	    {"{\"icc\": \"maybe\"}", "true or false"},
	    {"{\"builder\": {\"gc\": {\"policy\": []}}}", "policy"},
	    {"{\"storage-opts\": [\"x\"]}", "storage-opts is not offered"},
	    {"{\"config-file\": \"x\"}", "don't match any configuration option: config-file"},
	    {"{\"proxies\": {\"x\": 1}}", "don't match any configuration option: x"},
	    {"[]", "expected a JSON object"},
	    {"{", "daemon.json"},
	};
	char path[PATH_MAX];

	for (size_t i = 0; i < ELEMENTSOF(rows_); i++) {
		write_file(state, rows_[i][0], path);
		assert_true(LOAD("--debug", "--config-file", path) < 0);
		if (!strstr(err.msg, rows_[i][1]) || !strstr(err.msg, path))
			fail_msg("%s: %s", rows_[i][0], err.msg);
	}
	assert_true(LOAD("--config-file", "/no such file") < 0);
}

static int teardown(void **state)
{
	config_done(&config);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(arguments),
					   cmocka_unit_test(mistakes), test_in_dir(file),
					   test_in_dir(wrong_files)};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
