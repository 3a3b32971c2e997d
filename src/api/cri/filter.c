/* SPDX-License-Identifier: Apache-2.0 */
/* See filter.h. */
#include "api/cri/filter.h"

#include "base/str.h"

CriFilter cri_filter_of_pods(const Cri__PodSandboxFilter *f)
{
	if (!f)
		return (CriFilter){0};
	return (CriFilter){.id = f->id,
			   .state = f->state ? (const int *)&f->state->state : NULL,
			   .labels = (CriPair *const *)f->label_selector,
			   .n_labels = f->n_label_selector};
}

CriFilter cri_filter_of_containers(const Cri__ContainerFilter *f)
{
	if (!f)
		return (CriFilter){0};
	return (CriFilter){.id = f->id,
			   .pod = f->pod_sandbox_id,
			   .state = f->state ? (const int *)&f->state->state : NULL,
			   .labels = (CriPair *const *)f->label_selector,
			   .n_labels = f->n_label_selector};
}

bool cri_filter_match(const CriFilter *f, const char *id, const char *pod, int state)
{
	return (str_empty(f->id) || str_starts(id, f->id)) &&
	       (str_empty(f->pod) || str_starts(pod, f->pod)) && (!f->state || *f->state == state);
}

static bool has(CriPair *const *labels, size_t n, const CriPair *wanted)
{
	for (size_t i = 0; i < n; i++)
		if (streq(labels[i]->key, wanted->key))
			return streq(labels[i]->value, wanted->value);
	return false;
}

bool cri_filter_match_labels(const CriFilter *f, CriPair *const *labels, size_t n)
{
	for (size_t i = 0; i < f->n_labels; i++)
		if (!has(labels, n, f->labels[i]))
			return false;
	return true;
}
