/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world for the tests of this floor: a scratch directory with net.d, bin and cache, plugins that are shell scripts, and what they wrote down of how they
 * were called. The path has a blank and is not ASCII.
 */
#pragma once

#include "cni/cni-internal.h"

#include "base/fd.h"
#include "base/test.h"

#include <fcntl.h>
#include <sys/stat.h>

/* What an engine does at its start. */
static inline int clean_up(Cni *c, char *const *keep, Err *e)
{
	CniStale *s = NULL;
	int r = cni_stale_find(c, keep, &s, e);

	cni_stale_release(s, NULL, NULL);
	return r < 0 ? r : cni_gc(c, keep, e);
}

/* Fails the test with the message of e. */
#define ok(call)                                                                                             \
	({                                                                                                   \
		int _r = (call);                                                                             \
		if (_r < 0)                                                                                  \
			fail_msg("%s: %s", #call, err_msg(&e, _r));                                          \
		_r;                                                                                          \
	})
/* Fails with the kind, and a message that has the text. */
#define fails(call, k, text)                                                                                 \
	({                                                                                                   \
		e = (Err){0};                                                                                \
		if ((call) >= 0)                                                                             \
			fail_msg("%s: succeeded", #call);                                                    \
		if (!strstr(e.msg, (text)) || e.kind != (k))                                                 \
			fail_msg("%s: %s: %s", #call, err_kind_name(e.kind), e.msg);                         \
	})

typedef struct World {
	char base[40], *root, *conf, *bin, *cache, *log;
	char *bins[3];
	Cni *cni;
} World;

static inline char *must(char *s)
{
	assert_non_null(s);
	return s;
}

static inline int world_setup(void **state)
{
	World *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	strcpy(w->base, "/tmp/ireko-test-XXXXXX");
	assert_non_null(mkdtemp(w->base));
	w->root = must(strf("%s/cni の 場所", w->base));
	w->conf = must(strf("%s/net.d", w->root));
	w->bin = must(strf("%s/bin", w->root));
	w->cache = must(strf("%s/cache", w->root));
	w->log = must(strf("%s/log", w->root));
	assert_int_equal(mkdir_parents_at(AT_FDCWD, w->bin, 0755), 0);
	assert_int_equal(mkdir(w->conf, 0755), 0);
	w->bins[0] = (char *)(uintptr_t) "/nowhere at all";
	w->bins[1] = w->bin;
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	World *w = *state;
	int r = remove_tree_at(AT_FDCWD, w->base);

	cni_free(w->cni);
	free(w->root);
	free(w->conf);
	free(w->bin);
	free(w->cache);
	free(w->log);
	free(w);
	return r;
}

#define in_world(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

static inline Cni *world_cni(World *w, int timeout_ms)
{
	CniOptions o = {.conf_dir = w->conf,
			.plugin_dirs = w->bins,
			.cache_dir = w->cache,
			.timeout_ms = timeout_ms};
	Err e = {0};

	ok(cni_new(&o, &w->cni, &e));
	return w->cni;
}

static inline void put_at(const char *dir, const char *name, const char *text, mode_t mode)
{
	_cleanup_free_ char *path = must(strf("%s/%s", dir, name));
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0 && fd_write_all(fd, text, strlen(text)) >= 0);
}

/* A plugin that notes its command, variables and input as three lines of the log, then does what `body` says; $in is its input, $prev the prevResult (with blanks removed,
 * which no test has in it). */
static inline void put_plugin(World *w, const char *name, const char *body)
{
	_cleanup_free_ char *text = must(
	    strf("#!/bin/sh\nlog='%s'\nin=$(cat)\n"
		 "{ echo \"%s $CNI_COMMAND\"; echo \"$CNI_CONTAINERID|$CNI_NETNS|$CNI_IFNAME|$CNI_ARGS\"; "
		 "echo \"$in\"; } >>\"$log\"\n%s\n",
		 w->log, name, body));

	put_at(w->bin, name, text, 0755);
}

static inline char *read_log(const World *w)
{
	char *text = NULL;

	if (file_read_at(AT_FDCWD, w->log, 1 << 22, &text, NULL) < 0)
		return must(strdup(""));
	return text;
}

/* "a ADD,b ADD,...": who was called in which order; the log is emptied. */
static inline char *calls(const World *w)
{
	_cleanup_free_ char *text = read_log(w);
	_cleanup_strv_ char **lines = strv_split(text, '\n');
	_cleanup_strbuf_ StrBuf b = {0};

	for (size_t i = 0; i + 3 <= strv_len(lines); i += 3) {
		strbuf_add(&b, i > 0 ? "," : "");
		strbuf_add(&b, lines[i]);
	}
	(void)unlink(w->log);
	return must(strbuf_steal(&b));
}

#define assert_calls(w, text)                                                                                \
	do {                                                                                                 \
		_cleanup_free_ char *_calls = calls(w);                                                      \
		assert_string_equal(_calls, text);                                                           \
	} while (0)
