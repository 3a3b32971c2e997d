/* SPDX-License-Identifier: Apache-2.0 */
/* Which file of the directory counts, what cannot be used, and that changes are found without being waited for. */
#include "cni/test-cni.h"

#define LIST(name) "{\"cniVersion\":\"1.0.0\",\"name\":\"" name "\",\"plugins\":[{\"type\":\"a\"}]}"

static void expect_name(Cni *c, const char *name)
{
	_cleanup_list_ CniList *l = NULL;
	Err e = {0};

	ok(cni_config_get(c, &l, &e));
	assert_string_equal(l->name, name);
}

static void nothing_there(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	Err e = {0};

	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no CNI configuration in /tmp/");
	assert_true(json_is_null(cni_describe(c)));
	put_at(w->conf, "README", "hello", 0644);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no CNI configuration in /tmp/");
	put_at(w->conf, "10.conflist", LIST("one"), 0644);
	expect_name(c, "one");
	_cleanup_json_ json_t *j = cni_describe(c);
	assert_string_equal(json_get_str(j, "name"), "one");
	assert_string_equal(json_get_str(j, "cniVersion"), "1.0.0");
	assert_true(str_ends(json_get_str(j, "file"), "/net.d/10.conflist"));
	assert_int_equal(json_array_size(json_object_get(j, "plugins")), 1);
}

static void the_first_by_name(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *dir = must(strf("%s/00.conf", w->conf)),
			    *first = must(strf("%s/05.json", w->conf)),
			    *late = must(strf("%s/04.conf", w->conf));
	Err e = {0};

	assert_int_equal(mkdir(dir, 0755), 0); /* no file */
	put_at(w->conf, "20.conflist", LIST("two"), 0644);
	put_at(w->conf, "10.conf", "{\"cniVersion\":\"0.4.0\",\"name\":\"one\",\"type\":\"a\"}", 0644);
	expect_name(c, "one");
	put_at(w->conf, "05.json", "{", 0644);
	/* The next one is not taken for it. */
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "CNI configuration cannot be used: /tmp/");
	assert_non_null(strstr(e.msg, "05.json"));
	assert_int_equal(unlink(first), 0);
	expect_name(c, "one");
	assert_int_equal(symlink("20.conflist", late), 0); /* one plugin is expected of a *.conf */
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "is it a list?");
	assert_int_equal(unlink(late), 0);
	assert_int_equal(mkfifo(late, 0644), 0);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no regular file");
	assert_int_equal(unlink(late), 0);
	expect_name(c, "one");
}

/* Unchanged, it is not read again; and every kind of change is seen. */
static void changes(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *other = must(strf("%s/away", w->root)),
			    *file = must(strf("%s/10.conflist", w->conf)),
			    *tmp = must(strf("%s/tmp", w->conf));
	CniList *before = NULL, *after = NULL;
	Err e = {0};

	put_at(w->conf, "10.conflist", LIST("one"), 0644);
	ok(cni_config_get(c, &before, &e));
	ok(cni_config_get(c, &after, &e));
	assert_ptr_equal(before, after);
	cni_list_unref(before);
	cni_list_unref(after);
	put_at(w->conf, "10.conflist", LIST("two"), 0644);
	expect_name(c, "two");
	put_at(w->conf, "tmp", LIST("three"), 0644);
	assert_int_equal(rename(tmp, file), 0);
	expect_name(c, "three");
	/* The directory goes, and another one comes. */
	assert_int_equal(rename(w->conf, other), 0);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no CNI configuration");
	assert_int_equal(mkdir(w->conf, 0755), 0);
	put_at(w->conf, "10.conflist", LIST("four"), 0644);
	expect_name(c, "four");
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(w->conf), 0);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no CNI configuration");
}

static void the_folder_beside(void **state)
{
	World *w = *state;
	Cni *c = world_cni(w, 0);
	_cleanup_free_ char *folder = must(strf("%s/net", w->conf));
	_cleanup_list_ CniList *l = NULL;
	Err e = {0};

	put_at(w->conf, "10.conflist", "{\"cniVersion\":\"1.0.0\",\"name\":\"net\"}", 0644);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "no plugins, neither");
	assert_int_equal(mkdir(folder, 0755), 0);
	put_at(folder, "20.conf", "{\"type\":\"second\"}", 0644);
	put_at(folder, "10.conf", "{\"type\":\"first\"}", 0644);
	ok(cni_config_get(c, &l, &e));
	assert_int_equal(json_array_size(l->plugins), 2);
	assert_string_equal(json_get_str(json_array_get(l->plugins, 0), "type"), "first");
	/* What a record keeps of it needs no folder. */
	_cleanup_list_ CniList *kept = NULL;
	ok(cni_list_parse(l->text, strlen(l->text), "record", true, &kept, &e));
	assert_true(kept->inlined_only && json_equal(kept->plugins, l->plugins));
	cni_list_unref(take_ptr(l));
	put_at(folder, "30.conf", "{\"type\":\"../../third\"}", 0644);
	fails(cni_status(c, &e), ERR_UNAVAILABLE, "not the name of a program");
}

static void what_is_asked_for(void **state)
{
	World *w = *state;
	CniOptions o = {.conf_dir = "etc/cni", .cache_dir = "/x", .plugin_dirs = w->bins};
	Cni *c = NULL;
	Err e = {0};

	fails(cni_new(&o, &c, &e), ERR_INVALID, "absolute");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    in_world(nothing_there),     in_world(the_first_by_name), in_world(changes),
	    in_world(the_folder_beside), in_world(what_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
