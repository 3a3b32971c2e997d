/* SPDX-License-Identifier: Apache-2.0 */
/* The plugins of a list, run one by one. A program that is missing is noticed before the first of them runs. */
#include "cni/cni-internal.h"

void cni_chain_done(CniChain *h)
{
	free(take_ptr(h->args_text));
	strv_free(take_ptr(h->programs));
}

static const char *type_of(const CniChain *h, size_t i)
{
	return json_get_str(json_array_get(h->list->plugins, i), "type");
}

int cni_chain_init(CniChain *h, Err *e)
{
	h->args_text = cni_request_args_text(h->args);
	if (!h->args_text)
		return err_oom(e);
	for (size_t i = 0; i < json_array_size(h->list->plugins); i++) {
		char *program = NULL;
		int r = cni_program_find(h->c->plugin_dirs, type_of(h, i), &program, e);

		if (r < 0)
			return err_ctx(e, r, "network %s", h->list->name);
		if (strv_take(&h->programs, program) < 0)
			return err_oom(e);
	}
	return 0;
}

int cni_chain_run(const CniChain *h, size_t i, const char *command, const json_t *prev, const json_t *extra,
		  StrBuf *ret, Err *e)
{
	const CniRun x = {
	    .command = command,
	    .type = type_of(h, i),
	    .program = h->programs[i],
	    .network = h->list->name,
	    .subject = h->subject,
	    .container_id = h->container_id,
	    .netns = h->netns,
	    .ifname = h->ifname,
	    .args = h->args_text,
	    .path = h->c->path,
	    .timeout_ms = h->timeout_ms > 0 ? h->timeout_ms : h->c->timeout_ms,
	    .alive_fd = h->alive_fd,
	};
	_cleanup_free_ char *input = NULL;
	_cleanup_strbuf_ StrBuf ignored = {0};
	int r = cni_request_document(h->list, json_array_get(h->list->plugins, i), h->capabilities, prev,
				     extra, &input, e);

	return r < 0 ? r : cni_run(&x, input, ret ?: &ignored, e);
}

int cni_chain_run_all(const CniChain *h, const char *command, const json_t *prev, const json_t *extra, Err *e)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < json_array_size(h->list->plugins); i++)
		r = cni_chain_run(h, i, command, prev, extra, NULL, e);
	return r;
}
