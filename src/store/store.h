/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: blobs, layers, images and the metadata database, under one data root.
 *
 *   content/blobs/sha256/<hex>   immutable; hashed while written, renamed into place
 *   content/ingest/<random>      being written; removed at start
 *   layers/<chain id hex>/diff   one unpacked layer in overlayfs form (whiteouts as 0/0 devices, opaque xattrs); or else
 *   layers/<chain id hex>/layer.erofs   the same as an image (erofs.h), of which no file is made
 *   ireko.db                     SQLite, WAL: what exists. A file without a row is garbage, removed at start
 *
 * Crash rule: a thing exists when its row is committed. A layer's row is committed before its bytes are synced, with the boot
 * id; a background syncfs clears it (`synced`). Rows of another boot that are not synced are dropped at store_open, with
 * their blobs re-verified, so power loss never leaves a damaged layer counted as good.
 *
 * Threads: a Store is shared; each call takes the locks it needs (SQLite in serialised mode with one connection; a lock
 * per chain id while a layer is being made, so two pulls of one layer unpack it once).
 *
 * Names: image id = digest of its config (of an artifact: of its manifest). chain id as in the image-spec: identity of a layer with all below it.
 */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "oci/image.h"
#include "oci/reference.h"

typedef struct Store Store;

typedef struct StoreOptions {
	const char *data_root;
	const char *unpack_program; /* ireko-unpack */
	int64_t layer_max_bytes;    /* budget of one unpacked layer; 0: 64 GiB */
	int64_t layer_max_files;    /* 0: 4,000,000 */
	const char *snapshotter; /* erofs, overlayfs, vfs, or NULL or auto: what kernel and file system can */
} StoreOptions;

int store_open(const StoreOptions *o, Store **ret, Err *e);
void store_close(Store *s);
DEFINE_CLEANUP(Store *, store_close)
int store_root_fd(const Store *s);
/* What a layer may have. */
typedef struct StoreLayerLimits {
	int64_t bytes, files;
} StoreLayerLimits;
StoreLayerLimits store_layer_limits(const Store *s);
const char *store_root(const Store *s);
/* The snapshotter in use, and why that one. */
const char *store_snapshotter(const Store *s);
const char *store_snapshotter_why(const Store *s);

/* ---- the database, for the floors above ----
 * Documents in named collections ("container", "network", "volume", ...): key -> JSON text. One row each; put and delete are
 * durable against a crash of the process at return. */
int store_doc_put(Store *s, const char *collection, const char *key, const json_t *doc, Err *e);
int store_doc_delete(Store *s, const char *collection, const char *key, Err *e);
/* ERR_NOT_FOUND if missing. */
int store_doc_get(Store *s, const char *collection, const char *key, json_t **ret, Err *e);
/* In the order of strcmp. No document is read, so none can be in the way. */
int store_doc_keys(Store *s, const char *collection, char ***ret, Err *e);
/* Calls fn for each in key order until it returns non-zero, which is returned. doc is borrowed. */
int store_doc_each(Store *s, const char *collection, int (*fn)(void *user, const char *key, json_t *doc),
		   void *user, Err *e);
/* The same on all processors, in no order; after one that is not zero a few more may be called. */
int store_doc_each_at_once(Store *s, const char *collection,
			   int (*fn)(void *user, const char *key, json_t *doc), void *user, Err *e);

/* ---- leases ----
 * Between finding a layer or blob here (or making it) and recording the image that needs it, hold a lease: while anybody does,
 * image deletion removes no layer and no blob; what it would have removed goes when the last lease ends. Counted, cheap,
 * for any thread. */
void store_lease_begin(Store *s);
int store_lease_end(Store *s, Err *e);

/* What a deletion took away: chain ids of layers, and the bytes of these (unpacked) and of blobs. */
typedef struct StoreFreed {
	char **layers;
	int64_t bytes;
} StoreFreed;
void store_freed_done(StoreFreed *f);

/* ---- blobs ---- */
bool store_blob_has(Store *s, const char *digest);
/* A read-only fd on a blob; ERR_NOT_FOUND. */
int store_blob_open(Store *s, const char *digest, int64_t *ret_size, Err *e);
/* A whole blob in memory, at most max bytes. */
int store_blob_read(Store *s, const char *digest, size_t max, char **ret, size_t *ret_len, Err *e);
int store_blob_put(Store *s, const void *data, size_t len, char ret_digest[DIGEST_LEN + 1], Err *e);
/* Removes a blob that no image and no layer needs; one that is needed or missing is left alone: success. */
int store_blob_release(Store *s, const char *digest, Err *e);

/* An image that is here needs it, and it is missing: damaged and removed, or lost with the power. */
bool store_blob_lost(Store *s, const char *digest);

/* A blob that arrives in pieces. commit verifies size (if >= 0) and digest (if not NULL) and fails with ERR_INVALID
 * "digest mismatch: expected ..., got ..."; abort or free removes what was written. */
typedef struct BlobWriter BlobWriter;
int blob_writer_new(Store *s, BlobWriter **ret, Err *e);
int blob_writer_write(BlobWriter *w, const void *buf, size_t len, Err *e);
int64_t blob_writer_size(const BlobWriter *w);
/* Its file, which lives as long as it does; to be read with pread. */
int blob_writer_fd(const BlobWriter *w);
int blob_writer_commit(BlobWriter *w, const char *want_digest, int64_t want_size,
		       char ret_digest[DIGEST_LEN + 1], Err *e);
void blob_writer_free(BlobWriter *w);
DEFINE_CLEANUP(BlobWriter *, blob_writer_free)

/* ---- layers ---- */
/* SHA-256 of text as "sha256:hex"; the chain id of diff_id over parent (NULL: the lowest). */
void digest_of(const void *data, size_t len, char ret[DIGEST_LEN + 1]);
void chain_id_next(const char *parent, const char *diff_id, char ret[DIGEST_LEN + 1]);

bool store_layer_has(Store *s, const char *chain_id);
/* Unpacks a tar stream (plain, gzip, zstd; xz, bzip2) read from fd in the ireko-unpack sandbox. If want_diff_id is given the stream's
 * digest must equal it (ERR_INVALID). `blob` (may be NULL) is the compressed blob that it came from, kept in the row for save, push and repair. fd may be a pipe
 * that is still being filled (unpack while downloading): it is committed only if `gate` (may be NULL) returns 0 at the end, e.g. after the blob was verified. */
typedef struct LayerApply {
	const char *parent;       /* chain id, or NULL */
	const char *want_diff_id; /* or NULL: taken as it comes */
	const char *blob;
	int fd;
	/* Called when the tree has been unpacked: the layer below need not be there before it returns 0. NULL: it is there. */
	int (*below)(void *user, Err *e);
	int (*gate)(void *user, Err *e);                  /* may fill in what `blob` points at */
	void (*progress)(void *user, int64_t bytes_read); /* of the stream as given; may be NULL */
	void *user;
} LayerApply;
int store_layer_apply(Store *s, const LayerApply *a, char ret_chain[DIGEST_LEN + 1],
		      char ret_diff[DIGEST_LEN + 1], Err *e);
/* Makes an overlayfs upper directory into a layer over parent: hashes its deterministic tar, then renames (move) or copies the
 * directory. *ret_empty (diff with no entries) lets callers skip it. */
int store_layer_commit_upper(Store *s, const char *parent, const char *upper_dir, bool move,
			     char ret_chain[DIGEST_LEN + 1], char ret_diff[DIGEST_LEN + 1], int64_t *ret_size,
			     bool *ret_empty, Err *e);
/* The copy of a container's: `copied` is called as soon as the directory is not looked at any more, before the copy is hashed; its failure
 * is the commit's. */
typedef struct LayerCopy {
	const char *parent, *upper_dir;
	int (*copied)(void *user, Err *e);
	void *user;
} LayerCopy;
int store_layer_commit_copy(Store *s, const LayerCopy *c, char ret_chain[DIGEST_LEN + 1],
			    char ret_diff[DIGEST_LEN + 1], int64_t *ret_size, bool *ret_empty, Err *e);
/* Makes one layer over `base` (NULL: none) of the n topmost layers of the chain `top`, which lie on it. The same layers give the same
 * digest everywhere. */
int store_layers_squash(Store *s, const char *base, const char *top, size_t n, char ret_chain[DIGEST_LEN + 1],
			char ret_diff[DIGEST_LEN + 1], Err *e);
/* Writes the uncompressed tar of one layer whose SHA-256 is its diff id; verified while written. */
int store_layer_write_tar(Store *s, const char *chain_id, int out_fd, Err *e);
/* The diff ids of the layers of a chain, the lowest first; malloc'ed. */
int store_layer_diffs(Store *s, const char *chain_id, char ***ret, Err *e);
int store_layer_size(Store *s, const char *chain_id, int64_t *ret, Err *e);
/* Bytes of that tar; cheap, unless it has to be made to be counted, which is done once. */
int store_layer_tar_size(Store *s, const char *chain_id, int64_t *ret, Err *e);
/* Removes a layer, and those below it, that no image, container or other layer needs. One that is needed or missing is left
 * alone: success. What went is added to ret (may be NULL). */
int store_layer_release(Store *s, const char *chain_id, StoreFreed *ret, Err *e);
/* The tar of an overlay upper directory (whiteouts as .wh. files), deterministic. */
int store_diff_write_tar(const char *upper_dir, int out_fd, Err *e);

/* ---- layers as registries want them: compressed tars ---- */
typedef enum LayerForm { LAYER_GZIP, LAYER_ZSTD } LayerForm;
typedef struct LayerBlob {
	char digest[DIGEST_LEN + 1];
	int64_t size;
	LayerForm form;
} LayerBlob;
/* The blob that a layer came from, if it is here and of one of these forms: 1; else 0. */
int store_layer_blob(Store *s, const char *chain_id, LayerBlob *ret, Err *e);
/* What store_layer_pack made of the layer in that form the last time: 1, even if the blob is gone since; else 0. */
int store_layer_form(Store *s, const char *chain_id, LayerForm form, LayerBlob *ret, Err *e);
/* Compresses a layer into a blob; the same layer gives the same blob. Hold a lease, and call store_blob_release when done: only a layer
 * that had no blob keeps this one by itself. */
typedef struct LayerPack {
	LayerForm form;
	/* So many bytes can be read from fd by now (pread; the caller's only while the callback runs). May be NULL. Comes from a thread
	 * of its own. */
	void (*grown)(void *user, int fd, int64_t bytes);
	void (*progress)(void *user, int64_t tar_bytes); /* may be NULL */
	bool (*stopped)(void *user);                     /* may be NULL */
	void *user;
} LayerPack;
int store_layer_pack(Store *s, const char *chain_id, const LayerPack *p, LayerBlob *ret, Err *e);

/* ---- where blobs were seen ---- */
/* Notes that a repository ("library/debian") of a registry ("docker.io") has these blobs (strv). */
int store_blobs_seen(Store *s, const char *domain, const char *path, char *const *digests, Err *e);
/* Repositories of the registry that had the blob, the latest first; strv, NULL if none is known. */
int store_blob_places(Store *s, const char *digest, const char *domain, char ***ret_paths, Err *e);

/* ---- snapshots: writable layers of containers ----
 * containers/<key>/{diff,work}: made by prepare, kept until removed. Without `work` (vfs), diff is a copy of all.
 * A key with a dot in it is that of an image which is mounted as it is; others get the mount points that every container needs. */
int store_snapshot_prepare(Store *s, const char *key, const char *chain_id /* NULL: empty */, Err *e);
/* A detached overlay mount (the caller's fd): visible nowhere until moved into a mount namespace, gone when the fd is closed. */
int store_snapshot_mount(Store *s, const char *key, bool read_only, int *ret_fd, Err *e);
/* Ids of a user namespace: where root in there (uid, gid out here) has what is root's on disk. */
typedef struct StoreShift {
	int userns_fd;
	uint32_t uid, gid;
} StoreShift;
/* The writable mount, with ids as the user namespace maps them. Nothing on disk differs. */
int store_snapshot_mount_shifted(Store *s, const char *key, const StoreShift *shift, int *ret_fd, Err *e);
/* The writable mount of a snapshot that is mounted but this once, of which a layer is made: neither fsync(2) in it nor its end waits for
 * the disk, as the layer does not either. shift may be NULL. */
int store_snapshot_mount_once(Store *s, const char *key, const StoreShift *shift, int *ret_fd, Err *e);
/* Detached read-only mount of image layers alone. */
int store_layers_mount(Store *s, const char *chain_id, int *ret_fd, Err *e);
/* Path of the directory that the container writes into; malloc'ed. */
char *store_snapshot_upper(Store *s, const char *key);
/* Path of a directory with what the container changed, in the form of an overlay's upper one: the upper directory itself, or (vfs) one that is
 * made for the question and lasts until the next; malloc'ed. */
int store_snapshot_changes(Store *s, const char *key, char **ret, Err *e);
/* Of all there are. */
int store_snapshot_keys(Store *s, char ***ret, Err *e);
/* Missing is success. */
int store_snapshot_remove(Store *s, const char *key, Err *e);
/* With all else that is in its folder, "containers/<key>". */
int store_snapshot_remove_folder(Store *s, const char *key, Err *e);
int store_snapshot_size(Store *s, const char *key, int64_t *ret, Err *e);
/* The same with what it has of the disk (dir.h). */
struct DirUsage;
int store_snapshot_usage(Store *s, const char *key, struct DirUsage *ret, Err *e);

/* ---- images ---- */
typedef struct StoreImage {
	char *id;              /* digest of the config; of an artifact: of the manifest */
	char *manifest_digest; /* of the manifest it was pulled or loaded with, or NULL */
	int64_t size;          /* bytes unpacked */
	int64_t created_ns, tagged_ns, used_ns;
	char *parent;        /* image id it was built from, or NULL */
	char *chain_id;      /* top layer, NULL for an image without layers */
	char *labels;        /* a JSON object as text; NULL: see the config */
	char *artifact_type; /* NULL: a container image */
	char *index_digest;  /* of the index that it was built with, see store_image_parts_set; NULL: none */
	bool part;           /* another image's part: it goes with that one */
	bool has_parts;
	char **tags;    /* full references, sorted */
	char **digests; /* full name@digest */
} StoreImage;

void store_image_done(StoreImage *i);
/* Records an image whose layers and config blob exist. Idempotent. */
int store_image_put(Store *s, const char *config_digest, const char *manifest_digest, const char *parent,
		    Err *e);
/* Records what a registry holds besides images (charts, modules, signatures: OCI image-spec, "Guidelines for Artifact Usage"), whose manifest
 * and blobs are all here. Many have the same config, so its id is the digest of its manifest. Idempotent. */
int store_artifact_put(Store *s, const char *manifest_digest, Err *e);
/* Keeps a blob as long as the image: the index that led to it, say. */
int store_image_keep(Store *s, const char *id, const char *digest, Err *e);
/* What was built together has one index, which is here as a blob: the image that names stand for, and its parts, which are images of other platforms and
 * attestations (artifacts). Replaces what it had before; NULL, NULL: it stands alone. The index stays as long as the image. */
int store_image_parts_set(Store *s, const char *id, const char *index_digest, char *const *parts, Err *e);
/* One more. Nothing happens if it is one already. */
int store_image_part_add(Store *s, const char *id, const char *part, Err *e);
/* The ids of its parts, as they were set; *ret is NULL if there are none. */
int store_image_parts(Store *s, const char *id, char ***ret, Err *e);
/* Puts the part of that platform in the image's place, if the image itself is of another one; else leaves it as it is. */
int store_image_choose(Store *s, StoreImage *image, const ImagePlatform *want, Err *e);
int store_image_get(Store *s, const char *id, StoreImage *ret, Err *e);
/* ERR_INVALID for an artifact. */
int store_image_config(Store *s, const char *id, ImageConfig *ret, Err *e);
/* What a user typed: reference, name@digest, id or unique id prefix (with or without "sha256:"). ERR_NOT_FOUND "No such image: x"; ERR_INVALID if ambiguous. */
int store_image_find(Store *s, const char *name, StoreImage *ret, Err *e);
int store_image_list(Store *s, StoreImage **ret, size_t *ret_n, Err *e);
void store_images_free(StoreImage *v, size_t n);
/* True if every layer and blob that the image has is there, and no blob shorter or longer than it was. No byte of them is read. */
bool store_image_is_whole(Store *s, const char *id);
/* Points a full reference (tag or digest form) at an image, away from any other. *ret_old (may be NULL): the image it pointed at before or NULL; malloc'ed. */
int store_tag_put(Store *s, const char *reference, const char *image_id, char **ret_old, Err *e);
/* The first reference of an image that store_image_put has recorded, under a lease that the caller holds since before that: should it have
 * been pruned in between, because it had none, it is recorded again. */
int store_tag_put_new(Store *s, const char *reference, const char *image_id, const char *manifest_digest,
		      const char *parent, Err *e);
int store_tag_delete(Store *s, const char *reference, Err *e);
/* Deletes an image without tags and every layer and blob that nothing else needs; what went is added to ret (may be NULL). */
int store_image_delete(Store *s, const char *id, StoreFreed *ret, Err *e);
/* Something was made from the image: it is of use. Written down once an hour. */
int store_image_used(Store *s, const char *id, Err *e);

/* ---- the build cache ---- */
typedef struct StoreCacheEntry {
	char *key;
	char *chain_id,
	    *diff_id; /* chain_id NULL: nothing was changed and there are no layers at all; diff_id: "LOWER UPPER" of a step that gave two */
	bool empty;   /* the step changed nothing: chain_id is the layer before it */
	int64_t created_ns, used_ns, uses;
	char *step;    /* as history tells it; NULL: not known */
	char *parent;  /* key of the step before it, or NULL */
	char *content; /* digest of the files that it reads, or NULL */
	/* Of listings: bytes of its layer (0 if it is empty or gone), which an image has too, which a container is on. */
	int64_t size;
	bool shared, in_use;
} StoreCacheEntry;
void store_cache_entry_done(StoreCacheEntry *c);
void store_cache_free(StoreCacheEntry *v, size_t n);
/* 1 if there is one whose layer is there, which is noted as a use; 0 if not. */
int store_cache_get(Store *s, const char *key, StoreCacheEntry *ret, Err *e);
int store_cache_put(Store *s, const StoreCacheEntry *c, Err *e);
/* The last one made of the same step: after the same parent (with other files), if there is one, else after another. 0: none. */
int store_cache_find_like(Store *s, const char *step, const char *parent, StoreCacheEntry *ret, Err *e);
/* The last one made of the same step after the same parent that gave one layer only; 0: none. */
int store_cache_find_whole(Store *s, const char *step, const char *parent, StoreCacheEntry *ret, Err *e);
/* The last one made after the same parent, whatever the step; 0: none. */
int store_cache_find_after(Store *s, const char *parent, StoreCacheEntry *ret, Err *e);
/* The longest unused first. */
int store_cache_list(Store *s, StoreCacheEntry **ret, size_t *ret_n, Err *e);
/* The row, and the layers that were kept by it alone; what went is added to ret. A missing key is success. */
int store_cache_delete(Store *s, const char *key, StoreFreed *ret, Err *e);
/* Rows whose layers are gone. */
int store_cache_tidy(Store *s, Err *e);
/* What of the cache goes. Without limits (max_bytes, min_free, reserved: 0) it is all that matches; with them no more than brings the
 * cache below max_bytes and the free space above min_free, and `reserved` bytes of it stay; with `reserved` alone all above
 * that goes. The longest unused goes first. Nothing that a container is on goes, and only with `all` rows whose layers images
 * have too, which stay with these. */
typedef struct StoreCachePrune {
	bool all;
	int64_t unused_since_ns; /* only what was not used since; 0: whatever */
	int64_t max_bytes, min_free, reserved;
	bool (*match)(void *user, const StoreCacheEntry *c); /* may be NULL */
	void *user;
} StoreCachePrune;
/* Keys are appended to ret_keys (may be NULL), what went is added to ret. */
int store_cache_prune(Store *s, const StoreCachePrune *p, char ***ret_keys, StoreFreed *ret, Err *e);

/* ---- housekeeping ---- */
/* Removes layers and blobs that neither an image, nor a container, nor the build cache needs and that came before older_than_ns.
 * While a lease is held nothing goes. What went is added to ret. */
int store_sweep(Store *s, int64_t older_than_ns, StoreFreed *ret, Err *e);
/* Of the file system of the data root, for users without privilege. */
typedef struct StoreSpace {
	int64_t total, free;
	int64_t files_free; /* inodes; -1: the file system does not count them */
} StoreSpace;
int store_space(Store *s, StoreSpace *ret, Err *e);
/* Of layers (unpacked) and of blobs, from the database: no file is looked at. */
typedef struct StoreUsage {
	int64_t layers, blobs; /* bytes */
	int64_t inodes;        /* of both; -1 while those of some layer are not known: store_count_inodes() */
} StoreUsage;
int store_usage(Store *s, StoreUsage *ret, Err *e);
/* Looks for about so long at layers whose inodes nobody has counted, one at least: those that an engine of before has made. */
int store_count_inodes(Store *s, int64_t for_ns, Err *e);
/* What each image takes: all of it, and of that what other images have too. One pass over the database for all of them. */
typedef struct StoreImageUsage {
	char id[DIGEST_LEN + 1];
	int64_t layers, shared_layers; /* unpacked */
	int64_t blobs, shared_blobs;   /* config, manifest, packed layers */
} StoreImageUsage;
/* In order of id. */
int store_image_usage(Store *s, StoreImageUsage **ret, size_t *ret_n, Err *e);
/* Bytes of all layers and blobs that the images named have (NULL: all images), each counted once. */
int store_images_size(Store *s, char *const *ids, int64_t *ret, Err *e);

/* ---- archives ----
 * load: docker-archive (manifest.json), OCI layout tar; plain or compressed. Calls `loaded` for each image, with its reference or, untagged, NULL. */
typedef struct ArchiveLoad {
	int fd;
	const ImagePlatform
	    *platform; /* of what is loaded; NULL: this machine's where an index offers several, else any */
	void (*progress)(void *user, const char *layer, int64_t current, int64_t total);
	void (*loaded)(void *user, const char *reference, const char *image_id);
	void *user;
	const char *only; /* how names begin that it may give; NULL: any */
} ArchiveLoad;
int store_archive_load(Store *s, const ArchiveLoad *l, Err *e);
/* The images of an OCI image layout that is a directory below the data root, in which nobody else writes: its files become the store's. */
int store_layout_load(Store *s, int dir_fd, const ImagePlatform *platform, Err *e);
/* save: what to write is looked up first, and nothing is written if a part of it is missing; then it goes to a descriptor, once. */
typedef enum ArchiveFormat {
	ARCHIVE_DOCKER, /* docker-archive and OCI layout at once (docker-api-map 1.8 "save"), layers uncompressed */
	ARCHIVE_OCI, /* OCI layout; images that came with a manifest as they came */
} ArchiveFormat;
typedef struct ArchiveSave {
	char *const *names; /* as users typed them */
	char *const
	    *as; /* of one image: the names that it has in the archive, instead of its own; NULL: its own */
	ArchiveFormat format;
	const ImagePlatform *platform; /* that the images must have; NULL: any */
} ArchiveSave;
typedef struct ArchiveChoice ArchiveChoice;
int store_archive_choose(Store *s, const ArchiveSave *o, ArchiveChoice **ret, Err *e);
void archive_choice_free(ArchiveChoice *x);
DEFINE_CLEANUP(ArchiveChoice *, archive_choice_free)
/* The id of the i-th image, or NULL behind the last. */
const char *archive_choice_image(const ArchiveChoice *x, size_t i);
/* A tar. Deterministic. */
int store_archive_write(ArchiveChoice *x, int out_fd, Err *e);
/* Everything up to the end of fd as a blob, as it is; want: the digest it must have, or NULL. */
int store_archive_keep(Store *s, int fd, const char *want, char ret_digest[DIGEST_LEN + 1], Err *e);
/* `docker import`: a root filesystem tar becomes a one-layer image. */
typedef struct ArchiveImport {
	int fd;
	const ImageRunConfig *run; /* may be NULL */
	const char *message;       /* may be NULL */
	const ImagePlatform *platform;
	int64_t created_ns; /* 0: now */
} ArchiveImport;
int store_archive_import(Store *s, const ArchiveImport *a, char ret_id[DIGEST_LEN + 1], Err *e);

/* ---- tars into and out of a mounted root, in the sandbox (docker cp, build contexts, ADD) ---- */
/* Unpacks a tar from fd into the directory dirfd (O_RDONLY or O_PATH, e.g. opened with path_open_in_root), through ireko-unpack chrooted there. */
/* How ids of files are called in a user namespace whose files are on disk, or shown, with the host's: inside is what a tar says. */
struct NamespaceIdMap;
typedef struct StoreIds {
	const struct NamespaceIdMap *uids, *gids;
	size_t n_uids, n_gids;
} StoreIds;

typedef struct ArchiveExtract {
	int fd;
	int dir_fd;
	bool no_overwrite_dir_non_dir; /* docker cp: a directory may not replace a file nor the reverse */
	bool keep_owner;               /* ids from the tar; else all to uid/gid */
	uint32_t uid, gid;
	bool whiteouts; /* layer semantics; else .wh. names are plain files */
	bool allow_devices;
	const StoreIds *ids; /* NULL: as they are */
	/* Asked whenever nothing was heard for a moment, with what was read of the stream, in steps of a MiB: an error breaks off. May be NULL. */
	int (*go_on)(void *user, int64_t bytes_read, Err *e);
	void *user;
} ArchiveExtract;
int store_archive_extract(Store *s, const ArchiveExtract *x, Err *e);
/* True if fd, a regular file from its beginning on, is a tar, compressed or not, as far as its first header tells. fd's offset is used. */
int store_archive_recognise(Store *s, int fd, bool *ret, Err *e);
/* Writes a tar of `name` at dir_fd (its top entry is called `as`), to out_fd, never leaving dir_fd, symlinks kept as they are.
 * ids: NULL: as they are. */
int store_archive_pack(int dir_fd, const char *name, const char *as, const StoreIds *ids, int out_fd, Err *e);
