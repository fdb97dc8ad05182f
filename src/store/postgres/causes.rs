//! Dead jobs by cause.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

use super::error::Fault;
use super::operations::push_dead;
use super::transaction::unsigned;
use crate::job::JobId;
use crate::store::causes::{Causes, DeadError};
use crate::store::{DeadGroup, JobFilter};

pub(super) async fn dead_groups(
    tx: &mut PgConnection,
    filter: &JobFilter,
    limit: u32,
    skip: u32,
) -> Result<Vec<DeadGroup>, Fault> {
    #[derive(sqlx::FromRow)]
    struct Group {
        fingerprint: String,
        kind: String,
        code: String,
        count: i64,
        first_at: DateTime<Utc>,
        last_at: DateTime<Utc>,
        sample: Uuid,
        message: String,
    }
    if let Some(pattern) = filter.pattern().map_err(Fault::corrupt)? {
        return groups_matching(tx, filter, Causes::new(pattern), limit, skip).await;
    }
    let mut query = QueryBuilder::new(
        "WITH g AS MATERIALIZED (
             SELECT COALESCE(x.fingerprint, '') AS fingerprint, x.kind, x.error_code AS code,
                    count(*) AS count, min(x.finished_at) AS first_at,
                    max(x.finished_at) AS last_at, max(x.id::text)::uuid AS sample",
    );
    push_dead(&mut query, filter);
    query
        .push(" GROUP BY 1, 2, 3 ORDER BY 4 DESC, 7 DESC LIMIT ")
        .push_bind(i64::from(limit))
        .push(" OFFSET ")
        .push_bind(i64::from(skip));
    query.push(
        ") SELECT g.*, d.error_message AS message
         FROM g CROSS JOIN LATERAL (SELECT * FROM longshore.done WHERE id = g.sample OFFSET 0) d
         ORDER BY g.count DESC, g.sample DESC",
    );
    let groups: Vec<Group> = query.build_query_as().fetch_all(tx).await?;
    let group = |group: Group| DeadGroup {
        fingerprint: group.fingerprint,
        kind: group.kind,
        code: group.code,
        count: unsigned(group.count),
        first_at: group.first_at,
        last_at: group.last_at,
        sample: JobId::from(group.sample),
        message: group.message,
    };
    Ok(groups.into_iter().map(group).collect())
}

#[derive(sqlx::FromRow)]
struct ErrorRow {
    id: Uuid,
    fingerprint: String,
    kind: String,
    code: String,
    message: String,
    finished_at: DateTime<Utc>,
}

/// The errors' texts pass by one by one.
async fn groups_matching(
    tx: &mut PgConnection,
    filter: &JobFilter,
    mut causes: Causes,
    limit: u32,
    skip: u32,
) -> Result<Vec<DeadGroup>, Fault> {
    let mut query = QueryBuilder::new(
        "SELECT x.id, COALESCE(x.fingerprint, '') AS fingerprint, x.kind, x.error_code AS code,
                x.error_message AS message, x.finished_at",
    );
    push_dead(&mut query, filter);
    let mut rows = query.build_query_as::<ErrorRow>().fetch(&mut *tx);
    while let Some(row) = rows.try_next().await? {
        causes.add(DeadError {
            id: JobId::from(row.id),
            fingerprint: row.fingerprint,
            kind: row.kind,
            code: row.code,
            message: row.message,
            finished_at: row.finished_at,
        })?;
    }
    drop(rows);
    let mut groups = causes.page(limit, skip);
    let samples: Vec<Uuid> = groups.iter().map(|group| group.sample.uuid()).collect();
    let messages: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT id, error_message FROM longshore.done WHERE id = ANY ($1)")
            .bind(samples)
            .fetch_all(tx)
            .await?;
    for (id, message) in messages {
        let of = groups.iter_mut().find(|group| group.sample.uuid() == id);
        if let Some(group) = of {
            group.message = message;
        }
    }
    Ok(groups)
}
