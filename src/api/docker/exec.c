/* SPDX-License-Identifier: Apache-2.0 */
/* docker exec: create, start on the client's socket, inspect. */
#include "api/docker/door-internal.h"

/* [height, width] or null, which leaves them as they are. */
static int console_size(const json_t *b, uint16_t *rows, uint16_t *cols, Err *e)
{
	const json_t *size = json_object_get(b, "ConsoleSize");
	json_int_t h = json_integer_value(json_array_get(size, 0)),
		   w = json_integer_value(json_array_get(size, 1));

	if (!size || json_is_null(size))
		return 0;
	if (json_array_size(size) != 2 || h < 0 || h > UINT16_MAX || w < 0 || w > UINT16_MAX)
		return err_new(e, ERR_INVALID, "ConsoleSize: expected [height, width], from 0 to %d",
			       UINT16_MAX);
	*rows = (uint16_t)h;
	*cols = (uint16_t)w;
	return 0;
}

static int exec_decode(const json_t *b, ExecConfig *c, Err *e)
{
	const json_t *cmd = json_object_get(b, "Cmd");
	const char *user = json_get_str(b, "User"), *dir = json_get_str(b, "WorkingDir"),
		   *keys = json_get_str(b, "DetachKeys");
	int r = json_is_string(cmd) ? strv_add(&c->cmd, json_string_value(cmd)) : json_to_strv(cmd, &c->cmd);

	if (r >= 0)
		r = json_to_strv(json_object_get(b, "Env"), &c->env);
	if (r == -EINVAL)
		return err_new(e, ERR_INVALID, "exec: Cmd and Env must be arrays of strings");
	if (r < 0)
		return err_oom(e);
	if (strv_len(c->cmd) == 0)
		return err_new(e, ERR_INVALID, "No exec command specified");
	c->user = strdup(user ? user : "");
	c->working_dir = strdup(dir ? dir : "");
	c->detach_keys = str_empty(keys) ? NULL : strdup(keys);
	if (!c->user || !c->working_dir)
		return err_oom(e);
	c->tty = json_get_bool(b, "Tty", false);
	c->privileged = json_get_bool(b, "Privileged", false);
	c->attach_stdin = json_get_bool(b, "AttachStdin", false);
	c->attach_stdout = json_get_bool(b, "AttachStdout", false);
	c->attach_stderr = json_get_bool(b, "AttachStderr", false);
	return console_size(b, &c->rows, &c->cols, e);
}

int h_exec_create(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(exec_config_done) ExecConfig c = {0};
	_cleanup_free_ char *id = NULL;
	int r = http_body_json(rq, true, &body, e);

	if (r >= 0)
		r = exec_decode(body, &c, e);
	if (r >= 0)
		r = engine_exec_create(d->engine, http_param(rq, "id"), &c, &id, e);
	return r < 0 ? r : reply_doc(rq, 201, json_pack("{s:s}", "Id", id), e);
}

/* A command that cannot be run is no error of the API: its text goes to the stream, inspect shows 126 or 127. */
static int start_attached(HttpRequest *rq, Door *d, const ExecInfo *i, uint16_t rows, uint16_t cols, Err *e)
{
	HttpHijack h;
	EngineAttach a;
	int r = http_hijack(rq, stream_content_type(rq, i->config.tty), &h, e);

	if (r < 0)
		return r;
	a = (EngineAttach){
	    .fd = h.fd,
	    .in = i->config.attach_stdin,
	    .out = i->config.attach_stdout,
	    .err = i->config.attach_stderr,
	    .stream = true,
	    .prefix = h.prefix,
	    .prefix_len = h.prefix_len,
	    .detach_keys = i->config.detach_keys,
	};
	r = engine_exec_start(d->engine, i->id, &a, rows, cols, e);
	if (r < 0) {
		_cleanup_free_ char *text = strf("%s\r\n", err_msg(e, r));

		stream_text(h.fd, i->config.tty, text ? text : "exec failed\r\n");
	}
	return 0;
}

int h_exec_start(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_json_ json_t *body = NULL;
	_cleanup_(exec_info_done) ExecInfo i = {0};
	_cleanup_(container_info_done) ContainerInfo c = {0};
	uint16_t rows, cols;
	int r = http_body_json(rq, false, &body, e);

	if (r >= 0)
		r = engine_exec_inspect(d->engine, http_param(rq, "id"), &i, e);
	if (r >= 0)
		r = engine_container_inspect(d->engine, i.container_id, &c, e);
	if (r < 0)
		return r;
	if (i.started)
		return err_new(e, ERR_CONFLICT, "Error: Exec command %s %s", i.id,
			       i.running ? "is already running" : "has already run");
	if (c.status == CONTAINER_PAUSED)
		return err_new(e, ERR_CONFLICT, "Container %s is paused, unpause the container before exec",
			       i.container_id);
	if (c.status != CONTAINER_RUNNING)
		return err_new(e, ERR_CONFLICT, "container %s is not running", i.container_id);
	rows = i.config.rows;
	cols = i.config.cols;
	/* Without a terminal there is nothing to size. */
	r = i.config.tty ? console_size(body, &rows, &cols, e) : 0;
	if (r < 0)
		return r;
	if (!json_get_bool(body, "Detach", false))
		return start_attached(rq, d, &i, rows, cols, e);
	r = engine_exec_start(d->engine, i.id, NULL, rows, cols, e);
	if (r < 0 && (e->kind == ERR_NO_COMMAND || e->kind == ERR_NOT_RUNNABLE))
		return err_kind(e, r, ERR_INVALID);
	return r < 0 ? r : http_reply_empty(rq, 200);
}

int h_exec_inspect(HttpRequest *rq, void *user, Err *e)
{
	Door *d = user;
	_cleanup_(exec_info_done) ExecInfo i = {0};
	int r = engine_exec_inspect(d->engine, http_param(rq, "id"), &i, e);
	char **cmd = i.config.cmd;

	if (r < 0)
		return r;
	return reply_doc(
	    rq, 200,
	    json_pack("{s:s, s:b, s:o, s:{s:b, s:o, s:o, s:b, s:o}, s:b, s:b, s:b, s:b, s:s, s:o, s:i}", "ID",
		      i.id, "Running", i.running, "ExitCode",
		      i.started && !i.running ? json_integer(i.exit_code) : json_null(), "ProcessConfig",
		      "tty", i.config.tty, "entrypoint", doc_str(cmd ? cmd[0] : ""), "arguments",
		      doc_strv(cmd && cmd[0] ? cmd + 1 : NULL), "privileged", i.config.privileged, "user",
		      doc_str(i.config.user), "OpenStdin", i.config.attach_stdin, "OpenStderr",
		      i.config.attach_stderr, "OpenStdout", i.config.attach_stdout, "CanRemove", !i.running,
		      "ContainerID", i.container_id, "DetachKeys", doc_str(i.config.detach_keys), "Pid",
		      (int)i.pid),
	    e);
}
