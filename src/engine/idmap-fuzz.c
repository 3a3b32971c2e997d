/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever resolves is one to one: no id is in two ranges, on either side. */
#include "engine/idmap.h"

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool apart(uint32_t a, uint32_t n, uint32_t b, uint32_t m)
{
	return (uint64_t)a + n <= b || (uint64_t)b + m <= a;
}

static void check(const IdMap *m)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->v[i].count == 0)
			abort();
		for (size_t k = 0; k < i; k++)
			if (!apart(m->v[i].inside, m->v[i].count, m->v[k].inside, m->v[k].count) ||
			    !apart(m->v[i].outside, m->v[i].count, m->v[k].outside, m->v[k].count))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const NamespaceIdMap ns[] = {{0, 100000, 65536}, {70000, 5, 3}};
	uint32_t owner = size > 4 ? (uint32_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3] : 0;
	_cleanup_free_ char *text = size > 4 ? strndup((const char *)data + 4, size - 4) : strdup(IDMAP_AUTO);
	IdMaps m;

	if (!text || idmap_resolve(text, owner, owner / 2, &m, NULL) < 0)
		return 0;
	check(&m.uids);
	check(&m.gids);
	if (idmap_into_namespace(&m.uids, ns, ELEMENTSOF(ns), NULL) == 0)
		check(&m.uids);
	return 0;
}
