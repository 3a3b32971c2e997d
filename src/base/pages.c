/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pages.h"

#include "base/macro.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>

typedef struct Found {
	PageRange *v;
	size_t n, max;
} Found;

/* Segments that were never written hold nothing but the file's pages, so dropping them loses nothing. */
static int find(struct dl_phdr_info *info, size_t size _unused_, void *arg)
{
	const uintptr_t page = 4096;
	Found *f = arg;

	for (int i = 0; i < info->dlpi_phnum && f->n < f->max; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + ph->p_vaddr;
		uintptr_t to = (from + ph->p_memsz) & ~(page - 1);

		from = (from + page - 1) & ~(page - 1);
		if (ph->p_type == PT_LOAD && !(ph->p_flags & PF_W) && from < to)
			f->v[f->n++] = (PageRange){(void *)from, to - from};
	}
	return 0;
}

size_t pages_of_program(PageRange *ret, size_t max)
{
	Found f = {ret, 0, max};

	(void)dl_iterate_phdr(find, &f);
	return f.n;
}

void pages_drop(const PageRange *v, size_t n)
{
	/* A range that cannot be dropped stays, which costs memory and nothing else. */
	for (size_t i = 0; i < n; i++)
		(void)madvise(v[i].from, v[i].len, MADV_DONTNEED);
}
