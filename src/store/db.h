/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite as the store uses it.
 *
 * One connection, in WAL mode with synchronous=NORMAL: a commit survives a crash of the process, power loss
 * may take the last ones but never leaves a damaged database. A recursive lock is held from db_query to
 * db_query_done, and from db_begin to db_tx_done, so statements of other threads never mix into a transaction; callers
 * do no other I/O meanwhile. Checkpoints, which sync, are left to the background thread and its own connection.
 */
#pragma once

#include "base/err.h"

#include <pthread.h>
#include <stdarg.h>
#include <sqlite3.h>

#define DB_CACHED 64

typedef struct DbCached {
	const char *sql;
	sqlite3_stmt *stmt;
	bool busy;
} DbCached;

typedef struct Db {
	sqlite3 *conn;
	pthread_mutex_t lock;
	DbCached cached[DB_CACHED];
	size_t n_cached;
	void (*log_large)(void *user);
	void *user;
} Db;

/* Opens or makes the database and brings its schema up to date. */
int db_open(Db *db, const char *path, Err *e);
void db_close(Db *db);
/* large is called after each commit that leaves a log of over a megabyte; it must not use the database. */
void db_watch_log(Db *db, void (*large)(void *user), void *user);
/* Copies the log into the database, as far as readers allow, and empties it; on a connection of its own, for the background thread. */
int db_checkpoint(const char *path, Err *e);

typedef struct DbQuery {
	Db *db; /* NULL: not begun */
	sqlite3_stmt *stmt;
	DbCached *slot;
} DbQuery;

/* Prepares sql (a string constant) and binds values by `types`: t const char * (NULL allowed), i int64_t. Ends with db_query_done,
 * also on failure. */
int db_query(Db *db, DbQuery *q, Err *e, const char *sql, const char *types, ...);
int db_query_v(Db *db, DbQuery *q, Err *e, const char *sql, const char *types, va_list ap);
/* 1 with a row, 0 at the end. */
int db_step(DbQuery *q, Err *e);
void db_query_done(DbQuery *q);
#define _cleanup_query_ _cleanup_(db_query_done)
/* Columns of the row: text is NULL for NULL and lives until the next step. */
const char *db_text(const DbQuery *q, int column);
int64_t db_int(const DbQuery *q, int column);
/* A statement without rows: the number of rows changed. */
int db_run(Db *db, Err *e, const char *sql, const char *types, ...);
/* The first column of the first row, or `otherwise` if there is no row. */
int db_get_int(Db *db, int64_t *ret, int64_t otherwise, Err *e, const char *sql, const char *types, ...);

typedef struct DbTx {
	Db *db;
} DbTx;

int db_begin(Db *db, DbTx *tx, Err *e);
int db_commit(DbTx *tx, Err *e);
/* Rolls back what was not committed. */
void db_tx_done(DbTx *tx);
#define _cleanup_tx_ _cleanup_(db_tx_done)
