/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results of builds as clients name them: by an id that cannot be guessed, or by a definition that stands for it. A client that links two builds of
 * a bake file gives the definition back as an input of the second one; it takes it apart as if it were a real graph of two nodes, the last of which has
 * the other as its only input, which is all the form it has.
 */
#include "api/buildkit/door-internal.h"
#include "base/id.h"

#define SOURCE_PREFIX "engine-ref://"

int kept_add(Job *j, BuildResult *result, Kept **ret, Err *e)
{
	const char *config = result ? build_result_config(result) : NULL;
	Kept *k = calloc(1, sizeof(*k));

	if (k && config)
		k->config = strdup(config);
	if (!k || (config && !k->config)) {
		free(k);
		build_result_free(result);
		return err_oom(e);
	}
	k->door = j->door;
	k->result = result;
	k->owner = j;
	k->refs = 1;
	id_random_hex(k->id, 32);
	pthread_mutex_lock(&j->door->lock);
	k->next = j->door->kept;
	j->door->kept = k;
	pthread_mutex_unlock(&j->door->lock);
	*ret = k;
	return 0;
}

Kept *kept_get(BuildkitDoor *d, const char *id)
{
	Kept *k;

	pthread_mutex_lock(&d->lock);
	for (k = d->kept; k && !streq(k->id, id); k = k->next)
		;
	if (k)
		k->refs++;
	pthread_mutex_unlock(&d->lock);
	return k;
}

void kept_unref(Kept *k)
{
	BuildkitDoor *d;
	bool last;

	if (!k)
		return;
	d = k->door;
	pthread_mutex_lock(&d->lock);
	last = --k->refs == 0;
	for (Kept **at = &d->kept; last && *at; at = &(*at)->next)
		if (*at == k) {
			*at = k->next;
			break;
		}
	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	build_result_free(k->result);
	free(k->config);
	free(k);
}

void kept_of_job_end(Job *j)
{
	BuildkitDoor *d = j->door;
	Kept *k;

	do {
		pthread_mutex_lock(&d->lock);
		for (k = d->kept; k && k->owner != j; k = k->next)
			;
		if (k)
			k->owner = NULL;
		pthread_mutex_unlock(&d->lock);
		kept_unref(k);
	} while (k);
}

static int pack(const ProtobufCMessage *m, ProtobufCBinaryData *ret)
{
	ret->len = protobuf_c_message_get_packed_size(m);
	ret->data = malloc(ret->len + 1);
	return ret->data ? (int)protobuf_c_message_pack(m, ret->data) : -ENOMEM;
}

void definition_free(Llb__Definition *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < d->n_def; i++)
		free(d->def[i].data);
	free(d->def);
	for (size_t i = 0; i < d->n_metadata; i++) {
		free(d->metadata[i]->key);
		free(d->metadata[i]->value);
		free(d->metadata[i]);
	}
	free(d->metadata);
	free(d);
}

static int metadata_of(Llb__Definition *d, const ProtobufCBinaryData *op, char digest[DIGEST_LEN + 1])
{
	Llb__OpMetadataEntry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	llb__op_metadata_entry__init(entry);
	d->metadata[d->n_metadata++] = entry;
	digest_of((const char *)op->data, op->len, digest);
	entry->key = strdup(digest);
	entry->value = malloc(sizeof(*entry->value));
	if (!entry->key || !entry->value)
		return -ENOMEM;
	llb__op_metadata__init(entry->value);
	return 0;
}

static int definition_fill(Llb__Definition *d, const Kept *k)
{
	_cleanup_free_ char *identifier = strf(SOURCE_PREFIX "%s", k->id);
	Llb__SourceOp source = LLB__SOURCE_OP__INIT;
	Llb__Op first = LLB__OP__INIT, last = LLB__OP__INIT;
	char digest[DIGEST_LEN + 1];
	Llb__Input input = LLB__INPUT__INIT, *inputs[] = {&input};
	int r;

	d->def = calloc(2, sizeof(*d->def));
	d->metadata = calloc(2, sizeof(Llb__OpMetadataEntry *));
	if (!identifier || !d->def || !d->metadata)
		return -ENOMEM;
	source.identifier = identifier;
	first.source = &source;
	d->n_def = 1;
	r = pack(&first.base, &d->def[0]);
	if (r >= 0)
		r = metadata_of(d, &d->def[0], digest);
	if (r < 0)
		return r;
	input.digest = digest;
	last.inputs = inputs;
	last.n_inputs = 1;
	d->n_def = 2;
	r = pack(&last.base, &d->def[1]);
	return r < 0 ? r : metadata_of(d, &d->def[1], digest);
}

Llb__Definition *kept_definition(const Kept *k)
{
	Llb__Definition *d = malloc(sizeof(*d));

	if (!d)
		return NULL;
	llb__definition__init(d);
	if (definition_fill(d, k) >= 0)
		return d;
	definition_free(d);
	return NULL;
}

Kept *kept_of_definition(BuildkitDoor *d, const Llb__Definition *definition)
{
	Kept *k = NULL;

	for (size_t i = 0; !k && definition && i < definition->n_def; i++) {
		Llb__Op *op = llb__op__unpack(NULL, definition->def[i].len, definition->def[i].data);
		const char *id = op && op->source ? str_after(op->source->identifier, SOURCE_PREFIX) : NULL;

		if (id)
			k = kept_get(d, id);
		if (op)
			llb__op__free_unpacked(op, NULL);
	}
	return k;
}
