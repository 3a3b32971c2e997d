/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the BuildKit door share.
 *
 * A Job is one build of a client's: it begins and ends with the call Control/Solve, and lasts until all others that refer to it have let go. The frontend's
 * calls (LLBBridge) carry its ref. What a job may not outlive are two things: its caller and its session. Whichever goes first, alive_fd reports POLLHUP, which
 * everything of a build looks at, and calls to the client that are under way are cancelled.
 *
 * A Kept is the result of a build: it is the job's that made it and of those that were given it as an input, by its id, which is all that a client ever sees.
 *
 * Locks: Job.lock and BuildkitDoor.lock are never held across a call to anything that waits; Job.lock may be taken under BuildkitDoor.lock, not the reverse.
 */
#pragma once

#include "api/buildkit/door.h"
#include "api/buildkit/filesync.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "control.pb-c.h"
#include "gateway.pb-c.h"
#include "session.pb-c.h"
#include "wire/grpc/grpc.h"

#include <pthread.h>

#define WAIT_SESSION_MS  5000
#define WAIT_BRIDGE_MS   3000
#define WAIT_STATUS_MS   6000
#define PROGRESS_EACH_NS 100000000

typedef struct Session Session;
typedef struct Kept Kept;
typedef struct Job Job;
typedef struct Tree Tree;
typedef struct Content Content; /* content.c */
typedef struct Upload Upload;   /* classic.c */

struct BuildkitDoor {
	Engine *engine;
	Builder *builder;
	char *data_root;
	int stop_fd; /* eventfd: readable once the door is closing */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* of the lists below; CLOCK_MONOTONIC */
	Session *sessions;
	Job *jobs;
	Kept *kept;
	Tree *trees;
	Upload *uploads;
	char **left; /* paths that an engine before left behind */
	pthread_t cleaner;
	bool cleaning;
	_Atomic bool stopping;
};

/* ---- door.c ---- */
/* Waits on door->changed, which is of lock; false once deadline_ns (CLOCK_MONOTONIC) has come. */
bool door_wait(BuildkitDoor *d, int64_t deadline_ns);
bool hung_up(int fd);
/* Members of the protocol's maps. The value, or NULL if there is none; "" counts. */
const char *pairs_get(Llb__Pair *const *pairs, size_t n, const char *key);
/* A cache that is imported or exported as command lines have it: "type=registry,ref=NAME". malloc'ed. */
char *cache_text(const char *type, Llb__Pair *const *attrs, size_t n);
/* Freed with it. */
void message_freep(void *message);
#define _cleanup_message_ _cleanup_(message_freep)

/* ---- session.c ---- */
struct Session {
	BuildkitDoor *door;
	char *id, *name, *shared_key;
	char **methods; /* "/service/Method" */
	GrpcConnection *connection;
	GrpcCall *carrier; /* that the connection is inside, or NULL */
	unsigned refs;     /* door->lock; the connection is closed by its request once they are gone */
	bool gone;
	struct Session *next;
};
int h_session(HttpRequest *rq, void *user, Err *e);
int rpc_session(GrpcCall *call, void *user, Err *e);
/* Ends those that are inside of calls. */
void sessions_stop(BuildkitDoor *d);
/* A reference to the session, which is waited for if it is not there yet. */
int session_get(BuildkitDoor *d, const char *id, int alive_fd, Session **ret, Err *e);
void session_unref(Session *s);
bool session_offers(const Session *s, const char *method);

/* ---- job.c ---- */
/* What Status tells, in the order of its telling. */
typedef struct Told {
	uint8_t *data; /* a packed StatusResponse; NULL: taken by a reader */
	size_t len;
	bool log;
} Told;

struct Job {
	BuildkitDoor *door;
	char *ref, *session_id;
	unsigned refs; /* door->lock */
	struct Job *next;
	bool listed;      /* door->lock */
	int64_t ended_ns; /* door->lock; 0: not yet */
	int alive_fd;     /* POLLHUP: the job is over */
	int stop_fd;      /* its other end, until then */
	int returned_fd;  /* eventfd: the frontend has returned */
	int body_fd;      /* the context, where it came in the request; or -1 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Session *session; /* NULL: it is not there yet */
	bool over;        /* nothing new begins */
	bool told_all;    /* no more will be told */
	unsigned working; /* calls of the frontend that build */
	Gateway__ReturnRequest *answer;
	GrpcCall **calls; /* to the client, under way */
	size_t n_calls;
	Told *told;
	size_t n_told, cap_told, log_bytes;
	bool clipped;
	char **entitlements, **cache_to; /* as BuildRequest has them */
	char *cache_manifest; /* descriptor of what a cache of type=local was written as, or NULL */
	bool writes_files;    /* an exporter of it knows no image */
};
/* A reference to the job; waited for. */
int job_get(BuildkitDoor *d, const char *ref, int wait_ms, int alive_fd, Job **ret, Err *e);
bool job_is_there(BuildkitDoor *d, const char *ref);
/* Of the call's metadata. */
void jobs_free(BuildkitDoor *d); /* of those that have ended */
int job_of_call(BuildkitDoor *d, GrpcCall *call, Job **ret, Err *e);
int job_new(BuildkitDoor *d, const Control__SolveRequest *rq, Job **ret, Err *e);
void job_unref(Job *j);
DEFINE_CLEANUP(Job *, job_unref)
#define _cleanup_job_ _cleanup_(job_unrefp)
/* Ends what is under way. */
void job_stop(Job *j);
void jobs_stop(BuildkitDoor *d);
/* Of the whole: stops it, waits for the frontend's calls, tells that there is no more. */
void job_end(Job *j);
/* The job's session: not the caller's. */
int job_session(Job *j, Session **ret, Err *e);
/* A call to the client that ends with the job; finished by job_call_finish (in good order) or job_call_drop. */
int job_call_begin(Job *j, Session *s, const char *path, const GrpcField *metadata, size_t n, GrpcCall **ret,
		   Err *e);
int job_call_finish(Job *j, GrpcCall *call, Err *e);
void job_call_drop(Job *j, GrpcCall *call);

/* ---- status.c ---- */
/* What is told is packed at once; without memory a line of progress is lost. */
void status_event(Job *j, const BuildEvent *ev, const char *file, const char *text);
void status_vertex(Job *j, const char *digest, const char *name, int64_t started_ns, int64_t ended_ns,
		   const char *error);
void status_warn(Job *j, const char *text);
void status_progress(Job *j, const char *vertex, const char *id, int64_t current, int64_t total,
		     int64_t started_ns, int64_t ended_ns);
/* The next to be sent; waits; false at the end. *ret_data is malloc'ed, NULL: another reader has had it. */
bool status_next(Job *j, size_t at, uint8_t **ret_data, size_t *ret_len);
int rpc_status(GrpcCall *call, void *user, Err *e);

/* ---- kept.c ---- */
struct Kept {
	BuildkitDoor *door;
	char id[33];
	char *config; /* of the image; NULL: it is no image */
	BuildResult *result;
	unsigned refs; /* door->lock */
	Job *owner;    /* NULL once that has ended */
	struct Kept *next;
};
/* Takes the result. The reference is the job's, and goes with it. */
int kept_add(Job *j, BuildResult *result, Kept **ret, Err *e);
/* A reference, or NULL. */
Kept *kept_get(BuildkitDoor *d, const char *id);
void kept_unref(Kept *k);
DEFINE_CLEANUP(Kept *, kept_unref)
#define _cleanup_kept_ _cleanup_(kept_unrefp)
void kept_of_job_end(Job *j);
/* The definition that stands for it, as clients hand it on: to be freed with definition_free. */
Llb__Definition *kept_definition(const Kept *k);
void definition_free(Llb__Definition *d);
/* A reference to the result that a definition stands for; NULL: it is none of ours, or it is gone. */
Kept *kept_of_definition(BuildkitDoor *d, const Llb__Definition *definition);

/* ---- tree.c: directories that clients send ---- */
struct Tree {
	char *key; /* NULL: not kept */
	char *path;
	bool busy;
	bool failed; /* what was sent last did not arrive whole, or there was no room: it is not kept */
	int64_t used_ns;
	struct Tree *next;
};
/* Where a directory is received into: what was kept of it, or an empty one. *ret_fresh: it is empty. */
int tree_begin(BuildkitDoor *d, const char *key, Tree **ret, bool *ret_fresh, Err *e);
/* good: it is as the client has it. */
void tree_end(BuildkitDoor *d, Tree *t, bool good);
/* All that no build uses. */
void trees_forget(BuildkitDoor *d);
void trees_clean(BuildkitDoor *d);
void trees_free(BuildkitDoor *d);

/* ---- filesync.c ---- */
int filesync_receive(Job *j, Session *s, const SyncRequest *rq, Err *e);
/* Metadata: a list under a name, as the protocol encodes it. Appends; names are not copied. */
typedef struct Metadata {
	GrpcField *items;
	size_t n, cap;
	char **owned;
	bool oom;
} Metadata;
void metadata_add(Metadata *m, const char *name, char *const *values);
void metadata_done(Metadata *m);

/* ---- filesend.c ---- */
/* What the client stores as the output `id`: the files below root, or a stream. */
int filesend_tree(Job *j, Session *s, int id, int root, void (*progress)(void *, int64_t, bool), void *user,
		  Err *e);
int filesend_stream(Job *j, Session *s, int id, int from_fd, void (*progress)(void *, int64_t, bool),
		    void *user, Err *e);

/* ---- client.c: what a build asks its client for ---- */
typedef struct ClientState {
	Job *job;
	BuildClient client;
	Llb__Pair *const *opts;
	size_t n_opts;
	Llb__DefinitionEntry *const *inputs;
	size_t n_inputs;
	const char *filename;
	pthread_mutex_t lock;
	Tree **trees;
	Kept **kept;    /* inputs that were asked for */
	char **secrets; /* accounts that were told */
	Session **sessions;
	size_t n_trees, n_kept, n_sessions;
	Content *contents;
	char *const *imports; /* of type=local: directories and, behind each, the digest of its index */
	char *text;           /* of the Dockerfile, for those who point at its lines */
} ClientState;
/* There is no room: what clients have sent is not kept for their next builds. */
void client_forget_trees(ClientState *c);
void client_init(ClientState *c, Job *j);
/* good: the build ended well. */
void client_done(ClientState *c);
/* The account at a registry; user is the ClientState, whose the strings are. */
void client_auth(void *user, const char *domain, EngineAuth *ret);

/* ---- content.c ---- */
/* A BuildClient's file; user is the ClientState. */
int content_file(void *user, const char *dir, const char *name, bool write, int *ret_fd, Err *e);
/* What the digest names in the client's store `name`, and all that this names, as files of an image layout in dir, which is empty. */
int content_layout(ClientState *c, const char *name, const char *digest, int dir, Err *e);
/* After the build, which has come to r: waits for what is still on its way. */
int content_finish(ClientState *c, int r, Err *e);

/* ---- fail.c ---- */
/* The details of a failure that a line of the Dockerfile stands for. */
void fail_with_source(GrpcCall *call, const Err *e, int r, const char *file, const char *text, int line,
		      int last_line);
/* What a client said was an error, said back. */
int fail_with_status(GrpcCall *call, const Llb__Status *status, Err *e);

/* ---- control.c, bridge.c, export.c, worker.c ---- */
int rpc_control_solve(GrpcCall *call, void *user, Err *e);
int rpc_info(GrpcCall *call, void *user, Err *e);
int rpc_list_workers(GrpcCall *call, void *user, Err *e);
int rpc_disk_usage(GrpcCall *call, void *user, Err *e);
int rpc_prune(GrpcCall *call, void *user, Err *e);
int rpc_ping(GrpcCall *call, void *user, Err *e);
int rpc_bridge_solve(GrpcCall *call, void *user, Err *e);
int rpc_return(GrpcCall *call, void *user, Err *e);
int rpc_evaluate(GrpcCall *call, void *user, Err *e);
int rpc_stat_file(GrpcCall *call, void *user, Err *e);
int rpc_read_file(GrpcCall *call, void *user, Err *e);
int rpc_read_dir(GrpcCall *call, void *user, Err *e);
int rpc_warn(GrpcCall *call, void *user, Err *e);
int rpc_inputs(GrpcCall *call, void *user, Err *e);

typedef struct ExporterResponse {
	Llb__Pair **pairs;
	size_t n;
} ExporterResponse;
void exporter_response_done(ExporterResponse *x);
int exporter_respond(ExporterResponse *x, const char *key, const char *value, Err *e);
/* All that was asked for, of the result (NULL: there is none). */
int export_all(Job *j, const Control__SolveRequest *rq, Kept *k, ExporterResponse *ret, Err *e);
/* Brings the image of these names to their registries; the digest is the manifest's. */
int export_push(Job *j, const char *vertex, char *const *tags, char ret_digest[DIGEST_LEN + 1], Err *e);
/* Before anything is built. */
int export_check(const Control__SolveRequest *rq, Err *e);

typedef struct Worker {
	Control__WorkerRecord record;
	Control__BuildkitVersion version;
	Llb__Platform platform, *platforms[1];
	Llb__Pair labels[3], *label_list[3];
	char gateway[64];
} Worker;
void worker_fill(BuildkitDoor *d, Worker *w);

/* What a frontend gives: a result, or what was asked about the Dockerfile. */
typedef struct Answer {
	Kept *kept;
	const char *keys[4];
	char *values[4];
	size_t n;
} Answer;
void answer_done(Answer *a);
#define _cleanup_answer_ _cleanup_(answer_done)
/* A build by the frontend's options. */
int build_run(Job *j, GrpcCall *call, const Gateway__SolveRequest *rq, Answer *ret, Err *e);

/* ---- control.c, for those who come by another way; caller_fd: as alive_fd elsewhere ---- */
/* Waits for the job's session. */
int control_begin(Job *j, int caller_fd, Err *e);
/* A build by the call itself, which ends with its caller. call may be NULL. */
int control_run(Job *j, GrpcCall *call, int caller_fd, const Control__SolveRequest *rq, Answer *ret, Err *e);

/* ---- classic-query.c: POST /build?version=2 as a request of Control/Solve ---- */
#define CLASSIC_BODY_URL "http://buildkit-session/body-of-the-request"

typedef struct ClassicQuery {
	Control__SolveRequest solve;
	bool body;       /* the context is the request's body */
	bool other_body; /* it is that of another request */
	bool image;      /* one is made */
	/* What solve points to. */
	char **options, **attrs, *type, *entitlement;
	Llb__Pair *frontend_pairs, **frontend, *export_pairs, **export;
	Control__Exporter exporter, *exporters;
	Control__CacheOptions cache;
	Control__CacheEntry cache_entry, *cache_list;
} ClassicQuery;
/* Released by classic_query_done on failure as well. */
int classic_query_read(HttpRequest *rq, ClassicQuery *ret, Err *e);
void classic_query_done(ClassicQuery *q);

/* ---- classic.c ---- */
bool is_classic_build(const HttpRequest *rq, void *user);
int h_classic_build(HttpRequest *rq, void *user, Err *e);
bool is_classic_cancel(const HttpRequest *rq, void *user);
int h_classic_cancel(HttpRequest *rq, void *user, Err *e);

/* ---- describe.c ---- */
int describe_run(ClientState *c, const char *request, const BuildRequest *rq, Answer *ret, Err *e);
