/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests against registries share: a registry as a helper program, and a store and a client of its own for each test. */
#pragma once

#include "registry/registry-internal.h"
#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test-dir.h"
#include "registry/test-server.h"

#include <dirent.h>
#include <signal.h>

static Helper server; /* the double that the tests of a program talk to */

/* ---- one test's world ---- */

typedef struct World {
	TestDir *dir;
	Store *store;
	Registry *registry;
	pthread_mutex_t lock;
	StrBuf said; /* "id status\n" */
	RegistryAuth auth;
	const char *platform;
	int64_t cancel_at; /* monotonic; 0: never */
	/* results */
	char id[DIGEST_LEN + 1], digest[DIGEST_LEN + 1];
	bool updated;
	Err e;
} World;

static inline char *find_unpack(void)
{
	static const char *const places[] = {"ireko-unpack", "src/cmd/ireko-unpack/ireko-unpack"};
	_cleanup_free_ char *dir = NULL;

	if (getenv("IREKO_UNPACK"))
		return strdup(getenv("IREKO_UNPACK"));
	assert_int_equal(path_of_own_dir(&dir), 0);
	for (size_t i = 0; i < ELEMENTSOF(places); i++) {
		_cleanup_free_ char *path = strf("%s/%s", dir, places[i]);

		if (access(path, X_OK) == 0)
			return take_ptr(path);
	}
	fail_msg("no ireko-unpack near %s: build it first, or set IREKO_UNPACK", dir);
	return NULL;
}

static inline void world_open_with(World *w, const RegistryOptions *ro)
{
	_cleanup_free_ char *unpack = find_unpack();
	const StoreOptions so = {.data_root = w->dir->path, .unpack_program = unpack};

	if (store_open(&so, &w->store, &w->e) < 0)
		fail_msg("%s", w->e.msg);
	if (registry_new(ro, &w->registry, &w->e) < 0)
		fail_msg("%s", w->e.msg);
}

static inline void world_open(World *w, char *const *mirrors)
{
	world_open_with(w, &(RegistryOptions){.mirrors = mirrors});
}

static inline int setup(void **state)
{
	World *w = calloc(1, sizeof(*w));
	void *dir = NULL;

	if (!w || test_dir_setup(&dir) < 0)
		return -1;
	w->dir = dir;
	w->platform = "linux/amd64";
	pthread_mutex_init(&w->lock, NULL);
	world_open(w, NULL);
	*state = w;
	return 0;
}

static inline int teardown(void **state)
{
	World *w = *state;
	void *dir = w->dir;

	registry_free(w->registry);
	store_close(w->store);
	strbuf_done(&w->said);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return test_dir_teardown(&dir);
}

static inline void on_progress(void *user, const char *id, const char *status, int64_t current _unused_,
			       int64_t total _unused_)
{
	World *w = user;

	pthread_mutex_lock(&w->lock);
	strbuf_addf(&w->said, "%s %s\n", id ? id : "-", status);
	pthread_mutex_unlock(&w->lock);
}

static inline bool is_cancelled(void *user)
{
	const World *w = user;

	return w->cancel_at && clock_mono_ns() >= w->cancel_at;
}

static inline size_t count_entries(const World *w, const char *path)
{
	_cleanup_free_ char *full = strf("%s/%s", w->dir->path, path);
	DIR *d = opendir(full);
	size_t n = 0;

	assert_non_null(d);
	for (const struct dirent *e; (e = readdir(d));)
		n += *e->d_name != '.' || str_starts(e->d_name, ".tmp");
	closedir(d);
	return n;
}

/* What the server saw since the last call. */
static inline char *seen(void)
{
	_cleanup_free_ char *url = strf("http://127.0.0.1:%d/seen", server.port);
	const HttpRequest q = {.method = "GET", .url = url, .max_body = 1u << 20};
	HttpClient *c = NULL;
	HttpReply reply = {0};

	assert_int_equal(http_client_new(NULL, &c, NULL), 0);
	assert_int_equal(http_do(c, &q, &reply, NULL), 0);
	char *text = take_ptr(reply.body);
	http_reply_done(&reply);
	http_client_free(c);
	return text;
}
