//! The file's `user_version` is the number of migrations it has, set in the transaction that
//! runs them; its `application_id` says that it is Longshore's (SQLite documentation, "The
//! Database File Format", sections 1.3.15 and 1.3.17).

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteStore;
use super::error::classify;
use crate::store::{Schema, StoreError, StoreResult};

/// In order; never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_jobs.sql"),
    include_str!("migrations/0002_keys.sql"),
    include_str!("migrations/0003_operations.sql"),
    include_str!("migrations/0004_control.sql"),
    include_str!("migrations/0005_breaker.sql"),
    include_str!("migrations/0006_audit.sql"),
    include_str!("migrations/0007_progress.sql"),
];

/// `Long` in ASCII.
const APPLICATION_ID: i64 = 0x4c6f_6e67;

pub(super) async fn schema(store: &SqliteStore) -> StoreResult<Schema> {
    let mut connection = store.readers.acquire().await.map_err(classify)?;
    let version = applied(&mut connection).await?;
    Ok(match usize::try_from(version) {
        Ok(applied) if applied == MIGRATIONS.len() => Schema::Current,
        Ok(applied) if applied > MIGRATIONS.len() => Schema::Newer { version },
        applied => Schema::Behind {
            applied: applied.unwrap_or(0),
            known: MIGRATIONS.len(),
        },
    })
}

/// A database that a newer program migrated is left as it is.
pub(super) async fn migrate(store: &SqliteStore) -> StoreResult<usize> {
    // The write lock is what makes a second migrator wait; it then finds nothing to do.
    let (mut tx, _) = store.write().await.map_err(classify)?;
    let applied = applied(&mut tx).await?;
    let missing = usize::try_from(applied).map_or(MIGRATIONS, |applied| {
        MIGRATIONS.get(applied..).unwrap_or_default()
    });
    if missing.is_empty() {
        return Ok(0);
    }
    for migration in missing {
        run(&mut tx, migration).await?;
    }
    let stamp = format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
        MIGRATIONS.len()
    );
    sqlx::raw_sql(AssertSqlSafe(stamp))
        .execute(&mut *tx)
        .await
        .map_err(classify)?;
    tx.commit().await.map_err(classify)?;
    Ok(missing.len())
}

async fn run(connection: &mut SqliteConnection, migration: &'static str) -> StoreResult<()> {
    sqlx::raw_sql(migration)
        .execute(connection)
        .await
        .map_err(classify)?;
    Ok(())
}

async fn applied(connection: &mut SqliteConnection) -> StoreResult<i64> {
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(classify)?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(classify)?;
    if application == APPLICATION_ID || (application == 0 && version == 0) {
        Ok(version)
    } else {
        Err(StoreError::Schema(
            "the file is another program's SQLite database".to_owned(),
        ))
    }
}

pub(super) async fn version(store: &SqliteStore) -> sqlx::Result<String> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&store.readers)
        .await?;
    Ok(format!("SQLite {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    async fn opened(folder: &tempfile::TempDir) -> SqliteStore {
        let path = folder.path().join("new/folder/jobs.db");
        SqliteStore::open(&path).await.unwrap()
    }

    async fn pragma(store: &SqliteStore, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&store.writer).await.unwrap();
    }

    #[tokio::test]
    async fn a_newer_database_is_recognised_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        store.migrate().await.unwrap();
        pragma(&store, "PRAGMA user_version = 99").await;
        assert_eq!(store.schema().await.unwrap(), Schema::Newer { version: 99 });
        assert_eq!(store.migrate().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn another_programs_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(&folder).await;
        pragma(&store, "PRAGMA user_version = 3").await;
        for error in [
            store.schema().await.unwrap_err(),
            store.migrate().await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::Schema(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "These are notes, not a database. ".repeat(100)).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Schema(text) if text.contains("not an SQLite database")),
            "{error:?}"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_new_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        opened(&folder).await.migrate().await.unwrap();
        let mode = |path: &str| {
            let path = folder.path().join(path);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("new/folder"), 0o700);
        assert_eq!(mode("new/folder/jobs.db"), 0o600);
    }
}
