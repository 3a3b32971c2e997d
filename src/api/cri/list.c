/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of pods and of containers: what a kubelet asks for several times a second.
 *
 * The answer is written as bytes while the engine's table is gone through: of each record its id, time and state, and behind these the first part of its note as it is
 * (note.h). Nothing is unpacked unless labels are asked for, and no database is read. That the parts of a message may come in any order is the encoding's rule.
 */
#include "api/cri/door-internal.h"

#include "api/cri/filter.h"
#include "api/cri/items.h"
#include "api/cri/note.h"
#include "api/cri/status.h"

#define ID_LEN 64

/* Field numbers of PodSandbox and of Container. */
typedef struct ListKind {
	bool pods;
	unsigned id, pod_id, state, created_at;
	const ProtobufCMessageDescriptor *type;
} ListKind;

static const ListKind pods = {
    .pods = true, .id = 1, .state = 3, .created_at = 4, .type = &cri__pod_sandbox__descriptor};
static const ListKind containers = {
    .id = 1, .pod_id = 2, .state = 6, .created_at = 7, .type = &cri__container__descriptor};

typedef struct List {
	const ListKind *kind;
	CriFilter filter;
	CriItems items;
	char damaged_id[65]; /* the last whose note cannot be read */
} List;

static void add_varint(StrBuf *b, uint64_t v)
{
	for (; v > 127; v >>= 7)
		strbuf_add_c(b, (char)((v & 127) | 128));
	strbuf_add_c(b, (char)v);
}

static size_t varint_len(uint64_t v)
{
	size_t n = 1;

	for (; v > 127; v >>= 7)
		n++;
	return n;
}

/* All field numbers here are below 16: one byte. */
static size_t number_len(uint64_t v)
{
	return v ? 1 + varint_len(v) : 0;
}

static void add_number(StrBuf *b, unsigned field, uint64_t v)
{
	if (!v)
		return;
	strbuf_add_c(b, (char)(field << 3));
	add_varint(b, v);
}

static size_t bytes_len(size_t len)
{
	return 1 + varint_len(len) + len;
}

static void add_head(StrBuf *b, unsigned field, size_t len)
{
	strbuf_add_c(b, (char)(field << 3 | 2));
	add_varint(b, len);
}

static void add_text(StrBuf *b, unsigned field, const char *s)
{
	add_head(b, field, strlen(s));
	strbuf_add(b, s);
}

static bool labels_match(const List *l, const uint8_t *data, size_t len)
{
	_cleanup_message_ ProtobufCMessage *m = NULL;

	if (!l->filter.n_labels)
		return true;
	if (grpc_message_unpack(l->kind->type, data, len, &m, NULL) < 0)
		return false;
	if (l->kind->pods) {
		const Cri__PodSandbox *p = (const Cri__PodSandbox *)m;

		return cri_filter_match_labels(&l->filter, (CriPair *const *)p->labels, p->n_labels);
	}
	const Cri__Container *c = (const Cri__Container *)m;

	return cri_filter_match_labels(&l->filter, (CriPair *const *)c->labels, c->n_labels);
}

static void add_item(List *l, const ContainerInfo *i, int state, const uint8_t *data, size_t len)
{
	const ListKind *k = l->kind;
	StrBuf *b = &l->items.out;
	const ContainerPod *p = &i->config.pod;
	size_t whole = bytes_len(strlen(i->id)) + (k->pod_id ? bytes_len(strlen(p->id)) : 0) +
		       number_len((uint64_t)state) + number_len((uint64_t)i->created_ns) + len;

	add_head(b, 1, whole);
	add_text(b, k->id, i->id);
	if (k->pod_id)
		add_text(b, k->pod_id, p->id);
	add_number(b, k->state, (uint64_t)state);
	add_number(b, k->created_at, (uint64_t)i->created_ns);
	strbuf_add_n(b, data, len);
	cri_items_end(&l->items);
}

static ContainerGlance glance(void *user, const ContainerInfo *i)
{
	List *l = user;
	const ContainerPod *p = &i->config.pod;
	_cleanup_free_ uint8_t *data = NULL;
	size_t len;
	int state;

	if (!p->id || p->sandbox != l->kind->pods || i->status == CONTAINER_REMOVING)
		return GLANCE_DONE;
	state = l->kind->pods ? (int)cri_pod_state(i) : (int)cri_container_state(i);
	if (!cri_filter_match(&l->filter, i->id, p->id, state))
		return GLANCE_DONE;
	if (cri_note_listed(p->note, &data, &len, NULL) < 0)
		memcpy(l->damaged_id, i->id, sizeof(l->damaged_id));
	else if (labels_match(l, data, len))
		add_item(l, i, state, data, len);
	return GLANCE_DONE;
}

static int list_make(CriDoor *d, List *l, Err *e)
{
	const CriFilter *f = &l->filter;
	/* One that is named in full, or by its pod, is found without a look at all. */
	bool whole = f->pod && strlen(f->pod) == ID_LEN,
	     one = l->kind->pods && f->id && strlen(f->id) == ID_LEN;
	const EngineEach each = {.glance = glance, .user = l, .pod = whole ? f->pod : one ? f->id : NULL};
	int r = engine_container_each(d->engine, &each, e);

	if (*l->damaged_id)
		log_warn("kubelet's door: the record of %.12s is damaged: it is not listed", l->damaged_id);
	return r;
}

static int answer(CriDoor *d, GrpcCall *call, const ListKind *kind, const CriFilter *f, bool streams, Err *e)
{
	List l = {.kind = kind, .filter = *f};
	int r = list_make(d, &l, e);

	if (r >= 0)
		r = streams ? cri_items_stream(&l.items, call, e) : cri_items_send(&l.items, call, e);
	cri_items_done(&l.items);
	return r;
}

int cri_rpc_list_pods(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__list_pod_sandbox_request__descriptor, &rq, e);
	CriFilter f;

	if (r < 0)
		return r;
	f = cri_filter_of_pods(((const Cri__ListPodSandboxRequest *)rq)->filter);
	return answer(user, call, &pods, &f, false, e);
}

int cri_rpc_stream_pods(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__stream_pod_sandboxes_request__descriptor, &rq, e);
	CriFilter f;

	if (r < 0)
		return r;
	f = cri_filter_of_pods(((const Cri__StreamPodSandboxesRequest *)rq)->filter);
	return answer(user, call, &pods, &f, true, e);
}

int cri_rpc_list_containers(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__list_containers_request__descriptor, &rq, e);
	CriFilter f;

	if (r < 0)
		return r;
	f = cri_filter_of_containers(((const Cri__ListContainersRequest *)rq)->filter);
	return answer(user, call, &containers, &f, false, e);
}

int cri_rpc_stream_containers(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	int r = grpc_receive_only(call, &cri__stream_containers_request__descriptor, &rq, e);
	CriFilter f;

	if (r < 0)
		return r;
	f = cri_filter_of_containers(((const Cri__StreamContainersRequest *)rq)->filter);
	return answer(user, call, &containers, &f, true, e);
}
