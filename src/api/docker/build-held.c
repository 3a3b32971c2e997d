/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a failed step has left, held for a client that opens a shell in it (`ireko build --shell-on-fail`): the step's container, its files as an image without a
 * name, and the containers that the client makes of that. All of it is there as long as the connection, however that ends: a client that is killed leaves nothing.
 */
#include "api/docker/build-wire.h"
#include "api/docker/door-internal.h"
#include "base/log.h"

#include <sys/socket.h>

int build_held_image(Engine *en, const char *container, char ret_id[DIGEST_LEN + 1], Err *e)
{
	const EngineCommit c = {.comment = "a build step that failed"};

	return engine_container_commit(en, container, &c, ret_id, e);
}

static void tell(const char *what, int r, const Err *e)
{
	if (r < 0 && e->kind != ERR_NOT_FOUND)
		log_warn("after a failed build: %s stays: %s", what, err_msg(e, r));
}

static void remove_container(Engine *en, const char *id)
{
	Err e = {0};

	tell(id, engine_container_remove(en, id, true, true, &e), &e);
}

static void remove_image(Engine *en, const char *image)
{
	ContainerInfo *v = NULL;
	json_t *answer = NULL;
	size_t n = 0;
	Err e = {0};
	int r = engine_container_list(en, &v, &n, &e);

	for (size_t i = 0; r >= 0 && i < n; i++)
		if (streq0(v[i].image_id, image))
			remove_container(en, v[i].id);
	container_infos_free(v, n);
	if (r >= 0)
		r = engine_image_remove(en, image, true, false, &answer, &e);
	json_decref(answer);
	tell(image, r, &e);
}

void build_hold(Engine *en, int sock, const char *container, const char *image)
{
	char byte;
	ssize_t n;

	/* It has nothing more to say. */
	do
		n = recv(sock, &byte, 1, 0);
	while (n > 0 || (n < 0 && errno == EINTR));
	remove_image(en, image);
	remove_container(en, container);
}
