/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, indexes and configs: what is well-formed survives a round trip, what is ambiguous is refused. */
#include "oci/image.h"
#include "base/str.h"
#include "base/test.h"

#define D1   "\"sha256:1111111111111111111111111111111111111111111111111111111111111111\""
#define D2   "\"sha256:2222222222222222222222222222222222222222222222222222222222222222\""
#define DESC "{\"mediaType\":\"" MEDIA_OCI_LAYER_GZIP "\",\"digest\":" D1 ",\"size\":7}"

static json_t *parse(const char *text)
{
	json_t *j = NULL;
	Err e = {0};

	if (json_parse(text, strlen(text), "test", &j, &e) < 0)
		fail_msg("%s", e.msg);
	return j;
}

static const char manifest_text[] =
    "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
    "\",\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":" D2 ",\"size\":0},\"layers\":[" DESC
    ",{\"mediaType\":\"x\",\"digest\":" D2
    ",\"size\":9223372036854775807,\"urls\":[\"http://evil/\"],\"annotations\":{\"k\":\"v=w\"}}]}";

static void test_manifest_round_trip(void **state _unused_)
{
	_cleanup_json_ json_t *j = parse(manifest_text);
	ImageDocumentKind kind;
	ImageManifest m = {0};

	assert_int_equal(image_document_kind(j, MEDIA_OCI_MANIFEST "; charset=utf-8", &kind, NULL), 0);
	assert_int_equal(kind, IMAGE_DOC_MANIFEST);
	assert_int_equal(image_manifest_decode(j, &m, NULL), 0);
	assert_int_equal(m.n_layers, 2);
	assert_int_equal(m.layers[0].size, 7);
	assert_true(m.layers[1].size == INT64_MAX);
	assert_string_equal(m.layers[1].urls[0], "http://evil/");
	assert_string_equal(m.layers[1].annotations[0], "k=v=w");

	_cleanup_json_ json_t *again = image_manifest_encode(&m);
	_cleanup_free_ char *text = json_text(again);
	assert_string_equal(text, manifest_text);
	image_manifest_done(&m);
}

static void refused(const char *text, const char *media_type, const char *why)
{
	_cleanup_json_ json_t *j = parse(text);
	ImageDocumentKind kind;
	ImageManifest m = {0};
	ImageIndex i = {0};
	Err e = {0};
	int r = image_document_kind(j, media_type, &kind, &e);

	if (r == 0)
		r = kind == IMAGE_DOC_MANIFEST ? image_manifest_decode(j, &m, &e)
					       : image_index_decode(j, &i, &e);
	if (r == 0)
		fail_msg("accepted: %s", text);
	if (!strstr(e.msg, why))
		fail_msg("%s: said \"%s\", expected \"%s\"", text, e.msg, why);
}

static void test_ambiguous(void **state _unused_)
{
	refused("{\"config\":" DESC ",\"layers\":[],\"manifests\":[]}", NULL, "ambiguous");
	refused("{\"layers\":[],\"manifests\":[]}", NULL, "ambiguous");
	refused("{\"config\":" DESC ",\"Manifests\":[" DESC "]}", NULL, "ambiguous");
	refused("{\"config\":" DESC ",\"layers\":[],\"Layers\":[]}", NULL, "differ only in case");
	refused("{\"config\":" DESC ",\"fsLayers\":[]}", NULL, "ambiguous");
	refused("{\"schemaVersion\":1,\"fsLayers\":[],\"history\":[]}", NULL, "schema 1");
	refused("{\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"config\":" DESC ",\"layers\":[]}", NULL,
		"ambiguous");
	refused("{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"manifests\":[]}", NULL, "ambiguous");
	refused("{\"config\":" DESC ",\"layers\":[]}", MEDIA_DOCKER_LIST, "ambiguous");
	refused("{\"manifests\":[]}", MEDIA_DOCKER_MANIFEST, "ambiguous");
	refused("{\"manifests\":[]}", "text/html", "unsupported media type");
	refused("{\"mediaType\":7,\"manifests\":[]}", NULL, "expected a string");
}

static void test_malformed(void **state _unused_)
{
	refused("[]", NULL, "expected a JSON object");
	refused("{}", NULL, "neither config nor manifests");
	refused("{\"config\":null,\"manifests\":null}", NULL, "neither");
	refused("{\"schemaVersion\":3,\"manifests\":[]}", NULL, "schemaVersion");
	refused("{\"config\":{\"size\":1},\"layers\":[]}", NULL, "no digest");
	refused("{\"config\":{\"digest\":\"sha256:xyz\",\"size\":1}}", NULL, "sha256:");
	refused("{\"config\":{\"digest\":" D1 ",\"size\":-1}}", NULL, "negative");
	refused("{\"config\":{\"digest\":" D1 ",\"size\":1.5}}", NULL, "size: expected an integer");
	refused("{\"config\":" DESC ",\"layers\":[null]}", NULL, "layers[0]");
	refused("{\"config\":" DESC ",\"layers\":{}}", NULL, "expected an array");
	refused("{\"manifests\":[{\"digest\":7}]}", NULL, "expected a string");
}

static void test_counts_are_bounded(void **state _unused_)
{
	_cleanup_strbuf_ StrBuf b = {0};

	strbuf_add(&b, "{\"config\":" DESC ",\"layers\":[" DESC);
	for (int i = 0; i < IMAGE_LAYERS_MAX; i++)
		strbuf_add(&b, "," DESC);
	strbuf_add(&b, "]}");
	refused(b.s, NULL, "more than the limit");
	strbuf_done(&b);

	strbuf_add(&b, "{\"manifests\":[" DESC);
	for (int i = 0; i < 4096; i++)
		strbuf_add(&b, "," DESC);
	strbuf_add(&b, "]}");
	refused(b.s, NULL, "more than the limit");
}

static const char config_text[] =
    "{\"architecture\":\"amd64\",\"created\":\"2024-01-01T00:00:00Z\",\"history\":[{\"created_by\":\"x\"},"
    "{\"created_by\":\"y\",\"empty_layer\":true}],\"os\":\"linux\",\"config\":{\"User\":\"u\",\"Env\":[\"A="
    "b\"],"
    "\"Entrypoint\":[\"/e\"],\"Cmd\":[\"c\"],\"Healthcheck\":{\"Test\":[\"CMD\",\"t\"],\"Interval\":5},"
    "\"WorkingDir\":\"/w\",\"Labels\":{\"l\":\"v\"},\"StopSignal\":\"SIGINT\",\"ExposedPorts\":{\"80/"
    "tcp\":{}},"
    "\"Volumes\":{\"/v\":{}},\"StopTimeout\":0},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" D1 "]}}";

static void test_config_round_trip(void **state _unused_)
{
	_cleanup_json_ json_t *j = parse(config_text);
	ImageConfig c = {0};
	ImageRunConfig run = {0};

	assert_int_equal(image_config_decode(j, &c, NULL), 0);
	assert_string_equal(c.run.exposed_ports[0], "80/tcp");
	assert_int_equal(c.run.stop_timeout, 0);
	assert_true(c.run.has_health);
	assert_int_equal(c.run.health.interval_ns, 5);
	assert_true(c.history[1].empty_layer);

	_cleanup_json_ json_t *again = image_config_encode(&c);
	_cleanup_free_ char *text = json_text(again);
	assert_string_equal(text, config_text);

	assert_int_equal(image_run_config_copy(&c.run, &run), 0);
	assert_string_equal(run.volumes[0], "/v");
	assert_string_equal(run.health.test[1], "t");
	image_run_config_done(&run);
	image_config_done(&c);
}

static void test_config_defaults(void **state _unused_)
{
	_cleanup_json_ json_t *j =
	    parse("{\"config\":{\"Cmd\":\"sh\",\"Healthcheck\":{\"Retries\":-3},\"Labels\":null},"
		  "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":null}}");
	ImageConfig c = {0};

	assert_int_equal(image_config_decode(j, &c, NULL), 0);
	assert_int_equal(c.run.stop_timeout, -1);
	assert_string_equal(c.run.cmd[0], "sh");
	assert_null(c.run.labels);
	assert_int_equal(c.run.health.retries, 0);
	assert_null(c.diff_ids);
	image_config_done(&c);
}

static void test_config_refused(void **state _unused_)
{
	static const char *const bad[] = {
	    "[]",
	    "{}",
	    "{\"rootfs\":[]}",
	    "{\"rootfs\":{\"diff_ids\":[\"sha256:1\"]}}",
	    "{\"rootfs\":{\"diff_ids\":[1]}}",
	    "{\"rootfs\":{},\"config\":{\"Env\":[1]}}",
	    "{\"rootfs\":{},\"config\":{\"ExposedPorts\":[]}}",
	    "{\"rootfs\":{},\"config\":{\"StopTimeout\":\"5\"}}",
	    "{\"rootfs\":{},\"config\":{\"Labels\":{\"a\":1}}}",
	    "{\"rootfs\":{},\"history\":{}}",
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		_cleanup_json_ json_t *j = parse(bad[i]);
		ImageConfig c = {0};
		Err e = {0};

		if (image_config_decode(j, &c, &e) >= 0)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(strstr(e.msg, "image config"));
		assert_null(c.diff_ids);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_manifest_round_trip), cmocka_unit_test(test_ambiguous),
	    cmocka_unit_test(test_malformed),           cmocka_unit_test(test_counts_are_bounded),
	    cmocka_unit_test(test_config_round_trip),   cmocka_unit_test(test_config_defaults),
	    cmocka_unit_test(test_config_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
