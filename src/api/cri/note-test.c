/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/door-internal.h"
#include "api/cri/note.h"
#include "api/cri/verbose.h"

static Cri__PodSandboxMetadata metadata = {PROTOBUF_C_MESSAGE_INIT(&cri__pod_sandbox_metadata__descriptor),
					   .name = (char *)"web", .uid = (char *)"u1",
					   .namespace_ = (char *)"default"};

static char *note_of(const char *hostname, Err *e)
{
	Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
	Cri__PodSandbox listed = CRI__POD_SANDBOX__INIT;
	Cri__PodNote whole = CRI__POD_NOTE__INIT;
	char *note = NULL;

	config.metadata = &metadata;
	config.hostname = (char *)hostname;
	listed.metadata = &metadata;
	whole.config = &config;
	whole.runtime_handler = (char *)"ireko";
	return cri_note_make(&listed.base, &whole.base, &note, e) < 0 ? NULL : note;
}

static void what_was_asked_for_comes_back(void **state)
{
	_cleanup_free_ char *note = note_of("box", NULL);
	_cleanup_free_ uint8_t *data = NULL;
	_cleanup_message_ ProtobufCMessage *listed = NULL, *whole = NULL;
	const Cri__PodNote *n;
	size_t len;

	assert_non_null(note);
	assert_int_equal(cri_note_listed(note, &data, &len, NULL), 0);
	assert_int_equal(grpc_message_unpack(&cri__pod_sandbox__descriptor, data, len, &listed, NULL), 0);
	assert_string_equal(((const Cri__PodSandbox *)listed)->metadata->name, "web");
	assert_int_equal(cri_note_whole(note, &cri__pod_note__descriptor, &whole, NULL), 0);
	n = (const Cri__PodNote *)whole;
	assert_string_equal(n->config->hostname, "box");
	assert_string_equal(n->config->metadata->namespace_, "default");
	assert_string_equal(n->runtime_handler, "ireko");
}

static void a_damaged_one_is_an_error(void **state)
{
	static const char *const damaged[] = {"", ".", "x", "AAAA", "!.!", "AA.A", "CgM=.CgM=", NULL};
	_cleanup_free_ char *good = note_of("box", NULL);

	for (const char *const *d = damaged; *d; d++) {
		ProtobufCMessage *m = NULL;
		uint8_t *data = NULL;
		size_t len;
		Err e = {0};
		int r = cri_note_whole(*d, &cri__pod_note__descriptor, &m, &e);

		if (r < 0)
			assert_true(e.msg[0] != '\0');
		cri_message_freep(&m);
		if (cri_note_listed(*d, &data, &len, &e) < 0)
			assert_true(e.msg[0] != '\0');
		free(data);
	}
	assert_true(cri_note_whole(NULL, &cri__pod_note__descriptor, &(ProtobufCMessage *){NULL}, NULL) < 0);
	for (size_t cut = strlen(good); cut-- > 0;) {
		ProtobufCMessage *m = NULL;

		good[cut] = '\0';
		if (cri_note_whole(good, &cri__pod_note__descriptor, &m, NULL) >= 0)
			cri_message_freep(&m);
	}
}

static void its_size_is_bounded(void **state)
{
	_cleanup_free_ char *large = malloc(CRI_NOTE_MAX + 1), *note;
	Err e = {0};

	assert_non_null(large);
	memset(large, 'x', CRI_NOTE_MAX);
	large[CRI_NOTE_MAX] = '\0';
	note = note_of(large, &e);
	assert_null(note);
	assert_int_equal(e.kind, ERR_INVALID);
}

/* What people are shown of a message: the protocol's names, maps as objects, nothing that is empty. */
static void a_message_as_json(void **state)
{
	Cri__PodSandboxConfig config = CRI__POD_SANDBOX_CONFIG__INIT;
	Cri__LinuxPodSandboxConfig own = CRI__LINUX_POD_SANDBOX_CONFIG__INIT;
	Cri__PortMapping port = CRI__PORT_MAPPING__INIT, *ports[] = {&port};
	Cri__PodSandboxConfig__LabelsEntry label = CRI__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT,
					   *labels[] = {&label};
	Cri__DNSConfig dns = CRI__DNSCONFIG__INIT;
	char *servers[] = {(char *)"10.0.0.1", (char *)"\xff"};
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;

	label.key = (char *)"app";
	label.value = (char *)"web";
	port.protocol = CRI__PROTOCOL__UDP;
	port.host_port = 53;
	own.cgroup_parent = (char *)"/k";
	dns.servers = servers;
	dns.n_servers = 2;
	config.labels = labels;
	config.n_labels = 1;
	config.port_mappings = ports;
	config.n_port_mappings = 1;
	config.linux_part = &own;
	config.dns_config = &dns;
	j = cri_message_json(&config.base);
	text = json_text(j);
	assert_string_equal(text,
			    "{\"dns_config\":{\"servers\":[\"10.0.0.1\",\"\xef\xbf\xbd\"]},\"port_mappings\":"
			    "[{\"protocol\":\"UDP\",\"host_port\":53}],\"labels\":{\"app\":\"web\"},"
			    "\"linux\":{\"cgroup_parent\":\"/k\"}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_asked_for_comes_back),
	    cmocka_unit_test(a_damaged_one_is_an_error),
	    cmocka_unit_test(its_size_is_bounded),
	    cmocka_unit_test(a_message_as_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
