use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::error::Fault;
use crate::job::{JobId, NewJob, UniqueKey};
use crate::store::{Inserted, StoreError};

type KeyOf<'a> = (&'a str, &'a str);

/// For each job: its answer if its unique key belongs to another job already, else `None`.
///
/// The index decides who was first, also against transactions that have not committed yet. The
/// first of two jobs in the batch takes their key.
pub(super) async fn replays(
    tx: &mut PgConnection,
    jobs: &[NewJob],
) -> Result<Vec<Option<Inserted>>, Fault> {
    let mut wanted: HashMap<KeyOf<'_>, (JobId, &UniqueKey)> = HashMap::new();
    for job in jobs {
        if let Some(key) = &job.unique {
            wanted.entry(name(key)).or_insert((job.id, key));
        }
    }
    if wanted.is_empty() {
        return Ok(vec![None; jobs.len()]);
    }
    let taken = take(tx, &wanted).await?;
    // The key's first user in this batch is not a replay of itself.
    let mut first_users = taken;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        answers.push(match &job.unique {
            None => None,
            Some(key) => match first_users.get_mut(&name(key)) {
                None => {
                    first_users.insert(name(key), (job.id, key.fingerprint.clone()));
                    None
                }
                Some((id, fingerprint)) if *fingerprint == key.fingerprint => {
                    Some(Inserted::Replayed { id: *id })
                }
                Some((id, _)) => Some(Inserted::KeyReused { id: *id }),
            },
        });
    }
    Ok(answers)
}

fn name(key: &UniqueKey) -> KeyOf<'_> {
    (&key.scope, &key.key)
}

/// Takes the keys that are free and returns the others, with the job and fingerprint they
/// belong to.
async fn take<'a>(
    tx: &mut PgConnection,
    wanted: &HashMap<KeyOf<'a>, (JobId, &'a UniqueKey)>,
) -> Result<HashMap<KeyOf<'a>, (JobId, Vec<u8>)>, Fault> {
    let mut sorted: Vec<(&KeyOf<'a>, &(JobId, &UniqueKey))> = wanted.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| **name);
    let each = || sorted.iter();
    let scopes: Vec<&str> = each().map(|(name, _)| name.0).collect();
    let keys: Vec<&str> = each().map(|(name, _)| name.1).collect();
    let taken: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO longshore.unique_key (scope, key, fingerprint, job, created_at)
         SELECT scope, key, fingerprint, job, now()
         FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[])
              WITH ORDINALITY AS given (scope, key, fingerprint, job, n)
         ORDER BY n
         ON CONFLICT (scope, key) DO NOTHING
         RETURNING scope, key",
    )
    .bind(&scopes)
    .bind(&keys)
    .bind(
        each()
            .map(|(_, (_, key))| &key.fingerprint[..])
            .collect::<Vec<_>>(),
    )
    .bind(each().map(|(_, (job, _))| job.uuid()).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await?;
    if taken.len() == wanted.len() {
        return Ok(HashMap::new());
    }
    let mine: HashSet<(String, String)> = taken.into_iter().collect();
    let others: Vec<KeyOf<'a>> = each()
        .map(|(name, _)| **name)
        .filter(|(scope, key)| !mine.contains(&((*scope).to_owned(), (*key).to_owned())))
        .collect();
    owners(tx, &others).await
}

/// Takes the keys that are free and returns whose they are now. A key that another transaction is
/// just taking is waited for.
pub(super) async fn take_free(
    tx: &mut PgConnection,
    mut wanted: Vec<(JobId, &UniqueKey)>,
) -> Result<HashSet<JobId>, Fault> {
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    // Of equal keys the first one stays the first.
    wanted.sort_by(|one, other| name(one.1).cmp(&name(other.1)));
    let each = || wanted.iter();
    let taken: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO longshore.unique_key (scope, key, fingerprint, job, created_at)
         SELECT scope, key, fingerprint, job, now()
         FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[])
              WITH ORDINALITY AS given (scope, key, fingerprint, job, n)
         ORDER BY n
         ON CONFLICT (scope, key) DO NOTHING
         RETURNING job",
    )
    .bind(each().map(|(_, key)| &*key.scope).collect::<Vec<_>>())
    .bind(each().map(|(_, key)| &*key.key).collect::<Vec<_>>())
    .bind(
        each()
            .map(|(_, key)| &key.fingerprint[..])
            .collect::<Vec<_>>(),
    )
    .bind(each().map(|(job, _)| job.uuid()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    Ok(taken.into_iter().map(JobId::from).collect())
}

/// Whose keys these are. A new statement, so it sees what the insert before it waited for.
async fn owners<'a>(
    tx: &mut PgConnection,
    keys: &[KeyOf<'a>],
) -> Result<HashMap<KeyOf<'a>, (JobId, Vec<u8>)>, Fault> {
    let rows: Vec<(i64, Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT given.n, k.job, k.fingerprint
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (scope, key, n)
         CROSS JOIN LATERAL (
             SELECT job, fingerprint FROM longshore.unique_key
             WHERE scope = given.scope AND key = given.key OFFSET 0) k",
    )
    .bind(keys.iter().map(|name| name.0).collect::<Vec<_>>())
    .bind(keys.iter().map(|name| name.1).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    if rows.len() < keys.len() {
        // Pruned between the two statements: free now, so the same batch will do.
        let gone = sqlx::Error::RowNotFound;
        return Err(StoreError::Contention(gone).into());
    }
    let mut owners = HashMap::new();
    for (n, job, fingerprint) in rows {
        let place = usize::try_from(n - 1).unwrap_or_default();
        if let Some(key) = keys.get(place) {
            owners.insert(*key, (JobId::from(job), fingerprint));
        }
    }
    Ok(owners)
}
