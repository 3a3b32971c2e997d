/* SPDX-License-Identifier: Apache-2.0 */
/* A scratch directory for one unit test: cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown). */
#pragma once

#include "base/fd.h"
#include "base/test.h"

#include <fcntl.h>

typedef struct TestDir {
	char path[32];
	int fd;
} TestDir;

static inline int test_dir_setup(void **state)
{
	TestDir *d = calloc(1, sizeof(*d));

	if (!d)
		return -1;
	strcpy(d->path, "/tmp/ireko-test-XXXXXX");
	*state = d;
	if (!mkdtemp(d->path))
		return -1;
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return d->fd < 0 ? -1 : 0;
}

static inline int test_dir_teardown(void **state)
{
	TestDir *d = *state;
	int r = remove_tree_at(AT_FDCWD, d->path);

	closep(&d->fd);
	free(d);
	return r;
}

#define test_in_dir(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)
