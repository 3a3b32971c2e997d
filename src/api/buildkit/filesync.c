/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receives a directory from a client (FileSync/DiffCopy): it lists all entries in the order of a walk, parents first, names of a directory in the order of
 * their bytes; we ask for the contents of those files that we do not have as they are there, and say when we are done.
 *
 * The client is a stranger. A name is one component below a directory that it has listed itself, made by a descriptor of that directory and never followed; the
 * order makes every name come once. What is there and not listed is removed on the way. Files are never changed in place, so a name that was linked elsewhere
 * keeps what it was. A file may change its size while it is sent: what is beyond the size that was said is dropped, and of one that got shorter the time of
 * change is not kept, so that it is asked for again.
 *
 * Requests are sent by the thread that receives, which is only sound while the client never waits for us to receive before it reads on: so there are never more
 * than a few of them open.
 */
#include "api/buildkit/sync-internal.h"

#include "base/path.h"

#include <fcntl.h>
#include <sys/stat.h>

#define SURPLUS_MAX (256LL << 20) /* of what was dropped */
#define PACKET_MAX                                                                                           \
	(1u                                                                                                  \
	 << 20) /* a client sends contents in pieces of 32 KiB; unpacked, a hostile one takes some thirty times as much */

int sync_fail(Receiver *x, const char *path, const char *what, Err *e)
{
	return err_new(e, ERR_INVALID, "directory %s from the client: %.300s: %s", x->rq->name, path, what);
}

/* ---- contents ---- */

static int send_packet(Receiver *x, Session__PacketType type, uint32_t id, const char *text, Err *e)
{
	Session__Packet p = SESSION__PACKET__INIT;

	p.type = type;
	p.id = id;
	p.data = (ProtobufCBinaryData){text ? strlen(text) : 0, (uint8_t *)text};
	uint8_t packed[sizeof(Err) + 32];
	size_t len = session__packet__get_packed_size(&p);

	if (len > sizeof(packed))
		return err_new(e, ERR_INTERNAL, "a packet of %zu bytes is too long", len);
	session__packet__pack(&p, packed);
	return x->wire->send(x->wire->user, packed, len, e);
}

static int ask(Receiver *x, const Wanted *w, int fd, Err *e)
{
	x->active[x->n_active++] = (Active){.id = w->id, .fd = fd, .want = *w};
	return send_packet(x, SESSION__PACKET_TYPE__REQ, w->id, NULL, e);
}

/* A file that was just made, and is open as fd: taken. */
int sync_want(Receiver *x, Wanted w, const char *path, int fd, Err *e)
{
	Wanted *grown;

	if (x->n_active < ACTIVE_MAX)
		return ask(x, &w, fd, e);
	close_fd(&fd);
	if (x->n_queue == x->cap_queue) {
		size_t cap = x->cap_queue ? 2 * x->cap_queue : 256;

		grown = reallocarray(x->queue, cap, sizeof(*grown));
		if (!grown)
			return err_oom(e);
		x->queue = grown;
		x->cap_queue = cap;
	}
	w.path = strdup(path);
	if (!w.path)
		return err_oom(e);
	x->queue[x->n_queue++] = w;
	return 0;
}

static int ask_next(Receiver *x, Err *e)
{
	Wanted *w;
	int fd;

	if (x->at_queue == x->n_queue)
		return 0;
	w = &x->queue[x->at_queue++];
	fd = path_open_beneath(x->rq->root, w->path, O_WRONLY | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, fd, "open %s of the directory %s", w->path, x->rq->name);
	free(take_ptr(w->path));
	return ask(x, w, fd, e);
}

static int finish_file(Receiver *x, Active *a, Err *e)
{
	const struct timespec times[] = {{.tv_nsec = UTIME_NOW},
					 sync_time(a->got < a->want.size ? 0 : a->want.mtime_ns)};
	int r = 0;

	if (fchmod(a->fd, a->want.mode) < 0 || futimens(a->fd, times) < 0)
		r = err_sys(e, errno, "finish a file of the directory %s", x->rq->name);
	close_fd(&a->fd);
	*a = x->active[--x->n_active];
	return r < 0 ? r : ask_next(x, e);
}

static int take_data(Receiver *x, const Session__Packet *p, Err *e)
{
	Active *a = x->active, *end = a + x->n_active;
	size_t n;
	int r;

	while (a < end && a->id != p->id)
		a++;
	if (a == end)
		return err_new(e, ERR_INVALID, "directory %s from the client: invalid file request %u",
			       x->rq->name, p->id);
	if (p->data.len == 0)
		return finish_file(x, a, e);
	n = (size_t)MIN2((int64_t)p->data.len, a->want.size - a->got);
	x->surplus += (int64_t)(p->data.len - n);
	if (x->surplus > SURPLUS_MAX)
		return err_new(e, ERR_INVALID,
			       "directory %s from the client: files are larger than they were said to be",
			       x->rq->name);
	r = fd_write_all(a->fd, p->data.data, n);
	a->got += (int64_t)n;
	return r < 0 ? err_sys(e, r, "write a file of the directory %s", x->rq->name) : 0;
}

/* ---- the conversation ---- */

static void tell_progress(Receiver *x, bool end)
{
	int64_t now = clock_mono_ns();

	if (x->rq->progress && (end || now - x->told_ns >= PROGRESS_EACH_NS)) {
		x->told_ns = now;
		x->rq->progress(x->rq->user, x->bytes, end);
	}
}

static int take_packet(Receiver *x, const Session__Packet *p, Err *e)
{
	switch (p->type) {
	case SESSION__PACKET_TYPE__STAT:
		if (x->listed)
			return err_new(e, ERR_INVALID,
				       "directory %s from the client: an entry behind the last one",
				       x->rq->name);
		if (p->stat)
			return sync_entry(x, p->stat, e);
		x->listed = true;
		return sync_listed(x, e);
	case SESSION__PACKET_TYPE__DATA:
		return take_data(x, p, e);
	case SESSION__PACKET_TYPE__ERR:
		return err_new(e, ERR_INVALID, "directory %s from the client: %.*s", x->rq->name,
			       (int)MIN2(p->data.len, (size_t)1000), (const char *)p->data.data);
	default:
		return err_new(e, ERR_INVALID,
			       "directory %s from the client: a packet of type %d was not expected",
			       x->rq->name, (int)p->type);
	}
}

static int receive_one(Receiver *x, Session__Packet **ret, Err *e)
{
	_cleanup_free_ uint8_t *data = NULL;
	size_t len = 0;
	int r = x->wire->receive(x->wire->user, &data, &len, e);

	if (r <= 0)
		return r < 0 ? r
			     : err_new(e, ERR_UNAVAILABLE, "directory %s: the client stopped sending it",
				       x->rq->name);
	*ret = len <= PACKET_MAX ? session__packet__unpack(NULL, len, data) : NULL;
	return *ret
		   ? 0
		   : err_new(e, ERR_INVALID, "directory %s from the client: a malformed packet", x->rq->name);
}

static int receive_all(Receiver *x, Err *e)
{
	int r = 0;

	while (r >= 0 && !(x->listed && x->n_active == 0)) {
		_cleanup_message_ Session__Packet *p = NULL;

		r = receive_one(x, &p, e);
		if (r < 0)
			return r;
		x->bytes += (int64_t)p->data.len + (p->stat ? 64 : 8);
		r = take_packet(x, p, e);
		tell_progress(x, false);
	}
	return r;
}

static int say_goodbye(Receiver *x, Err *e)
{
	_cleanup_message_ Session__Packet *p = NULL;
	int r = send_packet(x, SESSION__PACKET_TYPE__FIN, 0, NULL, e);

	if (r >= 0)
		r = receive_one(x, &p, e);
	if (r >= 0 && p->type != SESSION__PACKET_TYPE__FIN)
		r = err_new(e, ERR_INVALID, "directory %s from the client: a packet behind the last one",
			    x->rq->name);
	return r;
}

static void receiver_done(Receiver *x)
{
	sync_dirs_done(x);
	for (size_t i = 0; i < x->n_active; i++)
		close_fd(&x->active[i].fd);
	for (size_t i = x->at_queue; i < x->n_queue; i++)
		free(x->queue[i].path);
	free(x->queue);
}

int filesync_run(const SyncWire *w, const SyncRequest *rq, Err *e)
{
	_cleanup_(receiver_done) Receiver x = {.wire = w, .rq = rq};
	Err err = {0};
	int r = sync_begin(&x, &err);

	if (r >= 0)
		r = receive_all(&x, &err);
	tell_progress(&x, true);
	if (r >= 0)
		r = say_goodbye(&x, &err);
	else if (err.kind != ERR_CANCELLED && err.kind != ERR_UNAVAILABLE)
		(void)!send_packet(&x, SESSION__PACKET_TYPE__ERR, 0, err.msg,
				   NULL); /* what went wrong is told to our own side too */
	if (r < 0 && e)
		*e = err;
	return r;
}

/* ---- the request ---- */

static void field_add(Metadata *m, const char *name, char *value)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 16;
		GrpcField *grown = reallocarray(m->items, cap, sizeof(*grown));

		m->oom |= !grown;
		if (!grown) {
			free(value);
			return;
		}
		m->items = grown;
		m->cap = cap;
	}
	if (!value || strv_take(&m->owned, value) < 0) {
		m->oom = true;
		return;
	}
	m->items[m->n++] = (GrpcField){name, value};
}

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s >= 0x7f || (unsigned char)*s < 0x20)
			return false;
	return true;
}

/* As Go's url.QueryEscape. */
static char *query_escape(const char *s)
{
	StrBuf b = {0};

	strbuf_add(&b, "");
	for (; *s; s++)
		if (strchr("-_.~", *s) || (*s >= '0' && *s <= '9') ||
		    ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z'))
			strbuf_add_c(&b, *s);
		else if (*s == ' ')
			strbuf_add_c(&b, '+');
		else
			strbuf_addf(&b, "%%%02X", (unsigned char)*s);
	return strbuf_steal(&b);
}

void metadata_add(Metadata *m, const char *name, char *const *values)
{
	bool plain = true;
	char *encoded;

	for (char *const *v = values; v && *v; v++)
		plain = plain && is_plain(*v) && !str_starts(*v, " ") && !str_ends(*v, " ");
	for (char *const *v = values; v && *v; v++)
		field_add(m, name, plain ? strdup(*v) : query_escape(*v));
	if (plain)
		return;
	encoded = strf("%s-encoded", name);
	if (!encoded || strv_take(&m->owned, encoded) < 0)
		m->oom = true;
	else
		field_add(m, encoded, strdup("1"));
}

void metadata_done(Metadata *m)
{
	free(m->items);
	strv_free(m->owned);
}

static int call_send(void *user, const void *message, size_t len, Err *e)
{
	return grpc_send(user, message, len, e);
}

static int call_receive(void *user, uint8_t **ret, size_t *ret_len, Err *e)
{
	return grpc_receive(user, ret, ret_len, e);
}

int filesync_receive(Job *j, Session *s, const SyncRequest *rq, Err *e)
{
	char *name[] = {(char *)rq->name, NULL};
	_cleanup_(metadata_done) Metadata m = {0};
	GrpcCall *call;
	int r;

	metadata_add(&m, "dir-name", name);
	metadata_add(&m, "exclude-patterns", rq->exclude);
	metadata_add(&m, "followpaths", rq->follow);
	if (m.oom)
		return err_oom(e);
	r = job_call_begin(j, s, "/moby.filesync.v1.FileSync/DiffCopy", m.items, m.n, &call, e);
	if (r < 0)
		return r;
	const SyncWire wire = {call, call_send, call_receive};
	r = filesync_run(&wire, rq, e);
	if (r >= 0)
		return job_call_finish(j, call, e);
	job_call_drop(j, call);
	return r;
}
