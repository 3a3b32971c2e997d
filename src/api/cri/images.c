/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ImageService: images as a kubelet sees them, which are those of the engine, for all its doors.
 *
 * An image has one entry, whatever its names; its id is the digest of its config, and that is what a pull answers with and what containers refer to. Names are whole
 * ("docker.io/library/busybox:1.36"). Parts of images of several platforms are not listed: they go with theirs.
 */
#include "api/cri/door-internal.h"

#include "api/cri/auth.h"
#include "api/cri/verbose.h"
#include "base/secret.h"
#include "engine/usage.h"

#include <uthash.h>

#define PIECE_IMAGES 256 /* in one message of a stream */
#define CONFIG_MAX   (4u << 20)
#define USERS_MAX    1024 /* that are remembered */

/* The user that an image's config names: what it is cannot change, as the id is the digest of the config. So a config is read once. */
struct CriImageUser {
	char id[DIGEST_LEN + 1];
	char *user; /* or NULL */
	UT_hash_handle hh;
};

void cri_image_users_free(CriDoor *d)
{
	CriImageUser *u, *tmp;

	HASH_ITER (hh, d->image_users, u, tmp) {
		HASH_DEL(d->image_users, u);
		free(u->user);
		free(u);
	}
}

/* False: not known yet. */
static bool user_known(CriDoor *d, const char *id, char **ret)
{
	CriImageUser *u;

	pthread_mutex_lock(&d->lock);
	HASH_FIND_STR(d->image_users, id, u);
	if (u)
		*ret = u->user ? strdup(u->user) : NULL;
	pthread_mutex_unlock(&d->lock);
	return u;
}

/* Without memory it is read again the next time. */
static void user_remember(CriDoor *d, const char *id, const char *user)
{
	CriImageUser *u = calloc(1, sizeof(*u)), *there;

	if (!u)
		return;
	snprintf(u->id, sizeof(u->id), "%s", id);
	u->user = user ? strdup(user) : NULL;
	pthread_mutex_lock(&d->lock);
	HASH_FIND_STR(d->image_users, id, there);
	if (!there && HASH_COUNT(d->image_users) >= USERS_MAX)
		cri_image_users_free(d);
	if (!there && (u->user || !user)) {
		HASH_ADD_STR(d->image_users, id, u);
		u = NULL;
	}
	pthread_mutex_unlock(&d->lock);
	if (u)
		free(u->user);
	free(u);
}

static char *user_of(CriDoor *d, const char *id)
{
	ImageConfig config = {0};
	char *user = NULL;

	if (user_known(d, id, &user))
		return user;
	if (store_image_config(engine_store(d->engine), id, &config, NULL) < 0)
		return NULL;
	user_remember(d, id, config.run.user);
	user = take_ptr(config.run.user);
	image_config_done(&config);
	return user;
}

typedef struct ImageDoc {
	Cri__Image image;
	Cri__Int64Value uid;
	Cri__ImageSpec spec;
	char *user; /* of its config */
} ImageDoc;

static void image_doc_done(ImageDoc *d)
{
	free(d->user);
}

/* "1000", "1000:1000", "app", "app:staff": a number, or a name that a kubelet refuses where it has to be sure that it is not root's. */
static void fill_user(ImageDoc *d)
{
	int64_t uid;

	if (str_empty(d->user))
		return;
	d->user[strcspn(d->user, ":")] = '\0';
	if (str_to_i64(d->user, &uid) < 0) {
		d->image.username = d->user;
		return;
	}
	cri__int64_value__init(&d->uid);
	d->uid.value = uid;
	d->image.uid = &d->uid;
}

/* Points into i. An artifact has no config to look at. */
static void image_doc_fill(CriDoor *d, const StoreImage *i, ImageDoc *ret)
{
	*ret = (ImageDoc){0};
	cri__image__init(&ret->image);
	cri__image_spec__init(&ret->spec);
	ret->spec.image = i->id;
	ret->image.spec = &ret->spec;
	ret->image.id = i->id;
	ret->image.size = (uint64_t)MAX2(i->size, (int64_t)0);
	ret->image.repo_tags = i->tags;
	ret->image.n_repo_tags = strv_len(i->tags);
	ret->image.repo_digests = i->digests;
	ret->image.n_repo_digests = strv_len(i->digests);
	if (i->artifact_type)
		return;
	ret->user = user_of(d, i->id);
	fill_user(ret);
}

/* ---- lists ---- */

typedef struct Images {
	StoreImage *v;
	size_t n;
	ImageDoc *docs;
	Cri__Image **list;
	size_t n_list;
	char pinned[DIGEST_LEN + 1]; /* the image of sandboxes, which no kubelet is to remove; "": none */
} Images;

static void images_done(Images *x)
{
	for (size_t i = 0; i < x->n_list; i++)
		image_doc_done(&x->docs[i]);
	free(x->docs);
	free(x->list);
	store_images_free(x->v, x->n);
}

static int one(Store *s, const char *name, Images *x, Err *e)
{
	Err own = {0};
	int r;

	x->v = calloc(1, sizeof(*x->v));
	if (!x->v)
		return err_oom(e);
	r = store_image_find(s, name, &x->v[0], &own);
	if (r < 0)
		return own.kind == ERR_NOT_FOUND || own.kind == ERR_INVALID
			   ? 0
			   : err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
	x->n = 1;
	return 0;
}

/* It is fetched with the first pod. */
static void find_pinned(CriDoor *d, char to[DIGEST_LEN + 1])
{
	const char *name = engine_pod_image(d->engine);
	_cleanup_(store_image_done) StoreImage i = {0};

	if (name && store_image_find(engine_store(d->engine), name, &i, NULL) >= 0)
		(void)snprintf(to, DIGEST_LEN + 1, "%s", i.id);
}

static int images_make(CriDoor *d, const Cri__ImageFilter *f, Images *x, Err *e)
{
	Store *s = engine_store(d->engine);
	const char *name = f && f->image ? f->image->image : NULL;
	int r = str_empty(name) ? store_image_list(s, &x->v, &x->n, e) : one(s, name, x, e);

	if (r < 0)
		return r;
	x->docs = calloc(x->n + 1, sizeof(*x->docs));
	x->list = calloc(x->n + 1, sizeof(Cri__Image *));
	if (!x->docs || !x->list)
		return err_oom(e);
	find_pinned(d, x->pinned);
	for (size_t i = 0; i < x->n; i++)
		if (!x->v[i].part) {
			image_doc_fill(d, &x->v[i], &x->docs[x->n_list]);
			x->docs[x->n_list].image.pinned = streq(x->v[i].id, x->pinned);
			x->list[x->n_list] = &x->docs[x->n_list].image;
			x->n_list++;
		}
	return 0;
}

int cri_rpc_list_images(GrpcCall *call, void *user, Err *e)
{
	CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(images_done) Images x = {0};
	Cri__ListImagesResponse answer = CRI__LIST_IMAGES_RESPONSE__INIT;
	int r = grpc_receive_only(call, &cri__list_images_request__descriptor, &rq, e);

	if (r >= 0)
		r = images_make(d, ((const Cri__ListImagesRequest *)rq)->filter, &x, e);
	if (r < 0)
		return r;
	answer.images = x.list;
	answer.n_images = x.n_list;
	return grpc_send_message_more(call, &answer.base, e);
}

int cri_rpc_stream_images(GrpcCall *call, void *user, Err *e)
{
	CriDoor *d = user;
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	_cleanup_(images_done) Images x = {0};
	int r = grpc_receive_only(call, &cri__stream_images_request__descriptor, &rq, e);

	if (r >= 0)
		r = images_make(d, ((const Cri__StreamImagesRequest *)rq)->filter, &x, e);
	for (size_t at = 0; r >= 0 && at < x.n_list; at += PIECE_IMAGES) {
		Cri__StreamImagesResponse piece = CRI__STREAM_IMAGES_RESPONSE__INIT;

		piece.images = x.list + at;
		piece.n_images = MIN2(x.n_list - at, (size_t)PIECE_IMAGES);
		r = grpc_send_message(call, &piece.base, e);
	}
	return r;
}

/* ---- status ---- */

/* As its registry has it, for people. */
static int verbose(Store *s, const StoreImage *i, CriVerbose *ret, Err *e)
{
	_cleanup_free_ char *text = NULL;
	json_t *config = NULL;
	size_t len;
	int r = store_blob_read(s, i->id, CONFIG_MAX, &text, &len, e);

	if (r >= 0)
		r = json_parse_bounded(text, len, "the image's config", &config, e);
	if (r < 0)
		return err_ctx(e, r, "image %s", i->id);
	return cri_verbose_add(ret, "info",
			       json_pack("{s:s?, s:o}", "chainID", i->chain_id, "imageSpec", config), e);
}

/* One that is not here is an answer without an image. */
int cri_rpc_image_status(GrpcCall *call, void *user, Err *e)
{
	CriDoor *d = user;
	Store *s = engine_store(d->engine);
	_cleanup_message_ ProtobufCMessage *m = NULL;
	_cleanup_(images_done) Images x = {0};
	_cleanup_(cri_verbose_done) CriVerbose info = {0};
	Cri__ImageStatusResponse answer = CRI__IMAGE_STATUS_RESPONSE__INIT;
	const Cri__ImageStatusRequest *rq;
	int r = grpc_receive_only(call, &cri__image_status_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__ImageStatusRequest *)m;
	if (!rq->image || str_empty(rq->image->image))
		return err_new(e, ERR_INVALID, "image.image is missing: which image is meant?");
	r = images_make(d, &(Cri__ImageFilter){.image = rq->image}, &x, e);
	if (r >= 0 && x.n_list && rq->verbose && !x.v[0].artifact_type)
		r = verbose(s, &x.v[0], &info, e);
	if (r < 0)
		return r;
	answer.image = x.n_list ? x.list[0] : NULL;
	answer.info = (Cri__ImageStatusResponse__InfoEntry **)info.pairs;
	answer.n_info = info.n;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- pull ---- */

static void *keep_alloc(void *data, size_t size)
{
	return malloc(size);
}

static void wipe_free(void *data, void *p)
{
	secret_free(p);
}

/* The request has a password in it. */
static void message_wipe(ProtobufCMessage **m)
{
	ProtobufCAllocator wiping = {keep_alloc, wipe_free, NULL};

	if (*m)
		protobuf_c_message_free_unpacked(*m, &wiping);
}

static int pull(CriDoor *d, const Cri__PullImageRequest *rq, int alive_fd, char ret_id[DIGEST_LEN + 1],
		Err *e)
{
	const char *name = rq->image ? rq->image->image : NULL;
	_cleanup_(cri_auth_done) CriAuth auth = {0};
	EnginePull p = {.reference = name, .alive_fd = alive_fd};
	int r;

	if (str_empty(name))
		return err_new(e, ERR_INVALID, "image.image is missing: what is to be pulled?");
	r = cri_auth_read(rq->auth, name, &auth, e);
	if (r < 0)
		return err_ctx(e, r, "pull %s", name);
	p.auth = auth.auth;
	return engine_image_pull(d->engine, &p, ret_id, e);
}

int cri_rpc_pull_image(GrpcCall *call, void *user, Err *e)
{
	_cleanup_(message_wipe) ProtobufCMessage *rq = NULL;
	Cri__PullImageResponse answer = CRI__PULL_IMAGE_RESPONSE__INIT;
	char id[DIGEST_LEN + 1];
	int r = grpc_receive_only(call, &cri__pull_image_request__descriptor, &rq, e);

	if (r >= 0)
		r = pull(user, (const Cri__PullImageRequest *)rq, grpc_call_alive_fd(call), id, e);
	if (r < 0)
		return r;
	answer.image_ref = id;
	return grpc_send_message_more(call, &answer.base, e);
}

/* ---- remove ---- */

/* With all its names. One that is not here, or that somebody else has just removed, is success. */
static int remove_image(CriDoor *d, const char *name, Err *e)
{
	_cleanup_(store_image_done) StoreImage i = {0};
	_cleanup_json_ json_t *records = NULL;
	Err own = {0};
	int r = store_image_find(engine_store(d->engine), name, &i, &own);

	if (r >= 0)
		r = engine_image_remove(d->engine, i.id, true, false, &records, &own);
	if (r >= 0 || own.kind == ERR_NOT_FOUND)
		return 0;
	return err_new_no(e, own.kind, -r, "%s", err_msg(&own, r));
}

int cri_rpc_remove_image(GrpcCall *call, void *user, Err *e)
{
	_cleanup_message_ ProtobufCMessage *m = NULL;
	const Cri__RemoveImageRequest *rq;
	int r = grpc_receive_only(call, &cri__remove_image_request__descriptor, &m, e);

	if (r < 0)
		return r;
	rq = (const Cri__RemoveImageRequest *)m;
	if (!rq->image || str_empty(rq->image->image))
		return err_new(e, ERR_INVALID, "image.image is missing: what is to be removed?");
	r = remove_image(user, rq->image->image, e);
	return r < 0 ? r : cri_send_empty(call, e);
}

/* ---- what they take ---- */

typedef struct Written {
	char **ids;
	bool oom;
} Written;

static ContainerGlance note_id(void *user, const ContainerInfo *i)
{
	Written *w = user;

	w->oom |= strv_add(&w->ids, i->id) < 0;
	return w->oom ? GLANCE_END : GLANCE_DONE;
}

/* By all containers, of the other doors too, as it was found last; those that nobody has looked at yet are looked at beside. */
static int sum_written(Engine *en, uint64_t *ret_bytes, uint64_t *ret_inodes, Err *e)
{
	Written w = {0};
	int r = engine_container_each(en, &(EngineEach){.glance = note_id, .user = &w}, e);
	_cleanup_strv_ char **ids = w.ids;

	if (r < 0 || w.oom)
		return w.oom ? err_oom(e) : r;
	for (char **id = ids; id && *id; id++) {
		EngineLayerUsage u;

		if (engine_container_layer_usage(en, *id, &u) <= 0)
			continue;
		*ret_bytes += u.bytes;
		*ret_inodes += u.inodes;
	}
	return 0;
}

#define COUNT_NS INT64_C(50000000) /* for what an engine of before has not counted */

/* What cannot be counted is not told; an answer without it is of more use than none. */
static int images_usage(Store *s, StoreUsage *ret, Err *e)
{
	Err own = {0};
	int r = store_usage(s, ret, e);

	if (r < 0 || ret->inodes >= 0)
		return r;
	r = store_count_inodes(s, COUNT_NS, &own);
	if (r < 0)
		log_warn("kubelet's door: %s", err_msg(&own, r));
	return store_usage(s, ret, e);
}

/* Images by the database's numbers; containers by what is remembered of them: nothing is walked through. */
int cri_rpc_image_fs_info(GrpcCall *call, void *user, Err *e)
{
	const CriDoor *d = user;
	Store *s = engine_store(d->engine);
	_cleanup_message_ ProtobufCMessage *rq = NULL;
	Cri__ImageFsInfoResponse answer = CRI__IMAGE_FS_INFO_RESPONSE__INIT;
	Cri__FilesystemUsage images = CRI__FILESYSTEM_USAGE__INIT, *of_images[1] = {&images};
	Cri__FilesystemUsage containers = CRI__FILESYSTEM_USAGE__INIT, *of_containers[1] = {&containers};
	Cri__FilesystemIdentifier where = CRI__FILESYSTEM_IDENTIFIER__INIT;
	Cri__UInt64Value bytes = CRI__UINT64_VALUE__INIT, written = bytes, inodes = bytes, files = bytes;
	StoreUsage used;
	int r = grpc_receive_only(call, &cri__image_fs_info_request__descriptor, &rq, e);

	if (r >= 0)
		r = images_usage(s, &used, e);
	if (r >= 0)
		r = sum_written(d->engine, &written.value, &inodes.value, e);
	if (r < 0)
		return r;
	bytes.value = (uint64_t)(used.layers + used.blobs);
	where.mountpoint = (char *)store_root(s);
	images.timestamp = containers.timestamp = clock_now_ns();
	images.fs_id = containers.fs_id = &where;
	images.used_bytes = &bytes;
	files.value = (uint64_t)MAX2(used.inodes, (int64_t)0);
	images.inodes_used = used.inodes >= 0 ? &files : NULL;
	containers.used_bytes = &written;
	containers.inodes_used = &inodes;
	answer.image_filesystems = of_images;
	answer.n_image_filesystems = 1;
	answer.container_filesystems = of_containers;
	answer.n_container_filesystems = 1;
	return grpc_send_message_more(call, &answer.base, e);
}
