/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/config-internal.h"
#include "base/str.h"

#define FIELDS_MAX 3
#define X          "cdi.k8s.io/x"
#define OF_8       "aaaaaaaa"
#define OF_64      OF_8 OF_8 OF_8 OF_8 OF_8 OF_8 OF_8 OF_8
#define OF_512     OF_64 OF_64 OF_64 OF_64 OF_64 OF_64 OF_64 OF_64

typedef struct Given {
	const char *devices[FIELDS_MAX];
	struct {
		const char *key, *value;
	} annotations[FIELDS_MAX];
} Given;

static int translate(const Given *g, ContainerConfig *ret, Err *e)
{
	Cri__ContainerConfig c = CRI__CONTAINER_CONFIG__INIT;
	Cri__CDIDevice devices[FIELDS_MAX], *device_list[FIELDS_MAX];
	Cri__ContainerConfig__AnnotationsEntry notes[FIELDS_MAX], *note_list[FIELDS_MAX];

	*ret = (ContainerConfig){0};
	for (size_t i = 0; i < FIELDS_MAX && g->devices[i]; i++) {
		cri__cdidevice__init(&devices[i]);
		devices[i].name = (char *)(uintptr_t)g->devices[i];
		device_list[c.n_cdi_devices++] = &devices[i];
	}
	for (size_t i = 0; i < FIELDS_MAX && g->annotations[i].key; i++) {
		cri__container_config__annotations_entry__init(&notes[i]);
		notes[i].key = (char *)(uintptr_t)g->annotations[i].key;
		notes[i].value = (char *)(uintptr_t)g->annotations[i].value;
		note_list[c.n_annotations++] = &notes[i];
	}
	c.cdi_devices = device_list;
	c.annotations = note_list;
	return cri_cdi_devices(&c, &ret->host, e);
}

static void are_named(void **state)
{
	static const struct {
		Given given;
		const char *expected;
	} cases[] = {
	    {{{NULL}, {{"other.io/a", "v.com/c=a"}, {"cdi.k8s.io.example/a", "v.com/c=a"}}}, ""},
	    {{{"v.com/c=a", "v.com/c=b", "v.com/c=a"}, {{NULL, NULL}}}, "v.com/c=a v.com/c=b"},
	    {{{NULL}, {{X, "v.com/c=a"}}}, "v.com/c=a"},
	    {{{NULL}, {{"cdi.k8s.io/a_b.c-d", "v.com/c=b,v.com/c=a"}}}, "v.com/c=b v.com/c=a"},
	    /* Annotations in their keys' order, after the field. */
	    {{{"v.com/c=z"},
	      {{"cdi.k8s.io/b", "v.com/c=a,v.com/c=z"}, {"cdi.k8s.io/a", "v.com/c=y,v.com/c=y"}}},
	     "v.com/c=z v.com/c=y v.com/c=a"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		ContainerConfig k;
		Err e = {0};

		assert_true(translate(&cases[i].given, &k, &e) >= 0);
		if (!*cases[i].expected) {
			assert_int_equal(k.host.n_device_requests, 0);
			continue;
		}
		_cleanup_free_ char *found = strv_join(k.host.device_requests[0].device_ids, " ");

		assert_int_equal(k.host.n_device_requests, 1);
		assert_string_equal(k.host.device_requests[0].driver, "cdi");
		assert_string_equal(found, cases[i].expected);
		container_config_done(&k);
	}
}

static void are_refused(void **state)
{
	static const struct {
		const char *key, *value, *says;
	} cases[] = {
	    {"cdi.k8s.io/", "v.com/c=a", "annotations: \"cdi.k8s.io/\": after cdi.k8s.io/ there are to be"},
	    {"cdi.k8s.io/a/b", "v.com/c=a", "annotations: \"cdi.k8s.io/a/b\": after"},
	    {"cdi.k8s.io/a-", "v.com/c=a", "annotations: \"cdi.k8s.io/a-\": after"},
	    {"cdi.k8s.io/" OF_64, "v.com/c=a", "1 to 63"},
	    {"cdi.k8s.io/\xff", "v.com/c=a", "annotations: it is not valid UTF-8"},
	    {X, "", "annotations: " X ": \"\" is not vendor.com/class=name"},
	    {X, "v.com/c=a,gpu0", "annotations: " X ": \"gpu0\" is not"},
	    {X, "v.com/c=a,", "annotations: " X ": \"\" is not"},
	    {X, ",", "annotations: " X ": \"\" is not"},
	    {X, "v.com/c=a, v.com/c=b", "annotations: " X ": \" v.com/c=b\" is not"},
	    {X, "v.com/c=\xff", "annotations: " X ": its value: it is not valid UTF-8"},
	    {X, "v.com/c=" OF_512, "longer than 512 bytes"},
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		const Given g = {.annotations = {{cases[i].key, cases[i].value}}};
		ContainerConfig k;
		Err e = {0};
		int r = translate(&g, &k, &e);

		container_config_done(&k);
		if (r >= 0 || e.kind != ERR_INVALID || !strstr(e.msg, cases[i].says))
			fail_msg("case %zu (%s): %d %s", i, cases[i].says, r, e.msg);
	}
}

/* As many as one configuration may name, and one more. */
static void are_limited(void **state)
{
	_cleanup_strbuf_ StrBuf b = {0};
	ContainerConfig k;
	Err e = {0};

	for (int i = 0; i < CRI_LIST_MAX; i++)
		strbuf_addf(&b, "%sv.com/c=d%d", i ? "," : "", i);
	assert_true(translate(&(Given){.annotations = {{X, b.s}}}, &k, &e) >= 0);
	assert_int_equal(strv_len(k.host.device_requests[0].device_ids), CRI_LIST_MAX);
	container_config_done(&k);
	strbuf_add(&b, ",v.com/c=more");
	assert_true(translate(&(Given){.annotations = {{X, b.s}}}, &k, &e) < 0);
	assert_string_equal(e.msg, "annotations: " X ": more than 4096 devices of CDI");
	container_config_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(are_named),
	    cmocka_unit_test(are_refused),
	    cmocka_unit_test(are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
