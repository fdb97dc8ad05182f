use sqlx::error::DatabaseError;

use crate::store::StoreError;

/// What to do on a database that lacks tables.
pub(super) const MIGRATE: &str = "the database is not migrated: run `longshore migrate`";

/// Primary result codes, from "Result and Error Codes" in SQLite's documentation.
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const MISMATCH: i32 = 20;
    pub(super) const NOTADB: i32 = 26;
    /// With its extension: a write failed otherwise than for a full disk. A quota or a limit on
    /// the size of files is told so.
    pub(super) const IOERR_WRITE: i32 = 778;
}

/// What an error means to the caller of a store.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(refusal) => match primary_code(refusal.as_ref()) {
            code::BUSY | code::LOCKED => StoreError::Contention(error),
            code::FULL => StoreError::Full(error),
            _ if extended_code(refusal.as_ref()) == code::IOERR_WRITE => StoreError::Full(error),
            code::TOOBIG | code::CONSTRAINT | code::MISMATCH => StoreError::Data(error),
            code::NOTADB => StoreError::Schema("the file is not an SQLite database".to_owned()),
            code::CORRUPT => StoreError::Corrupt(refusal.message().to_owned()),
            code::ERROR if lacks_schema(refusal.message()) => {
                StoreError::Schema(MIGRATE.to_owned())
            }
            // What is left of the general code are values that a function refuses.
            code::ERROR => StoreError::Data(error),
            // IOERR, CANTOPEN, READONLY, NOMEM: the machine's trouble, not the values'.
            _ => StoreError::Unavailable(error),
        },
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => StoreError::Data(error),
        sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Unavailable(error),
    }
}

fn primary_code(refusal: &dyn DatabaseError) -> i32 {
    extended_code(refusal) & 0xff
}

fn extended_code(refusal: &dyn DatabaseError) -> i32 {
    let code = refusal.code().and_then(|code| code.parse().ok());
    code.unwrap_or_default()
}

fn lacks_schema(message: &str) -> bool {
    ["no such table", "no such column", "has no column named"]
        .iter()
        .any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(sql: &'static str) -> StoreError {
        let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
        classify(sqlx::raw_sql(sql).execute(&pool).await.unwrap_err())
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        let data = [
            "CREATE TABLE t (a INTEGER NOT NULL) STRICT; INSERT INTO t VALUES (NULL)",
            "CREATE TABLE t (a INTEGER) STRICT; INSERT INTO t VALUES ('x')",
            "SELECT zeroblob(2000000000)",
            "SELECT * FROM json_each('{')",
        ];
        for sql in data {
            let error = refused(sql).await;
            assert!(matches!(error, StoreError::Data(_)), "{sql}: {error:?}");
        }
        for sql in ["SELECT * FROM job", "SELECT missing FROM sqlite_master"] {
            let error = refused(sql).await;
            assert!(matches!(error, StoreError::Schema(_)), "{sql}: {error:?}");
        }
    }

    #[tokio::test]
    async fn want_of_room_is_named() {
        let full = "PRAGMA max_page_count = 2; CREATE TABLE t (a); CREATE TABLE u (a);
                    INSERT INTO t VALUES (zeroblob(100000))";
        let error = refused(full).await;
        assert!(error.is_full() && error.is_transient(), "{error:?}");
    }

    #[test]
    fn what_the_machine_refuses_may_work_later() {
        let error = classify(sqlx::Error::PoolTimedOut);
        assert!(error.is_transient(), "{error:?}");
    }
}
