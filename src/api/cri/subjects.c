/* SPDX-License-Identifier: Apache-2.0 */
/* See subjects.h. */
#include "api/cri/subjects.h"

#include "api/cri/door-internal.h"
#include "api/cri/note.h"

#define ID_LEN 64

typedef struct Gathering {
	const CriFilter *pods, *members;
	CriSubjects found;
	size_t pods_room, members_room;
	bool oom;
	char damaged_id[65]; /* the last whose note cannot be read */
} Gathering;

static CriSubject *place(CriSubject **v, size_t *n, size_t *room)
{
	if (*n == *room) {
		size_t more = *room ? *room * 2 : 64;
		CriSubject *larger = reallocarray(*v, more, sizeof(**v));

		if (!larger)
			return NULL;
		*v = larger;
		*room = more;
	}
	return &(*v)[(*n)++];
}

/* "2MB=4194304"; one whose limit is 0 has none. */
static void note_page_sizes(char *const *pages, CriSubject *s)
{
	for (; pages && *pages && s->n_page_sizes < CRI_PAGE_SIZES; pages++) {
		size_t len = strcspn(*pages, "=");

		if (len == 0 || len >= sizeof(s->page_sizes[0]) || streq(*pages + len, "=0"))
			continue;
		memcpy(s->page_sizes[s->n_page_sizes], *pages, len);
		s->page_sizes[s->n_page_sizes++][len] = '\0';
	}
}

static ContainerGlance glance(void *user, const ContainerInfo *i)
{
	Gathering *g = user;
	const ContainerPod *p = &i->config.pod;
	const CriFilter *f = p->sandbox ? g->pods : g->members;
	CriSubject s = {0}, *to;

	if (!p->id || !f || i->status == CONTAINER_REMOVING || !cri_filter_match(f, i->id, p->id, 0))
		return GLANCE_DONE;
	if (cri_note_listed(p->note, &s.packed, &s.n_packed, NULL) < 0) {
		memcpy(g->damaged_id, i->id, sizeof(g->damaged_id));
		return GLANCE_DONE;
	}
	to = p->sandbox ? place(&g->found.pods, &g->found.n_pods, &g->pods_room)
			: place(&g->found.members, &g->found.n_members, &g->members_room);
	if (!to) {
		free(s.packed);
		g->oom = true;
		return GLANCE_END;
	}
	memcpy(s.id, i->id, sizeof(s.id));
	(void)snprintf(s.pod_id, sizeof(s.pod_id), "%s", p->id);
	s.runs = i->status == CONTAINER_RUNNING || i->status == CONTAINER_PAUSED;
	s.started_ns = i->started_ns;
	s.cpu_shares = i->config.host.cpu_shares;
	s.cpu_quota = i->config.host.cpu_quota;
	s.cpu_period = i->config.host.cpu_period;
	s.memory_reservation = i->config.host.memory_reservation;
	note_page_sizes(p->hugepages, &s);
	*to = s;
	return GLANCE_DONE;
}

static void subject_done(CriSubject *s)
{
	free(s->packed);
	cri_message_freep(&s->listed);
}

void cri_subjects_done(CriSubjects *s)
{
	for (size_t i = 0; i < s->n_pods; i++)
		subject_done(&s->pods[i]);
	for (size_t i = 0; i < s->n_members; i++)
		subject_done(&s->members[i]);
	free(s->pods);
	free(s->members);
	*s = (CriSubjects){0};
}

static bool labels_match(const CriFilter *f, const CriSubject *s, bool pod)
{
	const Cri__PodSandbox *p = (const Cri__PodSandbox *)s->listed;
	const Cri__Container *c = (const Cri__Container *)s->listed;

	return pod ? cri_filter_match_labels(f, (CriPair *const *)p->labels, p->n_labels)
		   : cri_filter_match_labels(f, (CriPair *const *)c->labels, c->n_labels);
}

/* Leaves out what does not match, or cannot be read. */
static void unpack(Gathering *g, CriSubject *v, size_t *n, bool pods)
{
	const CriFilter *f = pods ? g->pods : g->members;
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++) {
		CriSubject *s = &v[i];

		if (grpc_message_unpack(pods ? &cri__pod_sandbox__descriptor : &cri__container__descriptor,
					s->packed, s->n_packed, &s->listed, NULL) < 0)
			memcpy(g->damaged_id, s->id, sizeof(g->damaged_id));
		if (s->listed && labels_match(f, s, pods))
			v[kept++] = *s;
		else
			subject_done(s);
	}
	*n = kept;
}

static int by_pod(const void *a, const void *b)
{
	return strcmp(((const CriSubject *)a)->pod_id, ((const CriSubject *)b)->pod_id);
}

/* Of whose containers all that is wanted is, if that is known: no others are looked at. */
static const char *one_pod(const CriFilter *pods, const CriFilter *members)
{
	const char *pod = members ? members->pod : pods ? pods->id : NULL;

	if (!pod || strlen(pod) != ID_LEN || (pods && !streq0(pods->id, pod)))
		return NULL;
	return pod;
}

int cri_subjects_gather(Engine *en, const CriFilter *pods, const CriFilter *members, CriSubjects *ret, Err *e)
{
	Gathering g = {.pods = pods, .members = members};
	const EngineEach each = {.glance = glance, .user = &g, .pod = one_pod(pods, members)};
	int r = engine_container_each(en, &each, e);

	if (r >= 0 && g.oom)
		r = err_oom(e);
	if (r < 0) {
		cri_subjects_done(&g.found);
		return r;
	}
	unpack(&g, g.found.pods, &g.found.n_pods, true);
	unpack(&g, g.found.members, &g.found.n_members, false);
	if (*g.damaged_id)
		log_warn("kubelet's door: the record of %.12s is damaged: nothing is told of it",
			 g.damaged_id);
	if (g.found.n_members > 1)
		qsort(g.found.members, g.found.n_members, sizeof(CriSubject), by_pod);
	*ret = g.found;
	return 0;
}

const CriSubject *cri_subjects_of_pod(const CriSubjects *s, const char *pod_id, size_t *ret_n)
{
	size_t low = 0, high = s->n_members, end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(s->members[middle].pod_id, pod_id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < s->n_members && streq(s->members[end].pod_id, pod_id);)
		end++;
	*ret_n = end - low;
	return s->members + low;
}
