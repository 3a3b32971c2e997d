/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault: credentials of one user in one encrypted file, $XDG_DATA_HOME/ireko/credentials (default ~/.local/share).
 *
 * It is sealed whole with AES-256-GCM under a fresh random nonce each time, so that neither the servers nor the secrets can be read or
 * changed without the key (key.h). It is replaced by renaming, and written under a lock, so that a reader sees one state or
 * the next, and no writer undoes another's.
 *
 *   "ireko-credentials-1\n"  place of the key (1 byte)  its id (16)  nonce (12)  tag (16)  JSON, encrypted
 *
 * What stands before the tag is authenticated too. The JSON is {"<server>": {"Username": ..., "Secret": ...}}.
 */
#pragma once

#include "base/json.h"
#include "key.h"

#define VAULT_MAX         (8u << 20) /* of the file */
#define VAULT_ENTRIES_MAX 1000

typedef struct Vault {
	int dir;         /* holds the lock */
	json_t *entries; /* by server */
	bool there;      /* there is a file */
	KeyPlace place;
	uint8_t key_id[KEY_ID_BYTES];
} Vault;

/* Locked against writers, and empty if there is no file. ERR_NOT_FOUND if its key is gone, ERR_INVALID if it is damaged: no credential comes out of it
 * then. */
int vault_open(Vault *ret, Err *e);
/* For a change: locked for this one alone. A vault whose key is gone begins anew, as nobody can read the old one. */
int vault_open_to_write(Vault *ret, Err *e);
/* place 0: as it is, a file's for a new one. With another place the key moves. An empty vault is removed with its key. */
int vault_save(Vault *v, KeyPlace place, Err *e);
void vault_done(Vault *v);
