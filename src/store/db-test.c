/* SPDX-License-Identifier: Apache-2.0 */
/* A database as the first version made it comes up to date with everything in it; one from the future is left alone. */
#include "store/store-test.h"

/* Frozen: the schema of version 1. */
static const char first_schema[] =
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
    "PRAGMA user_version = 1;"
    "INSERT INTO doc VALUES ('test', 'key', '{\"a\":1}');"
    "INSERT INTO layer VALUES ('sha256:1', NULL, 'sha256:1', NULL, 5, 1, 0, 'boot');"
    "INSERT INTO image VALUES ('sha256:2', NULL, NULL, 'sha256:1', 5, 7, 9);";

static char *make_database(const TestDir *d, const char *sql)
{
	char *path = strf("%s/x.db", d->path);
	sqlite3 *conn = NULL;

	assert_non_null(path);
	assert_int_equal(sqlite3_open(path, &conn), SQLITE_OK);
	assert_int_equal(sqlite3_exec(conn, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(conn), SQLITE_OK);
	return path;
}

static int64_t number(Db *db, const char *sql)
{
	int64_t n = -99;

	assert_int_equal(db_get_int(db, &n, -98, NULL, sql, ""), 0);
	return n;
}

static void test_from_the_first_version(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *path = make_database(d, first_schema), *fresh = strf("%s/fresh.db", d->path);
	Db db, other;
	Err e = {0};

	if (db_open(&db, path, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(db_open(&other, fresh, &e), 0);
	/* An old one and a new one are the same. */
	assert_int_equal(number(&db, "PRAGMA user_version"), number(&other, "PRAGMA user_version"));
	assert_int_equal(number(&db, "SELECT count(*) FROM sqlite_schema"),
			 number(&other, "SELECT count(*) FROM sqlite_schema"));
	assert_int_equal(number(&db, "SELECT count(*) FROM doc"), 1);
	assert_int_equal(number(&db, "SELECT tar_size FROM layer WHERE chain_id = 'sha256:1'"), -1);
	assert_int_equal(number(&db, "SELECT inodes FROM layer WHERE chain_id = 'sha256:1'"), -1);
	assert_int_equal(number(&db, "SELECT labels IS NULL FROM image WHERE id = 'sha256:2'"), 1);
	db_close(&db);
	db_close(&other);
	/* Again: nothing is left to do. */
	assert_int_equal(db_open(&db, path, &e), 0);
	db_close(&db);
}

static void test_from_the_future(void **state)
{
	_cleanup_free_ char *path = make_database(*state, "CREATE TABLE t (x); PRAGMA user_version = 1000;");
	Db db;
	Err e = {0};

	assert_true(db_open(&db, path, &e) < 0);
	assert_int_equal(e.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(e.msg, "newer ireko"));
}

static int64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

static void count(void *user)
{
	++*(int *)user;
}

/* A large log is told of, and a checkpoint on a connection of its own empties it: the next start has nothing to read. */
static void test_checkpoint(void **state)
{
	const TestDir *d = *state;
	_cleanup_free_ char *path = strf("%s/x.db", d->path), *log = strf("%s-wal", path);
	int told = 0;
	Db db;
	Err e = {0};

	assert_int_equal(db_open(&db, path, &e), 0);
	db_watch_log(&db, count, &told);
	assert_true(db_run(&db, &e, "INSERT INTO doc VALUES ('a', 'small', '1')", "") >= 0);
	assert_int_equal(told, 0);
	assert_true(db_run(&db, &e, "INSERT INTO doc VALUES ('a', 'large', hex(zeroblob(1000000)))", "") >=
		    0);
	assert_int_equal(told, 1);
	assert_true(size_of(log) > 2000000);
	assert_int_equal(db_checkpoint(path, &e), 0);
	assert_int_equal(size_of(log), 0);
	assert_int_equal(number(&db, "SELECT count(*) FROM doc"), 2);
	db_close(&db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    test_in_dir(test_from_the_first_version),
	    test_in_dir(test_from_the_future),
	    test_in_dir(test_checkpoint),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
