/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"

#include "api/cri/auth.h"

typedef struct Row {
	const char *username, *password, *auth, *server, *identity, *registry; /* given */
	const char *is_username, *is_password, *is_identity, *is_registry;     /* taken */
} Row;

#define IMAGE "registry.example:5000/team/app:1"

static char *text(const char *s)
{
	return (char *)(s ?: "");
}

static int read_row(const Row *row, const char *reference, CriAuth *ret, Err *e)
{
	Cri__AuthConfig a = CRI__AUTH_CONFIG__INIT;

	a.username = text(row->username);
	a.password = text(row->password);
	a.auth = text(row->auth);
	a.server_address = text(row->server);
	a.identity_token = text(row->identity);
	a.registry_token = text(row->registry);
	return cri_auth_read(&a, reference, ret, e);
}

static void same(const char *is, const char *wanted)
{
	assert_string_equal(is ?: "", wanted ?: "");
}

static void every_form(void **state)
{
	static const Row rows[] = {
	    {.username = "u", .password = "p", .is_username = "u", .is_password = "p"},
	    {.username = "u",
	     .password = "p",
	     .auth = "eDp5",
	     .identity = "i",
	     .is_username = "u",
	     .is_password = "p"},
	    {.auth = "dTpwOnE=", .is_username = "u", .is_password = "p:q"},
	    {.auth = "dTpwOnE", .is_username = "u", .is_password = "p:q"},
	    {.auth = "dTpwAAA=", .is_username = "u", .is_password = "p"},
	    {.identity = "i", .is_identity = "i"},
	    {.registry = "r", .is_registry = "r"},
	    {.username = "u", .server = "registry.example:5000", .is_username = "u"},
	    {.username = "u", .server = "https://registry.example:5000/v2/", .is_username = "u"},
	    {.username = "u", .server = "registry.example"},
	    {.username = "u", .server = "https://elsewhere.example:5000"},
	    {0},
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		CriAuth a = {0};

		assert_int_equal(read_row(&rows[i], IMAGE, &a, NULL), 0);
		same(a.auth.username, rows[i].is_username);
		same(a.auth.password, rows[i].is_password);
		same(a.auth.identity_token, rows[i].is_identity);
		same(a.auth.registry_token, rows[i].is_registry);
		cri_auth_done(&a);
	}
}

static void the_hub_has_several_names(void **state)
{
	static const char *const names[] = {"https://index.docker.io/v1/", "docker.io",
					    "registry-1.docker.io"};

	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		const Row row = {.username = "u", .server = names[i]};
		CriAuth a = {0};

		assert_int_equal(read_row(&row, "busybox", &a, NULL), 0);
		same(a.auth.username, "u");
		cri_auth_done(&a);
	}
}

/* The error does not tell the secret. */
static void what_is_no_pair_is_refused(void **state)
{
	static const char *const wrong[] = {"%%%", "c2VjcmV0", "AA==", "dQ"};

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		const Row row = {.auth = wrong[i]};
		CriAuth a = {0};
		Err e = {0};

		assert_true(read_row(&row, IMAGE, &a, &e) < 0);
		assert_int_equal(e.kind, ERR_INVALID);
		assert_null(strstr(e.msg, "secret"));
		cri_auth_done(&a);
	}
}

static void nothing_given_is_nothing_said(void **state)
{
	CriAuth a = {0};

	assert_int_equal(cri_auth_read(NULL, IMAGE, &a, NULL), 0);
	assert_null(a.auth.username);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_form),
	    cmocka_unit_test(the_hub_has_several_names),
	    cmocka_unit_test(what_is_no_pair_is_refused),
	    cmocka_unit_test(nothing_given_is_nothing_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
