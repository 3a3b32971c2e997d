/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One download of a blob at a time, however many pulls want it.
 *
 * Who needs a blob joins its flight and waits for a turn. The one whose turn it is fetches; the others wait, watch how far it is, and
 * look into the store when the turn is theirs: the blob, or the layer made of it, is there then. One that is stopped ends its
 * turn early and leaves what has arrived to the next, who goes on from there. A turn is never waited for while holding
 * another one, so no two can wait for each other.
 *
 * When the last one leaves because it was stopped or cut off, what has arrived is kept for a while, for whoever asks again: a few
 * blobs at most, in nameless files that go with the engine.
 */
#pragma once

#include "store/store.h"

typedef struct Flights Flights;
typedef struct Flight Flight;

Flights *flights_new(void);
void flights_free(Flights *f); /* nobody is in any */
/* Drops what nobody has asked for again in age_ns. */
void flights_forget(Flights *f, int64_t age_ns);

/* origin: where it is fetched from. Only those who ask the same server for the same blob fly together: what one server sends, or how
 * slowly, is no matter of another's. NULL: out of memory. To be left; keep: what has arrived may be asked for again. */
Flight *flight_join(Flights *f, const char *origin, const char *digest);
void flight_leave(Flight *x, bool keep);
/* Waits up to timeout_ms: true once the turn is the caller's. */
bool flight_turn(Flight *x, int timeout_ms);
/* What arrived in the turn before, or NULL; the caller's. Only in one's turn. */
BlobWriter *flight_partial(Flight *x);
/* Ends the turn; partial (may be NULL) goes to the next. */
void flight_land(Flight *x, BlobWriter *partial);
/* For the others to watch. */
void flight_tell(Flight *x, int64_t bytes);
int64_t flight_told(const Flight *x);
