/* SPDX-License-Identifier: Apache-2.0 */
/* The create document: decoded, encoded and decoded again it stays what it was. */
#include "base/str.h"
#include "base/test.h"
#include "engine/container-config.h"

static const char body[] =
    "{\"Image\":\"debian:bookworm\",\"Cmd\":[\"sh\",\"-c\",\"true\"],\"Entrypoint\":[],\"Env\":[\"A=b\",\"C="
    "私\"],"
    "\"Tty\":true,\"OpenStdin\":true,\"ExposedPorts\":{\"80/tcp\":{}},\"Volumes\":{\"/data\":{}},"
    "\"Labels\":{\"k\":\"v=w\"},\"StopTimeout\":0,"
    "\"Healthcheck\":{\"Test\":[\"CMD\",\"true\"],\"Interval\":1000000000},"
    "\"HostConfig\":{\"Binds\":[\"/a "
    "b:/c:ro\"],\"PortBindings\":{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"},"
    "{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"\"}]},\"Memory\":134217728,\"MemorySwappiness\":null,"
    "\"PidsLimit\":7,"
    "\"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":3},\"LogConfig\":{\"Type\":\"json-"
    "file\","
    "\"Config\":{\"max-size\":\"10m\"}},\"Ulimits\":[{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":2}],"
    "\"Mounts\":[{\"Type\":\"bind\",\"Source\":\"/x\",\"Target\":\"/y\",\"ReadOnly\":true,"
    "\"BindOptions\":{\"Propagation\":\"rslave\"}},{\"Type\":\"tmpfs\",\"Target\":\"/t\","
    "\"TmpfsOptions\":{\"SizeBytes\":65536,\"Mode\":448}}],\"Tmpfs\":{\"/"
    "run\":\"size=1m\"},\"ConsoleSize\":[24,80],"
    "\"MaskedPaths\":[],\"Init\":false},"
    "\"NetworkingConfig\":{\"EndpointsConfig\":{\"net\":{\"IPAMConfig\":{\"IPv4Address\":\"10.0.0.9\"},"
    "\"Aliases\":[\"db\"]}}}}";

static void decode(const char *text, ContainerConfig *c)
{
	_cleanup_json_ json_t *doc = NULL;
	Err e = {0};

	if (json_parse(text, strlen(text), "body", &doc, &e) < 0 || container_config_decode(doc, c, &e) < 0)
		fail_msg("%s", e.msg);
}

static void check(const ContainerConfig *c)
{
	assert_string_equal(c->image, "debian:bookworm");
	assert_int_equal(strv_len(c->cmd), 3);
	assert_true(c->has_entrypoint);
	assert_true(c->tty && c->open_stdin && !c->attach_stdin);
	assert_string_equal(c->exposed_ports[0], "80/tcp");
	assert_string_equal(c->volumes[0], "/data");
	assert_string_equal(c->labels[0], "k=v=w");
	assert_int_equal(c->stop_timeout, 0);
	assert_true(c->has_health);
	assert_int_equal(c->health.interval, 1000000000);
	assert_string_equal(c->host.binds[0], "/a b:/c:ro");
	assert_int_equal(c->host.n_ports, 2);
	assert_string_equal(c->host.ports[0].host_port, "8080");
	assert_string_equal(c->host.ports[1].host_ip, "127.0.0.1");
	assert_int_equal(c->host.memory, 134217728);
	assert_int_equal(c->host.memory_swappiness, -1);
	assert_int_equal(c->host.pids_limit, 7);
	assert_int_equal(c->host.restart.maximum_retry_count, 3);
	assert_string_equal(c->host.log.config[0], "max-size=10m");
	assert_int_equal(c->host.ulimits[0].hard, 2);
	assert_int_equal(c->host.n_mounts, 2);
	assert_true(c->host.mounts[0].read_only);
	assert_string_equal(c->host.mounts[0].propagation, "rslave");
	assert_int_equal(c->host.mounts[1].tmpfs_mode, 448);
	assert_string_equal(c->host.tmpfs[0], "/run=size=1m");
	assert_int_equal(c->host.console_width, 80);
	assert_true(c->host.has_masked_paths && !c->host.has_readonly_paths);
	assert_true(c->host.has_init && !c->host.init);
	assert_string_equal(c->endpoints[0].ipv4_address, "10.0.0.9");
	assert_string_equal(c->endpoints[0].aliases[0], "db");
}

static void test_round_trip(void **state _unused_)
{
	ContainerConfig a = {0}, b = {0};
	Err e = {0};

	decode(body, &a);
	check(&a);
	assert_int_equal(container_config_copy(&a, &b, &e), 0);
	check(&b);
	container_config_done(&a);
	container_config_done(&b);
}

static void test_wrong_types_are_named(void **state _unused_)
{
	const char *const bad[][2] = {
	    {"{\"Env\":\"\",\"Cmd\":7}", "Cmd"},
	    {"{\"HostConfig\":{\"Memory\":\"lots\"}}", "Memory"},
	    {"{\"Volumes\":[]}", "Volumes"},
	    {"{\"HostConfig\":{\"PortBindings\":[1]}}", "PortBindings"},
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_json_ json_t *doc = NULL;
		ContainerConfig c = {0};
		Err e = {0};

		assert_int_equal(json_parse(bad[i][0], strlen(bad[i][0]), "body", &doc, &e), 0);
		assert_true(container_config_decode(doc, &c, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_non_null(strstr(e.msg, bad[i][1]));
		container_config_done(&c);
	}
}

static void test_unset_differs_from_empty(void **state _unused_)
{
	ContainerConfig c = {0};

	decode("{\"Image\":\"x\"}", &c);
	assert_false(c.has_entrypoint);
	assert_int_equal(c.stop_timeout, -1);
	assert_false(c.host.has_masked_paths);
	container_config_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_wrong_types_are_named),
	    cmocka_unit_test(test_unset_differs_from_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
