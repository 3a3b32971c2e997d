/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door's note in a record (ContainerPod.note): what was asked for, as a kubelet wants to hear it again. It is written once, with the record.
 *
 * Text of two parts, each a packed message in base64, with a dot in between: what lists show (a PodSandbox or Container without id, state and time, which the
 * engine knows), and all of it (PodNote, ContainerNote). Lists are made of the first part as it is: no message is unpacked for them.
 */
#pragma once

#include "base/err.h"
#include "note.pb-c.h"

#define CRI_NOTE_MAX (2u << 20) /* of the packed messages together */

/* ERR_INVALID for what is larger than CRI_NOTE_MAX. *ret is malloc'ed. */
int cri_note_make(const ProtobufCMessage *listed, const ProtobufCMessage *whole, char **ret, Err *e);
/* The first part, malloc'ed. An error is a record that somebody has damaged. */
int cri_note_listed(const char *note, uint8_t **ret, size_t *ret_len, Err *e);
/* The second part; freed with cri_message_freep. */
int cri_note_whole(const char *note, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, Err *e);
