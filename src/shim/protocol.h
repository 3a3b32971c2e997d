/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim protocol: what travels between the engine and a shim.
 *
 * One datagram of a SOCK_SEQPACKET socket is one message: a fixed header in host byte order (both ends are
 * on one machine), a JSON object, then a blob of plain bytes, then descriptors (SCM_RIGHTS). Messages
 * longer than SHIM_INLINE_MAX travel as the header alone, with the rest in a memfd that is the first descriptor.
 *
 * Every request gets one reply with its sequence number: SHIM_MSG_OK with results, or SHIM_MSG_ERROR whose
 * blob is an Err. After SHIM_MSG_SUBSCRIBE only SHIM_MSG_EVENT flows on that connection, towards the engine.
 * Objects may gain members: unknown ones are ignored, so that an older shim serves a newer irekod.
 */
#pragma once

#include "base/fd.h"
#include "base/json.h"
#include "shim/shim.h"

#define SHIM_INLINE_MAX  16384
#define SHIM_PAYLOAD_MAX (4u << 20)
#define SHIM_RELEASE_MAX 1024 /* sockets that one SHIM_MSG_PORTS names */
#define SHIM_CONTROL_FD  3    /* the first connection, inherited by the shim */
#define SHIM_NETNS_FD    4 /* kept for the network namespace: config.json names it before the shim has it */
#define SHIM_SOCKET_NAME "shim.sock"
#define SHIM_EXIT_NAME   "exit.json"
/* Room for it until then; the shim holds a flock(2) on it. */
#define SHIM_EXIT_RESERVED "." SHIM_EXIT_NAME

typedef enum ShimMsgType {
	SHIM_MSG_HOLD = 1, /* descriptors to keep open; before CREATE, any number of times; not answered */
	SHIM_MSG_CREATE,
	SHIM_MSG_INFO,
	SHIM_MSG_START,
	SHIM_MSG_ATTACH,
	SHIM_MSG_EXEC,
	SHIM_MSG_EXEC_EXIT,
	SHIM_MSG_RESIZE,
	SHIM_MSG_KILL,
	SHIM_MSG_PAUSE,
	SHIM_MSG_SUBSCRIBE, /* not answered; may say "start" */
	SHIM_MSG_OK,
	SHIM_MSG_ERROR,
	SHIM_MSG_EVENT,
	SHIM_MSG_UPDATE, /* behind those that shims of older versions know by number */
	SHIM_MSG_PIDS,
	SHIM_MSG_MOUNTS, /* as HOLD: detached mounts of the container's (ShimCreate) */
	SHIM_MSG_PORTS, /* of a container that exists: more to hold, and bound sockets to let go of (hold.c) */
	SHIM_MSG_REOPEN, /* the log's file has been renamed */
	SHIM_MSG_JOIN, /* to a pod's sandbox, with a connection: HOLD, MOUNTS and CREATE for one more container come over that */
	SHIM_MSG_CHECKPOINT, /* answered when it is made */
	SHIM_MSG_TYPE_MAX,
} ShimMsgType;

/* Numbers below it that nobody here knows are answered as requests that are not offered. Shims of versions before SHIM_MSG_PORTS close the
 * connection instead. */
#define SHIM_MSG_TYPE_LIMIT 256

typedef struct ShimMsg {
	ShimMsgType type;
	uint32_t seq;
	json_t *doc; /* an object, or NULL */
	char *blob;
	size_t blob_len;
	int fds[FDS_MAX];
	size_t n_fds;
} ShimMsg;

/* Releases document, blob and descriptors. Of a message that is sent, the caller owns all three. */
void shim_msg_done(ShimMsg *m);
#define _cleanup_shim_msg_ _cleanup_(shim_msg_done)

int shim_msg_send(int sock, const ShimMsg *m, Err *e);
/* 1 with a message, 0 at end of the connection, or -errno (-EAGAIN on a nonblocking socket leaves e untouched). buf, of
 * SHIM_INLINE_MAX bytes, is only used during the call. */
int shim_msg_recv(int sock, void *buf, ShimMsg *ret, Err *e);
/* One datagram whose descriptors are `fds` (taken over, also on failure); -EPROTO for what is no message. */
int shim_msg_decode(const void *buf, size_t len, const int *fds, size_t n_fds, ShimMsg *ret, Err *e);
/* The i-th descriptor, now the caller's; -1 if there is none. */
int shim_msg_take_fd(ShimMsg *m, size_t i);

/* An Err as a blob, and back. shim_error_decode returns -errno of it. */
size_t shim_error_encode(const Err *e, int r, char *buf, size_t cap);
int shim_error_decode(const ShimMsg *m, Err *e);

json_t *shim_exit_encode(const ShimExit *x);
int shim_exit_decode(const json_t *j, ShimExit *ret, Err *e);
json_t *shim_event_encode(const ShimEvent *v);
int shim_event_decode(const json_t *j, ShimEvent *ret, Err *e);
