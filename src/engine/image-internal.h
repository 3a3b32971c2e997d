/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about images share. */
#pragma once

#include "engine/engine-internal.h"

/* An event of type image; `name` is the familiar reference or NULL. */
void image_event(Engine *en, const char *action, const char *id, const char *name);
/* Points `reference` (as typed; without tag: latest) at an image, with the event. ERR_INVALID for a digest form. */
int image_tag_as(Engine *en, const char *reference, const char *image_id, Err *e);
int image_tag_parsed(Engine *en, const Reference *ref, const char *image_id, Err *e);
/* Records an image whose layers exist, with the config given; parent: the id of another, or NULL. */
int image_record(Engine *en, const ImageConfig *ic, const char *parent, char ret_id[DIGEST_LEN + 1], Err *e);
/* Removes one image with its references, if no container uses it and none is built upon it; with `untagged`, only if it has no tag
 * by now. 1 if it went; the bytes freed are added to *bytes. */
int image_prune_one(Engine *en, const char *id, bool untagged, int64_t *bytes, Err *e);
/* "docker.io/library/debian:12" -> "debian:12"; the text itself if it does not parse. malloc'ed. */
char *image_familiar(const char *reference);
/* Whether the client behind the descriptor (-1: nobody) has gone away. */
bool image_client_left(int alive_fd);
/* What a client brought, as the registry client takes it. */
RegistryAuth image_registry_auth(const EngineAuth *a);
