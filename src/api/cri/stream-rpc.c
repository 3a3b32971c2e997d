/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in containers, and the ways to what is streamed, as a kubelet asks for them by gRPC. */
#include "api/cri/status.h"
#include "api/cri/stream-internal.h"

/* ---- a command to its end ---- */

static int read_command(char **cmd, size_t n, char ***ret, Err *e)
{
	if (n == 0)
		return err_new(e, ERR_INVALID, "the command is empty");
	for (size_t i = 0; i < n; i++)
		if (strv_add(ret, cmd[i]) < 0)
			return err_oom(e);
	return 0;
}

static int exec_sync(const CriDoor *d, const Cri__ExecSyncRequest *rq, int alive_fd, EngineExecOutput *ret,
		     Err *e)
{
	_cleanup_strv_ char **cmd = NULL;
	ExecConfig c = {.attach_stdout = true, .attach_stderr = true};
	ContainerInfo i;
	int r;

	if (rq->timeout < 0 || rq->timeout > INT64_MAX / 1000000000)
		return err_new(e, ERR_INVALID, "timeout: %lld is no number of seconds",
			       (long long)rq->timeout);
	r = read_command(rq->cmd, rq->n_cmd, &cmd, e);
	if (r < 0)
		return r;
	r = cri_container_find(d->engine, rq->container_id, &i, e);
	if (r < 0)
		return r;
	c.cmd = cmd;
	r = engine_exec_sync(d->engine, i.id, &c, rq->timeout * 1000000000, alive_fd, ret, e);
	container_info_done(&i);
	return r;
}

int cri_rpc_exec_sync(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(engine_exec_output_done) EngineExecOutput o = {0};
	Cri__ExecSyncResponse answer = CRI__EXEC_SYNC_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__exec_sync_request__descriptor, &m, e);

	if (r >= 0)
		r = exec_sync(user, (const Cri__ExecSyncRequest *)m, grpc_call_alive_fd(call), &o, e);
	if (r < 0)
		return r;
	answer.stdout = (ProtobufCBinaryData){o.out.len, (uint8_t *)o.out.s};
	answer.stderr = (ProtobufCBinaryData){o.err.len, (uint8_t *)o.err.s};
	answer.exit_code = o.exit_code;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- URLs ---- */

/* The container, or the pod's sandbox, whose id in full goes into the request. */
static int find_running(const CriDoor *d, const char *id, bool sandbox, CriStreamRequest *q, Err *e)
{
	ContainerInfo i;
	int r = sandbox ? cri_pod_find(d->engine, id, &i, e) : cri_container_find(d->engine, id, &i, e);

	if (r < 0)
		return r;
	if (i.status != CONTAINER_RUNNING)
		r = err_new(e, ERR_CONFLICT, "%s %s is not running, it is %s", sandbox ? "pod" : "container",
			    id, container_status_name(i.status));
	else
		q->id = strdup(i.id);
	container_info_done(&i);
	return r < 0 ? r : q->id ? 0 : err_oom(e);
}

/* As a kubelet expects it. */
static int check_streams(const CriStreamRequest *q, Err *e)
{
	if (q->tty && q->err)
		return err_new(e, ERR_INVALID,
			       "tty and stderr: a terminal has one output, so stderr cannot be asked for");
	if (!q->in && !q->out && !q->err)
		return err_new(e, ERR_INVALID, "one of stdin, stdout and stderr has to be asked for");
	return 0;
}

static char *make_url(CriStreams *s, const char *path, CriStreamRequest *q, Err *e)
{
	char token[CRI_TOKEN_LEN + 1];
	char *url;
	int r = cri_token_add(s->tokens, q, clock_mono_ns(), token, e);

	if (r < 0)
		return NULL;
	url = strf("%s/%s/%s", s->url, path, token);
	if (!url)
		r = err_oom(e);
	return url;
}

int cri_rpc_exec(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(cri_stream_request_done) CriStreamRequest q = {.kind = CRI_STREAM_EXEC};
	_cleanup_free_ char *url = NULL;
	Cri__ExecResponse answer = CRI__EXEC_RESPONSE__INIT;
	const Cri__ExecRequest *rq;
	int r = grpc_receive_only(call, &cri__exec_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__ExecRequest *)m;
	q.tty = rq->tty;
	q.in = rq->stdin;
	q.out = rq->stdout;
	q.err = rq->stderr;
	r = check_streams(&q, e);
	if (r >= 0)
		r = read_command(rq->cmd, rq->n_cmd, &q.cmd, e);
	if (r >= 0)
		r = find_running(d, rq->container_id, false, &q, e);
	if (r < 0)
		return r;
	url = make_url(d->streams, "exec", &q, e);
	answer.url = url;
	return url ? grpc_send_message_more(call, &answer.base, e) : -ENOMEM;
}

int cri_rpc_attach(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(cri_stream_request_done) CriStreamRequest q = {.kind = CRI_STREAM_ATTACH};
	_cleanup_free_ char *url = NULL;
	Cri__AttachResponse answer = CRI__ATTACH_RESPONSE__INIT;
	const Cri__AttachRequest *rq;
	int r = grpc_receive_only(call, &cri__attach_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__AttachRequest *)m;
	q.tty = rq->tty;
	q.in = rq->stdin;
	q.out = rq->stdout;
	q.err = rq->stderr;
	r = check_streams(&q, e);
	if (r >= 0)
		r = find_running(d, rq->container_id, false, &q, e);
	if (r < 0)
		return r;
	url = make_url(d->streams, "attach", &q, e);
	answer.url = url;
	return url ? grpc_send_message_more(call, &answer.base, e) : -ENOMEM;
}

static int read_ports(const Cri__PortForwardRequest *rq, CriStreamRequest *q, Err *e)
{
	for (size_t i = 0; i < rq->n_port; i++)
		if (rq->port[i] < 1 || rq->port[i] > UINT16_MAX)
			return err_new(e, ERR_INVALID, "port %d is not between 1 and %d", rq->port[i],
				       UINT16_MAX);
	if (rq->n_port == 0)
		return 0;
	q->ports = calloc(rq->n_port, sizeof(*q->ports));
	if (!q->ports)
		return err_oom(e);
	memcpy(q->ports, rq->port, rq->n_port * sizeof(*q->ports));
	q->n_ports = rq->n_port;
	return 0;
}

int cri_rpc_port_forward(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(cri_stream_request_done) CriStreamRequest q = {.kind = CRI_STREAM_FORWARD};
	_cleanup_free_ char *url = NULL;
	Cri__PortForwardResponse answer = CRI__PORT_FORWARD_RESPONSE__INIT;
	const Cri__PortForwardRequest *rq;
	int r = grpc_receive_only(call, &cri__port_forward_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__PortForwardRequest *)m;
	r = read_ports(rq, &q, e);
	if (r >= 0)
		r = find_running(d, rq->pod_sandbox_id, true, &q, e);
	if (r < 0)
		return r;
	url = make_url(d->streams, "portforward", &q, e);
	answer.url = url;
	return url ? grpc_send_message_more(call, &answer.base, e) : -ENOMEM;
}
