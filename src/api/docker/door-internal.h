/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Docker door share. An API version is one number: 1.51 is 151.
 *
 * Every handler has the type of HttpHandler; its `user` is the Door. A handler that answers returns what http_reply* returned, since a
 * client that left is the connection's affair; one that fails returns the engine's Err, whose kind is the status.
 */
#pragma once

#include "api/docker/auth.h"
#include "api/docker/door.h"
#include "api/docker/filters.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#include <pthread.h>

#define API_VERSION     151
#define API_VERSION_MIN 124
#define API_TEXT        "1.51"
#define API_MIN_TEXT    "1.24"
#define ENGINE_NAME     "ireko"

typedef enum PruneKind {
	PRUNE_CONTAINERS,
	PRUNE_IMAGES,
	PRUNE_VOLUMES,
	PRUNE_NETWORKS,
	PRUNE_BUILD_CACHE,
	PRUNE_KINDS
} PruneKind;

/* Actions whose durations are kept for metrics (metrics.c has their names): HttpRoute.measure. */
typedef enum DoorMeasure {
	MEASURE_NOTHING,
	MEASURE_CONTAINER_CHANGES,
	MEASURE_CONTAINER_COMMIT,
	MEASURE_CONTAINER_CREATE,
	MEASURE_CONTAINER_DELETE,
	MEASURE_CONTAINER_START,
	MEASURE_IMAGE_DELETE,
	MEASURE_IMAGE_PULL,
	MEASURE_IMAGE_PUSH,
	MEASURE_IMAGE_LOAD,
	MEASURE_NETWORK_CREATE,
	MEASURE_NETWORK_DELETE,
	MEASURE_BUILD,
	MEASURES
} DoorMeasure;

#define MEASURE_BUCKETS 11 /* and one without bound */
typedef struct Measured {
	uint64_t buckets[MEASURE_BUCKETS + 1], failed, sum_ns; /* atomic */
} Measured;

struct DockerDoor {
	Engine *engine;
	struct Builder *builder;
	char *data_root;
	pthread_mutex_t settings; /* of what a reload replaces */
	char **insecure_registries, **registry_mirrors, **labels, **address_pools;
	char *seccomp_profile;
	bool no_new_privileges, debug, live_restore, classic_builder;
	pthread_mutex_t pruning[PRUNE_KINDS];
	pthread_mutex_t builds_lock;
	struct NamedBuild *builds; /* those that can be ended by their id (build.c) */
	Measured measured[MEASURES];
};

typedef struct DockerDoor Door;

/* doc.c: pieces of documents. A string that is no UTF-8 has its bad bytes replaced. New references; NULL on out of memory. */
json_t *doc_str(const char *s);         /* NULL is "" */
json_t *doc_error(const Err *e, int r); /* as http_reply_error shows it */
json_t *doc_str_or_null(const char *s);
json_t *doc_time(int64_t ns);
json_t *doc_strv(char *const *v); /* never null */
json_t *doc_map(char *const *v);  /* K=V; never null */
json_t *doc_set(char *const *v);  /* {"a":{}} */
/* Appends as text; takes the reference. A string that needs no escapes, as most, is copied. */
void doc_add(StrBuf *b, json_t *doc);
void doc_add_str(StrBuf *b, const char *s);
int reply_doc(HttpRequest *rq, int status, json_t *doc, Err *e);
bool name_matches(const char *text, const char *ref);
/* Two parallel prunes of one kind: ERR_CONFLICT. */
int prune_begin(Door *d, PruneKind kind, Err *e);
void prune_end(Door *d, PruneKind kind);

/* container-json.c */
json_t *container_inspect_doc(const ContainerInfo *i, const char *driver, int version, const int64_t *size_rw,
			      const int64_t *size_root);
char *container_status_text(const ContainerInfo *i, int64_t now_ns);
json_t *endpoint_doc(const ContainerInfo *i, const ContainerEndpoint *ep, int version);
json_t *mounts_doc(const ContainerInfo *i);
int container_sizes(Door *d, const ContainerInfo *i, int64_t *ret_rw, int64_t *ret_root, Err *e);

/* container-list.c */
/* One item of the list as JSON text. */
void container_list_add(StrBuf *b, const ContainerInfo *i, const char *image, const int64_t *size_rw,
			const int64_t *size_root);
json_t *container_list_doc(const ContainerInfo *i, const char *image, const int64_t *size_rw,
			   const int64_t *size_root);
/* What the last answer was about; zeroed at first. */
typedef struct ImageShown {
	char *image, *id;
	bool same;
} ImageShown;
/* A container's image as it was called, or by id where the tag has moved on. Lives as long as i and s. */
const char *image_shown(Door *d, const ContainerInfo *i, ImageShown *s);
/* The same, or NULL if the image would have to be looked up. */
const char *image_shown_again(const ContainerInfo *i, const ImageShown *s);
void image_shown_done(ImageShown *s);

/* container-filter.c */
int container_filters_check(Door *d, const Filters *f, Err *e);
/* 1 if it passes. */
int container_filters_match(Door *d, const Filters *f, const ContainerInfo *i, Err *e);

/* image-json.c */
json_t *image_inspect_doc(Door *d, const StoreImage *i, int version, Err *e);
/* The query parameter `platform`: since API 1.46 a document; before, and from our own command line, "linux/arm64". malloc'ed, NULL:
 * any. */
int query_platform(HttpRequest *rq, const char *key, char **ret, Err *e);
/* Appends the same as text. */
int image_list_text(StrBuf *b, Door *d, const StoreImage *i, int version, int containers, int64_t shared,
		    Err *e);
json_t *image_list_doc(Door *d, const StoreImage *i, int version, int containers, Err *e);
json_t *image_history_doc(Door *d, const StoreImage *i, Err *e);
char *reference_shown(const char *full); /* familiar form */

/* progress.c: the JSON messages of pull, load, build. Begins the stream with the first one; locks, for many threads. */
typedef struct Progress {
	HttpRequest *rq;
	pthread_mutex_t lock;
	bool quiet;
	struct {
		char id[80], status[40];
		int64_t at_ms;
	} last[16];
	unsigned next;
} Progress;
void progress_init(Progress *p, HttpRequest *rq);
void progress_done(Progress *p);
/* Takes the reference. */
void progress_send(Progress *p, json_t *message);
void progress_stream(Progress *p, const char *text);
/* An EngineProgress; user is the Progress. */
void progress_status(void *user, const char *id, const char *status, int64_t current, int64_t total);
/* What a handler returns: r itself if nothing was sent yet, else an error message at the end of the stream. */
int progress_end(Progress *p, int r, Err *e);

/* streams.c */
#define MUX_HEADER 8
void mux_header(unsigned char h[MUX_HEADER], int stream, uint32_t len);
const char *stream_content_type(const HttpRequest *rq, bool tty);
/* Text to a hijacked client; with the frame of standard error unless it is a terminal. */
void stream_text(int fd, bool tty, const char *text);

/* metrics.c */
void door_measured(void *user, int measure, bool failed, int64_t ns);

/* system.c */
json_t *info_os_value(const char *key); /* of os-release(5); never null */
void door_decorate(HttpRequest *rq, void *user);
int door_admit(HttpRequest *rq, void *user, Err *e);

/* One a line, which clang-format would not keep. */
/* clang-format off */
#define DOOR_HANDLERS(X) \
	X(ping) \
	X(version) \
	X(info) \
	X(events) \
	X(df) \
	X(check) \
	X(auth_check) \
	X(plugins) \
	X(plugin) \
	X(plugin_new) \
	X(swarm) \
	X(swarm_join) \
	X(swarm_leave) \
	X(checkpoint) \
	X(options) \
	X(containers_list) \
	X(container_create) \
	X(container_inspect) \
	X(container_start) \
	X(container_stop) \
	X(container_restart) \
	X(container_kill) \
	X(container_pause) \
	X(container_unpause) \
	X(container_rename) \
	X(container_remove) X(link_remove) \
	X(container_wait) \
	X(container_resize) \
	X(container_ports) X(container_update) \
	X(container_top) \
	X(container_stats) \
	X(container_changes) \
	X(container_export) \
	X(containers_prune) \
	X(container_logs) \
	X(container_attach) \
	X(container_attach_ws) \
	X(archive_head) \
	X(archive_get) \
	X(archive_put) \
	X(exec_create) \
	X(exec_start) \
	X(exec_resize) \
	X(exec_inspect) \
	X(images_list) \
	X(image_inspect) \
	X(image_history) \
	X(image_create) \
	X(image_tag) \
	X(image_push) \
	X(image_remove) \
	X(images_prune) \
	X(images_load) \
	X(images_save) \
	X(image_save) \
	X(image_commit) \
	X(images_search) \
	X(distribution) \
	X(remote_manifest) \
	X(remote_tags) \
	X(remote_index_put) \
	X(remote_referrers) \
	X(build) \
	X(build_cancel) \
	X(build_local) \
	X(build_prune) \
	X(bootstrap) X(squash) \
	X(networks_list) \
	X(network_inspect) \
	X(network_create) \
	X(network_connect) \
	X(network_disconnect) \
	X(network_remove) \
	X(network_renumber)                                                                                    \
	X(networks_prune) \
	X(volumes_list) \
	X(volume_inspect) \
	X(volume_create) \
	X(volume_remove) \
	X(volumes_prune)
/* clang-format on */

#define DECLARE_HANDLER(name) int h_##name(HttpRequest *rq, void *user, Err *e);
DOOR_HANDLERS(DECLARE_HANDLER)
