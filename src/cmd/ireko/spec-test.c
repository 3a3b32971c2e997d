/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"
#include "base/str.h"
#include "base/test-dir.h"

static char *text_of(json_t *j)
{
	return json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
}

/* "exposed bindings", or the error. */
static void port(const char *s, const char *want)
{
	_cleanup_json_ json_t *exposed = json_object(), *bindings = json_object();
	Err e = {0};
	int r = spec_add_port(s, exposed, bindings, &e);
	_cleanup_free_ char *b = text_of(bindings), *x = text_of(exposed);

	assert_string_equal(r < 0 ? e.msg : b, want);
	if (r == 0)
		assert_int_equal(json_object_size(exposed), json_object_size(bindings));
}

static void ports(void **state)
{
	port("80", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"\"}]}");
	port("8080:80", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"}]}");
	port("127.0.0.1:8080:80/udp", "{\"80/udp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"8080\"}]}");
	port("127.0.0.1::80", "{\"80/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"\"}]}");
	port("[::1]:8080:80", "{\"80/tcp\":[{\"HostIp\":\"::1\",\"HostPort\":\"8080\"}]}");
	port("8000-8001:80-81", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000\"}],\"81/"
				"tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8001\"}]}");
	port("8000-9000:80", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000-9000\"}]}");
	port("0:80", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"0\"}]}");
	port("8000-8002:80-81", "invalid ranges specified for container and host Ports: 8000-8002:80-81");
	port("80/http", "invalid proto: http");
	port("x:80", "invalid hostPort: x");
	port("80:70000", "invalid containerPort: 70000");
	port("80:0", "invalid containerPort: 0");
	port("80:", "no port specified: 80:<empty>");
	port("1.2.3:80:80", "invalid IP address: 1.2.3");
	port("82-80:82-80", "invalid containerPort: 82-80");
	port("[::1:80:80", "invalid IP address (an IPv6 address needs [ ] around it): [::1:80:80");
}

static void several_bindings_of_a_port(void **state)
{
	_cleanup_json_ json_t *exposed = json_object(), *bindings = json_object();

	assert_int_equal(spec_add_port("8080:80", exposed, bindings, NULL), 0);
	assert_int_equal(spec_add_port("8081:80", exposed, bindings, NULL), 0);
	assert_int_equal(json_array_size(json_object_get(bindings, "80/tcp")), 2);
	assert_int_equal(spec_add_exposed("90-92/udp", exposed, NULL), 0);
	assert_int_equal(json_object_size(exposed), 4);
	assert_true(spec_add_exposed("a", exposed, NULL) < 0);
}

static void volume(const char *s, const char *want_bind, const char *want_volume)
{
	_cleanup_json_ json_t *binds = json_array(), *volumes = json_object();
	int r = spec_add_volume(s, binds, volumes, NULL);

	if (!want_bind && !want_volume) {
		assert_true(r < 0);
		return;
	}
	assert_int_equal(r, 0);
	if (want_bind)
		assert_string_equal(json_string_value(json_array_get(binds, 0)), want_bind);
	else
		assert_non_null(json_object_get(volumes, want_volume));
}

static void volumes(void **state)
{
	TestDir *d = *state;
	_cleanup_free_ char *here = strf("%s:/a:ro", d->path), *below = strf("%s/s p:/a", d->path);
	char before[4096];

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(d->path), 0);
	volume("/data", NULL, "/data");
	volume("vol:/data", "vol:/data", NULL);
	volume("/h:/c:ro,z", "/h:/c:ro,z", NULL);
	volume(".:/a:ro", here, NULL);
	volume("./s p:/a", below, NULL);
	volume(".hidden:/a", ".hidden:/a", NULL);
	volume("", NULL, NULL);
	volume(":/a", NULL, NULL);
	volume("a:", NULL, NULL);
	assert_int_equal(chdir(before), 0);
}

static void mount(const char *s, const char *want)
{
	_cleanup_json_ json_t *mounts = json_array();
	Err e = {0};
	int r = spec_add_mount(s, mounts, &e);
	_cleanup_free_ char *got = r < 0 ? strdup(e.msg) : text_of(json_array_get(mounts, 0));

	assert_string_equal(got, want);
}

#define BAD(spec) "invalid argument \"" spec "\" for \"--mount\" flag: "

static void mounts(void **state)
{
	mount("type=bind,source=/a,target=/b,readonly",
	      "{\"ReadOnly\":true,\"Source\":\"/a\",\"Target\":\"/b\",\"Type\":\"bind\"}");
	mount("src=v,dst=/b,ro=false",
	      "{\"ReadOnly\":false,\"Source\":\"v\",\"Target\":\"/b\",\"Type\":\"volume\"}");
	mount("type=bind,\"source=/a,b\",target=/b,bind-propagation=rshared",
	      "{\"BindOptions\":{\"Propagation\":\"rshared\"},\"Source\":\"/a,b\",\"Target\":\"/"
	      "b\",\"Type\":\"bind\"}");
	mount("type=bind,src=/a,dst=/b,bind-recursive=readonly",
	      "{\"BindOptions\":{\"ReadOnlyForceRecursive\":true},\"Source\":\"/a\",\"Target\":\"/"
	      "b\",\"Type\":\"bind\"}");
	mount(
	    "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770",
	    "{\"Target\":\"/t\",\"TmpfsOptions\":{\"Mode\":1016,\"SizeBytes\":67108864},\"Type\":\"tmpfs\"}");
	mount("type=volume,src=v,dst=/v,volume-nocopy,volume-driver=d,volume-opt=a=b=c,volume-label=l",
	      "{\"Source\":\"v\",\"Target\":\"/"
	      "v\",\"Type\":\"volume\",\"VolumeOptions\":{\"DriverConfig\":{\"Name\":\"d\",\"Options\":"
	      "{\"a\":\"b=c\"}},\"Labels\":{\"l\":\"\"},\"NoCopy\":true}}");
	mount("type=image,src=i,dst=/i,image-subpath=x",
	      "{\"ImageOptions\":{\"Subpath\":\"x\"},\"Source\":\"i\",\"Target\":\"/i\",\"Type\":\"image\"}");
	mount("type=bind,src=/a", BAD("type=bind,src=/a") "target is required");
	mount("type=bind,dst=/a", BAD("type=bind,dst=/a") "source is required for a bind mount");
	mount("type=nfs,dst=/a", BAD("type=nfs,dst=/a") "type is none of bind, volume, tmpfs and image");
	mount("dst=/a,what=x", BAD("dst=/a,what=x") "unexpected key 'what' in 'what=x'");
	mount("dst=/a,tmpfs-size=1m", BAD("dst=/a,tmpfs-size=1m") "it has options of another type of mount");
	mount("type=tmpfs,dst=/a,tmpfs-mode=9",
	      BAD("type=tmpfs,dst=/a,tmpfs-mode=9") "tmpfs-mode needs an octal mode");
	mount("dst", BAD("dst") "a field needs a value (KEY=VALUE)");
	mount("dst=/a,ro=maybe", BAD("dst=/a,ro=maybe") "expected true or false");
}

static void network(const char *s, const char *want)
{
	_cleanup_json_ json_t *endpoint = NULL;
	_cleanup_free_ char *name = NULL;
	Err e = {0};
	int r = spec_parse_network(s, &name, &endpoint, &e);
	_cleanup_free_ char *settings = r < 0 ? NULL : text_of(endpoint),
			    *got = r < 0 ? strdup(e.msg) : strf("%s %s", name, settings);

	assert_string_equal(got, want);
}

static void networks(void **state)
{
	network("web", "web {}");
	network("container:abc", "container:abc {}");
	network("name=web,alias=a,alias=b,ip=10.0.0.2,driver-opt=x=y,gw-priority=5",
		"web "
		"{\"Aliases\":[\"a\",\"b\"],\"DriverOpts\":{\"x\":\"y\"},\"GwPriority\":5,\"IPAMConfig\":{"
		"\"IPv4Address\":\"10.0.0.2\"}}");
	network("name=web,link-local-ip=169.254.1.1",
		"web {\"IPAMConfig\":{\"LinkLocalIPs\":[\"169.254.1.1\"]}}");
	network("alias=a", "invalid --network \"alias=a\": it has no name");
	network("name=a,foo=b", "invalid field foo in --network");
	network("name=a,b", "invalid field b in --network: expected KEY=VALUE");
	network("", "invalid --network \"\": it has no name");
}

static void ulimit(const char *s, const char *want)
{
	_cleanup_json_ json_t *l = json_array();
	int r = spec_add_ulimit(s, l, NULL);
	_cleanup_free_ char *got = r < 0 ? strdup("bad") : text_of(json_array_get(l, 0));

	assert_string_equal(got, want);
}

static void ulimits(void **state)
{
	ulimit("nofile=1024:2048", "{\"Hard\":2048,\"Name\":\"nofile\",\"Soft\":1024}");
	ulimit("core=0", "{\"Hard\":0,\"Name\":\"core\",\"Soft\":0}");
	ulimit("memlock=-1:-1", "{\"Hard\":-1,\"Name\":\"memlock\",\"Soft\":-1}");
	ulimit("nofile=2048:1024", "bad");
	ulimit("nofile=-1:1024", "bad");
	ulimit("nofile", "bad");
	ulimit("=1", "bad");
	ulimit("nofile=x", "bad");
}

static void device(const char *s, const char *want)
{
	_cleanup_json_ json_t *devices = json_array(), *requests = json_array();
	int r = spec_add_device(s, devices, requests, NULL);
	_cleanup_free_ char *got = r < 0 ? strdup("bad")
					 : text_of(json_array_size(devices) ? json_array_get(devices, 0)
									    : json_array_get(requests, 0));

	assert_string_equal(got, want);
}

static void devices(void **state)
{
	device(
	    "/dev/fuse",
	    "{\"CgroupPermissions\":\"rwm\",\"PathInContainer\":\"/dev/fuse\",\"PathOnHost\":\"/dev/fuse\"}");
	device("/dev/sda:/dev/x:r",
	       "{\"CgroupPermissions\":\"r\",\"PathInContainer\":\"/dev/x\",\"PathOnHost\":\"/dev/sda\"}");
	device("/dev/sda:rw",
	       "{\"CgroupPermissions\":\"rw\",\"PathInContainer\":\"/dev/sda\",\"PathOnHost\":\"/dev/sda\"}");
	device("vendor.com/class=gpu0", "{\"DeviceIDs\":[\"vendor.com/class=gpu0\"],\"Driver\":\"cdi\"}");
	device("/dev/sda:/dev/x:q", "bad");
	device("/dev/sda:x", "bad");
	device("a:b:c:d", "bad");
}

static void gpus(const char *s, const char *want)
{
	_cleanup_json_ json_t *l = json_array();
	int r = spec_add_gpus(s, l, NULL);
	_cleanup_free_ char *got = r < 0 ? strdup("bad") : text_of(json_array_get(l, 0));

	assert_string_equal(got, want);
}

static void gpu_requests(void **state)
{
	gpus("all", "{\"Capabilities\":[[\"gpu\"]],\"Count\":-1}");
	gpus("2", "{\"Capabilities\":[[\"gpu\"]],\"Count\":2}");
	gpus("\"device=0,1\"", "{\"Capabilities\":[[\"gpu\"]],\"DeviceIDs\":[\"0\",\"1\"]}");
	gpus("driver=nvidia,capabilities=compute",
	     "{\"Capabilities\":[[\"gpu\",\"compute\"]],\"Count\":1,\"Driver\":\"nvidia\"}");
	gpus("0", "bad");
	gpus("what=1", "bad");
}

static void security(void **state)
{
	TestDir *d = *state;
	_cleanup_json_ json_t *opts = json_array();
	_cleanup_free_ char *good = strf("seccomp=%s/p.json", d->path),
			    *missing = strf("seccomp=%s/none", d->path), *got = NULL;
	bool unconfined = false;

	assert_int_equal(file_replace_at(d->fd, "p.json", "{ \"defaultAction\" : \"X\" }", 25, 0600, false),
			 0);
	assert_int_equal(spec_add_security_opt(good, opts, &unconfined, NULL), 0);
	assert_int_equal(spec_add_security_opt("seccomp=unconfined", opts, &unconfined, NULL), 0);
	assert_int_equal(spec_add_security_opt("no-new-privileges", opts, &unconfined, NULL), 0);
	assert_false(unconfined);
	assert_int_equal(spec_add_security_opt("systempaths=unconfined", opts, &unconfined, NULL), 0);
	assert_true(unconfined);
	got = text_of(opts);
	assert_string_equal(
	    got,
	    "[\"seccomp={\\\"defaultAction\\\":\\\"X\\\"}\",\"seccomp=unconfined\",\"no-new-privileges\"]");
	assert_true(spec_add_security_opt(missing, opts, &unconfined, NULL) < 0);
	assert_true(spec_add_security_opt("nonsense", opts, &unconfined, NULL) < 0);
}

static void throttles(void **state)
{
	_cleanup_json_ json_t *l = json_array();

	assert_int_equal(spec_add_throttle("/dev/sda:1mb", true, l, NULL), 0);
	assert_int_equal(json_get_int(json_array_get(l, 0), "Rate", 0), 1 << 20);
	assert_int_equal(spec_add_throttle("/dev/sda:100", false, l, NULL), 0);
	assert_true(spec_add_throttle("/dev/sda:1mb", false, l, NULL) < 0);
	assert_true(spec_add_throttle("sda:1", true, l, NULL) < 0);
	assert_true(spec_add_throttle("/dev/sda", true, l, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ports),    cmocka_unit_test(several_bindings_of_a_port),
	    test_in_dir(volumes),       cmocka_unit_test(mounts),
	    cmocka_unit_test(networks), cmocka_unit_test(ulimits),
	    cmocka_unit_test(devices),  cmocka_unit_test(gpu_requests),
	    test_in_dir(security),      cmocka_unit_test(throttles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
