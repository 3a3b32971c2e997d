/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items of an answer, packed one after the other: as one message that repeats field 1, or, since the answers of both ways number it alike, as a stream of such messages.
 */
#pragma once

#include "base/str.h"
#include "wire/grpc/grpc.h"

typedef struct CriItems {
	StrBuf out;
	size_t *ends; /* of items in it */
	size_t n, room;
} CriItems;

void cri_items_done(CriItems *l);
/* What memory there was not is told by the call that sends. */
void cri_items_add(CriItems *l, const ProtobufCMessage *item);
/* What was put to `out` by other means since the last end is one item. */
void cri_items_end(CriItems *l);
int cri_items_send(const CriItems *l, GrpcCall *call, Err *e);
int cri_items_stream(const CriItems *l, GrpcCall *call, Err *e);
