/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages in and out. Decoding trusts nothing: the lengths of the header must add up to what arrived,
 * a payload memfd must be a regular file of exactly the announced size, and is copied before it is looked at.
 */
#include "shim/protocol.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define MSG_MAGIC 0x31485349u /* "ISH1" */

enum {
	MSG_FLAG_PAYLOAD_FD = 1, /* document and blob are in the first descriptor */
};

typedef struct MsgHeader {
	uint32_t magic;
	uint16_t type;
	uint16_t flags;
	uint32_t seq;
	uint32_t doc_len;
	uint32_t blob_len;
} MsgHeader;

/* An Err on the wire, followed by its text. */
typedef struct ErrHeader {
	int32_t no;
	int32_t kind;
} ErrHeader;

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		closep(&fds[i]);
}

void shim_msg_done(ShimMsg *m)
{
	json_decref(m->doc);
	free(m->blob);
	close_all(m->fds, m->n_fds);
	*m = (ShimMsg){0};
}

int shim_msg_take_fd(ShimMsg *m, size_t i)
{
	return i < m->n_fds ? take_fd(&m->fds[i]) : -1;
}

static int payload_memfd(const char *doc, size_t doc_len, const char *blob, size_t blob_len, Err *e)
{
	_cleanup_close_ int fd = memfd_create("shim-message", MFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(e, errno, "memfd for a message");
	r = fd_write_all(fd, doc, doc_len);
	if (r >= 0)
		r = fd_write_all(fd, blob, blob_len);
	if (r < 0)
		return err_sys(e, r, "write a message to its memfd");
	return take_fd(&fd);
}

int shim_msg_send(int sock, const ShimMsg *m, Err *e)
{
	_cleanup_free_ char *doc = NULL;
	_cleanup_free_ char *buf = NULL;
	_cleanup_close_ int payload = -1;
	int fds[FDS_MAX];
	size_t n_fds = 0, total, len = sizeof(MsgHeader);
	MsgHeader h = {.magic = MSG_MAGIC, .type = (uint16_t)m->type, .seq = m->seq};
	ssize_t n;

	if (m->doc && !(doc = json_text(m->doc)))
		return err_oom(e);
	total = (doc ? strlen(doc) : 0) + m->blob_len;
	if (total > SHIM_PAYLOAD_MAX)
		return err_new(e, ERR_INVALID, "message for the shim is too long (%zu bytes, at most %u)",
			       total, SHIM_PAYLOAD_MAX);
	h.doc_len = (uint32_t)(total - m->blob_len);
	h.blob_len = (uint32_t)m->blob_len;
	if (total > SHIM_INLINE_MAX - sizeof(h)) {
		payload = payload_memfd(doc ? doc : "", h.doc_len, m->blob, m->blob_len, e);
		if (payload < 0)
			return payload;
		h.flags |= MSG_FLAG_PAYLOAD_FD;
		fds[n_fds++] = payload;
	} else {
		len += total;
	}
	if (n_fds + m->n_fds > FDS_MAX)
		return err_new(e, ERR_INVALID, "too many descriptors in one message");
	memcpy(fds + n_fds, m->fds, m->n_fds * sizeof(int));
	n_fds += m->n_fds;

	buf = malloc(len);
	if (!buf)
		return err_oom(e);
	memcpy(buf, &h, sizeof(h));
	if (len > sizeof(h)) {
		if (h.doc_len)
			memcpy(buf + sizeof(h), doc, h.doc_len);
		if (h.blob_len)
			memcpy(buf + sizeof(h) + h.doc_len, m->blob, h.blob_len);
	}
	n = fd_send_msg(sock, buf, len, fds, n_fds);
	return n < 0 ? err_sys(e, (int)-n, "send to the shim socket") : 0;
}

static int read_payload(int fd, const MsgHeader *h, char **ret, Err *e)
{
	size_t total = (size_t)h->doc_len + h->blob_len;
	_cleanup_free_ char *text = NULL;
	struct stat st;

	/* Only a regular file is sure not to block the reader. */
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != total)
		return err_new_no(e, ERR_INVALID, EPROTO, "message payload is not a file of %zu bytes",
				  total);
	text = malloc(total + 1);
	if (!text)
		return err_oom(e);
	for (size_t got = 0; got < total;) {
		ssize_t n = pread(fd, text + got, total - got, (off_t)got);

		if (n <= 0)
			return err_sys(e, n < 0 ? errno : EPROTO, "read a message payload");
		got += (size_t)n;
	}
	*ret = take_ptr(text);
	return 0;
}

static int decode_payload(const MsgHeader *h, const char *payload, ShimMsg *m, Err *e)
{
	if (h->doc_len) {
		int r = json_parse(payload, h->doc_len, "shim message", &m->doc, e);

		if (r < 0)
			return r;
		if (!json_is_object(m->doc))
			return err_new_no(e, ERR_INVALID, EPROTO, "shim message: not an object");
	}
	if (h->blob_len) {
		m->blob = malloc(h->blob_len);
		if (!m->blob)
			return err_oom(e);
		memcpy(m->blob, payload + h->doc_len, h->blob_len);
		m->blob_len = h->blob_len;
	}
	return 0;
}

static int check_header(const MsgHeader *h, size_t len, size_t n_fds, Err *e)
{
	size_t total = (size_t)h->doc_len + h->blob_len;
	bool by_fd = h->flags & MSG_FLAG_PAYLOAD_FD;

	if (h->magic != MSG_MAGIC || h->type == 0 || h->type >= SHIM_MSG_TYPE_LIMIT ||
	    (h->flags & ~MSG_FLAG_PAYLOAD_FD) || h->doc_len > SHIM_PAYLOAD_MAX ||
	    h->blob_len > SHIM_PAYLOAD_MAX || total > SHIM_PAYLOAD_MAX)
		return err_new_no(e, ERR_INVALID, EPROTO, "not a shim message");
	if (by_fd ? (n_fds == 0 || len != sizeof(*h)) : len != sizeof(*h) + total)
		return err_new_no(e, ERR_INVALID, EPROTO, "shim message of the wrong length");
	return 0;
}

int shim_msg_decode(const void *buf, size_t len, const int *fds, size_t n_fds, ShimMsg *ret, Err *e)
{
	_cleanup_shim_msg_ ShimMsg m = {0};
	_cleanup_free_ char *text = NULL;
	const char *payload = (const char *)buf + sizeof(MsgHeader);
	MsgHeader h;
	int r;

	if (n_fds > FDS_MAX) {
		close_all(fds, n_fds);
		return err_new_no(e, ERR_INVALID, EPROTO, "shim message with too many descriptors");
	}
	if (n_fds)
		memcpy(m.fds, fds, n_fds * sizeof(int));
	m.n_fds = n_fds;
	if (len < sizeof(h))
		return err_new_no(e, ERR_INVALID, EPROTO, "shim message cut short");
	memcpy(&h, buf, sizeof(h));
	r = check_header(&h, len, n_fds, e);
	if (r < 0)
		return r;
	m.type = (ShimMsgType)h.type;
	m.seq = h.seq;
	if (h.flags & MSG_FLAG_PAYLOAD_FD) {
		r = read_payload(m.fds[0], &h, &text, e);
		if (r < 0)
			return r;
		payload = text;
		close_fd(&m.fds[0]);
		m.n_fds--;
		memmove(m.fds, m.fds + 1, m.n_fds * sizeof(int));
	}
	r = decode_payload(&h, payload, &m, e);
	if (r < 0)
		return r;
	*ret = m;
	m = (ShimMsg){0};
	return 0;
}

int shim_msg_recv(int sock, void *buf, ShimMsg *ret, Err *e)
{
	int fds[FDS_MAX];
	size_t n_fds = FDS_MAX;
	ssize_t n = fd_recv_msg(sock, buf, SHIM_INLINE_MAX, fds, &n_fds);
	int r;

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n < 0)
		return err_sys(e, (int)-n, "receive from the shim socket");
	if (n == 0) {
		close_all(fds, n_fds);
		return 0;
	}
	r = shim_msg_decode(buf, (size_t)n, fds, n_fds, ret, e);
	return r < 0 ? r : 1;
}

size_t shim_error_encode(const Err *e, int r, char *buf, size_t cap)
{
	ErrHeader h = {.no = -r, .kind = (int32_t)e->kind};
	const char *msg = err_msg(e, r);
	size_t n = MIN2(strlen(msg), cap - sizeof(h));

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), msg, n);
	return sizeof(h) + n;
}

int shim_error_decode(const ShimMsg *m, Err *e)
{
	ErrHeader h;

	if (m->blob_len < sizeof(h))
		return err_new_no(e, ERR_INTERNAL, EPROTO, "the shim sent a damaged error");
	memcpy(&h, m->blob, sizeof(h));
	if (h.no <= 0 || h.no > 4095 || h.kind < 0 || h.kind >= ERR_KIND_MAX)
		return err_new_no(e, ERR_INTERNAL, EPROTO, "the shim sent a damaged error");
	return err_new_no(e, (ErrKind)h.kind, h.no, "%.*s", (int)(m->blob_len - sizeof(h)),
			  m->blob + sizeof(h));
}

json_t *shim_exit_encode(const ShimExit *x)
{
	return json_pack("{s:i, s:i, s:b, s:I}", "status", x->status, "signal", x->signal, "oom_killed",
			 (int)x->oom_killed, "at_ns", (json_int_t)x->at_ns);
}

int shim_exit_decode(const json_t *j, ShimExit *ret, Err *e)
{
	int64_t status = json_get_int(j, "status", -1), signal = json_get_int(j, "signal", 0);

	if (status < 0 || status > 255 || signal < 0 || signal > 127)
		return err_new(e, ERR_INVALID, "exit record without a valid status");
	*ret = (ShimExit){
	    .status = (int)status,
	    .signal = (int)signal,
	    .oom_killed = json_get_bool(j, "oom_killed", false),
	    .at_ns = json_get_int(j, "at_ns", 0),
	};
	return 0;
}

static const char *const event_names[] = {
    [SHIM_EVENT_EXIT] = "exit",
    [SHIM_EVENT_EXEC_EXIT] = "exec-exit",
    [SHIM_EVENT_OOM] = "oom",
    [SHIM_EVENT_DETACH] = "detach",
};

json_t *shim_event_encode(const ShimEvent *v)
{
	json_t *exit = shim_exit_encode(&v->exit);

	/* json_pack drops the reference of a NULL "o" by failing as a whole. */
	return json_pack("{s:s, s:s, s:o}", "type", event_names[v->type], "exec_id", v->exec_id, "exit",
			 exit);
}

int shim_event_decode(const json_t *j, ShimEvent *ret, Err *e)
{
	const char *type = json_get_str(j, "type"), *exec_id = json_get_str(j, "exec_id");
	ShimEvent v = {0};
	size_t i = 0;
	int r;

	while (i < ELEMENTSOF(event_names) && !streq0(type, event_names[i]))
		i++;
	if (i == ELEMENTSOF(event_names))
		return err_new(e, ERR_INVALID, "shim event of unknown type");
	v.type = (ShimEventType)i;
	if (exec_id && strlen(exec_id) >= sizeof(v.exec_id))
		return err_new(e, ERR_INVALID, "shim event with an exec id that is too long");
	if (exec_id)
		strcpy(v.exec_id, exec_id);
	r = shim_exit_decode(json_object_get(j, "exit"), &v.exit, e);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}
