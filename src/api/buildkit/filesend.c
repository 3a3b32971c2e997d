/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends what a build has come to, to the client that asked for it (FileSend/DiffCopy): a stream of bytes, or a directory by the protocol of filesync.c with the
 * roles exchanged. All entries are listed first, then requests are answered in the order of their coming: the client receives while it asks, so neither waits
 * for the other.
 */
#include "api/buildkit/sync-internal.h"

#include "base/path.h"

#include <dirent.h>
#include <fcntl.h>

#define CHUNK        (32 * 1024)
#define STREAM_CHUNK (1 << 20)
#define DEPTH_MAX    1000

/* A file with several names: which entry was the first. */
typedef struct Inode {
	dev_t dev;
	ino_t ino;
	char *path; /* NULL: none here */
} Inode;

typedef struct Sender {
	GrpcCall *call;
	char **paths; /* of the files, by id; NULL for what is no file, or was asked for already */
	size_t n, cap;
	Inode *inodes; /* of files with several names, by a hash; open addressing, a power of two */
	size_t n_inodes, cap_inodes;
	int root;
	int64_t bytes, told_ns;
	void (*progress)(void *, int64_t, bool);
	void *user;
} Sender;

static void tell_progress(Sender *s, bool end)
{
	int64_t now = clock_mono_ns();

	if (s->progress && (end || now - s->told_ns >= PROGRESS_EACH_NS)) {
		s->told_ns = now;
		s->progress(s->user, s->bytes, end);
	}
}

static int send_packet(Sender *s, Session__PacketType type, uint32_t id, const void *data, size_t len, Err *e)
{
	Session__Packet p = SESSION__PACKET__INIT;

	p.type = type;
	p.id = id;
	p.data = (ProtobufCBinaryData){len, (uint8_t *)data};
	return grpc_send_message(s->call, &p.base, e);
}

/* ---- the list ---- */

static int remember(Sender *s, char *path, Err *e)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		char **grown = reallocarray(s->paths, cap, sizeof(char *));

		if (!grown) {
			free(path);
			return err_oom(e);
		}
		s->paths = grown;
		s->cap = cap;
	}
	s->paths[s->n++] = path;
	return 0;
}

static Inode *inode_slot(Inode *table, size_t cap, dev_t dev, ino_t ino)
{
	size_t at = (size_t)(ino * 0x9e3779b97f4a7c15u ^ dev) & (cap - 1);

	while (table[at].path && (table[at].ino != ino || table[at].dev != dev))
		at = (at + 1) & (cap - 1);
	return &table[at];
}

static int inodes_grow(Sender *s, Err *e)
{
	size_t cap = s->cap_inodes ? 2 * s->cap_inodes : 256;
	Inode *table = calloc(cap, sizeof(*table));

	if (!table)
		return err_oom(e);
	for (size_t i = 0; i < s->cap_inodes; i++)
		if (s->inodes[i].path)
			*inode_slot(table, cap, s->inodes[i].dev, s->inodes[i].ino) = s->inodes[i];
	free(s->inodes);
	s->inodes = table;
	s->cap_inodes = cap;
	return 0;
}

/* The path that the same file was sent by before; NULL: this is the first. */
static int first_name(Sender *s, const struct stat *st, const char *path, const char **ret, Err *e)
{
	Inode *i;

	*ret = NULL;
	if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
		return 0;
	if (2 * (s->n_inodes + 1) > s->cap_inodes && inodes_grow(s, e) < 0)
		return -ENOMEM;
	i = inode_slot(s->inodes, s->cap_inodes, st->st_dev, st->st_ino);
	*ret = i->path;
	if (i->path)
		return 0;
	*i = (Inode){st->st_dev, st->st_ino, strdup(path)};
	s->n_inodes++;
	return i->path ? 0 : err_oom(e);
}

static int send_entry(Sender *s, int dir, const char *name, const char *path, const struct stat *st, Err *e)
{
	Session__Packet p = SESSION__PACKET__INIT;
	Llb__Stat entry = LLB__STAT__INIT;
	char target[PATH_MAX];
	const char *first;
	ssize_t n;
	int r = first_name(s, st, path, &first, e);

	if (r < 0)
		return r;
	entry.path = (char *)path;
	entry.mode = sync_go_mode(st->st_mode);
	entry.uid = st->st_uid;
	entry.gid = st->st_gid;
	entry.size = S_ISDIR(st->st_mode) ? 0 : st->st_size;
	entry.mod_time = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec;
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dir, name, target, sizeof(target) - 1);
		if (n < 0)
			return err_sys(e, errno, "read the link %s", path);
		target[n] = '\0';
		entry.linkname = target;
	}
	if (first)
		entry.linkname = (char *)first;
	p.type = SESSION__PACKET_TYPE__STAT;
	p.stat = &entry;
	r = grpc_send_message_more(s->call, &p.base, e);
	if (r < 0)
		return r;
	return remember(s, S_ISREG(st->st_mode) && !first ? strdup(path) : NULL, e);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_of(int fd, char ***ret, Err *e)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), r = 0;

	dir = own < 0 ? NULL : fdopendir(own);
	if (!dir) {
		r = errno;
		close_fd(&own);
		return err_sys(e, r, "list a directory of the result");
	}
	while (r >= 0 && (entry = readdir(dir)))
		if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
			r = strv_add(ret, entry->d_name);
	if (r < 0)
		return err_oom(e);
	if (*ret)
		qsort(*ret, strv_len(*ret), sizeof(char *), by_name);
	return 0;
}

static int walk(Sender *s, int dir, const char *prefix, unsigned depth, Err *e);

static int walk_one(Sender *s, int dir, const char *prefix, const char *name, unsigned depth, Err *e)
{
	_cleanup_free_ char *path = *prefix ? strf("%s/%s", prefix, name) : strdup(name);
	_cleanup_close_ int sub = -1;
	struct stat st;
	int r;

	if (!path)
		return err_oom(e);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, errno, "look at %s", path);
	if (S_ISSOCK(st.st_mode))
		return 0; /* means nothing elsewhere, and the protocol has no word for it */
	r = send_entry(s, dir, name, path, &st, e);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	if (depth >= DEPTH_MAX)
		return err_new(e, ERR_INVALID, "%.300s: directories are nested too deep", path);
	sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return sub < 0 ? err_sys(e, errno, "open %s", path) : walk(s, sub, path, depth + 1, e);
}

static int walk(Sender *s, int dir, const char *prefix, unsigned depth, Err *e)
{
	_cleanup_strv_ char **names = NULL;
	int r = names_of(dir, &names, e);

	for (char **n = names; r >= 0 && n && *n; n++)
		r = walk_one(s, dir, prefix, *n, depth, e);
	return r;
}

/* ---- contents ---- */

static int send_file(Sender *s, uint32_t id, Err *e)
{
	_cleanup_free_ char *path = id < s->n ? take_ptr(s->paths[id]) : NULL;
	_cleanup_close_ int fd = -1;
	char buf[CHUNK];
	ssize_t n = 0;
	int r = 0;

	if (!path)
		return err_new(e, ERR_INVALID, "the client asks for a file that there is not: %u", id);
	fd = path_open_beneath(s->root, path, O_RDONLY | O_NOFOLLOW);
	if (fd < 0)
		return err_sys(e, fd, "open %s", path);
	while (r >= 0 && (n = fd_read_full(fd, buf, sizeof(buf))) > 0) {
		r = send_packet(s, SESSION__PACKET_TYPE__DATA, id, buf, (size_t)n, e);
		s->bytes += n;
		tell_progress(s, false);
	}
	if (r >= 0 && n < 0)
		return err_sys(e, (int)n, "read %s", path);
	return r < 0 ? r : send_packet(s, SESSION__PACKET_TYPE__DATA, id, NULL, 0, e);
}

static int serve(Sender *s, Err *e)
{
	int r;

	for (;;) {
		_cleanup_message_ Session__Packet *p = NULL;

		r = grpc_receive_message(s->call, &session__packet__descriptor, (ProtobufCMessage **)&p, e);
		if (r <= 0)
			return r < 0 ? r
				     : err_new(e, ERR_UNAVAILABLE, "the client stopped storing the output");
		if (p->type == SESSION__PACKET_TYPE__FIN)
			return send_packet(s, SESSION__PACKET_TYPE__FIN, 0, NULL, 0, e);
		if (p->type == SESSION__PACKET_TYPE__ERR)
			return err_new(e, ERR_INTERNAL, "the client could not store the output: %.*s",
				       (int)MIN2(p->data.len, (size_t)1000), (const char *)p->data.data);
		if (p->type != SESSION__PACKET_TYPE__REQ)
			return err_new(e, ERR_INVALID, "the client answers with a packet of type %d",
				       (int)p->type);
		r = send_file(s, p->id, e);
		if (r < 0)
			return r;
	}
}

static int send_tree(Sender *s, Err *e)
{
	_cleanup_close_ int dir = openat(s->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? err_sys(e, errno, "open the result") : walk(s, dir, "", 0, e);

	if (r >= 0)
		r = send_packet(s, SESSION__PACKET_TYPE__STAT, 0, NULL, 0, e);
	if (r >= 0)
		r = serve(s, e);
	tell_progress(s, true);
	return r;
}

static int begin(Job *j, Session *s, int id, GrpcCall **ret, Err *e)
{
	char text[16];
	const GrpcField fields[] = {{"buildkit-attachable-exporter-id", text}};

	snprintf(text, sizeof(text), "%d", id);
	if (!session_offers(s, "/moby.filesync.v1.FileSend/DiffCopy"))
		return err_new(e, ERR_UNSUPPORTED,
			       "the client cannot store files: it does not offer FileSend");
	return job_call_begin(j, s, "/moby.filesync.v1.FileSend/DiffCopy", fields, 1, ret, e);
}

static int finish(Job *j, GrpcCall *call, int r, Err *e)
{
	if (r >= 0)
		return job_call_finish(j, call, e);
	job_call_drop(j, call);
	return r;
}

int filesend_tree(Job *j, Session *session, int id, int root, void (*progress)(void *, int64_t, bool),
		  void *user, Err *e)
{
	Sender s = {.root = root, .progress = progress, .user = user};
	int r = begin(j, session, id, &s.call, e);

	if (r < 0)
		return r;
	r = send_tree(&s, e);
	for (size_t i = 0; i < s.n; i++)
		free(s.paths[i]);
	free(s.paths);
	for (size_t i = 0; i < s.cap_inodes; i++)
		free(s.inodes[i].path);
	free(s.inodes);
	return finish(j, s.call, r, e);
}

/* ---- a stream ---- */

static int send_stream(Sender *s, int from_fd, Err *e)
{
	_cleanup_free_ char *buf = malloc(STREAM_CHUNK);
	Session__BytesMessage m = SESSION__BYTES_MESSAGE__INIT;
	ssize_t n;
	int r = buf ? 0 : err_oom(e);

	while (r >= 0) {
		n = fd_read_full(from_fd, buf, STREAM_CHUNK);
		if (n <= 0)
			return n < 0 ? err_sys(e, (int)n, "read the output") : grpc_send_end(s->call, e);
		m.data = (ProtobufCBinaryData){(size_t)n, (uint8_t *)buf};
		r = grpc_send_message(s->call, &m.base, e);
		s->bytes += n;
		tell_progress(s, false);
	}
	return r;
}

int filesend_stream(Job *j, Session *session, int id, int from_fd, void (*progress)(void *, int64_t, bool),
		    void *user, Err *e)
{
	Sender s = {.progress = progress, .user = user};
	int r = begin(j, session, id, &s.call, e);

	if (r < 0)
		return r;
	r = send_stream(&s, from_fd, e);
	tell_progress(&s, true);
	return finish(j, s.call, r, e);
}
