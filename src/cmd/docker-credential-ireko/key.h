/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key of the vault: 32 random bytes, known by a random id, in one of two places.
 *
 * KEY_FILE: $XDG_STATE_HOME/ireko/credentials-<id>.key (default ~/.local/state), mode 0600. It lies in another tree than the vault, so that a copy of one of
 * them (a backup of ~/.local/share, a folder of dotfiles, a disk image of a volume) is worth nothing alone. Whoever can read
 * both as the user, or is root, has the credentials.
 *
 * KEY_KEYRING: the kernel's user keyring. It is on no disk, and gone at the next boot; then the vault cannot be opened any more, and the user logs
 * in again. Processes of the same user can still ask the kernel for it.
 */
#pragma once

#include "base/err.h"

#define KEY_BYTES    32
#define KEY_ID_BYTES 16

typedef enum KeyPlace { KEY_FILE = 'F', KEY_KEYRING = 'K' } KeyPlace;

typedef struct VaultKey {
	KeyPlace place;
	uint8_t id[KEY_ID_BYTES];
	uint8_t bytes[KEY_BYTES];
} VaultKey;

/* The key with that id. ERR_NOT_FOUND if it is gone. */
int key_find(KeyPlace place, const uint8_t id[KEY_ID_BYTES], VaultKey *ret, Err *e);
/* Makes a key and puts it where it belongs. */
int key_make(KeyPlace place, VaultKey *ret, Err *e);
/* Of a key that is not needed any more; nothing if it is gone already. */
int key_remove(KeyPlace place, const uint8_t id[KEY_ID_BYTES], Err *e);
void key_done(VaultKey *k);
