/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a build asks its client for, over the session: directories, secrets, agents, uploads, accounts. What it was given is released when the build ends.
 */
#include "api/buildkit/door-internal.h"

#include "base/path.h"
#include "dockerfile/dockerfile.h"

#include <fcntl.h>
#include <sys/socket.h>

#define SECRET_MAX (500 * 1024) /* as BuildKit's clients have it */

/* ---- directories ---- */

/* The session that serves a directory: the job's, or the one that the client named for it. */
static int session_for(ClientState *c, const char *name, Session **ret, Err *e)
{
	_cleanup_free_ char *key = strf("local-sessionid:%s", name);
	const char *id = key ? pairs_get(c->opts, c->n_opts, key) : NULL;
	Session *s, **grown;
	int r;

	if (!key)
		return err_oom(e);
	if (str_empty(id) || streq(id, c->job->session_id))
		return job_session(c->job, ret, e);
	r = session_get(c->job->door, id, c->job->alive_fd, &s, e);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	grown = reallocarray(c->sessions, c->n_sessions + 1, sizeof(Session *));
	if (grown) {
		c->sessions = grown;
		grown[c->n_sessions++] = s;
	}
	pthread_mutex_unlock(&c->lock);
	if (!grown) {
		session_unref(s);
		return err_oom(e);
	}
	*ret = s;
	return 0;
}

typedef struct Transfer {
	ClientState *c;
	const BuildVertex *vertex;
	char *id;
	int64_t started_ns;
} Transfer;

static void transferred(void *user, int64_t bytes, bool end)
{
	const Transfer *t = user;

	if (t->vertex && t->id)
		status_progress(t->c->job, t->vertex->digest, t->id, bytes, 0, t->started_ns,
				end ? clock_now_ns() : 0);
}

static int remember_tree(ClientState *c, Tree *t, Err *e)
{
	Tree **grown;

	pthread_mutex_lock(&c->lock);
	grown = reallocarray(c->trees, c->n_trees + 1, sizeof(Tree *));
	if (grown) {
		c->trees = grown;
		grown[c->n_trees++] = t;
	}
	pthread_mutex_unlock(&c->lock);
	if (grown)
		return 0;
	tree_end(c->job->door, t, false);
	return err_oom(e);
}

/* What has only some files by name is no basis for the next time. */
static char *tree_key(ClientState *c, const Session *s, const char *name, const BuildFiles *files)
{
	bool part = streq(name, "dockerfile") || (files->follow && !files->exclude);

	(void)c;
	return str_empty(s->shared_key) || part ? NULL : strf("%s %s", s->shared_key, name);
}

static int receive(ClientState *c, Session *s, const char *name, const BuildFiles *files,
		   const BuildVertex *vertex, int *ret_fd, Err *e)
{
	_cleanup_free_ char *key = tree_key(c, s, name, files), *id = strf("transferring %s:", name);
	Transfer to = {c, vertex, id, clock_now_ns()};
	SyncRequest rq = {.name = name,
			  .exclude = files->exclude,
			  .follow = files->follow,
			  .progress = transferred,
			  .user = &to};
	Tree *t;
	int r = tree_begin(c->job->door, key, &t, &rq.fresh, e);

	if (r >= 0)
		r = remember_tree(c, t, e);
	if (r < 0)
		return r;
	rq.root = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rq.root < 0)
		return err_sys(e, errno, "open %s", t->path);
	r = filesync_receive(c->job, s, &rq, e);
	/* What a build that was cancelled has received spares the next one some of it. */
	t->failed = r < 0 && r != -ECANCELED;
	if (r < 0)
		close_fd(&rq.root);
	else
		*ret_fd = rq.root;
	return r;
}

/* The text that errors and warnings point into. */
static void remember_text(ClientState *c, int dir)
{
	_cleanup_close_ int fd = path_open_in_root(dir, c->filename, O_RDONLY | O_NONBLOCK, 0);
	char *text = NULL;

	if (fd < 0 || fd_read_all(fd, DOCKERFILE_MAX, &text, NULL) < 0)
		return; /* the build says what is wrong with it */
	pthread_mutex_lock(&c->lock);
	free(c->text);
	c->text = text;
	pthread_mutex_unlock(&c->lock);
}

/* The digest that a named context "oci-layout://NAME[:TAG]@DIGEST" has; NULL: the name is that of no layout. */
static const char *layout_digest(const ClientState *c, const char *name)
{
	for (size_t i = 0; i < c->n_opts; i++) {
		const char *value = str_starts(c->opts[i]->key, "context:")
					? str_after(c->opts[i]->value, "oci-layout://")
					: NULL;
		const char *rest = value ? str_after(value, name) : NULL,
			   *at = rest ? strchr(rest, '@') : NULL;

		if (at && (*rest == ':' || *rest == '@'))
			return at + 1;
	}
	return NULL;
}

static int receive_layout(ClientState *c, const char *name, const char *digest, int *ret_fd, Err *e)
{
	_cleanup_close_ int fd = -1;
	bool fresh;
	Tree *t;
	int r = tree_begin(c->job->door, NULL, &t, &fresh, e);

	if (r >= 0)
		r = remember_tree(c, t, e);
	if (r < 0)
		return r;
	fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", t->path);
	r = content_layout(c, name, digest, fd, e);
	if (r >= 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int client_directory(void *user, const char *name, const BuildFiles *files, const BuildVertex *vertex,
			    int *ret_fd, Err *e)
{
	ClientState *c = user;
	const char *layout = layout_digest(c, name);
	const char *key = streq(name, "context")      ? pairs_get(c->opts, c->n_opts, "contextkey")
			  : streq(name, "dockerfile") ? pairs_get(c->opts, c->n_opts, "dockerfilekey")
						      : NULL;
	static const BuildFiles all;
	Session *s;
	int r;

	if (layout)
		return receive_layout(c, name, layout, ret_fd, e);
	r = session_for(c, key ?: name, &s, e);
	if (r >= 0 && !session_offers(s, "/moby.filesync.v1.FileSync/DiffCopy"))
		r = err_new(e, ERR_NOT_FOUND, "the client offers no directories: %s is not there", name);
	if (r >= 0)
		r = receive(c, s, key ?: name, files ?: &all, vertex, ret_fd, e);
	if (r >= 0 && streq(name, "dockerfile"))
		remember_text(c, *ret_fd);
	return r;
}

/* ---- secrets and accounts ---- */

static int client_secret(void *user, const char *id, uint8_t **ret, size_t *ret_len, Err *e)
{
	ClientState *c = user;
	Session__GetSecretRequest rq = SESSION__GET_SECRET_REQUEST__INIT;
	Session__GetSecretResponse *answer = NULL;
	Session *s;
	int r = job_session(c->job, &s, e);

	if (r < 0)
		return r;
	if (!session_offers(s, "/moby.buildkit.secrets.v1.Secrets/GetSecret"))
		return err_new(e, ERR_NOT_FOUND, "secret %s: not found: the client offers none", id);
	rq.id = (char *)id;
	r = grpc_unary(s->connection, "/moby.buildkit.secrets.v1.Secrets/GetSecret", NULL, 0, &rq.base,
		       &session__get_secret_response__descriptor, (ProtobufCMessage **)&answer, e);
	if (r < 0)
		return r;
	if (answer->data.len > SECRET_MAX)
		r = err_new(e, ERR_INVALID, "secret %s: larger than %d bytes", id, SECRET_MAX);
	if (r >= 0) {
		*ret = malloc(answer->data.len + 1);
		if (!*ret)
			r = err_oom(e);
	}
	if (r >= 0) {
		memcpy(*ret, answer->data.data, answer->data.len);
		(*ret)[answer->data.len] = '\0';
		*ret_len = answer->data.len;
	}
	explicit_bzero(answer->data.data, answer->data.len);
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	return r;
}

/* A client that knows none, or does not answer, leaves the account empty: what needs one says so itself. */
void client_auth(void *user, const char *domain, EngineAuth *ret)
{
	ClientState *c = user;
	Session__CredentialsRequest rq = SESSION__CREDENTIALS_REQUEST__INIT;
	Session__CredentialsResponse *answer = NULL;
	Session *s;
	bool kept;

	/* Some that have accounts do not say which calls they take. */
	if (job_session(c->job, &s, NULL) < 0)
		return;
	rq.host = streq(domain, "docker.io") ? (char *)"registry-1.docker.io" : (char *)domain;
	if (grpc_unary(s->connection, "/moby.filesync.v1.Auth/Credentials", NULL, 0, &rq.base,
		       &session__credentials_response__descriptor, (ProtobufCMessage **)&answer, NULL) < 0)
		return;
	pthread_mutex_lock(&c->lock);
	kept = strv_add(&c->secrets, answer->username) >= 0 && strv_add(&c->secrets, answer->secret) >= 0;
	if (kept) {
		size_t n = strv_len(c->secrets);

		/* Without a user, it is an identity token. */
		if (*answer->username && *answer->secret) {
			ret->username = c->secrets[n - 2];
			ret->password = c->secrets[n - 1];
		} else if (*answer->secret) {
			ret->identity_token = c->secrets[n - 1];
		}
	}
	pthread_mutex_unlock(&c->lock);
	explicit_bzero(answer->secret, strlen(answer->secret));
	protobuf_c_message_free_unpacked(&answer->base, NULL);
}

/* ---- streams ---- */

/* Bytes between a descriptor and a call of the client's, for as long as both last. */
typedef struct Pump {
	Job *job;
	Session *session;
	GrpcCall *call;
	int fd;
	bool both;
} Pump;

static void pump_free(Pump *p)
{
	if (p->call)
		job_call_drop(p->job, p->call);
	close_fd(&p->fd);
	session_unref(p->session);
	job_unref(p->job);
	free(p);
}

static void *pump_out(void *arg)
{
	Pump *p = arg;
	Session__BytesMessage m = SESSION__BYTES_MESSAGE__INIT;
	uint8_t buf[32768];
	ssize_t n;

	while ((n = read(p->fd, buf, sizeof(buf))) > 0) {
		m.data = (ProtobufCBinaryData){(size_t)n, buf};
		if (grpc_send_message(p->call, &m.base, NULL) < 0)
			break;
	}
	(void)!grpc_send_end(p->call, NULL); /* a call that is over has no end to be told */
	return NULL;
}

static void pump_in(Pump *p)
{
	Session__BytesMessage *m;
	int r = 1;

	while (r > 0) {
		r = grpc_receive_message(p->call, &session__bytes_message__descriptor,
					 (ProtobufCMessage **)&m, NULL);
		if (r <= 0)
			break;
		r = fd_write_all(p->fd, m->data.data, m->data.len) < 0 ? -EPIPE : 1;
		protobuf_c_message_free_unpacked(&m->base, NULL);
	}
}

static void *pump(void *arg)
{
	Pump *p = arg;
	pthread_t out;
	bool sending = p->both && pthread_create(&out, NULL, pump_out, p) == 0;

	if (sending || !p->both)
		pump_in(p);
	if (sending) {
		(void)shutdown(p->fd, SHUT_RDWR);
		grpc_call_cancel(p->call);
		pthread_join(out, NULL);
	}
	pump_free(p);
	return NULL;
}

/* Takes fd. */
static int pump_begin(ClientState *c, Session *s, const char *path, const GrpcField *fields, size_t n, int fd,
		      bool both, Err *e)
{
	BuildkitDoor *d = c->job->door;
	Pump *p = calloc(1, sizeof(*p));
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (!p) {
		close_fd(&fd);
		return err_oom(e);
	}
	*p = (Pump){.job = c->job, .session = s, .fd = fd, .both = both};
	pthread_mutex_lock(&d->lock);
	s->refs++;
	c->job->refs++;
	pthread_mutex_unlock(&d->lock);
	r = job_call_begin(c->job, s, path, fields, n, &p->call, e);
	if (r >= 0) {
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, pump, p);
		pthread_attr_destroy(&attr);
		if (r != 0)
			r = err_sys(e, r, "start a thread for a stream from the client");
	}
	if (r < 0)
		pump_free(p);
	return r;
}

static int client_ssh(void *user, const char *id, int *ret_fd, Err *e)
{
	ClientState *c = user;
	const GrpcField fields[] = {{"buildkit.ssh.id", str_empty(id) ? "default" : id}};
	Session__CheckAgentRequest rq = SESSION__CHECK_AGENT_REQUEST__INIT;
	Session__CheckAgentResponse *answer = NULL;
	Session *s;
	int pair[2], r = job_session(c->job, &s, e);

	if (r < 0)
		return r;
	if (!session_offers(s, "/moby.sshforward.v1.SSH/ForwardAgent"))
		return err_new(e, ERR_NOT_FOUND, "no SSH key \"%s\" forwarded from the client: say --ssh %s",
			       fields[0].value, fields[0].value);
	rq.id = (char *)fields[0].value;
	r = grpc_unary(s->connection, "/moby.sshforward.v1.SSH/CheckAgent", NULL, 0, &rq.base,
		       &session__check_agent_response__descriptor, (ProtobufCMessage **)&answer, e);
	if (r < 0)
		return r;
	protobuf_c_message_free_unpacked(&answer->base, NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, errno, "make a socket for the agent %s", fields[0].value);
	r = pump_begin(c, s, "/moby.sshforward.v1.SSH/ForwardAgent", fields, 1, pair[1], true, e);
	if (r < 0)
		close_fd(&pair[0]);
	else
		*ret_fd = pair[0];
	return r;
}

static int client_upload(void *user, const char *url, int *ret_fd, Err *e)
{
	ClientState *c = user;
	const char *rest = str_after(url, "http://"), *slash = rest ? strchr(rest, '/') : NULL;
	_cleanup_free_ char *host =
	    rest ? strndup(rest, slash ? (size_t)(slash - rest) : strlen(rest)) : NULL;
	const GrpcField fields[] = {{"urlpath", slash ?: "/"}, {"urlhost", host}};
	Session *s;
	int ends[2], r;

	if (!rest)
		return err_new(e, ERR_INVALID, "no upload of the client: %.200s", url);
	if (c->job->body_fd >= 0 && streq(url, CLASSIC_BODY_URL)) {
		*ret_fd = fcntl(c->job->body_fd, F_DUPFD_CLOEXEC, 3);
		return *ret_fd < 0 ? err_sys(e, errno, "copy the body's descriptor") : 0;
	}
	r = host ? job_session(c->job, &s, e) : err_oom(e);
	if (r < 0)
		return r;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(e, errno, "make a pipe for the upload");
	r = pump_begin(c, s, "/moby.upload.v1.Upload/Pull", fields, ELEMENTSOF(fields), ends[1], false, e);
	if (r < 0)
		close_fd(&ends[0]);
	else
		*ret_fd = ends[0];
	return r;
}

/* ---- results of other builds ---- */

static BuildResult *client_input(void *user, const char *key)
{
	ClientState *c = user;
	Kept *k = NULL, **grown;

	for (size_t i = 0; !k && i < c->n_inputs; i++)
		if (streq(c->inputs[i]->key, key))
			k = kept_of_definition(c->job->door, c->inputs[i]->value);
	if (!k)
		return NULL;
	pthread_mutex_lock(&c->lock);
	grown = reallocarray(c->kept, c->n_kept + 1, sizeof(Kept *));
	if (grown) {
		c->kept = grown;
		grown[c->n_kept++] = k;
	}
	pthread_mutex_unlock(&c->lock);
	if (grown)
		return k->result;
	kept_unref(k);
	return NULL;
}

static void client_event(void *user, const BuildEvent *ev)
{
	ClientState *c = user;
	_cleanup_free_ char *text = NULL;

	if (ev->kind == BUILD_WARNING && ev->line > 0) {
		pthread_mutex_lock(&c->lock);
		text = c->text ? strdup(c->text) : NULL;
		pthread_mutex_unlock(&c->lock);
	}
	status_event(c->job, ev, c->filename, text);
}

void client_init(ClientState *c, Job *j)
{
	*c = (ClientState){.job = j, .filename = "Dockerfile"};
	pthread_mutex_init(&c->lock, NULL);
	c->client = (BuildClient){.user = c,
				  .directory = client_directory,
				  .secret = client_secret,
				  .ssh = client_ssh,
				  .upload = client_upload,
				  .file = content_file,
				  .input = client_input,
				  .auth = client_auth,
				  .event = client_event,
				  .alive_fd = j->alive_fd};
}

void client_forget_trees(ClientState *c)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n_trees; i++)
		c->trees[i]->failed = true;
	pthread_mutex_unlock(&c->lock);
	trees_forget(c->job->door);
}

void client_done(ClientState *c)
{
	for (size_t i = 0; i < c->n_trees; i++)
		tree_end(c->job->door, c->trees[i], true);
	for (size_t i = 0; i < c->n_kept; i++)
		kept_unref(c->kept[i]);
	for (size_t i = 0; i < c->n_sessions; i++)
		session_unref(c->sessions[i]);
	for (char **v = c->secrets; v && *v; v++)
		explicit_bzero(*v, strlen(*v));
	strv_free(c->secrets);
	free(c->trees);
	free(c->kept);
	free(c->sessions);
	free(c->text);
	pthread_mutex_destroy(&c->lock);
}
