/* SPDX-License-Identifier: Apache-2.0 */
/* Attachments by plugins that are scripts: chains, arguments, records, and plugins that fail or lie. */
#include "cni/test-cni.h"

#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#define ID "aabbcc00"
#define RESULT                                                                                               \
	"{\"cniVersion\":\"%s\",\"interfaces\":[{\"name\":\"veth1\"},{\"name\":\"eth0\",\"sandbox\":\"/run/" \
	"n\"}],\"ips\":[{\"address\":\"fd00::2/64\",\"interface\":1},"                                       \
	"{\"address\":\"10.1.0.2/24\",\"interface\":1},{\"address\":\"10.1.0.1/24\",\"interface\":0}]}"
#define SAYS(version) "[ $CNI_COMMAND = ADD ] && printf '" RESULT "\\n' " version "; exit 0"

static const char two[] = "{\"cniVersion\":\"1.0.0\",\"name\":\"podnet\",\"plugins\":[{\"type\":\"first\","
			  "\"own\":7},{\"type\":\"second\","
			  "\"capabilities\":{\"portMappings\":true,\"bandwidth\":false,\"dns\":true}}]}";

static const CniPort port = {.protocol = "tcp", .host_ip = "", .host_port = 8080, .container_port = 80};
static char *const servers[] = {(char *)(uintptr_t) "10.96.0.10", NULL};

static CniAttachment pod(void)
{
	return (CniAttachment){
	    .container_id = ID,
	    .netns = "/proc/self/ns/net",
	    .ifname = "eth0",
	    .pod_name = "web",
	    .pod_namespace = "default",
	    .pod_uid = "u-1",
	    .ports = &port,
	    .n_ports = 1,
	    .ingress_rate = 1000,
	    .dns_servers = servers,
	};
}

static char *record_path(const World *w, const char *network)
{
	return must(strf("%s/results/%s-" ID "-eth0", w->cache, network));
}

static bool has_record(const World *w)
{
	_cleanup_free_ char *path = record_path(w, "podnet");

	return access(path, F_OK) == 0;
}

static json_t *load(const char *path)
{
	json_t *j = NULL;
	Err e = {0};

	ok(json_load_at(AT_FDCWD, path, 1 << 20, &j, &e));
	return j;
}

static void two_plugins(World *w)
{
	put_at(w->conf, "10-pod.conflist", two, 0644);
	put_plugin(w, "first", SAYS("1.0.0"));
	put_plugin(w, "second", SAYS("1.0.0"));
}

static void a_chain(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	ok(cni_status(c, &e));
	ok(cni_add(c, &a, -1, &res, &e));
	assert_int_equal(strv_len(res.ips), 2);
	assert_string_equal(res.ips[0], "10.1.0.2");
	assert_string_equal(res.ips[1], "fd00::2");
	assert_string_equal(json_get_str(res.document, "cniVersion"), "1.0.0");
	assert_true(has_record(w));
	assert_calls(w, "first ADD,second ADD");
	ok(cni_check(c, &a, -1, &e));
	assert_calls(w, "first CHECK,second CHECK");
	ok(cni_del(c, &a, &e));
	assert_false(has_record(w));
	assert_calls(w, "second DEL,first DEL");
	/* Once more, with nothing known of it. */
	a.netns = "";
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	fails(cni_check(c, &a, -1, &e), ERR_NOT_FOUND, "pod default/web");
}

static json_t *input_of(char **lines, size_t call)
{
	json_t *j = NULL;
	Err e = {0};

	ok(json_parse(lines[call * 3 + 2], strlen(lines[call * 3 + 2]), "input", &j, &e));
	return j;
}

static void what_plugins_are_told(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	ok(cni_add(c, &a, -1, &res, &e));
	ok(cni_del(c, &a, &e));
	_cleanup_free_ char *log = read_log(w);
	_cleanup_strv_ char **lines = strv_split(log, '\n');
	_cleanup_json_ json_t *first = input_of(lines, 0), *second = input_of(lines, 1),
			      *del = input_of(lines, 2);
	_cleanup_json_ json_t *want =
	    json_pack("{s:[{s:i, s:i, s:s, s:s}], s:{s:[s], s:[], s:[]}}", "portMappings", "hostPort", 8080,
		      "containerPort", 80, "protocol", "tcp", "hostIP", "", "dns", "servers", "10.96.0.10",
		      "searches", "options");

	assert_string_equal(lines[1], ID "|/proc/self/ns/"
					 "net|eth0|IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="
					 "web;K8S_POD_INFRA_CONTAINER_ID=" ID ";K8S_POD_UID=u-1");
	assert_int_equal(json_get_int(first, "own", 0), 7);
	assert_string_equal(json_get_str(first, "name"), "podnet");
	assert_null(json_object_get(first, "prevResult"));
	assert_null(json_object_get(first, "runtimeConfig"));
	assert_true(json_equal(json_object_get(second, "runtimeConfig"), want));
	assert_true(json_equal(json_object_get(second, "prevResult"), res.document));
	assert_true(json_equal(json_object_get(del, "prevResult"), res.document));
	assert_true(json_equal(json_object_get(del, "runtimeConfig"), want));
	assert_string_equal(lines[1], lines[10]);
}

static void a_plugin_that_fails(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	put_plugin(w, "second",
		   "[ $CNI_COMMAND = DEL ] && exit 0; echo '{\"code\":11,\"msg\":\"no "
		   "room\",\"details\":\"pool x\"}'; exit 1");
	fails(cni_add(c, &a, -1, &res, &e), ERR_UNAVAILABLE,
	      "CNI plugin second of network podnet: ADD for pod default/web: no room: pool x (code 11)");
	assert_calls(w, "first ADD,second ADD,second DEL,first DEL");
	assert_false(has_record(w));
	assert_null(res.document);
}

static void what_stays_is_cleaned_up_later(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	put_plugin(w, "second", "echo '{\"code\":999,\"msg\":\"broken\"}'; exit 1");
	fails(cni_add(c, &a, -1, &res, &e), ERR_INTERNAL, "broken (code 999)");
	/* The first was released although the second would not. */
	assert_calls(w, "first ADD,second ADD,second DEL,first DEL");
	assert_true(has_record(w));
	ok(clean_up(c, NULL, &e));
	assert_true(has_record(w));
	put_plugin(w, "second", "exit 0");
	char *const keep[] = {(char *)(uintptr_t)ID " eth0", NULL};
	ok(clean_up(c, keep, &e));
	assert_true(has_record(w));
	ok(clean_up(c, NULL, &e));
	assert_false(has_record(w));
}

/* It is there, and is taken down with today's list. */
static void a_record_that_cannot_be_read(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *dir = must(strf("%s/results", w->cache));
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	assert_false(cni_is_recorded(c, &a));
	ok(cni_add(c, &a, -1, &res, &e));
	put_at(dir, "podnet-" ID "-eth0", "{", 0600);
	assert_true(cni_is_recorded(c, &a));
	free(calls(w));
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	assert_false(cni_is_recorded(c, &a));
}

/* What is a plain file is no namespace that plugins could be sent to. */
static void a_namespace_that_is_a_name_only(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *plain = must(strf("%s/plain", w->root));
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	put_at(w->root, "plain", "", 0600);
	assert_true(cni_netns_is_there(a.netns));
	assert_false(cni_netns_is_there(plain));
	ok(cni_add(c, &a, -1, &res, &e));
	a.netns = plain;
	ok(cni_del(c, &a, &e));
	_cleanup_free_ char *log = read_log(w);
	assert_non_null(strstr(log, ID "||eth0|"));
	assert_null(strstr(log, plain));
}

static void names_of_lost(const char *netns, void *user)
{
	snprintf(user, 40, "%s", netns);
}

static void who_releases_is_told_the_namespace(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniStale *lost = NULL;
	CniAttachment a = pod();
	char said[40] = "";
	Err e = {0};

	two_plugins(w);
	ok(cni_add(c, &a, -1, &res, &e));
	ok(cni_stale_find(c, NULL, &lost, &e));
	put_plugin(w, "first", "exit 1");
	cni_stale_release(lost, names_of_lost, said);
	assert_string_equal(said, "");
	put_plugin(w, "first", SAYS("1.0.0"));
	ok(cni_stale_find(c, NULL, &lost, &e));
	cni_stale_release(lost, names_of_lost, said);
	assert_string_equal(said, "/proc/self/ns/net");
	assert_false(has_record(w));
}

static void del_stops_at_the_first_that_fails(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	ok(cni_add(c, &a, -1, &res, &e));
	put_plugin(w, "second", "echo oh no >&2; exit 3");
	free(calls(w));
	fails(cni_del(c, &a, &e), ERR_INTERNAL, "ended with status 3: oh no");
	assert_calls(w, "second DEL");
	assert_true(has_record(w));
	/* As old plugins say that all is gone. */
	put_plugin(w, "second", "echo '{\"code\":7,\"msg\":\"link not found\"}'; exit 1");
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	assert_false(has_record(w));
}

/* It is given up in its time, and the record says that it is to be told again. */
static void a_del_that_hangs(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 1000);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	int64_t began;
	Err e = {0};

	two_plugins(w);
	ok(cni_add(c, &a, -1, &res, &e));
	put_plugin(w, "second", "sleep 1000");
	free(calls(w));
	began = clock_mono_ns();
	fails(cni_del(c, &a, &e), ERR_UNAVAILABLE,
	      "DEL for pod default/web: it did not end within 1 s and was killed");
	assert_true(clock_mono_ns() - began < 20 * INT64_C(1000000000));
	assert_calls(w, "second DEL");
	assert_true(has_record(w));
	put_plugin(w, "second", SAYS("1.0.0"));
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	assert_false(has_record(w));
}

static void answers_that_are_none(void **state)
{
	static const struct {
		const char *body, *error;
	} lies[] = {
	    {"exit 0", "succeeded without a result"},
	    {"echo '{\"cniVersion\":\"1.0.0\",\"ips\":[]}'", "gave eth0 of pod default/web no address"},
	    {"echo '{\"cniVersion\":\"9.9.9\",\"ips\":[{\"address\":\"10.0.0.1/8\"}]}'", "version \"9.9.9\""},
	    {"echo '{\"ips\":[{\"address\":\"10.0.0.1\"}]}'", "an address that is none"},
	    {"echo '{\"ips\":[{\"address\":\"10.0.0.1/8\",\"interface\":5}]}'",
	     "an interface that is not in it"},
	    {"echo '[1]'", "not an object"},
	    {"printf '{\"ips\":\"\\377\\376\"}'", "its answer"},
	    {"echo hello", "its answer"},
	    {"yes '[' | tr -d '\\n' | head -c 100000", "nested more than"},
	    {"yes '[],' | tr -d '\\n' | head -c 900000", "its answer"},
	    {"head -c 100000000 /dev/zero", "answered with more than"},
	};
	World *w = *state;
	Cni *c = world_cni(w, 0);
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	for (size_t i = 0; i < ELEMENTSOF(lies); i++) {
		_cleanup_free_ char *body = must(strf("[ $CNI_COMMAND = ADD ] || exit 0\n%s", lies[i].body));
		_cleanup_cni_result_ CniResult res = {0};

		put_plugin(w, "second", body);
		e = (Err){0};
		if (cni_add(c, &a, -1, &res, &e) >= 0 || !strstr(e.msg, lies[i].error) ||
		    !strstr(e.msg, "podnet") || !strstr(e.msg, "pod default/web"))
			fail_msg("%s: %s", lies[i].body, e.msg);
		assert_false(has_record(w));
	}
}

static void a_result_of_another_version(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	put_plugin(w, "first",
		   "[ $CNI_COMMAND = ADD ] && echo "
		   "'{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.0.2/24\"}}'; exit 0");
	/* What it is told is what it says. */
	put_plugin(w, "second",
		   "[ $CNI_COMMAND = ADD ] && echo \"$in\" | sed "
		   "'s/.*\"prevResult\":\\(.*}\\),\"runtimeConfig.*/\\1/'; exit 0");
	ok(cni_add(c, &a, -1, &res, &e));
	assert_int_equal(strv_len(res.ips), 1);
	assert_string_equal(res.ips[0], "10.1.0.2");
	assert_string_equal(json_get_str(json_array_get(json_object_get(res.document, "ips"), 0), "address"),
			    "10.1.0.2/24");
}

static void an_old_network(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	put_at(w->conf, "old.conf", "{\"name\":\"podnet\",\"type\":\"first\"}", 0644);
	put_plugin(w, "first",
		   "[ $CNI_COMMAND = ADD ] && echo "
		   "'{\"ip4\":{\"ip\":\"10.1.0.2/24\"},\"ip6\":{\"ip\":\"fd00::9/64\"}}'; exit 0");
	ok(cni_add(c, &a, -1, &res, &e));
	assert_int_equal(strv_len(res.ips), 2);
	fails(cni_check(c, &a, -1, &e), ERR_UNSUPPORTED, "from 0.4.0 on");
	ok(cni_del(c, &a, &e));
	_cleanup_free_ char *log = read_log(w);
	assert_null(strstr(log, "prevResult"));
}

/* What is taken down is what was made, whatever the directory says by then. */
static void the_configuration_of_that_time(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	ok(cni_add(c, &a, -1, &res, &e));
	free(calls(w));
	put_at(w->conf, "10-pod.conflist", "{\"name\":\"other\",\"plugins\":[{\"type\":\"third\"}]}", 0644);
	put_plugin(w, "third", "exit 0");
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	assert_false(has_record(w));
}

/* As libcni writes it; and ours has all that it reads. */
static void records_of_others(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	_cleanup_free_ char *path = record_path(w, "theirs"), *ours = record_path(w, "podnet"),
			    *dir = must(strf("%s/results", w->cache));
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	assert_int_equal(mkdir_parents_at(AT_FDCWD, dir, 0700), 0);
	/* {"cniVersion":"0.4.0","name":"theirs","plugins":[{"type":"first"}]} */
	put_at(dir, "theirs-" ID "-eth0",
	       "{\"kind\":\"cniCacheV1\",\"containerId\":\"" ID "\",\"config\":"
	       "\"eyJjbmlWZXJzaW9uIjoiMC40LjAiLCJuYW1lIjoidGhlaXJzIiwicGx1Z2lucyI6W3sidHlwZSI6ImZpcnN0In1dfQ="
	       "=\","
	       "\"ifName\":\"eth0\",\"networkName\":\"theirs\",\"netns\":\"/run/"
	       "n\",\"cniArgs\":[[\"A\",\"1\"]],\"result\":{\"cniVersion\":\"0.4.0\","
	       "\"ips\":[{\"version\":\"4\",\"address\":\"10.0.0.9/8\"}],\"dns\":{}}}",
	       0600);
	ok(clean_up(c, NULL, &e)); /* not ours to clear away */
	assert_int_equal(access(path, F_OK), 0);
	ok(cni_del(c, &a, &e));
	assert_int_equal(access(path, F_OK), -1);
	_cleanup_free_ char *log = read_log(w);
	assert_non_null(strstr(log, "|A=1\n"));
	assert_non_null(strstr(log, "10.0.0.9/8"));
	assert_calls(w, "first DEL");

	ok(cni_add(c, &a, -1, &res, &e));
	_cleanup_json_ json_t *j = load(ours);
	assert_string_equal(json_get_str(j, "kind"), "cniCacheV1");
	assert_string_equal(json_get_str(j, "containerId"), ID);
	assert_string_equal(json_get_str(j, "networkName"), "podnet");
	assert_string_equal(json_get_str(j, "ifName"), "eth0");
	assert_string_equal(json_get_str(j, "netns"), "/proc/self/ns/net");
	assert_int_equal(json_array_size(json_object_get(j, "cniArgs")), 5);
	assert_true(json_equal(json_object_get(j, "result"), res.document));
	assert_non_null(json_get_str(j, "config"));
}

/* A record that ends in the middle, and names that lead elsewhere. */
static void hostile_records_and_names(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *dir = must(strf("%s/results", w->cache));
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	two_plugins(w);
	assert_int_equal(mkdir_parents_at(AT_FDCWD, dir, 0700), 0);
	put_at(dir, "podnet-" ID "-eth0", "{\"kind\":\"cniCac", 0600);
	ok(cni_del(c, &a, &e));
	assert_false(has_record(w));
	assert_calls(w, "second DEL,first DEL");
	a.container_id = "../../x";
	fails(cni_add(c, &a, -1, &res, &e), ERR_INVALID, "container id");
	fails(cni_del(c, &a, &e), ERR_INVALID, "container id");
	a.container_id = ID;
	a.ifname = "a/b";
	fails(cni_add(c, &a, -1, &res, &e), ERR_INVALID, "interface");
	a.ifname = "eth0";
	a.pod_name = "x;IgnoreUnknown=0";
	fails(cni_add(c, &a, -1, &res, &e), ERR_INVALID, "K8S_POD_NAME");
	assert_calls(w, "");
}

static void one_dot_one(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	Err e = {0};

	put_at(w->conf, "10.conflist",
	       "{\"cniVersions\":[\"0.4.0\",\"1.1.0\",\"7.0.0\"],\"name\":\"podnet\",\"plugins\":[{\"type\":"
	       "\"first\"}]}",
	       0644);
	put_plugin(w, "first",
		   "[ $CNI_COMMAND = STATUS ] && { echo '{\"code\":50,\"msg\":\"daemon is down\"}'; exit 1; "
		   "}\n" SAYS("1.1.0"));
	fails(cni_status(c, &e), ERR_UNAVAILABLE,
	      "CNI plugin first of network podnet: STATUS: daemon is down (code 50)");
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "daemon is down");
	assert_calls(w, "first STATUS"); /* remembered */
	put_plugin(w, "first", SAYS("1.1.0"));
	ok(cni_add(c, &a, -1, &res, &e));
	char *const keep[] = {(char *)(uintptr_t)ID " eth0", NULL};
	ok(clean_up(c, keep, &e));
	_cleanup_free_ char *log = read_log(w);
	assert_non_null(strstr(log, "first GC"));
	assert_non_null(
	    strstr(log, "\"cni.dev/valid-attachments\":[{\"containerID\":\"" ID "\",\"ifname\":\"eth0\"}]"));
	ok(cni_del(c, &a, &e));
	free(calls(w));
	put_at(w->conf, "10.conflist",
	       "{\"cniVersion\":\"1.1.0\",\"disableGC\":true,\"disableCheck\":\"true\",\"name\":\"podnet\","
	       "\"plugins\":[{\"type\":\"first\"}]}",
	       0644);
	ok(clean_up(c, NULL, &e));
	assert_calls(w, "");
	ok(cni_status(c, &e));
	assert_calls(w, "first STATUS");
	cni_result_done(&res);
	ok(cni_add(c, &a, -1, &res, &e));
	ok(cni_check(c, &a, -1, &e));
	assert_calls(w, "first ADD");
}

/* The engine is killed while a plugin adds: who takes that down ends the plugin first. */
static void a_killed_engine(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	CniAttachment a = pod();
	_cleanup_free_ char *body = must(strf("[ $CNI_COMMAND = ADD ] || exit 0; sleep 1000 & echo $! "
					      ">'%s/child'; mv '%s/child' '%s/hangs'; wait",
					      w->root, w->root, w->root));
	_cleanup_free_ char *mark = must(strf("%s/hangs", w->root)), *text = NULL;
	pid_t child;
	int pid;
	Err e = {0};

	two_plugins(w);
	put_plugin(w, "second", body);
	child = fork();
	if (child == 0) {
		CniResult res = {0};

		(void)cni_add(c, &a, -1, &res, NULL);
		_exit(0);
	}
	for (int i = 0; i < 1000 && access(mark, F_OK) < 0; i++)
		(void)poll(NULL, 0, 10);
	assert_int_equal(file_read_at(AT_FDCWD, mark, 100, &text, NULL), 0);
	text[strcspn(text, "\n")] = '\0';
	assert_int_equal(str_to_int(text, 2, INT32_MAX, &pid), 0);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_true(has_record(w));
	assert_calls(w, "first ADD,second ADD");
	ok(cni_del(c, &a, &e));
	assert_calls(w, "second DEL,first DEL");
	assert_false(has_record(w));
	/* Not even a zombie has an environment; one that init has not looked at yet is no more. */
	_cleanup_free_ char *environ_path = must(strf("/proc/%d/environ", pid)), *environment = NULL;
	size_t len = 0;
	(void)file_read_at(AT_FDCWD, environ_path, 65536, &environment, &len);
	assert_int_equal(len, 0);
}

static void a_program_that_is_missing(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_cni_result_ CniResult res = {0};
	CniAttachment a = pod();
	_cleanup_free_ char *second = must(strf("%s/second", w->bin));
	Err e = {0};

	two_plugins(w);
	assert_int_equal(unlink(second), 0);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no program of CNI plugin second in /nowhere at all, ");
	fails(cni_add(c, &a, -1, &res, &e), ERR_UNAVAILABLE, "no program of CNI plugin second");
	assert_calls(w, ""); /* nothing was begun */
	assert_false(has_record(w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    in_world(a_chain),
	    in_world(what_plugins_are_told),
	    in_world(a_plugin_that_fails),
	    in_world(what_stays_is_cleaned_up_later),
	    in_world(a_record_that_cannot_be_read),
	    in_world(a_namespace_that_is_a_name_only),
	    in_world(who_releases_is_told_the_namespace),
	    in_world(del_stops_at_the_first_that_fails),
	    in_world(a_del_that_hangs),
	    in_world(answers_that_are_none),
	    in_world(a_result_of_another_version),
	    in_world(an_old_network),
	    in_world(the_configuration_of_that_time),
	    in_world(records_of_others),
	    in_world(hostile_records_and_names),
	    in_world(one_dot_one),
	    in_world(a_killed_engine),
	    in_world(a_program_that_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
