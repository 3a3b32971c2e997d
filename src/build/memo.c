/* SPDX-License-Identifier: Apache-2.0 */
/* See memo.h. The file is mapped and searched in place: nothing is built in memory for the rows that nobody asks for. */
#include "build/memo.h"
#include "build/build.h"

#include "base/clock.h"
#include "base/fd.h"

#include <fcntl.h>
#include <isa-l/crc64.h>
#include <pthread.h>
#include <sys/mman.h>

#define DIR_NAME    "build"
#define FILE_NAME   DIR_NAME "/digests"
#define MAGIC       "irekodg1"
#define DAY_NS      (86400 * 1000000000LL)
#define RENEW_DAYS  7  /* a row in use is written again when its day is that old */
#define FORGET_DAYS 60 /* and one that is not in use goes */

typedef struct Row {
	MemoKey key;
	uint8_t digest[MEMO_DIGEST];
	uint32_t day; /* of its last use, about */
	uint32_t unused;
} Row;

typedef struct Head {
	char magic[8];
	uint64_t n;
	uint64_t checksum; /* CRC-64 of the rows */
} Head;

typedef struct Rows {
	const Row *v;
	size_t n;
	void *map;
	size_t map_len;
} Rows;

struct Memo {
	int root_fd;
	uint32_t today;
	Rows old;
	Row *fresh;
	size_t n_fresh, cap_fresh;
};

/* Whoever replaces the file has read it before. */
static pthread_mutex_t writer = PTHREAD_MUTEX_INITIALIZER;

/* Devices that are views of others, as long as somebody says so. */
#define VIEWS_MAX 64
static struct {
	uint64_t seen, real;
} views[VIEWS_MAX];
static unsigned n_views; /* atomic: without any, nobody waits for the lock */
static pthread_mutex_t views_lock = PTHREAD_MUTEX_INITIALIZER;

void build_device_is(uint64_t seen, uint64_t real)
{
	pthread_mutex_lock(&views_lock);
	/* Beyond that many, digests are made again. */
	if (n_views < VIEWS_MAX) {
		views[n_views].seen = seen;
		views[n_views].real = real;
		__atomic_store_n(&n_views, n_views + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&views_lock);
}

void build_device_forget(uint64_t seen)
{
	pthread_mutex_lock(&views_lock);
	for (unsigned i = 0; i < n_views; i++)
		if (views[i].seen == seen) {
			views[i] = views[n_views - 1];
			__atomic_store_n(&n_views, n_views - 1, __ATOMIC_RELEASE);
			break;
		}
	pthread_mutex_unlock(&views_lock);
}

static uint64_t real_device(uint64_t dev)
{
	if (__atomic_load_n(&n_views, __ATOMIC_ACQUIRE) == 0)
		return dev;
	pthread_mutex_lock(&views_lock);
	for (unsigned i = 0; i < n_views; i++)
		if (views[i].seen == dev) {
			dev = views[i].real;
			break;
		}
	pthread_mutex_unlock(&views_lock);
	return dev;
}

MemoKey memo_key_of_file(const struct stat *st)
{
	return (MemoKey){
	    .dev = real_device(st->st_dev),
	    .ino = st->st_ino,
	    .size = st->st_size,
	    .mtime_ns = st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec,
	    .ctime_ns = st->st_ctim.tv_sec * 1000000000LL + st->st_ctim.tv_nsec,
	};
}

MemoKey memo_key_of_digest(const uint8_t digest[MEMO_DIGEST])
{
	MemoKey k = {.dev = UINT64_MAX}; /* no device has that number */

	memcpy(&k.ino, digest, sizeof(k.ino));
	memcpy(&k.size, digest + 8, sizeof(k.size));
	memcpy(&k.mtime_ns, digest + 16, sizeof(k.mtime_ns));
	memcpy(&k.ctime_ns, digest + 24, sizeof(k.ctime_ns));
	return k;
}

bool memo_is_settled(const struct stat *st, int64_t read_ns)
{
	MemoKey k = memo_key_of_file(st);
	/* A file system that counts whole seconds, or two of them, shows it by its zeros. */
	bool coarse = st->st_mtim.tv_nsec == 0 && st->st_ctim.tv_nsec == 0;
	int64_t least = coarse ? 2000000000LL : 100000000LL;

	return MAX2(k.mtime_ns, k.ctime_ns) < read_ns - least;
}

static int compare_places(const MemoKey *a, const MemoKey *b)
{
	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

bool memo_keys_equal(const MemoKey *a, const MemoKey *b)
{
	return compare_places(a, b) == 0 && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

uint64_t memo_key_mix(const MemoKey *k)
{
	return crc64_ecma_refl(0, (const unsigned char *)k, sizeof(*k));
}

static void rows_done(Rows *r)
{
	if (r->map)
		(void)munmap(r->map, r->map_len);
	*r = (Rows){0};
}

static uint64_t checksum(const Row *v, size_t n)
{
	return crc64_ecma_refl(0, (const unsigned char *)v, n * sizeof(*v));
}

/* No file, one of another version and a damaged one have no rows. */
static void rows_load(int root_fd, Rows *ret)
{
	_cleanup_close_ int fd = openat(root_fd, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	Rows r = {0};
	Head h;

	*ret = r;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(h) ||
	    st.st_size > (off_t)(sizeof(h) + MEMO_ROWS_MAX * sizeof(Row)))
		return;
	r.map_len = (size_t)st.st_size;
	r.map = mmap(NULL, r.map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (r.map == MAP_FAILED)
		return;
	memcpy(&h, r.map, sizeof(h));
	r.v = (const Row *)(const void *)((const char *)r.map + sizeof(h));
	r.n = h.n;
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) != 0 || h.n != (r.map_len - sizeof(h)) / sizeof(Row) ||
	    h.checksum != checksum(r.v, r.n))
		rows_done(&r);
	*ret = r;
}

int memo_open(int root_fd, Memo **ret, Err *e)
{
	Memo *m = calloc(1, sizeof(*m));

	if (!m)
		return err_oom(e);
	m->root_fd = root_fd;
	m->today = (uint32_t)(clock_now_ns() / DAY_NS);
	rows_load(root_fd, &m->old);
	*ret = m;
	return 0;
}

void memo_free(Memo *m)
{
	if (!m)
		return;
	rows_done(&m->old);
	free(m->fresh);
	free(m);
}

static const Row *find(const Rows *r, const MemoKey *k)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = compare_places(&r->v[mid].key, k);

		if (order == 0)
			return &r->v[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

bool memo_get(Memo *m, const MemoKey *k, uint8_t ret[MEMO_DIGEST])
{
	const Row *row = find(&m->old, k);

	if (!row || !memo_keys_equal(&row->key, k))
		return false;
	memcpy(ret, row->digest, MEMO_DIGEST);
	if (row->day + RENEW_DAYS < m->today)
		(void)!memo_put(m, k, row->digest); /* without memory it is forgotten some day */
	return true;
}

int memo_put(Memo *m, const MemoKey *k, const uint8_t digest[MEMO_DIGEST])
{
	if (m->n_fresh == m->cap_fresh) {
		size_t cap = m->cap_fresh ? m->cap_fresh * 2 : 64;
		Row *grown = reallocarray(m->fresh, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->fresh = grown;
		m->cap_fresh = cap;
	}
	m->fresh[m->n_fresh] = (Row){.key = *k, .day = m->today};
	memcpy(m->fresh[m->n_fresh++].digest, digest, MEMO_DIGEST);
	return 0;
}

/* ---- writing ---- */

static int compare_rows(const void *a, const void *b)
{
	return compare_places(&((const Row *)a)->key, &((const Row *)b)->key);
}

/* Of rows for one place the last stays, wherever sorting has put it: they are of one moment. */
static size_t unique(Row *v, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && compare_rows(&v[kept - 1], &v[i]) == 0)
			kept--;
		v[kept++] = v[i];
	}
	return kept;
}

/* The fresh ones win; `since`: older days go. */
static size_t merge(const Rows *old, const Row *fresh, size_t n_fresh, uint32_t since, Row *out)
{
	size_t i = 0, k = 0, n = 0;

	while (i < old->n || k < n_fresh) {
		int order = i == old->n ? 1 : k == n_fresh ? -1 : compare_rows(&old->v[i], &fresh[k]);
		const Row *row = order < 0 ? &old->v[i] : &fresh[k];

		i += order <= 0;
		k += order >= 0;
		if (row->day >= since)
			out[n++] = *row;
	}
	return n;
}

static int compare_days(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Too many: those of the oldest days go, and of the day at the border the first ones. */
static size_t shrink(Row *v, size_t n)
{
	_cleanup_free_ uint32_t *days = n > MEMO_ROWS_MAX ? calloc(n, sizeof(*days)) : NULL;
	size_t kept = 0, drop = n - MIN2(n, (size_t)MEMO_ROWS_MAX);

	if (n <= MEMO_ROWS_MAX || !days)
		return MIN2(n, (size_t)MEMO_ROWS_MAX);
	for (size_t i = 0; i < n; i++)
		days[i] = v[i].day;
	qsort(days, n, sizeof(*days), compare_days);
	for (size_t i = 0; i < n; i++) {
		bool old = v[i].day < days[drop];
		bool border = v[i].day == days[drop] && n - i + kept > MEMO_ROWS_MAX;

		if (!old && !border)
			v[kept++] = v[i];
	}
	return MIN2(kept, (size_t)MEMO_ROWS_MAX);
}

static int write_rows(int root_fd, Row *v, size_t n, char *file)
{
	Head h = {.n = n, .checksum = checksum(v, n)};

	memcpy(h.magic, MAGIC, sizeof(h.magic));
	memcpy(file, &h, sizeof(h));
	return file_replace_at(root_fd, FILE_NAME, file, sizeof(h) + n * sizeof(*v), 0600, false);
}

static int save_locked(Memo *m, Err *e)
{
	uint32_t since = m->today > FORGET_DAYS ? m->today - FORGET_DAYS : 0;
	Rows old;
	char *file;
	size_t n;
	int r;

	rows_load(m->root_fd, &old); /* what it has by now */
	file = malloc(sizeof(Head) + (old.n + m->n_fresh) * sizeof(Row));
	if (!file) {
		rows_done(&old);
		return err_oom(e);
	}
	Row *v = (Row *)(void *)(file + sizeof(Head));
	n = merge(&old, m->fresh, m->n_fresh, since, v);
	rows_done(&old);
	r = write_rows(m->root_fd, v, shrink(v, n), file);
	free(file);
	return r < 0 ? err_sys(e, r, "write " FILE_NAME) : 0;
}

int memo_save(Memo *m, Err *e)
{
	int r;

	if (m->n_fresh == 0)
		return 0;
	qsort(m->fresh, m->n_fresh, sizeof(*m->fresh), compare_rows);
	m->n_fresh = unique(m->fresh, m->n_fresh);
	pthread_mutex_lock(&writer);
	r = mkdirat(m->root_fd, DIR_NAME, 0700) < 0 && errno != EEXIST ? -errno : 0;
	r = r < 0 ? err_sys(e, r, "make " DIR_NAME) : save_locked(m, e);
	pthread_mutex_unlock(&writer);
	if (r < 0)
		return r;
	m->n_fresh = 0;
	rows_done(&m->old);
	rows_load(m->root_fd, &m->old);
	return 0;
}
