//! Dead jobs by cause.

use futures::TryStreamExt;
use sqlx::QueryBuilder;
use sqlx::types::Uuid;

use super::operations::matching;
use super::{SqliteStore, clock, rows};
use crate::job::JobId;
use crate::store::causes::{Causes, DeadError};
use crate::store::{DeadGroup, JobFilter};

pub(super) async fn dead_groups(
    store: &SqliteStore,
    filter: &JobFilter,
    limit: u32,
    skip: u32,
) -> sqlx::Result<Vec<DeadGroup>> {
    #[derive(sqlx::FromRow)]
    struct Group {
        fingerprint: String,
        kind: String,
        code: String,
        count: i64,
        first_at: i64,
        last_at: i64,
        sample: Uuid,
        message: String,
    }
    if let Some(pattern) = filter.pattern().map_err(rows::corrupt)? {
        return groups_matching(store, filter, Causes::new(pattern), limit, skip).await;
    }
    let mut query = QueryBuilder::new(
        "SELECT g.*, (SELECT error_message FROM job WHERE job.id = g.sample) AS message FROM (
             SELECT coalesce(fingerprint, '') AS fingerprint, kind, error_code AS code,
                    count(*) AS count, min(finished_at) AS first_at,
                    max(finished_at) AS last_at, max(id) AS sample
             FROM job WHERE state = 5",
    );
    matching(&mut query, filter)?;
    query
        .push(" GROUP BY 1, 2, 3 ORDER BY 4 DESC, 7 DESC LIMIT ")
        .push_bind(limit)
        .push(" OFFSET ")
        .push_bind(skip)
        .push(") AS g");
    let groups: Vec<Group> = query.build_query_as().fetch_all(&store.readers).await?;
    let group = |group: Group| {
        Ok(DeadGroup {
            fingerprint: group.fingerprint,
            kind: group.kind,
            code: group.code,
            count: group.count.unsigned_abs(),
            first_at: clock::moment(group.first_at)?,
            last_at: clock::moment(group.last_at)?,
            sample: JobId::from(group.sample),
            message: group.message,
        })
    };
    groups.into_iter().map(group).collect()
}

#[derive(sqlx::FromRow)]
struct ErrorRow {
    id: Uuid,
    fingerprint: String,
    kind: String,
    code: String,
    message: String,
    finished_at: i64,
}

/// The errors' texts pass by one by one.
async fn groups_matching(
    store: &SqliteStore,
    filter: &JobFilter,
    mut causes: Causes,
    limit: u32,
    skip: u32,
) -> sqlx::Result<Vec<DeadGroup>> {
    let mut tx = store.read().await?;
    let mut query = QueryBuilder::new(
        "SELECT id, coalesce(fingerprint, '') AS fingerprint, kind, error_code AS code,
                error_message AS message, finished_at
         FROM job WHERE state = 5",
    );
    matching(&mut query, filter)?;
    let mut rows = query.build_query_as::<ErrorRow>().fetch(&mut *tx);
    while let Some(row) = rows.try_next().await? {
        causes.add(DeadError {
            id: JobId::from(row.id),
            fingerprint: row.fingerprint,
            kind: row.kind,
            code: row.code,
            message: row.message,
            finished_at: clock::moment(row.finished_at)?,
        })?;
    }
    drop(rows);
    let mut groups = causes.page(limit, skip);
    for group in &mut groups {
        let message = sqlx::query_scalar("SELECT error_message FROM job WHERE id = ?1")
            .bind(group.sample.uuid())
            .fetch_optional(&mut *tx)
            .await?;
        group.message = message.unwrap_or_default();
    }
    Ok(groups)
}
