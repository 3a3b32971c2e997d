/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Container Network Interface: networks that other people's programs make (cni.dev, SPEC.md of 1.1.0).
 *
 * A configuration is a list of plugins (*.conflist, or one plugin in a *.conf or *.json) in a directory; the first by name counts, as with every other caller of
 * CNI. It is read again when the directory changes. A plugin is a program that gets a document on its standard input and answers with one;
 * what it says is a stranger's, and it may fail, hang or lie: every run has a time limit, an answer has a size, and a plugin that
 * does not end is killed with all that it started.
 *
 * An attachment is one interface in one network namespace. What was asked for and what came of it is kept in a file below the cache directory,
 * in the form that libcni uses there, so that it can be taken down by whoever finds it: after a crash, after the configuration
 * has changed, or by another caller of CNI. The file is there before the first plugin runs, and goes after the last has succeeded with DEL.
 *
 * Calls may come from any thread; those of one attachment are the caller's to keep apart.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"

typedef struct Cni Cni;

typedef struct CniOptions {
	const char *conf_dir; /* "/etc/cni/net.d" */
	char *const
	    *plugin_dirs;      /* where programs are looked for, in this order; none of it needs to exist */
	const char *cache_dir; /* "/var/lib/cni": results are in its folder "results" */
	int timeout_ms;        /* of one run of a plugin; 0: 60 s */
	const char *
	    owner; /* whose records cni_stale_find() looks after: the cache is shared by all callers of CNI on a machine. NULL: "ireko" */
} CniOptions;

/* Watches the directory, or for its coming. */
int cni_new(const CniOptions *o, Cni **ret, Err *e);
void cni_free(Cni *c);
DEFINE_CLEANUP(Cni *, cni_free)

/* Whether an attachment can be made now: 0, or an error that says why not (ERR_UNAVAILABLE: no configuration, in words for an administrator that name the
 * directory; it cannot be read; a plugin's program is missing; a plugin of 1.1.0 says so to STATUS). Of answers of plugins the last one is
 * remembered for some seconds. */
int cni_status(Cni *c, Err *e);
/* What is configured now, for who wants to see it: {"name", "cniVersion", "file", "plugins": [...]}; json_null() if nothing is. The caller's. */
json_t *cni_describe(Cni *c);

/* Of the capability portMappings. */
typedef struct CniPort {
	const char *protocol; /* "tcp", "udp", "sctp" */
	const char *host_ip;  /* "": every address */
	uint16_t host_port, container_port;
} CniPort;

/* Whose strings are the caller's. */
typedef struct CniAttachment {
	const char *container_id;
	const char *netns;                              /* path of the namespace; "": it is gone (DEL) */
	const char *ifname;                             /* "eth0" */
	const char *pod_name, *pod_namespace, *pod_uid; /* K8S_POD_*; NULL: no pod */
	/* What a plugin is told of only if it has the capability. */
	const CniPort *ports;
	size_t n_ports;
	int64_t ingress_rate, egress_rate; /* bandwidth, bits a second; 0: none */
	char *const *dns_servers, *const *dns_searches, *const *dns_options; /* NULL: none */
	const char *cgroup_path;                                             /* or NULL */
	char *const *annotations;                                            /* K=V; or NULL */
	char *const *ip_ranges; /* CIDRs, each a range set of its own; or NULL */
} CniAttachment;

typedef struct CniResult {
	char **ips;       /* addresses of `ifname` without prefix, the main one first */
	json_t *document; /* as the last plugin has said it, in the version of the configuration */
} CniResult;
void cni_result_done(CniResult *r);
#define _cleanup_cni_result_ _cleanup_(cni_result_done)

/* Plugins in their order. What one that failed, or those before it, has made is taken down again (DEL of all of them), and the first error is told.
 * alive_fd: see engine.h; -1: none. */
int cni_add(Cni *c, const CniAttachment *a, int alive_fd, CniResult *ret, Err *e);
/* Whether anything of it may be there: false after an ADD that failed and was taken down again, or that never began. */
bool cni_is_recorded(Cni *c, const CniAttachment *a);
/* From the kept record: whether it is still as it was made. ERR_NOT_FOUND if there is no record; ERR_UNSUPPORTED if the version of the configuration has no CHECK. */
int cni_check(Cni *c, const CniAttachment *a, int alive_fd, Err *e);
/* In reverse order, with what the record says (arguments, capabilities, result, the configuration of that time); without a record, with what `a` says and today's configuration, and
 * success if there is none. The record goes when all have succeeded. Repeating it is success. */
int cni_del(Cni *c, const CniAttachment *a, Err *e);
/* Whether it is a network namespace, and not only a name. */
bool cni_netns_is_there(const char *path);

/* Attachments on record that are of this owner and not among `keep` ("CONTAINER_ID IFNAME"). */
typedef struct CniStale CniStale;
int cni_stale_find(Cni *c, char *const *keep, CniStale **ret, Err *e);
/* Takes them down and frees the list, which may be NULL; gone() is told the namespace of each that is. Failures are told in the log: the next list has them again. */
void cni_stale_release(CniStale *s, void (*gone)(const char *netns, void *user), void *user);
/* Tells plugins of 1.1.0 what is kept (GC), that of other owners too. Failures are told in the log. */
int cni_gc(Cni *c, char *const *keep, Err *e);
