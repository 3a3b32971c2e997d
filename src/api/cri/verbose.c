/* SPDX-License-Identifier: Apache-2.0 */
/* See verbose.h. The names inside are those that tools look for in other runtimes' answers: sandboxID, pid, config, runtimeSpec. */
#include "api/cri/verbose.h"

#include "api/cri/door-internal.h"

int cri_verbose_add(CriVerbose *v, const char *key, json_t *doc, Err *e)
{
	char *text = doc ? json_text(doc) : NULL;
	CriPair *p = &v->items[v->n];

	json_decref(doc);
	if (!text || v->n == CRI_VERBOSE_MAX) {
		free(text);
		return err_oom(e);
	}
	/* Every entry of such a map is laid out and numbered alike, whatever its message. */
	cri__status_response__info_entry__init((Cri__StatusResponse__InfoEntry *)p);
	p->key = (char *)key;
	p->value = text;
	v->pairs[v->n++] = p;
	return 0;
}

void cri_verbose_done(CriVerbose *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->items[i].value);
	*v = (CriVerbose){0};
}

/* Of one that does not run there is none any more. */
static void add_spec(json_t *doc, Engine *en, const char *id)
{
	json_t *spec;

	if (engine_container_spec(en, id, &spec, NULL) >= 0)
		(void)json_object_set_new(doc, "runtimeSpec", spec);
}

int cri_verbose_container(Engine *en, const CriContainerDoc *d, CriVerbose *ret, Err *e)
{
	const ContainerInfo *i = &d->info;
	json_t *doc = json_pack("{s:s, s:i, s:b, s:s, s:s, s:o}", "sandboxID", i->config.pod.id, "pid",
				(int)i->pid, "removing", i->status == CONTAINER_REMOVING, "snapshotter",
				store_snapshotter(engine_store(en)), "runtimeType",
				i->config.host.runtime ?: ENGINE_OWN_RUNTIME, "config",
				cri_message_json(&d->note->config->base));

	if (doc)
		add_spec(doc, en, i->id);
	return cri_verbose_add(ret, "info", doc, e);
}

int cri_verbose_pod(Engine *en, const CriPodDoc *d, CriVerbose *ret, Err *e)
{
	const ContainerInfo *i = &d->info;
	json_t *doc =
	    json_pack("{s:i, s:s, s:s, s:s, s:s, s:o}", "pid", (int)i->pid, "processStatus",
		      container_status_name(i->status), "image", i->config.image ?: "", "runtimeHandler",
		      d->note->runtime_handler, "runtimeType", i->config.host.runtime ?: ENGINE_OWN_RUNTIME,
		      "config", cri_message_json(&d->note->config->base));

	if (doc)
		add_spec(doc, en, i->id);
	return cri_verbose_add(ret, "info", doc, e);
}
