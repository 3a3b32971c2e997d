/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this floor share: documents with their limits, lists of plugins, runs, records. */
#pragma once

#include "cni/cni.h"

#include "base/str.h"

#include <dirent.h>
#include <pthread.h>

#define CNI_CONFIG_MAX (1u << 20) /* bytes of one configuration file */
#define CNI_OUTPUT_MAX (1u << 20) /* bytes that a plugin may answer */
#define CNI_RECORD_MAX                                                                                       \
	(8u << 20) /* bytes of one file in the cache: a configuration in base64, arguments, a result */
#define CNI_DEPTH_MAX                                                                                        \
	64 /* of what others wrote; a record has what it keeps of that below levels of its own */
#define CNI_RECORD_DEPTH_MAX (CNI_DEPTH_MAX + 4)
#define CNI_PLUGINS_MAX      64  /* of one list */
#define CNI_FILES_MAX        512 /* candidates in a directory of configurations */
#define CNI_TIMEOUT_MS       60000

typedef enum CniVersion {
	CNI_0_1_0,
	CNI_0_2_0,
	CNI_0_3_0,
	CNI_0_3_1,
	CNI_0_4_0, /* CHECK, and prevResult for DEL */
	CNI_1_0_0,
	CNI_1_1_0, /* GC and STATUS */
	CNI_VERSION_MAX,
} CniVersion;

/* ---- document.c ---- */

/* NULL and "" are 0.1.0, as the specification has it. -EINVAL for one that is not known here. */
int cni_version_parse(const char *s, CniVersion *ret);
const char *cni_version_text(CniVersion v);
/* Plain file names of letters, digits and "_.-" that begin with a letter or a digit: container ids, names of networks, of plugins. */
bool cni_name_is_plain(const char *s);
/* As the kernel takes it, and without blanks, ':' and control bytes. */
bool cni_ifname_is_good(const char *s);
/* One object of at most `max` bytes and CNI_DEPTH_MAX levels. */
int cni_document_parse(const char *text, size_t len, size_t max, const char *what, json_t **ret, Err *e);
int cni_document_parse_deep(const char *text, size_t len, size_t max, size_t depth, const char *what,
			    json_t **ret, Err *e);

/* A whole regular file of at most `max` bytes; never waits for what only looks like one. Symlinks are followed if `follow`. */
int cni_file_read(int dirfd, const char *name, size_t max, bool follow, char **ret, size_t *ret_len, Err *e);

static inline void cni_dir_close(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}
#define _cleanup_dir_ _cleanup_(cni_dir_close)

/* ---- list.c ---- */

/* What a file says, or a record: never changed once it is made. */
typedef struct CniList {
	unsigned refs;     /* atomic */
	char *name, *file; /* the network's; where it was read */
	CniVersion version;
	bool disable_check, disable_gc;
	bool inlined_only; /* nothing is looked for in the folder NAME beside the file */
	json_t *plugins;   /* objects, each with a plain "type"; not empty */
	char *text; /* of the whole, as a record keeps it: nothing that it means lies in another file */
} CniList;

/* `is_list`: *.conflist; else one plugin. Without plugins only if they may come from the folder. */
int cni_list_parse(const char *text, size_t len, const char *file, bool is_list, CniList **ret, Err *e);
/* One more plugin, from the folder. */
int cni_list_add(CniList *l, const char *text, size_t len, const char *file, Err *e);
/* After the last: there are some, and `text` has them. */
int cni_list_finish(CniList *l, Err *e);
CniList *cni_list_ref(CniList *l);
void cni_list_unref(CniList *l);
DEFINE_CLEANUP(CniList *, cni_list_unref)
#define _cleanup_list_ _cleanup_(cni_list_unrefp)

/* ---- config.c ---- */

/* What is configured now. ERR_UNAVAILABLE, in words, if nothing can be used. The caller's reference. */
int cni_config_get(Cni *c, CniList **ret, Err *e);
void cni_config_done(Cni *c);

/* ---- result.c ---- */

/* What a plugin has answered to ADD, in the form of version `want`. `fallback` is the version of an answer that names none. */
int cni_result_parse(const char *text, size_t len, CniVersion fallback, CniVersion want, const char *what,
		     json_t **ret, Err *e);
/* The same of a document that is there already: checked, and a new one in the wanted form. */
int cni_result_convert(const json_t *from, CniVersion fallback, CniVersion want, const char *what,
		       json_t **ret, Err *e);
/* The addresses of an interface of the sandbox in a result of any version, the first of IPv4 before the others. */
int cni_result_ips(const json_t *result, const char *ifname, char ***ret, Err *e);

/* ---- run.c ---- */

typedef struct CniRun {
	const char *command;           /* "ADD", ... */
	const char *type, *program;    /* the plugin's name and its file */
	const char *network, *subject; /* for errors: "pod ns/name", "container ID"; NULL: neither */
	const char *container_id, *netns, *ifname, *args, *path; /* CNI_*; NULL: none */
	int timeout_ms, alive_fd;
} CniRun;

/* Runs it with `input` on its standard input; what it wrote to its standard output is *ret's. What it has left in its process group when it ends is
 * killed, and when it has to be ended, all that it started. */
int cni_run(const CniRun *x, const char *input, StrBuf *ret, Err *e);
/* The file of a plugin; malloc'ed. ERR_UNAVAILABLE if no directory has it. */
int cni_program_find(char *const *dirs, const char *type, char **ret, Err *e);

/* ---- hunt.c ---- */

/* Of every run, and of all that it starts: this and a number of its own. */
#define CNI_MARK "IREKO_CNI_RUN="

/* Ticks since boot, as /proc/PID/stat has them. */
uint64_t cni_hunt_now(void);
/* Kills every process that has all of these variables ("NAME=value", or "NAME=" for any) in its environment, which was started after `began`. False if it cannot be told
 * whether there is none any more. */
bool cni_hunt(const char *const *marks, uint64_t began);

/* ---- cache.c ---- */

typedef struct CniRecord {
	char *container_id, *ifname, *network, *netns, *owner;
	char *config;         /* text of a list; NULL if it is none */
	json_t *args;         /* [[K, V]...] or NULL */
	json_t *capabilities; /* object or NULL */
	json_t *result;       /* object, or NULL: ADD has not come to its end */
} CniRecord;

void cni_record_done(CniRecord *r);
#define _cleanup_record_ _cleanup_(cni_record_done)

int cni_record_parse(const char *text, size_t len, CniRecord *ret, Err *e);
/* Replaces it whole. */
int cni_record_write(const char *cache_dir, const CniRecord *r, Err *e);
/* Of this attachment, whatever its network; `network` is where it is looked for first, or NULL. 1, or 0 if there is none that can be read. */
int cni_record_find(const char *cache_dir, const char *network, const char *container_id, const char *ifname,
		    CniRecord *ret, Err *e);
/* Whether there is a file for it, whatever is in that; true if nobody can tell. */
bool cni_record_exists(const char *cache_dir, const char *container_id, const char *ifname);
/* Its file, if there is one. */
int cni_record_remove(const char *cache_dir, const char *network, const char *container_id,
		      const char *ifname, Err *e);
/* Removes pieces of records that a killed engine, of whatever owner, left a minute ago or earlier. */
void cni_record_sweep(const char *cache_dir);
/* Calls f with every record that can be read, until it returns less than 0; f may take its parts over. */
int cni_record_each(const char *cache_dir, int (*f)(CniRecord *r, void *user, Err *e), void *user, Err *e);

/* ---- request.c ---- */

/* CNI_ARGS as pairs, and what there is for plugins with capabilities. */
int cni_request_args(const CniAttachment *a, json_t **ret, Err *e);
int cni_request_capabilities(const CniAttachment *a, json_t **ret, Err *e);
/* The pairs as CNI_ARGS; malloc'ed. */
char *cni_request_args_text(const json_t *args);
/* The document that a plugin gets. `extra` (or NULL) is merged into it. malloc'ed. */
int cni_request_document(const CniList *l, const json_t *plugin, const json_t *capabilities,
			 const json_t *prev, const json_t *extra, char **ret, Err *e);

/* ---- chain.c ---- */

/* The plugins of a list with what they are told of one attachment, or of none (GC, STATUS). */
typedef struct CniChain {
	Cni *c;
	const CniList *list; /* the caller's, as are these */
	const json_t *args, *capabilities;
	const char *container_id, *netns, *ifname, *subject;
	int timeout_ms, alive_fd;
	char *args_text, **programs; /* of every plugin */
} CniChain;

/* Finds the programs of all plugins, before the first is run. */
int cni_chain_init(CniChain *h, Err *e);
void cni_chain_done(CniChain *h);
#define _cleanup_chain_ _cleanup_(cni_chain_done)
/* Runs plugin number i. What it says is *ret's, or nobody's if that is NULL. */
int cni_chain_run(const CniChain *h, size_t i, const char *command, const json_t *prev, const json_t *extra,
		  StrBuf *ret, Err *e);
/* One after another. */
int cni_chain_run_all(const CniChain *h, const char *command, const json_t *prev, const json_t *extra,
		      Err *e);

/* ---- attach.c ---- */

/* Takes down what a record describes, and removes it. */
int cni_del_record(Cni *c, const CniRecord *r, const char *netns, const char *subject, Err *e);

/* ---- cni.c ---- */

struct Cni {
	char *conf_dir, *cache_dir, *owner, *path;
	char **plugin_dirs;
	int timeout_ms;

	pthread_mutex_t lock; /* of what follows */
	int watch;            /* inotify; -1: none could be had, and the directory is read each time */
	CniList *list;        /* or NULL, and the error says why */
	Err error;

	pthread_mutex_t status_lock; /* of STATUS: one at a time */
	CniList *status_list;        /* that was asked; NULL: none yet */
	int64_t status_at;
	int status_result;
	Err status_error;
};
