/* SPDX-License-Identifier: Apache-2.0 */
/* See many.h. Answers are read in the order of the arguments, whatever order the engine finishes in. */
#include "many.h"

#define IN_FLIGHT 32

typedef struct Pending {
	const char *arg;
	Httpc *client;
	int result;
	Err err;
} Pending;

static void request_done(ManyRequest *rq)
{
	free(rq->target);
	json_decref(rq->body);
}

static void send_one(Call *call, const Many *m, Pending *p)
{
	ManyRequest rq = {0};

	p->result = m->make(call, p->arg, &rq, &p->err);
	if (p->result == 0)
		p->result =
		    api_start(call->cli,
			      &(ApiRequest){.method = rq.method, .target = rq.target, .body = rq.body},
			      &p->client, &p->err);
	request_done(&rq);
}

static int show(Call *call, const Many *m, const char *arg, int status, const json_t *answer, Err *e)
{
	if (m->show)
		return m->show(call, arg, status, answer, e);
	(void)printf("%s\n", arg);
	return 0;
}

static void collect_one(Call *call, const Many *m, Pending *p)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json_t *answer = NULL;
	size_t len = 0;
	int status = p->result < 0 ? p->result : api_answer(call->cli, p->client, NULL, &p->err);

	if (status >= 0)
		p->result = httpc_read_all(p->client, 64 << 20, &text, &len, &p->err);
	else
		p->result = status;
	if (p->result == 0 && len > 0)
		p->result = json_parse(text, len, "the engine's answer", &answer, &p->err);
	if (p->result == 0)
		p->result = show(call, m, p->arg, status, answer, &p->err);
	httpc_free(take_ptr(p->client));
}

static int complain(Call *call, const Many *m, int r, const Err *e)
{
	cli_complain(call->cli, "%s", err_msg(e, r));
	return m->missing_is_fine && e->kind == ERR_NOT_FOUND ? 0 : 1;
}

/* Keeps the name of one that failed, for the end. */
static void note(StrBuf *failed, const char *arg)
{
	strbuf_addf(failed, "%s%s", failed->len > 0 ? ", " : "", arg);
}

static void tell_failed(Call *call, const Many *m, const StrBuf *failed)
{
	if (m->failed && failed->len > 0 && !failed->oom)
		cli_complain(call->cli, "%s: %s", m->failed, failed->s);
}

/* The usual case: one argument on the kept connection. */
static int run_single(Call *call, const Many *m, const char *arg)
{
	ManyRequest rq = {0};
	_cleanup_json_ json_t *answer = NULL;
	Err e = {0};
	int r = m->make(call, arg, &rq, &e);

	if (r == 0)
		r = api_call(call->cli, rq.method, rq.target, rq.body, &answer, &e);
	if (r >= 0)
		r = show(call, m, arg, r, answer, &e);
	request_done(&rq);
	if (r >= 0)
		return 0;
	int status = complain(call, m, r, &e);
	if (m->failed)
		cli_complain(call->cli, "%s: %s", m->failed, arg);
	return status;
}

int many_run(Call *call, const Many *m, Err *e)
{
	int status = 0;

	if (call->n_args == 1)
		return run_single(call, m, call->args[0]);
	int r = api_settle(call->cli, e);
	if (r < 0)
		return r;
	_cleanup_strbuf_ StrBuf failed = {0};
	_cleanup_free_ Pending *pending = calloc(IN_FLIGHT, sizeof(*pending));
	if (!pending)
		return err_oom(e);
	for (int done = 0; done < call->n_args;) {
		int n = MIN2(call->n_args - done, IN_FLIGHT);

		for (int i = 0; i < n; i++) {
			pending[i] = (Pending){.arg = call->args[done + i]};
			send_one(call, m, &pending[i]);
		}
		for (int i = 0; i < n; i++) {
			collect_one(call, m, &pending[i]);
			if (pending[i].result >= 0)
				continue;
			status |= complain(call, m, pending[i].result, &pending[i].err);
			note(&failed, pending[i].arg);
		}
		done += n;
	}
	tell_failed(call, m, &failed);
	return status;
}
