use std::collections::{HashMap, HashSet};

use sqlx::types::Uuid;
use sqlx::{Sqlite, Transaction};

use super::rows;
use crate::job::{JobId, NewJob, UniqueKey};
use crate::store::Inserted;

/// Ids and keys that are taken: in the store, and by the part of the batch that was decided.
pub(super) struct Known {
    ids: HashSet<JobId>,
    keys: HashMap<(String, String), (JobId, Vec<u8>)>,
}

impl Known {
    pub(super) async fn load(
        tx: &mut Transaction<'static, Sqlite>,
        jobs: &[NewJob],
    ) -> sqlx::Result<Self> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM job WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
        )
        .bind(rows::id_batch(jobs.iter().map(|job| job.id))?)
        .fetch_all(&mut **tx)
        .await?;
        let asked: Vec<(&str, &str)> = jobs
            .iter()
            .filter_map(|job| job.unique.as_ref())
            .map(|unique| (unique.scope.as_str(), unique.key.as_str()))
            .collect();
        let mut keys = HashMap::new();
        if !asked.is_empty() {
            let taken: Vec<(String, String, Uuid, Vec<u8>)> = sqlx::query_as(
                "SELECT DISTINCT k.scope, k.key, k.job, k.fingerprint
                 FROM json_each(?1) AS r CROSS JOIN unique_key AS k
                 WHERE k.scope = r.value ->> 0 AND k.key = r.value ->> 1",
            )
            .bind(rows::batch(&asked)?)
            .fetch_all(&mut **tx)
            .await?;
            keys.extend(
                taken
                    .into_iter()
                    .map(|(scope, key, job, print)| ((scope, key), (job.into(), print))),
            );
        }
        Ok(Self {
            ids: ids.into_iter().map(JobId::from).collect(),
            keys,
        })
    }

    /// What this job repeats; else takes its id and key.
    pub(super) fn earlier(&mut self, job: &NewJob) -> Option<Inserted> {
        let key = job
            .unique
            .as_ref()
            .map(|unique| (unique.scope.clone(), unique.key.clone()));
        let used = key.as_ref().and_then(|key| self.keys.get(key));
        if let (Some((id, print)), Some(unique)) = (used, &job.unique) {
            let id = *id;
            return Some(if *print == unique.fingerprint {
                Inserted::Replayed { id }
            } else {
                Inserted::KeyReused { id }
            });
        }
        if !self.ids.insert(job.id) {
            return Some(Inserted::Replayed { id: job.id });
        }
        if let (Some(key), Some(unique)) = (key, &job.unique) {
            self.keys.insert(key, (job.id, unique.fingerprint.clone()));
        }
        None
    }
}

/// Takes keys that are known to be free.
pub(super) async fn take(
    tx: &mut Transaction<'static, Sqlite>,
    keys: &[(JobId, &UniqueKey)],
    now: i64,
) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let taken: Vec<(&str, &str, String, String)> = keys
        .iter()
        .map(|(id, unique)| {
            let print = rows::hex_bytes(&unique.fingerprint);
            (&*unique.scope, &*unique.key, print, rows::hex(*id))
        })
        .collect();
    sqlx::query(
        "INSERT INTO unique_key (scope, key, fingerprint, job, created_at)
         SELECT r.value ->> 0, r.value ->> 1, unhex(r.value ->> 2), unhex(r.value ->> 3), ?2
         FROM json_each(?1) AS r",
    )
    .bind(rows::batch(&taken)?)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes a key if it is free; false if it is not.
pub(super) async fn take_free(
    tx: &mut Transaction<'static, Sqlite>,
    id: JobId,
    unique: &UniqueKey,
    now: i64,
) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "INSERT INTO unique_key (scope, key, fingerprint, job, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (scope, key) DO NOTHING",
    )
    .bind(&unique.scope)
    .bind(&unique.key)
    .bind(&unique.fingerprint)
    .bind(id.uuid())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(taken.rows_affected() > 0)
}
