/* SPDX-License-Identifier: Apache-2.0 */
/* See status.h. Reasons and exit codes are those that kubelets know from other runtimes, and that people look for in `kubectl describe`. */
#include "api/cri/status.h"

#include "api/cri/config.h"
#include "api/cri/door-internal.h"

#define EXIT_START_FAILED 128

/* ---- states ---- */

/* A start that failed leaves a container that has not run, and says why. For a kubelet it has come to its end. */
static bool start_failed(const ContainerInfo *i)
{
	return i->status == CONTAINER_CREATED && !str_empty(i->error);
}

Cri__ContainerState cri_container_state(const ContainerInfo *i)
{
	switch (i->status) {
	case CONTAINER_CREATED:
		return start_failed(i) ? CRI__CONTAINER_STATE__CONTAINER_EXITED
				       : CRI__CONTAINER_STATE__CONTAINER_CREATED;
	case CONTAINER_RUNNING:
	case CONTAINER_PAUSED:
	case CONTAINER_RESTARTING:
		return CRI__CONTAINER_STATE__CONTAINER_RUNNING;
	default:
		return CRI__CONTAINER_STATE__CONTAINER_EXITED;
	}
}

Cri__PodSandboxState cri_pod_state(const ContainerInfo *i)
{
	return i->status == CONTAINER_RUNNING || i->status == CONTAINER_PAUSED
		   ? CRI__POD_SANDBOX_STATE__SANDBOX_READY
		   : CRI__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

/* ---- finding ---- */

/* The engine knows names as well, and kubelets do not: what was found has to begin with what was asked for. */
static int find(Engine *en, const char *id, bool sandbox, ContainerInfo *ret, Err *e)
{
	ContainerInfo i = {0};
	int r;

	if (str_empty(id))
		return err_new(e, ERR_INVALID, "the id of a %s is missing", sandbox ? "pod" : "container");
	r = engine_container_inspect(en, id, &i, e);
	if (r < 0)
		return r;
	if (!i.config.pod.id || i.config.pod.sandbox != sandbox || !str_starts(i.id, id)) {
		container_info_done(&i);
		return err_new(e, ERR_NOT_FOUND, "No such %s: %s", sandbox ? "pod" : "container in a pod",
			       id);
	}
	*ret = i;
	return 0;
}

int cri_container_find(Engine *en, const char *id, ContainerInfo *ret, Err *e)
{
	return find(en, id, false, ret, e);
}

int cri_pod_find(Engine *en, const char *id, ContainerInfo *ret, Err *e)
{
	return find(en, id, true, ret, e);
}

/* ---- containers ---- */

static void fill_end(Cri__ContainerStatus *s, const ContainerInfo *i)
{
	bool failed = start_failed(i);

	if (s->state != CRI__CONTAINER_STATE__CONTAINER_EXITED)
		return;
	/* It ended when it was to begin, at a time that nobody has written down. */
	s->finished_at = i->finished_ns ?: i->created_ns;
	s->exit_code = failed ? EXIT_START_FAILED : i->exit_code;
	s->message = i->error ?: (char *)"";
	if (failed)
		s->reason = (char *)"StartError";
	else if (i->oom_killed)
		s->reason = (char *)"OOMKilled";
	else
		s->reason = i->exit_code ? (char *)"Error" : (char *)"Completed";
}

/* Cut at its first '='; what follows. */
static char *cut(char *pair)
{
	char *at = strchr(pair, '=');

	if (!at)
		return pair + strlen(pair);
	*at = '\0';
	return at + 1;
}

/* Huge pages first, then the files of cgroup v2. */
static int fill_pairs(CriContainerDoc *d, Err *e)
{
	const ContainerPod *p = &d->info.config.pod;
	Cri__LinuxContainerResources *r = &d->linux_resources;
	size_t n = strv_len(p->hugepages), m = strv_len(p->unified);

	for (size_t i = 0; i < n + m; i++)
		if (strv_add(&d->pairs, i < n ? p->hugepages[i] : p->unified[i - n]) < 0)
			return err_oom(e);
	d->pages = calloc(n + 1, sizeof(*d->pages));
	d->page_list = calloc(n + 1, sizeof(Cri__HugepageLimit *));
	d->unified = calloc(m + 1, sizeof(*d->unified));
	d->unified_list = calloc(m + 1, sizeof(Cri__LinuxContainerResources__UnifiedEntry *));
	if (!d->pages || !d->page_list || !d->unified || !d->unified_list)
		return err_oom(e);
	for (size_t i = 0; i < n; i++) {
		cri__hugepage_limit__init(&d->pages[i]);
		d->pages[i].limit = strtoull(cut(d->pairs[i]), NULL, 10);
		d->pages[i].page_size = d->pairs[i];
		d->page_list[i] = &d->pages[i];
	}
	for (size_t i = 0; i < m; i++) {
		cri__linux_container_resources__unified_entry__init(&d->unified[i]);
		d->unified[i].value = cut(d->pairs[n + i]);
		d->unified[i].key = d->pairs[n + i];
		d->unified_list[i] = &d->unified[i];
	}
	r->hugepage_limits = d->page_list;
	r->n_hugepage_limits = n;
	r->unified = d->unified_list;
	r->n_unified = m;
	return 0;
}

/* As they are now, after updates. */
static int fill_resources(CriContainerDoc *d, Err *e)
{
	const ContainerHost *h = &d->info.config.host;
	Cri__LinuxContainerResources *r = &d->linux_resources;

	cri__container_resources__init(&d->resources);
	cri__linux_container_resources__init(r);
	r->cpu_period = h->cpu_period;
	r->cpu_quota = h->cpu_quota;
	r->cpu_shares = h->cpu_shares;
	r->memory_limit_in_bytes = h->memory;
	r->memory_swap_limit_in_bytes = h->memory_swap;
	r->oom_score_adj = h->oom_score_adj;
	r->cpuset_cpus = h->cpuset_cpus ?: (char *)"";
	r->cpuset_mems = h->cpuset_mems ?: (char *)"";
	d->resources.linux_part = r;
	d->status.resources = &d->resources;
	return fill_pairs(d, e);
}

static Cri__Signal signal_of(const char *text)
{
	return str_empty(text) ? CRI__SIGNAL__SIGTERM : cri_signal_of(text);
}

static void fill_asked(CriContainerDoc *d)
{
	const Cri__ContainerConfig *c = d->note->config;
	Cri__ContainerStatus *s = &d->status;

	cri__image_spec__init(&d->image);
	d->image = c->image ? *c->image : d->image;
	d->image.image = d->note->image;
	s->metadata = c->metadata;
	s->image = &d->image;
	s->image_ref = d->note->image_ref;
	s->image_id = d->note->image_id;
	s->labels = (Cri__ContainerStatus__LabelsEntry **)c->labels;
	s->n_labels = c->n_labels;
	s->annotations = (Cri__ContainerStatus__AnnotationsEntry **)c->annotations;
	s->n_annotations = c->n_annotations;
	s->mounts = c->mounts;
	s->n_mounts = c->n_mounts;
	s->log_path = d->note->log_path;
}

static int fill_user(CriContainerDoc *d, Err *e)
{
	char *const *ids = d->info.ran_as;
	size_t n = strv_len(ids);
	Cri__LinuxContainerUser *u = &d->linux_user;

	if (n < 2)
		return 0;
	cri__container_user__init(&d->user);
	cri__linux_container_user__init(u);
	d->groups = calloc(n, sizeof(*d->groups));
	if (!d->groups)
		return err_oom(e);
	for (size_t i = 2; i < n; i++)
		if (str_to_i64(ids[i], &d->groups[i - 2]) < 0)
			return err_new(e, ERR_INTERNAL, "container %.12s: its record is damaged", d->info.id);
	if (str_to_i64(ids[0], &u->uid) < 0 || str_to_i64(ids[1], &u->gid) < 0)
		return err_new(e, ERR_INTERNAL, "container %.12s: its record is damaged", d->info.id);
	u->supplemental_groups = d->groups;
	u->n_supplemental_groups = n - 2;
	d->user.linux_part = u;
	d->status.user = &d->user;
	return 0;
}

/* Takes info. */
static int container_doc_fill(ContainerInfo *info, CriContainerDoc *ret, Err *e)
{
	const ContainerInfo *i = &ret->info;
	ProtobufCMessage *note = NULL;
	Cri__ContainerStatus *s = &ret->status;
	int r;

	ret->info = *info;
	*info = (ContainerInfo){0};
	r = cri_note_whole(i->config.pod.note, &cri__container_note__descriptor, &note, e);
	if (r < 0)
		return err_ctx(e, r, "container %.12s", i->id);
	ret->note = (Cri__ContainerNote *)note;
	if (!ret->note->config)
		return err_new(e, ERR_INTERNAL, "container %.12s: its record is damaged", i->id);
	cri__container_status__init(s);
	s->id = (char *)i->id;
	s->state = cri_container_state(i);
	s->created_at = i->created_ns;
	s->started_at = i->started_ns;
	fill_asked(ret);
	fill_end(s, i);
	s->stop_signal = signal_of(i->config.stop_signal);
	r = fill_resources(ret, e);
	return r < 0 ? r : fill_user(ret, e);
}

void cri_container_doc_done(CriContainerDoc *d)
{
	cri_message_freep(&d->note);
	container_info_done(&d->info);
	free(d->groups);
	strv_free(d->pairs);
	free(d->pages);
	free(d->page_list);
	free(d->unified);
	free(d->unified_list);
	*d = (CriContainerDoc){0};
}

int cri_container_doc_make(Engine *en, const char *id, CriContainerDoc *ret, Err *e)
{
	ContainerInfo i = {0};
	int r = cri_container_find(en, id, &i, e);

	if (r < 0)
		return r;
	*ret = (CriContainerDoc){0};
	r = container_doc_fill(&i, ret, e);
	if (r < 0)
		cri_container_doc_done(ret);
	return r;
}

/* ---- pods ---- */

static int fill_network(CriPodDoc *d, Err *e)
{
	size_t n = d->status.state == CRI__POD_SANDBOX_STATE__SANDBOX_READY ? strv_len(d->info.pod_ips) : 0;

	cri__pod_sandbox_network_status__init(&d->network);
	d->status.network = &d->network;
	if (!n)
		return 0;
	d->ips = calloc(n, sizeof(*d->ips));
	d->ip_list = calloc(n, sizeof(Cri__PodIP *));
	if (!d->ips || !d->ip_list)
		return err_oom(e);
	d->network.ip = d->info.pod_ips[0];
	for (size_t i = 1; i < n; i++) {
		cri__pod_ip__init(&d->ips[i - 1]);
		d->ips[i - 1].ip = d->info.pod_ips[i];
		d->ip_list[i - 1] = &d->ips[i - 1];
	}
	d->network.n_additional_ips = n - 1;
	d->network.additional_ips = d->ip_list;
	return 0;
}

static void fill_namespaces(CriPodDoc *d)
{
	const Cri__LinuxPodSandboxConfig *asked = d->note->config->linux_part;

	cri__linux_pod_sandbox_status__init(&d->linux_part);
	cri__namespace__init(&d->namespaces);
	cri__namespace_option__init(&d->options);
	d->namespaces.options = asked && asked->security_context && asked->security_context->namespace_options
				    ? asked->security_context->namespace_options
				    : &d->options;
	d->linux_part.namespaces = &d->namespaces;
	d->status.linux_part = &d->linux_part;
}

static int pod_doc_fill(CriPodDoc *d, Err *e)
{
	const ContainerInfo *i = &d->info;
	Cri__PodSandboxStatus *s = &d->status;
	ProtobufCMessage *note = NULL;
	int r = cri_note_whole(i->config.pod.note, &cri__pod_note__descriptor, &note, e);
	const Cri__PodSandboxConfig *c;

	if (r < 0)
		return err_ctx(e, r, "pod %.12s", i->id);
	d->note = (Cri__PodNote *)note;
	c = d->note->config;
	if (!c)
		return err_new(e, ERR_INTERNAL, "pod %.12s: its record is damaged", i->id);
	cri__pod_sandbox_status__init(s);
	s->id = (char *)i->id;
	s->metadata = c->metadata;
	s->state = cri_pod_state(i);
	s->created_at = i->created_ns;
	s->labels = (Cri__PodSandboxStatus__LabelsEntry **)c->labels;
	s->n_labels = c->n_labels;
	s->annotations = (Cri__PodSandboxStatus__AnnotationsEntry **)c->annotations;
	s->n_annotations = c->n_annotations;
	s->runtime_handler = d->note->runtime_handler;
	fill_namespaces(d);
	return fill_network(d, e);
}

void cri_pod_doc_done(CriPodDoc *d)
{
	cri_message_freep(&d->note);
	container_info_done(&d->info);
	free(d->ips);
	free(d->ip_list);
	*d = (CriPodDoc){0};
}

int cri_pod_doc_make(Engine *en, const char *id, CriPodDoc *ret, Err *e)
{
	ContainerInfo i = {0};
	int r = cri_pod_find(en, id, &i, e);

	if (r < 0)
		return r;
	*ret = (CriPodDoc){.info = i};
	r = pod_doc_fill(ret, e);
	if (r < 0)
		cri_pod_doc_done(ret);
	return r;
}

/* ---- all of a pod ---- */

typedef struct Gathering {
	char **ids;
	bool oom;
} Gathering;

static ContainerGlance gather(void *user, const ContainerInfo *i)
{
	Gathering *g = user;
	const ContainerPod *p = &i->config.pod;

	if (!p->sandbox && i->status != CONTAINER_REMOVING)
		g->oom |= strv_add(&g->ids, i->id) < 0;
	return g->oom ? GLANCE_END : GLANCE_DONE;
}

void cri_members_done(CriMembers *m)
{
	for (size_t i = 0; i < m->n; i++)
		cri_container_doc_done(&m->docs[i]);
	free(m->docs);
	free(m->statuses);
	*m = (CriMembers){0};
}

/* One that goes meanwhile is left out. */
int cri_members_make(Engine *en, const char *pod_id, CriMembers *ret, Err *e)
{
	Gathering g = {0};
	int r = engine_container_each(en, &(EngineEach){.glance = gather, .user = &g, .pod = pod_id}, e);
	_cleanup_strv_ char **ids = g.ids;
	size_t n = strv_len(ids);
	CriMembers m = {0};

	if (r < 0)
		return r;
	m.docs = calloc(n + 1, sizeof(*m.docs));
	m.statuses = calloc(n + 1, sizeof(Cri__ContainerStatus *));
	if (g.oom || !m.docs || !m.statuses) {
		cri_members_done(&m);
		return err_oom(e);
	}
	for (size_t i = 0; i < n; i++) {
		r = cri_container_doc_make(en, ids[i], &m.docs[m.n], NULL);
		if (r >= 0) {
			m.statuses[m.n] = &m.docs[m.n].status;
			m.n++;
		}
	}
	*ret = m;
	return 0;
}
