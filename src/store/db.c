/* SPDX-License-Identifier: Apache-2.0 */
/* The database: schema, statements, transactions; the contract is in db.h. */
#include "store/db.h"

#include <fcntl.h>
#include <stdarg.h>

#define SCHEMA_VERSION 7
#define LOG_LARGE      256 /* pages of 4 KiB: the next start reads them all before anything else */
#define LOG_MOST       20000

/* What the rows mean:
 *   layer.tar_size  bytes of its uncompressed tar; -1 until somebody has counted them
 *   layer.inodes  files and directories that its folder has; -1 in rows from before version 7, until somebody has counted them
 *   layer.synced  its bytes are known to be on disk; else `boot` is the boot that wrote them
 *   layer.lost    its directory is gone (the machine died before the sync): to be made again from `blob`
 *   layer.made_ns when its row came; what nothing needs is kept for a while after that (gc.c)
 *   image.used_ns the last time that something was made from it: how long it has been of no use
 *   image_blob    what an image needs besides its layers: config, manifest, compressed layers
 *   image_part    images and attestations that an image comes with in one index, image.index_digest; in the order of `at`
 *   build_cache   from what a build step is made of to the layer that it gave (cache.c)
 *   image.labels  those of its config as a JSON object, for listings; NULL in rows from before version 2 */
static const char schema[] =
    "CREATE TABLE doc (collection TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL,"
    " PRIMARY KEY (collection, key)) WITHOUT ROWID;"
    "CREATE TABLE blob (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, synced INTEGER NOT NULL,"
    " boot TEXT NOT NULL, created_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX blob_unsynced ON blob (synced) WHERE synced = 0;"
    "CREATE TABLE layer (chain_id TEXT PRIMARY KEY, parent TEXT, diff_id TEXT NOT NULL, blob TEXT,"
    " size INTEGER NOT NULL, synced INTEGER NOT NULL, lost INTEGER NOT NULL DEFAULT 0, boot TEXT NOT NULL) "
    "WITHOUT ROWID;"
    "CREATE INDEX layer_parent ON layer (parent);"
    "CREATE INDEX layer_blob ON layer (blob);"
    "CREATE INDEX layer_unsynced ON layer (synced) WHERE synced = 0;"
    "CREATE TABLE snapshot (key TEXT PRIMARY KEY, chain_id TEXT) WITHOUT ROWID;"
    "CREATE INDEX snapshot_chain ON snapshot (chain_id);"
    "CREATE TABLE image (id TEXT PRIMARY KEY, manifest_digest TEXT, parent TEXT, chain_id TEXT,"
    " size INTEGER NOT NULL, created_ns INTEGER NOT NULL, tagged_ns INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX image_chain ON image (chain_id);"
    "CREATE TABLE tag (reference TEXT PRIMARY KEY, image_id TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX tag_image ON tag (image_id);"
    "CREATE TABLE image_blob (image_id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (image_id, digest))"
    " WITHOUT ROWID;"
    "CREATE INDEX image_blob_digest ON image_blob (digest);"
    "PRAGMA user_version = 1;";

/* From version 1 + i to the next. Steps are only ever added, so that a database of any age gets here. */
static const char *const steps[SCHEMA_VERSION - 1] = {
    "ALTER TABLE layer ADD COLUMN tar_size INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE image ADD COLUMN labels TEXT;"
    "PRAGMA user_version = 2;",
    /* Ages begin with the upgrade: nothing is old because nobody wrote down how old it is. */
    "ALTER TABLE layer ADD COLUMN made_ns INTEGER NOT NULL DEFAULT 0;"
    "UPDATE layer SET made_ns = unixepoch() * 1000000000;"
    "ALTER TABLE image ADD COLUMN used_ns INTEGER NOT NULL DEFAULT 0;"
    "UPDATE image SET used_ns = unixepoch() * 1000000000;"
    "CREATE TABLE build_cache (key TEXT PRIMARY KEY, chain_id TEXT, diff_id TEXT, empty INTEGER NOT NULL,"
    " created_ns INTEGER NOT NULL, used_ns INTEGER NOT NULL, uses INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX build_cache_chain ON build_cache (chain_id);"
    "INSERT INTO build_cache SELECT key, json_extract(json, '$.chain'), json_extract(json, '$.diff'),"
    " coalesce(json_extract(json, '$.empty'), 0), coalesce(json_extract(json, '$.created'), 0),"
    " unixepoch() * 1000000000, 1 FROM doc WHERE collection = 'build-cache';"
    "DELETE FROM doc WHERE collection = 'build-cache';"
    "PRAGMA user_version = 3;",
    "ALTER TABLE image ADD COLUMN artifact_type TEXT; PRAGMA user_version = 4;",
    /* Rows of before say nothing of their step. */
    "ALTER TABLE build_cache ADD COLUMN step TEXT; ALTER TABLE build_cache ADD COLUMN parent TEXT;"
    "ALTER TABLE build_cache ADD COLUMN content TEXT;"
    "CREATE INDEX build_cache_parent ON build_cache (parent);"
    "CREATE INDEX build_cache_step ON build_cache (step);"
    "PRAGMA user_version = 5;",
    "ALTER TABLE image ADD COLUMN index_digest TEXT;"
    "CREATE TABLE image_part (image_id TEXT NOT NULL, part_id TEXT NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (image_id, part_id)) WITHOUT ROWID;"
    "CREATE INDEX image_part_part ON image_part (part_id);"
    "PRAGMA user_version = 6;",
    "ALTER TABLE layer ADD COLUMN inodes INTEGER NOT NULL DEFAULT -1; PRAGMA user_version = 7;",
};

static int db_error(Db *db, int code, const char *what, Err *e)
{
	switch (code & 0xFF) {
	case SQLITE_FULL:
		return err_new_no(e, ERR_EXHAUSTED, ENOSPC,
				  "no space left on device: %s: free space or move --data-root", what);
	case SQLITE_NOMEM:
		return err_oom(e);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_new(e, ERR_UNAVAILABLE, "%s: the database is busy", what);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return err_new_no(
		    e, ERR_INTERNAL, EUCLEAN,
		    "%s: the database ireko.db is damaged (%s): restore it, or move it away to start with an "
		    "empty one",
		    what, sqlite3_errmsg(db->conn));
	case SQLITE_IOERR:
		if (sqlite3_system_errno(db->conn) == ENOSPC)
			return db_error(db, SQLITE_FULL, what, e);
		/* fallthrough */
	default:
		return err_new_no(e, ERR_INTERNAL, EIO, "%s: database: %s", what, sqlite3_errmsg(db->conn));
	}
}

static int exec(Db *db, const char *sql, const char *what, Err *e)
{
	int c = sqlite3_exec(db->conn, sql, NULL, NULL, NULL);

	return c == SQLITE_OK ? 0 : db_error(db, c, what, e);
}

static int make_schema(Db *db, Err *e)
{
	_cleanup_tx_ DbTx tx = {0};
	int64_t version;
	int r;

	r = db_get_int(db, &version, 0, e, "PRAGMA user_version", "");
	if (r < 0 || version == SCHEMA_VERSION)
		return r;
	if (version > SCHEMA_VERSION)
		return err_new(
		    e, ERR_UNSUPPORTED,
		    "ireko.db was written by a newer ireko (schema %lld, this one knows %d): upgrade, or use "
		    "another --data-root",
		    (long long)version, SCHEMA_VERSION);
	r = db_begin(db, &tx, e);
	if (r >= 0 && version == 0)
		r = exec(db, schema, "make the database", e);
	/* steps[i] leads from version i + 1 to the next. */
	for (size_t i = version > 1 ? (size_t)version - 1 : 0; r >= 0 && i < ELEMENTSOF(steps); i++)
		r = exec(db, steps[i], "bring the database up to date", e);
	return r < 0 ? r : db_commit(&tx, e);
}

/* The checkpoints are the background thread's, but not if it never gets to them. */
static int log_grew(void *user, sqlite3 *conn, const char *name, int pages)
{
	Db *db = user;

	if (pages >= LOG_MOST)
		return sqlite3_wal_checkpoint_v2(conn, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
			       SQLITE_NOMEM
			   ? SQLITE_NOMEM
			   : SQLITE_OK;
	if (pages >= LOG_LARGE && db->log_large)
		db->log_large(db->user);
	return SQLITE_OK;
}

int db_open(Db *db, const char *path, Err *e)
{
	pthread_mutexattr_t attr;
	int c, fd, r;

	*db = (Db){0};
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&db->lock, &attr);
	pthread_mutexattr_destroy(&attr);

	/* SQLite would make it for everybody to read, and its log and index with the same mode. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		r = err_sys(e, errno, "open %s", path);
		db_close(db);
		return r;
	}
	(void)close(fd);
	c = sqlite3_open_v2(path, &db->conn,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, NULL);
	if (c != SQLITE_OK) {
		r = db_error(db, c, path, e);
		db_close(db);
		return r;
	}
	sqlite3_extended_result_codes(db->conn, 1);
	sqlite3_busy_timeout(db->conn, 10000);
	r = exec(db,
		 "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
		 "PRAGMA journal_size_limit=8388608; PRAGMA cache_size=-1024; PRAGMA temp_store=MEMORY;"
		 "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;",
		 "open the database", e);
	sqlite3_wal_hook(db->conn, log_grew, db);
	if (r >= 0)
		r = make_schema(db, e);
	if (r < 0)
		db_close(db);
	return r;
}

void db_watch_log(Db *db, void (*large)(void *user), void *user)
{
	pthread_mutex_lock(&db->lock);
	db->log_large = large;
	db->user = user;
	pthread_mutex_unlock(&db->lock);
}

void db_close(Db *db)
{
	if (!db->conn)
		return;
	for (size_t i = 0; i < db->n_cached; i++)
		sqlite3_finalize(db->cached[i].stmt);
	/* What the last connection would do when it closes waits for the disk, which may be busy for long; the log is read by the next start. */
	sqlite3_db_config(db->conn, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close(db->conn);
	pthread_mutex_destroy(&db->lock);
	*db = (Db){0};
}

int db_checkpoint(const char *path, Err *e)
{
	Db own = {0};
	int c = sqlite3_open_v2(path, &own.conn, SQLITE_OPEN_READWRITE, NULL), r = 0, pages = 0, done = 0;

	/* A connection that has read nothing does not know of the log, and has nothing to do. */
	if (c == SQLITE_OK)
		c = sqlite3_exec(own.conn, "PRAGMA user_version", NULL, NULL, NULL);
	if (c == SQLITE_OK)
		c = sqlite3_wal_checkpoint_v2(own.conn, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &done);
	/* Writers would wait for this one, so it is left to a moment in which it has nothing to copy. */
	if (c == SQLITE_OK && pages == done)
		c = sqlite3_wal_checkpoint_v2(own.conn, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	/* Busy: somebody else is at it. */
	if (c != SQLITE_OK && c != SQLITE_BUSY)
		r = db_error(&own, c, "checkpoint the database", e);
	sqlite3_close(own.conn);
	return r;
}

static int bind(DbQuery *q, const char *types, va_list ap)
{
	int c = SQLITE_OK;

	for (int i = 0; types[i] && c == SQLITE_OK; i++) {
		if (types[i] == 't') {
			const char *s = va_arg(ap, const char *);

			/* Copied only if the caller's may change before the last step: it may not. */
			c = s ? sqlite3_bind_text(q->stmt, i + 1, s, -1, SQLITE_STATIC)
			      : sqlite3_bind_null(q->stmt, i + 1);
		} else {
			c = sqlite3_bind_int64(q->stmt, i + 1, va_arg(ap, int64_t));
		}
	}
	return c;
}

static int prepare(DbQuery *q, const char *sql)
{
	Db *db = q->db;

	for (size_t i = 0; i < db->n_cached; i++) {
		DbCached *slot = &db->cached[i];

		if (slot->sql == sql && !slot->busy) {
			slot->busy = true;
			q->slot = slot;
			q->stmt = slot->stmt;
			return SQLITE_OK;
		}
	}
	int c = sqlite3_prepare_v3(db->conn, sql, -1, SQLITE_PREPARE_PERSISTENT, &q->stmt, NULL);

	if (c == SQLITE_OK && db->n_cached < DB_CACHED) {
		q->slot = &db->cached[db->n_cached++];
		*q->slot = (DbCached){.sql = sql, .stmt = q->stmt, .busy = true};
	}
	return c;
}

int db_query_v(Db *db, DbQuery *q, Err *e, const char *sql, const char *types, va_list ap)
{
	int c;

	*q = (DbQuery){.db = db};
	pthread_mutex_lock(&db->lock);
	c = prepare(q, sql);
	if (c == SQLITE_OK)
		c = bind(q, types, ap);
	return c == SQLITE_OK ? 0 : db_error(db, c, "query", e);
}

int db_query(Db *db, DbQuery *q, Err *e, const char *sql, const char *types, ...)
{
	va_list ap;
	int r;

	va_start(ap, types);
	r = db_query_v(db, q, e, sql, types, ap);
	va_end(ap);
	return r;
}

int db_step(DbQuery *q, Err *e)
{
	int c = sqlite3_step(q->stmt);

	if (c == SQLITE_ROW)
		return 1;
	return c == SQLITE_DONE ? 0 : db_error(q->db, c, "query", e);
}

void db_query_done(DbQuery *q)
{
	if (!q->db)
		return;
	if (q->slot) {
		sqlite3_reset(q->stmt);
		sqlite3_clear_bindings(q->stmt);
		q->slot->busy = false;
	} else {
		sqlite3_finalize(q->stmt);
	}
	pthread_mutex_unlock(&q->db->lock);
	*q = (DbQuery){0};
}

const char *db_text(const DbQuery *q, int column)
{
	return (const char *)sqlite3_column_text(q->stmt, column);
}

int64_t db_int(const DbQuery *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

int db_run(Db *db, Err *e, const char *sql, const char *types, ...)
{
	_cleanup_query_ DbQuery q = {0};
	va_list ap;
	int r;

	va_start(ap, types);
	r = db_query_v(db, &q, e, sql, types, ap);
	va_end(ap);
	if (r >= 0)
		r = db_step(&q, e);
	return r < 0 ? r : sqlite3_changes(db->conn);
}

int db_get_int(Db *db, int64_t *ret, int64_t otherwise, Err *e, const char *sql, const char *types, ...)
{
	_cleanup_query_ DbQuery q = {0};
	va_list ap;
	int r;

	va_start(ap, types);
	r = db_query_v(db, &q, e, sql, types, ap);
	va_end(ap);
	if (r >= 0)
		r = db_step(&q, e);
	if (r < 0)
		return r;
	*ret = r > 0 ? db_int(&q, 0) : otherwise;
	return 0;
}

int db_begin(Db *db, DbTx *tx, Err *e)
{
	int r;

	pthread_mutex_lock(&db->lock);
	r = exec(db, "BEGIN IMMEDIATE", "begin a transaction", e);
	if (r < 0) {
		pthread_mutex_unlock(&db->lock);
		return r;
	}
	tx->db = db;
	return 0;
}

int db_commit(DbTx *tx, Err *e)
{
	int r = exec(tx->db, "COMMIT", "commit", e);

	if (r < 0)
		return r;
	pthread_mutex_unlock(&tx->db->lock);
	tx->db = NULL;
	return 0;
}

void db_tx_done(DbTx *tx)
{
	if (!tx->db)
		return;
	/* Some failures have rolled back already: nothing is left to do then. */
	if (!sqlite3_get_autocommit(tx->db->conn))
		(void)sqlite3_exec(tx->db->conn, "ROLLBACK", NULL, NULL, NULL);
	pthread_mutex_unlock(&tx->db->lock);
	tx->db = NULL;
}
