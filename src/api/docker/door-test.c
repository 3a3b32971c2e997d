/* SPDX-License-Identifier: Apache-2.0 */
/* What the door decides by itself: framing, file modes, status texts, container documents, filters over containers. */
#include "base/test.h"

#include "api/docker/archive.h"
#include "api/docker/door-internal.h"

static void frames(void **state)
{
	unsigned char h[MUX_HEADER];

	mux_header(h, 2, 0x01020304);
	assert_memory_equal(h, "\2\0\0\0\1\2\3\4", 8);
}

static void file_modes(void **state)
{
	assert_int_equal(go_file_mode(S_IFREG | 0644), 0644);
	assert_int_equal(go_file_mode(S_IFDIR | 0755), 0x80000000u | 0755);
	assert_int_equal(go_file_mode(S_IFLNK | 0777), 0x08000000u | 0777);
	assert_int_equal(go_file_mode(S_IFREG | 04755), 0x00800000u | 0755);
	assert_int_equal(go_file_mode(S_IFDIR | 01777), 0x80000000u | 0x00100000u | 0777);
	assert_int_equal(go_file_mode(S_IFCHR | 0600), 0x04000000u | 0x00200000u | 0600);
	assert_int_equal(go_file_mode(S_IFREG | 02711), 0x00400000u | 0711);
	assert_int_equal(go_file_mode(S_IFIFO | 0600), 0x02000000u | 0600);
	assert_int_equal(go_file_mode(S_IFSOCK | 0600), 0x01000000u | 0600);
	assert_int_equal(go_file_mode(S_IFBLK | 0600), 0x04000000u | 0600);
}

static void status(ContainerInfo *i, const char *want)
{
	_cleanup_free_ char *got = container_status_text(i, 1000000000000);

	assert_string_equal(got, want);
}

static void status_texts(void **state)
{
	ContainerInfo i = {.status = CONTAINER_CREATED};

	status(&i, "Created");
	i.status = CONTAINER_RUNNING;
	i.started_ns = 1000000000000 - 5 * 1000000000LL;
	status(&i, "Up 5 seconds");
	i.status = CONTAINER_PAUSED;
	status(&i, "Up 5 seconds (Paused)");
	i.status = CONTAINER_EXITED;
	i.exit_code = 3;
	i.finished_ns = 1000000000000 - 300 * 1000000000LL;
	status(&i, "Exited (3) 5 minutes ago");
	i.status = CONTAINER_RESTARTING;
	status(&i, "Restarting (3) 5 minutes ago");
	i.status = CONTAINER_REMOVING;
	status(&i, "Removal In Progress");
	i.status = CONTAINER_DEAD;
	status(&i, "Dead");
}

/* A container with everything that the documents have a place for. */
typedef struct Sample {
	ContainerInfo i;
	ContainerEndpoint endpoint;
	ContainerPublished published;
	ContainerMountPoint mount;
	char *exposed[3], *args[3], *labels[2];
} Sample;

static void sample_init(Sample *s)
{
	*s = (Sample){
	    .endpoint = {.network = (char *)"bridge",
			 .network_id = (char *)"n1",
			 .endpoint_id = (char *)"e1",
			 .address = (char *)"172.17.0.2",
			 .gateway = (char *)"172.17.0.1",
			 .mac = (char *)"02:42:ac:11:00:02",
			 .prefix = 16},
	    .published = {(char *)"80/tcp", (char *)"0.0.0.0", (char *)"8080"},
	    .mount = {.type = (char *)"volume",
		      .name = (char *)"v",
		      .source = (char *)"/s",
		      .destination = (char *)"/data",
		      .driver = (char *)"local",
		      .mode = (char *)"z",
		      .propagation = (char *)"",
		      .rw = true},
	    .exposed = {(char *)"80/tcp", (char *)"53/udp"},
	    .args = {(char *)"-c", (char *)"echo hi"},
	    .labels = {(char *)"team=a=b"},
	};
	memset(s->i.id, 'a', 64);
	s->i.name = (char *)"web";
	s->i.status = CONTAINER_RUNNING;
	s->i.pid = 42;
	s->i.path = (char *)"sh";
	s->i.args = s->args;
	s->i.image_id = (char *)"sha256:1";
	s->i.created_ns = 1700000000000000000;
	s->i.endpoints = &s->endpoint;
	s->i.published = &s->published;
	s->i.mounts = &s->mount;
	s->i.n_endpoints = s->i.n_published = s->i.n_mounts = 1;
	s->i.config.exposed_ports = s->exposed;
	s->i.config.labels = s->labels;
	s->i.config.image = (char *)"debian";
}

static void has_keys(const json_t *o, const char *const *keys)
{
	for (; *keys; keys++)
		if (!json_object_get(o, *keys))
			fail_msg("%s is missing", *keys);
}

static void inspect_document(void **state)
{
	static const char *const top[] = {"Id",
					  "Created",
					  "Path",
					  "Args",
					  "State",
					  "Image",
					  "ResolvConfPath",
					  "HostnamePath",
					  "HostsPath",
					  "LogPath",
					  "Name",
					  "RestartCount",
					  "Driver",
					  "Platform",
					  "MountLabel",
					  "ProcessLabel",
					  "AppArmorProfile",
					  "ExecIDs",
					  "HostConfig",
					  "GraphDriver",
					  "Mounts",
					  "Config",
					  "NetworkSettings",
					  NULL};
	static const char *const states[] = {"Status",    "Running",   "Paused",     "Restarting",
					     "OOMKilled", "Dead",      "Pid",        "ExitCode",
					     "Error",     "StartedAt", "FinishedAt", NULL};
	static const char *const endpoint[] = {"IPAMConfig",        "Links",
					       "Aliases",           "MacAddress",
					       "DriverOpts",        "GwPriority",
					       "NetworkID",         "EndpointID",
					       "Gateway",           "IPAddress",
					       "IPPrefixLen",       "IPv6Gateway",
					       "GlobalIPv6Address", "GlobalIPv6PrefixLen",
					       "DNSNames",          NULL};
	static const char *const config[] = {"Hostname",    "Domainname",   "User",
					     "AttachStdin", "AttachStdout", "AttachStderr",
					     "Tty",         "OpenStdin",    "StdinOnce",
					     "Env",         "Cmd",          "Image",
					     "Volumes",     "WorkingDir",   "Entrypoint",
					     "OnBuild",     "Labels",       NULL};
	static const char *const host[] = {"Binds",       "ContainerIDFile", "LogConfig",
					   "NetworkMode", "PortBindings",    "RestartPolicy",
					   "AutoRemove",  "VolumeDriver",    "VolumesFrom",
					   "CapAdd",      "CapDrop",         "CgroupnsMode",
					   "Dns",         "DnsOptions",      "DnsSearch",
					   "ExtraHosts",  "GroupAdd",        "IpcMode",
					   "Links",       "OomScoreAdj",     "PidMode",
					   "Privileged",  "PublishAllPorts", "ReadonlyRootfs",
					   "SecurityOpt", "UTSMode",         "UsernsMode",
					   "ShmSize",     "Memory",          "NanoCpus",
					   "CpuShares",   "MaskedPaths",     "ReadonlyPaths",
					   NULL};
	_cleanup_json_ json_t *doc = NULL;
	const json_t *net;
	Sample s;

	sample_init(&s);
	doc = container_inspect_doc(&s.i, "erofs", 151, NULL, NULL);
	assert_non_null(doc);
	has_keys(doc, top);
	has_keys(json_object_get(doc, "State"), states);
	has_keys(json_object_get(doc, "Config"), config);
	has_keys(json_object_get(doc, "HostConfig"), host);
	net = json_object_get(doc, "NetworkSettings");
	has_keys(json_object_get(json_object_get(net, "Networks"), "bridge"), endpoint);
	assert_string_equal(json_get_str(net, "IPAddress"), "172.17.0.2");
	assert_string_equal(json_get_str(doc, "Name"), "/web");
	assert_string_equal(json_get_str(json_object_get(doc, "State"), "FinishedAt"),
			    "0001-01-01T00:00:00Z");
	net = json_object_get(net, "Ports");
	assert_string_equal(json_get_str(json_array_get(json_object_get(net, "80/tcp"), 0), "HostPort"),
			    "8080");
	assert_true(json_is_null(json_object_get(net, "53/udp")));
}

static void list_document(void **state)
{
	static const char *const keys[] = {"Id",         "Names",           "Image",  "ImageID", "Command",
					   "Created",    "Ports",           "Labels", "State",   "Status",
					   "HostConfig", "NetworkSettings", "Mounts", NULL};
	_cleanup_json_ json_t *doc = NULL;
	Sample s;

	sample_init(&s);
	doc = container_list_doc(&s.i, "debian", NULL, NULL);
	assert_non_null(doc);
	has_keys(doc, keys);
	assert_string_equal(json_get_str(doc, "Command"), "sh -c 'echo hi'");
	assert_int_equal(json_array_size(json_object_get(doc, "Ports")), 2);
	assert_int_equal(json_get_int(json_array_get(json_object_get(doc, "Ports"), 0), "PublicPort", 0),
			 8080);
	assert_string_equal(json_get_str(json_object_get(doc, "Labels"), "team"), "a=b");
	assert_null(json_object_get(doc, "SizeRw"));
}

static void container_filters(void **state)
{
	static const struct {
		const char *filters;
		int want;
	} table[] = {
	    {"{}", 1},
	    {"{\"id\":[\"aaa\"]}", 1},
	    {"{\"id\":[\"b\"]}", 0},
	    {"{\"name\":[\"^/web$\"]}", 1},
	    {"{\"name\":[\"^web$\"]}", 1},
	    {"{\"name\":[\"^eb\"]}", 0},
	    {"{\"status\":[\"exited\",\"running\"]}", 1},
	    {"{\"status\":[\"exited\"]}", 0},
	    {"{\"exited\":[\"0\"]}", 0},
	    {"{\"label\":[\"team=a=b\"]}", 1},
	    {"{\"network\":[\"bridge\"]}", 1},
	    {"{\"network\":[\"n1\"]}", 1},
	    {"{\"network\":[\"host\"]}", 0},
	    {"{\"volume\":[\"v\"]}", 1},
	    {"{\"volume\":[\"/data\"]}", 1},
	    {"{\"volume\":[\"w\"]}", 0},
	    {"{\"publish\":[\"8080\"]}", 1},
	    {"{\"publish\":[\"8000-9000/tcp\"]}", 1},
	    {"{\"publish\":[\"80\"]}", 0},
	    {"{\"expose\":[\"53/udp\"]}", 1},
	    {"{\"expose\":[\"53\"]}", 0},
	    {"{\"health\":[\"healthy\"]}", 0},
	    {"{\"health\":[\"none\"]}", 1},
	    {"{\"is-task\":[\"true\"]}", 0},
	};
	Sample s;
	Err e;

	sample_init(&s);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_filters_ Filters f = {0};

		assert_int_equal(filters_parse(table[i].filters, &f, &e), 0);
		assert_true(container_filters_check(NULL, &f, &e) >= 0);
		if (container_filters_match(NULL, &f, &s.i, &e) != table[i].want)
			fail_msg("%s", table[i].filters);
	}
	_cleanup_filters_ Filters bad = {0};
	assert_int_equal(filters_parse("{\"status\":[\"asleep\"]}", &bad, &e), 0);
	assert_true(container_filters_check(NULL, &bad, &e) < 0);
}

static void bad_utf8(void **state)
{
	_cleanup_json_ json_t *j = doc_str("a\xff"
					   "b\xc3\xa9\xe2\x82");

	assert_string_equal(json_string_value(j), "a\xef\xbf\xbd"
						  "b\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames),        cmocka_unit_test(file_modes),
	    cmocka_unit_test(status_texts),  cmocka_unit_test(inspect_document),
	    cmocka_unit_test(list_document), cmocka_unit_test(container_filters),
	    cmocka_unit_test(bad_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
